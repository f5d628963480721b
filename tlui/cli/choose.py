"""Which runs a command is about: those named, or those that a filter matches; in words, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tlui.runs.directory import Home, RunDirectory
    from tlui.runs.reference import Fits

RunsArgument = Annotated[list[str] | None, typer.Argument(help="Runs: id prefix, name or @last.")]
FilterOption = Annotated[
    str, typer.Option("--filter", "-f", help="Those that match, as in tlui ls: preset:birds.")
]
NAMED = 8
"""So many runs are named where there are more."""


def goes_on(run: RunDirectory) -> bool:
    """Whether a run lives or waits."""
    from tlui.runs.status import ENDED

    return run.observe().state not in ENDED


def choose(
    store: Home, words: list[str] | None, filter: str, fits: Fits, can: str
) -> list[RunDirectory]:
    """The runs that are meant, each once; by a filter those of them that fit, the oldest first,
    which are then named on stderr.

    Args:
        store: The home.
        words: As the person named them.
        filter: As the person wrote it.
        fits: Whether the command can do anything with a run; decides between namesakes.
        can: That in words: "lives or waits".

    Raises:
        TluiError: None is meant, or a word means none or several.
    """
    import sys

    from tlui.cli.terminal import reading
    from tlui.errors import TluiError
    from tlui.runs.index import Index
    from tlui.runs.reference import resolve
    from tlui.runs.text import printable

    if not filter:
        return list(dict.fromkeys(resolve(store, word, fits=fits) for word in words or []))
    with Index(store) as index:
        index.refresh(progress=reading)
        matching = [store.run(run_id) for run_id in index.ids(filter, "created")]
    found = [run for run in matching if fits(run)]
    if not found:
        who = f"no run that {can} matches" if matching else "no run matches"
        raise TluiError(f"{who}: {printable(filter)}")
    of = "" if len(found) == len(matching) else f" of {len(matching):,} that match"
    print(f"{counted(found)}{of}: {listed(found)}", file=sys.stderr)
    return found


def counted(runs: Sequence[RunDirectory]) -> str:
    """`1 run`, `3 runs`."""
    return "1 run" if len(runs) == 1 else f"{len(runs):,} runs"


def listed(runs: Sequence[RunDirectory]) -> str:
    """`head-1e-3 #1f0c9e2a, head-1e-4 #5d2b8c31 and 7 more`."""
    from tlui.runs.text import printable

    names = [f"{printable(run.read_meta().get('name') or '')} #{run.id}" for run in runs[:NAMED]]
    more = f" and {len(runs) - NAMED:,} more" if len(runs) > NAMED else ""
    return ", ".join(name.strip() for name in names) + more
