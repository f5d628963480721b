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


def resume_run(home: Home, run_id: str) -> tuple[Any, str]:
    """Queue a run again and start what fits."""
    from tlui.scheduler.control import resume
    from tlui.scheduler.start import start

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
