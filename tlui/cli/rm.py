"""`tlui rm`: delete runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tlui.cli.options import HomeOption


def rm(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Runs: id prefix, name or @last.")
    ] = None,
    filter: Annotated[
        str, typer.Option("--filter", "-f", help="Every run that matches, as in tlui ls.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: HomeOption = None,
) -> int:
    """Delete runs for good: weights, results, everything. Asks first; refuses live runs.

    Says which queued runs start from them. With --yes those are not left without: a run that
    they start from is refused, unless they are deleted too.
    """
    from tlui.errors import TluiError
    from tlui.runs.directory import Home
    from tlui.runs.index import Index
    from tlui.runs.reference import resolve_all
    from tlui.runs.remove import refusal
    from tlui.runs.text import printable
    from tlui.scheduler.control import delete
    from tlui.scheduler.parents import missed_by, waiting_for

    if bool(runs) == bool(filter):
        raise TluiError("name the runs to delete, or give --filter", 2)
    store = Home.at(home, create=False)
    with Index(store) as index:
        index.refresh()
        if runs:
            chosen = resolve_all(store, runs, index)
        else:
            chosen = [store.run(run_id) for run_id in index.ids(filter)]
        if not chosen:
            print("no run matches", file=sys.stderr)
            return 0
        titles = {row.id: printable(row.title) for row in index.get([r.id for r in chosen])}
        refused = {run.id: reason for run in chosen if (reason := refusal(run))}
        waiting = waiting_for(store, [run.id for run in chosen if run.id not in refused])
        for run_id, children in waiting.items():
            ids = " ".join(child.id for child in children)
            reason = (
                f"{titles.get(run_id, run_id)} ({run_id}): {missed_by(children)}; "
                f"delete them together, or first: tlui queue drop {ids}"
            )
            if yes:
                refused[run_id] = reason
            else:
                print(f"tlui: {printable(reason)}", file=sys.stderr)
        chosen = [run for run in chosen if run.id not in refused]
        for reason in refused.values():
            print(f"tlui: {printable(reason)}", file=sys.stderr)
        if chosen and not yes and not _confirmed([titles.get(r.id, r.id) for r in chosen]):
            print("nothing deleted", file=sys.stderr)
            return 1
        code = 1 if refused else 0
        for run in chosen:
            try:
                delete(store, run)
            except TluiError as error:
                print(f"tlui: {printable(str(error))}", file=sys.stderr)
                code = 1
            else:
                print(f"deleted {titles.get(run.id, run.id)} ({run.id})")
        index.refresh(budget=0.0)
    return code


def _confirmed(titles: list[str]) -> bool:
    """Ask; nobody to ask (no terminal) means no."""
    for title in titles[:20]:
        print(f"  {title}", file=sys.stderr)
    if len(titles) > 20:
        print(f"  and {len(titles) - 20:,} more", file=sys.stderr)
    if not sys.stdin.isatty():
        print("tlui: --yes deletes without asking", file=sys.stderr)
        return False
    what = "this run" if len(titles) == 1 else f"these {len(titles):,} runs"
    print(f"Delete {what} for good? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
