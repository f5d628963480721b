"""Which run a person means: an id or its beginning, a name, `name#2f`, `@last`, `@3`.

`@last` is the run made last, `@1` the same, `@2` the one before. An id wins over a name. What
fits several runs is refused with the candidates; what fits none, with the nearest. Of several runs
of one name, a command may mean the only one that it can do anything with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import nullcontext

from tlui.errors import TluiError
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.format import moment
from tlui.runs.index import Index
from tlui.runs.row import Row
from tlui.runs.status import RUN_ID
from tlui.runs.text import printable

PREFIX = re.compile(r"#?([0-9a-f]{2,8})")
LISTED = 8
NAMESAKES = 10_000
"""How many runs of one name are looked at."""

Fits = Callable[[RunDirectory], bool]


def resolve(
    home: Home, reference: str, index: Index | None = None, fits: Fits | None = None
) -> RunDirectory:
    """The run that is meant.

    Args:
        home: The store.
        reference: What the person typed.
        index: An index that was refreshed; one is opened where not given and needed.
        fits: Of several runs of that name, the one for which it holds is meant, if it is the only
            one.

    Raises:
        TluiError: No run or several runs fit (code 2); says which are near.
    """
    reference = reference.strip()
    if RUN_ID.fullmatch(reference) and home.run(reference).exists():
        return home.run(reference)
    with Index(home) if index is None else nullcontext(index) as found:
        if index is None:
            found.refresh(budget=0.0)
        rows = _find(found, reference)
        if len(rows) > 1 and fits is not None:
            rows = [row for row in rows if fits(home.run(row.id))] or rows
        if len(rows) > 1:
            raise TluiError(
                f'"{printable(reference)}" may be any of these runs; give an id:\n{_listed(rows)}',
                2,
            )
        return home.run(rows[0].id)


def resolve_all(
    home: Home, references: Iterable[str], index: Index | None = None
) -> list[RunDirectory]:
    """`resolve` for each, every run once, in the order given.

    Raises:
        TluiError: As `resolve`.
    """
    given = list(references)
    with Index(home) if index is None else nullcontext(index) as found:
        if index is None:
            found.refresh(budget=0.0)
        return list(dict.fromkeys(resolve(home, each, found) for each in given))


def _find(index: Index, reference: str) -> list[Row]:
    """The runs that may be meant, at least one."""
    if reference.startswith("@"):
        return [_latest(index, reference)]
    match = PREFIX.fullmatch(reference)
    by_id = index.by_prefix(match[1]) if match else []
    if len(by_id) == 1:
        return by_id
    by_name = index.by_name(reference, NAMESAKES)
    if not by_name and "#" in reference:
        name, _, prefix = reference.rpartition("#")
        namesakes = index.by_name(name.rstrip(), NAMESAKES)
        by_name = [row for row in namesakes if row.id.startswith(prefix)]
    if found := by_name or by_id:
        return found
    raise TluiError(_nothing(index, reference), 2)


def _latest(index: Index, reference: str) -> Row:
    word = reference[1:]
    if word != "last" and not (word.isdecimal() and int(word) > 0):
        raise TluiError(f'"{printable(reference)}" is no run: @last, or @2 for the one before', 2)
    back = 1 if word == "last" else int(word)
    rows = index.rows(offset=back - 1, limit=1) if back < 2**31 else []
    if not rows:
        raise TluiError(f"{printable(reference)}: there are {index.count()} runs", 2)
    return rows[0]


def _listed(rows: list[Row]) -> str:
    lines = [
        f"  {row.id}  {printable(row.name)}  {row.state}  {moment(row.created)}"
        for row in rows[:LISTED]
    ]
    return "\n".join([*lines, "  ..."] if len(rows) > LISTED else lines)


def _nothing(index: Index, reference: str) -> str:
    import difflib

    names = index.names()
    if not names:
        return f'there is no run "{printable(reference)}"; there are no runs at all yet'
    near = difflib.get_close_matches(reference, names[:20_000], n=3, cutoff=0.5)
    rows = [row for name in near for row in index.by_name(name, 3)]
    if re.fullmatch(r"#?[0-9a-f]{4,12}", reference):
        ids = difflib.get_close_matches(reference.lstrip("#"), index.ids()[:20_000], 3, 0.7)
        rows += index.get(ids)
    if not rows:
        return f'there is no run "{printable(reference)}"; tlui ls shows what there is'
    return f'there is no run "{printable(reference)}"; did you mean:\n{_listed(rows)}'
