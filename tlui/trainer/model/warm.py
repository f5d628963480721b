"""Warm start: begin from the weights of another run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tlui.errors import TluiError
from tlui.runs.directory import RunDirectory
from tlui.runs.files import read_json
from tlui.trainer.model.network import Network
from tlui.trainer.model.variables import (
    SEED,
    assign_variables,
    mismatches,
    named_variables,
    read_checkpoint,
    shorten,
)


@dataclass(frozen=True)
class WarmStart:
    """What a warm start took over."""

    run: str
    checkpoint: str
    head: Literal["kept", "new"]
    reason: str
    """Why the head was kept or is new, for the log."""


def warm_start(
    network: Network,
    run: RunDirectory,
    which: Literal["best", "last"],
    head: Literal["auto", "keep", "new"],
    classes: list[str],
) -> WarmStart:
    """Take over the backbone of another run, and its head where it fits.

    Args:
        run: The other run's directory.
        which: Its best or last checkpoint; the other one where that is not there.
        head: `keep` takes the head over, `new` leaves the random one, `auto` keeps it when both
            runs have the same classes in the same order and the layers fit.
        classes: This run's class names, by index.

    Raises:
        TluiError: No checkpoint, another backbone, or `keep` with a head that does not fit;
            what misfits is named.
    """
    path = run.checkpoints / f"{which}.npz"
    other = run.checkpoints / ("last.npz" if which == "best" else "best.npz")
    if not path.is_file() and other.is_file():
        path = other
    arrays = {k: v for k, v in read_checkpoint(path).items() if not k.endswith(f"/{SEED}")}
    own = {k: v for k, v in named_variables(network).items() if not k.endswith(f"/{SEED}")}
    problems = _problems(own, arrays, "backbone/")
    if problems:
        raise TluiError(
            f"start_from: run {run.id} has another backbone than this one:\n" + shorten(problems)
        )
    keep, reason = _decide(head, _problems(own, arrays, "head/"), classes, _classes_of(run))
    if not keep:
        arrays = {k: v for k, v in arrays.items() if k.startswith("backbone/")}
    elif misfits := _problems(own, arrays, "head/"):
        raise TluiError(
            f'start_from: head = "keep", but the head of run {run.id} does not fit:\n'
            + shorten(misfits)
        )
    assign_variables(network, arrays)
    return WarmStart(run.id, path.stem, "kept" if keep else "new", reason)


def _problems(own: dict, arrays: dict, part: str) -> list[str]:  # type: ignore[type-arg]
    mine = {k: v for k, v in own.items() if k.startswith(part)}
    theirs = {k: v for k, v in arrays.items() if k.startswith(part)}
    return mismatches(mine, theirs) + [f"{k}: not in that run" for k in mine if k not in theirs]


def _classes_of(run: RunDirectory) -> list[str] | None:
    """Class names of a run, by index; None where it has not written them."""
    found = read_json(run.classes)
    if found is None:
        return None
    names = found.get("classes", found)
    if isinstance(names, dict):
        try:
            return [str(names[key]) for key in sorted(names, key=int)]
        except ValueError:
            return None
    return [str(name) for name in names]


def _decide(
    head: str, problems: list[str], classes: list[str], theirs: list[str] | None
) -> tuple[bool, str]:
    if head == "keep":
        return True, "asked for"
    if head == "new":
        return False, "asked for"
    if theirs != classes:
        return False, "the classes are others"
    if problems:
        return False, "the head is built otherwise"
    return True, "the classes are the same"
