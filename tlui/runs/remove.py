"""Removing runs: out of sight in one rename, then deleted; never past a link, never a live one."""

from __future__ import annotations

import os
import secrets
import shutil

from tlui.errors import TluiError
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.files import sync_folder
from tlui.runs.status import RUN_ID

KEPT_STATES = ("starting", "running", "evaluating", "stale")
"""States in which a trainer may be at work."""


def refusal(run: RunDirectory) -> str:
    """Why a run may not be removed now; "" where it may."""
    state = run.observe().state
    if state in KEPT_STATES:
        how = "tlui stop --now" if state == "stale" else "tlui stop"
        return f"{run.id} is {state}; stop it first ({how} {run.id})"
    return ""


def remove(home: Home, run: RunDirectory) -> None:
    """Delete a run for good.

    The directory is renamed first, so that no reader ever sees half a run; links inside are
    deleted, not followed. What an interrupted removal left is deleted by the next one.

    Raises:
        TluiError: It is live, lies outside the store or cannot be deleted.
    """
    if run.path.parent != home.runs or not RUN_ID.fullmatch(run.id):
        raise TluiError(f"{run.path}: is no run of {home.path}")
    if run.path.is_symlink():
        raise TluiError(f"{run.path}: is a link, not a run; remove it yourself")
    if not run.path.is_dir():
        raise TluiError(f"{run.id}: there is no such run", 2)
    problem = refusal(run)
    if problem:
        raise TluiError(problem)
    aside = home.runs / f".gone-{run.id}-{secrets.token_hex(2)}"
    try:
        run.path.rename(aside)
        sync_folder(home.runs)
    except OSError as error:
        raise TluiError(f"{run.path}: cannot be removed ({error.strerror})") from error
    _sweep(home)


def _sweep(home: Home) -> None:
    """Delete what was set aside, now or by a removal that did not end."""
    with os.scandir(home.runs) as entries:
        gone = [e.path for e in entries if e.name.startswith(".gone-")]
    for path in gone:
        if os.path.islink(path):  # noqa: PTH114
            continue
        shutil.rmtree(path, ignore_errors=True)
