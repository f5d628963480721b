"""Between the queue and the backends: which runs have no job yet, and whose job is gone.

Promise: a queued run is submitted once for each attempt, by whoever looks at the queue first.
`job.json` in its directory notes the attempt it was submitted for and under which number; it is
written under a kernel lock on `<home>/queue/.handover`, and before anything is submitted the
cluster is asked whether it has a job of that run already (its submitter may have died before it
wrote the note). A run whose job vanished before it began is reported, never submitted again
unasked: only a person knows whether the cluster is mended.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from tlui.errors import TluiError
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.files import read_json, write_json
from tlui.runs.lock import locked
from tlui.runs.status import ENDED, read_status, write_status
from tlui.scheduler import order
from tlui.scheduler.backends import backend, dependencies, hints, placed_on
from tlui.scheduler.backends.base import Hint, Mode

LEAVING_SECONDS = 30.0
"""How long the job of a run that has ended may take to leave."""


def note_job(run: RunDirectory, on: str, job: str, attempt: int) -> None:
    """Note that a run has this job for this attempt; an empty `job` means it was refused."""
    note = {"version": 1, "backend": on, "job": job, "attempt": attempt, "noted": time.time()}
    try:
        write_json(run.path / "job.json", note)
    except OSError:
        pass  # the job's comment says it too


def noted_job(run: RunDirectory) -> dict[str, Any]:
    """What job.json says; empty where the run never had a job."""
    return read_json(run.path / "job.json") or {}


def has_no_job(run: RunDirectory) -> bool:
    """Whether a run is queued and was not handed over yet, as far as its directory knows."""
    status = read_status(run.status)
    if status is None or status.state != "queued":
        return False
    return noted_job(run).get("attempt") != status.attempt


def hand_over(home: Home, runs: Sequence[RunDirectory]) -> list[str]:
    """Submit those of these queued runs that have no job; the ids of those that have one now.

    Args:
        home: The store.
        runs: Queued runs of any backend but `local`, parents before children.

    Raises:
        TluiError: A cluster refused some, or is not there; the others were submitted.
    """
    if not any(has_no_job(run) for run in runs):
        return []
    problems: list[str] = []
    handed: list[str] = []
    with locked(order.folder(home) / ".handover"):
        by_backend: dict[str, list[RunDirectory]] = {}
        for run in runs:
            if has_no_job(run) and not _waits_for_others(home, run):
                by_backend.setdefault(placed_on(run), []).append(run)
        for on, theirs in by_backend.items():
            try:
                handed += _submit(home, on, theirs)
            except TluiError as error:
                problems.append(str(error))
    if problems:
        raise TluiError("\n".join(problems))
    return handed


def _submit(home: Home, on: str, runs: Sequence[RunDirectory]) -> list[str]:
    cluster = backend(on)
    hints = cluster.state(runs)
    if mute := next((hint for hint in hints.values() if hint.state == "unknown"), None):
        raise TluiError(mute.reason)
    lacking = []
    for run in runs:
        status = read_status(run.status)
        if not hints[run.id].vanished and status is not None:
            note_job(run, on, hints[run.id].job, status.attempt)
        else:
            lacking.append(run)
    cluster.submit(home, lacking, dependencies(lacking))
    return [run.id for run in lacking]


def _waits_for_others(home: Home, run: RunDirectory) -> bool:
    """Whether a run starts from one that has not ended and is not of the same cluster.

    No cluster can wait for such a one; who tends the queue when it has ended submits this one.
    """
    on = placed_on(run)
    return any(
        placed_on(parent) != on and parent.observe().state not in ENDED
        for parent in map(home.run, dependencies([run])[run.id])
    )


def withdraw(run: RunDirectory, mode: Mode) -> Hint | None:
    """Tell the cluster to end a run's job; None where it has none, or does not answer.

    Whatever the cluster does, a job that starts reads its run's status and requests first.
    """
    if (on := placed_on(run)) == "local":
        return None
    try:
        return backend(on).cancel(run, mode)
    except TluiError:
        return None


def hold_job(run: RunDirectory) -> None:
    """Keep the job of a held run from starting, if it has one; those that wait for it wait on.

    A job that starts all the same finds its run held, and leaves.
    """
    if (on := placed_on(run)) != "local" and not has_no_job(run):
        with suppress(TluiError):
            backend(on).hold(run, True)


def release_job(run: RunDirectory) -> None:
    """Let the job of a released run start; the next `hand_over` submits it anew where it is gone.

    Raises:
        TluiError: Its cluster refused, or does not answer.
    """
    if (on := placed_on(run)) == "local" or has_no_job(run):
        return
    if backend(on).hold(run, False).vanished:
        submit_again(run)


def lost(run: RunDirectory) -> Hint | None:
    """The hint of a run whose cluster will not bring it forward any more; None for others."""
    if (on := placed_on(run)) == "local":
        return None
    hint = backend(on).state([run])[run.id]
    return hint if hint.vanished else None


def await_end(run: RunDirectory) -> None:
    """Wait until the job of a run that has ended is gone, too: it leaves a moment later, and what
    is queued meanwhile would count on it.

    Raises:
        TluiError: It stays.
    """
    until = time.monotonic() + LEAVING_SECONDS
    while (hint := backend(placed_on(run)).state([run])[run.id]).state == "runs":
        if time.monotonic() > until:
            raise TluiError(
                f"{run.id}: cannot be resumed while its job is there: {hint.reason}; "
                "try again when it is gone"
            )
        time.sleep(0.2)


def forget_job(run: RunDirectory) -> None:
    """Let the next `hand_over` submit this run, unless its cluster has a job of it after all."""
    (run.path / "job.json").unlink(missing_ok=True)


def abandoned(runs: Sequence[RunDirectory]) -> set[str]:
    """Ids of the queued runs that had a job, or were refused one, and will not get forward."""
    vanished = {run_id for run_id, hint in hints(runs).items() if hint.vanished}
    return {run.id for run in runs if run.id in vanished and not has_no_job(run)}


def submit_children_again(home: Home, run: RunDirectory) -> None:
    """Let queued runs that start from this one be submitted with it, where their job is gone."""
    queued = [home.run(entry.run) for entry in order.entries(home)]
    theirs = [one for one in queued if run.id in dependencies([one])[one.id]]
    for one_id, hint in hints(theirs).items():
        if hint.vanished:
            forget_job(home.run(one_id))


def reasons(runs: Sequence[RunDirectory]) -> dict[str, str]:
    """Run id -> why a queued run of a cluster waits, in a sentence."""
    asked = hints(runs)
    found = {}
    for run in runs:
        hint = asked.get(run.id) or Hint("unknown", "waits")
        status = read_status(run.status)
        said = status.reason if status else ""
        if not said.startswith(hint.reason):  # a refusal is told with its reason
            said = f"{hint.reason}: {said}" if said else hint.reason
        if hint.vanished and not has_no_job(run):
            said += f" (tlui resume {run.id} submits it again)"
        found[run.id] = said
    return found


def submit_again(run: RunDirectory) -> None:
    """Let the next `hand_over` submit a queued run whose job vanished.

    Raises:
        TluiError: It has a job, or its cluster does not answer.
    """
    hint = backend(placed_on(run)).state([run])[run.id]
    if not hint.vanished:
        raise TluiError(f"{run.id}: is queued already: {hint.reason}")
    status = read_status(run.status)
    if status is not None and status.state == "queued" and status.reason:
        write_status(run.status, replace(status, reason="", advice=""))
    forget_job(run)
