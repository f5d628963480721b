"""Runs that start from other runs: whether they may begin, from whom, and when they never can.

A run waits until every run it may start from has ended. With several (`pick = "best"` over a
sweep) it takes the best of those that finished; where none did it fails and says so, and runs
that don't depend on it go on. A parent that was interrupted is waited for: it can be resumed. A
run that is resumed goes on from its own checkpoint, whatever has become of its parents.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tlui.errors import TluiError
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.status import Observed, Status, read_status, write_status
from tlui.scheduler import order
from tlui.scheduler.claims import Claims

OWN_WEIGHTS = ("last.npz", "last-previous.npz")
"""Checkpoints a run goes on from; with one of them it needs nobody else's weights any more."""
TO_COME = ("queued", "starting", "running", "evaluating", "stale", "interrupted")
"""States of a run that may still have a result."""
LOST, DAMAGED = "Once the other has finished", "Once preset.toml is mended"
"""What must be done for a run that cannot start."""


@dataclass(frozen=True)
class Readiness:
    """Whether a queued run may start, as far as its parents go."""

    ready: bool
    failed: bool = False
    reason: str = ""
    parent: str | None = None
    """Id of the run to start from, where it was left open until now."""
    lost: tuple[str, ...] = ()
    """Where it failed: ids of the runs it might have started from."""


def readiness(home: Home, run: RunDirectory) -> Readiness:
    """What a run's parents mean for it now."""
    meta = run.read_meta()
    parents = [home.run(str(parent)) for parent in meta.get("parents") or []]
    if not parents or any((run.checkpoints / name).is_file() for name in OWN_WEIGHTS):
        return Readiness(True)
    usable: list[RunDirectory] = []
    lost: list[str] = []
    for parent in parents:
        seen = parent.observe()
        name = _name(parent)
        if not parent.exists():
            lost.append(f"{parent.id} no longer exists")
        elif seen.state == "interrupted":
            return Readiness(
                False, reason=f"waits for {name}, which was interrupted (tlui resume {parent.id})"
            )
        elif seen.state in TO_COME:
            return Readiness(False, reason=f"waits for {name}, which is {seen.state}")
        elif ended := _without_result(parent, seen):
            lost.append(f"{name} {ended}")
        else:
            usable.append(parent)
    if not usable:
        ids = tuple(parent.id for parent in parents)
        return Readiness(False, failed=True, reason="cannot start: " + "; ".join(lost), lost=ids)
    return Readiness(True, parent=best(usable).id if meta.get("choose_parent") else None)


def unusable(run: RunDirectory) -> str:
    """Why no run can be made that starts from this one; '' where one can, now or when it ends."""
    seen = run.observe()
    if seen.state in TO_COME:
        return ""
    if ended := _without_result(run, seen):
        return f"run {_name(run)} {ended}; tlui resume {run.id} goes on with it"
    if not any((run.checkpoints / name).is_file() for name in ("best.npz", "last.npz")):
        return (
            f"run {_name(run)} has no saved weights: neither best.npz nor last.npz is in "
            f"{run.checkpoints}; start from another run"
        )
    return ""


def waiting_for(home: Home, going: Collection[str]) -> dict[str, list[RunDirectory]]:
    """The queued runs that could not start any more where these runs go.

    Args:
        home: The store.
        going: Ids of the runs that are to go.

    Returns:
        For the id of each of those that are missed, who starts from it, be it by way of another
        queued run, in the order of the queue.
    """
    hopes: dict[str, list[str]] = {}
    for entry in order.entries(home):
        run = home.run(entry.run)
        if run.id not in going and run.observe().state == "queued":
            hopes[run.id] = _hopes(home, run)
    roots = {run_id: {run_id} for run_id in going}
    found: dict[str, list[RunDirectory]] = {}
    left = dict(hopes)
    while lost := [r for r, parents in left.items() if parents and roots.keys() >= set(parents)]:
        for run_id in lost:
            roots[run_id] = set().union(*(roots[parent] for parent in left.pop(run_id)))
    for run_id in hopes:
        for root in roots.get(run_id, ()):
            found.setdefault(root, []).append(home.run(run_id))
    return found


def missed_by(children: Sequence[RunDirectory]) -> str:
    """A sentence on queued runs that start from one which is to go."""
    named = [_name(child) for child in children[:3]]
    if len(children) > 3:
        named.append(f"{len(children) - 3:,} more")
    several = len(children) > 1
    names = " and ".join([", ".join(named[:-1]), named[-1]]) if several else named[0]
    return (
        f"{names} {'are' if several else 'is'} queued, {'start' if several else 'starts'} from it "
        f"and {'fail' if several else 'fails'} without it"
    )


def _hopes(home: Home, run: RunDirectory) -> list[str]:
    """The runs that a queued one may still start from; none where it has weights of its own."""
    if any((run.checkpoints / name).is_file() for name in OWN_WEIGHTS):
        return []
    parents = [home.run(str(parent)) for parent in run.read_meta().get("parents") or []]
    return [parent.id for parent in parents if parent.exists() and _hopeful(parent)]


def _hopeful(parent: RunDirectory) -> bool:
    seen = parent.observe()
    return seen.state in TO_COME or not _without_result(parent, seen)


def _without_result(run: RunDirectory, seen: Observed) -> str:
    """How a run ended, and why, where that left nothing to start from."""
    if seen.state in ("finished", "stopped") and run.result.is_file():
        return ""
    ended = {
        "stopped": "was stopped before it had a result",
        "finished": "has lost its result",
    }
    why = f": {seen.reason.splitlines()[0].rstrip('.:')}" if seen.reason else ""
    return ended.get(seen.state, seen.state) + why


def best(runs: list[RunDirectory]) -> RunDirectory:
    """The run with the best value of its monitored metric; the first of equals."""
    from tlui.runs.history import lower_is_better

    def merit(run: RunDirectory) -> float:
        given: Any = (run.read_result() or {}).get("best")
        value = given.get("value") if isinstance(given, dict) else None
        if not isinstance(value, int | float):
            return float("-inf")
        return -value if lower_is_better(str(given.get("monitor", ""))) else value

    return max(runs, key=merit)


def take_parent(run: RunDirectory, parent: str) -> str:
    """Write which run a queued one starts from into its preset.toml, if that is still open.

    Any number of starters may do this: they write the same.

    Returns:
        Why it cannot be written, which is this run's end and nobody else's; '' where it is.
    """
    from tlui.recipe.toml import experiment_to_toml, load_experiment
    from tlui.runs.files import write_text

    try:
        experiment = load_experiment(run.preset)
        wanted = experiment.start_from
        if wanted is None or wanted.run == parent:
            return ""
        resolved = wanted.model_copy(update={"experiment": None, "run": parent})
        chosen = experiment.model_copy(update={"start_from": resolved})
        write_text(run.preset, experiment_to_toml(chosen))
    except TluiError as error:
        return f"cannot start: {error}"
    except OSError as error:
        return f"cannot start: {run.preset}: {error.strerror or error}"
    return ""


def fail(home: Home, run: RunDirectory, reason: str, first: str = LOST) -> Status | None:
    """End a queued run that cannot start; None when somebody else has it.

    Args:
        home: The store.
        run: The run.
        reason: Why it cannot.
        first: What must be done before it can be queued again.
    """
    with Claims(home).holding(run.id) as held:
        status = read_status(run.status)
        if not held or status is None or status.state != "queued":
            return None
        advice = f"{first}, tlui resume {run.id} queues this one again"
        failed = replace(status, state="failed", reason=reason, advice=advice, ended=time.time())
        write_status(run.status, failed)
        order.remove(home, run.id)
    return failed


def _name(run: RunDirectory) -> str:
    name = run.read_meta().get("name")
    return f"{name} ({run.id})" if name else run.id
