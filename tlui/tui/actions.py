"""What is done to runs from the app: each in a thread, its outcome posted as a message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tlui.errors import TluiError
from tlui.runs.directory import Home
from tlui.runs.marks import mark
from tlui.runs.text import printable
from tlui.tui.messages import WorkDone, WorkFailed

Outcome = WorkDone | WorkFailed


def attempt(what: str, work: Callable[[], tuple[Any, str]]) -> Outcome:
    """Do it; an error a person can cause becomes `WorkFailed` with its message."""
    try:
        value, text = work()
    except TluiError as error:
        return WorkFailed(what, str(error))
    except OSError as error:
        return WorkFailed(what, f"{error.filename or 'a file'}: {error.strerror}")
    return WorkDone(what, value, text)


def stop_run(home: Home, run_id: str) -> tuple[Any, str]:
    """Ask a run to stop, evaluate and keep what it has."""
    from tlui.scheduler.control import stop

    return run_id, f"{_name(home, run_id)} {stop(home, home.run(run_id))}"


def start_waiting(home: Home, run_id: str = "") -> tuple[Any, str]:
    """Start what fits of what waits; says why `run_id`, else the first, goes on waiting."""
    from tlui.scheduler.queue import places
    from tlui.scheduler.start import start

    started = start(home)
    if started and run_id in ("", *started):
        more = f" and {len(started) - 3} more" if len(started) > 3 else ""
        return started, f"started {', '.join(_name(home, one) for one in started[:3])}{more}"
    waiting = [place for place in places(home) if place.position is not None]
    first = next((place for place in waiting if place.run.id == run_id), None)
    first = first or next(iter(waiting), None)
    if first is None:
        return started, "nothing waits; n sets up a run"
    why = "held back" if first.state == "held" else printable(first.reason) or "waits"
    return started, f"nothing fits now; {printable(first.name)}: {why}"


def resume_run(home: Home, run_id: str) -> tuple[Any, str]:
    """Queue a run again and start what fits; of one that waits, start what fits."""
    from tlui.scheduler import order
    from tlui.scheduler.control import resume
    from tlui.scheduler.start import start

    if home.run(run_id).observe().state == "queued" and order.find(home, run_id) is not None:
        return start_waiting(home, run_id)
    resume(home, home.run(run_id))
    started = start(home)
    word = "goes on" if run_id in started else "is queued; it goes on when a device is free"
    return run_id, f"{_name(home, run_id)} {word}"


def delete_runs(home: Home, ids: Sequence[str]) -> tuple[Any, str]:
    """Remove runs that are not alive for good; queued ones leave the queue first.

    Raises:
        TluiError: One is live, or queued runs that stay start from it.
    """
    from tlui.scheduler.control import delete
    from tlui.scheduler.parents import missed_by, waiting_for

    for run_id, children in waiting_for(home, ids).items():
        raise TluiError(
            f"{_name(home, run_id)} stays: {printable(missed_by(children))}; drop from the queue "
            "first (Q)"
        )
    names = []
    for run_id in ids:
        names.append(_name(home, run_id))
        delete(home, home.run(run_id))
    return tuple(ids), f"deleted {', '.join(names)}"


def pin_runs(home: Home, ids: Sequence[str], pinned: bool) -> tuple[Any, str]:
    """Pin runs to the top of the list, or unpin them."""
    mark(home, ids, pinned=pinned)
    return tuple(ids), "pinned" if pinned else "unpinned"


def hide_runs(home: Home, ids: Sequence[str], hidden: bool) -> tuple[Any, str]:
    """Hide runs from the list, or show them again."""
    mark(home, ids, hidden=hidden)
    return tuple(ids), "hidden; v shows hidden runs" if hidden else "shown again"


def _name(home: Home, run_id: str) -> str:
    return printable(home.run(run_id).read_meta().get("name") or run_id)
