"""What a person says of a run: pinned, hidden, a note. User data, kept in the home.

`<home>/marks.json` is replaced whole under a lock, so two front ends that mark at once lose
nothing; an index never owns it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from tlui.errors import TluiError
from tlui.runs.directory import Home
from tlui.runs.files import read_json, write_json
from tlui.runs.lock import locked

MARKS = "marks.json"


@dataclass(frozen=True)
class Mark:
    """One run's marks."""

    pinned: bool = False
    hidden: bool = False
    note: str = ""


def read_marks(home: Home) -> dict[str, Mark]:
    """Run id -> marks; empty where there are none or the file is unreadable."""
    return _parse(read_json(home.path / MARKS))


def marks_stamp(home: Home) -> str:
    """Changes whenever the marks do."""
    try:
        found = (home.path / MARKS).stat()
    except OSError:
        return ""
    return f"{found.st_mtime_ns}:{found.st_ino}:{found.st_size}"


def mark(
    home: Home,
    ids: Iterable[str],
    pinned: bool | None = None,
    hidden: bool | None = None,
    note: str | None = None,
) -> None:
    """Set marks of some runs; None leaves one as it is.

    Raises:
        TluiError: The home cannot be written, or marks.json is damaged (it is left alone).
    """
    change = {"pinned": pinned, "hidden": hidden, "note": note}
    change = {k: v for k, v in change.items() if v is not None}
    path = home.path / MARKS
    try:
        with locked(home.path / ".marks.lock"):
            given = read_json(path)
            if given is None and path.exists():
                raise TluiError(f"{path}: is damaged; mend it or move it away to mark runs again")
            marks = _parse(given)
            for run_id in ids:
                marks[run_id] = Mark(**{**asdict(marks.get(run_id, Mark())), **change})
            kept = {i: _plain(m) for i, m in sorted(marks.items()) if m != Mark()}
            write_json(path, {"version": 1, "marks": kept})
    except OSError as error:
        raise TluiError(f"{path}: cannot be written ({error.strerror})") from error


def _plain(given: Mark) -> dict[str, Any]:
    return {k: v for k, v in asdict(given).items() if v}


def _parse(given: dict[str, Any] | None) -> dict[str, Mark]:
    marks = (given or {}).get("marks")
    if not isinstance(marks, dict):
        return {}
    return {
        str(i): Mark(
            pinned=m.get("pinned") is True,
            hidden=m.get("hidden") is True,
            note=str(m.get("note") or ""),
        )
        for i, m in marks.items()
        if isinstance(m, dict)
    }
