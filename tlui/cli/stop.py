"""`tlui stop`: end runs early, keeping what they have learnt."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tlui.cli.choose import FilterOption, RunsArgument
from tlui.cli.options import HomeOption


def stop(
    runs: RunsArgument = None,
    filter: FilterOption = "",
    now: Annotated[
        bool, typer.Option("--now", help="Kill at once; the last checkpoint stays.")
    ] = False,
    interrupt: Annotated[
        bool, typer.Option("--interrupt", help="Checkpoint and end, to be resumed.")
    ] = False,
    all: Annotated[bool, typer.Option("--all", help="Every live and queued run.")] = False,
    home: HomeOption = None,
) -> int:
    """Stop runs at their next step: checkpoint, evaluate, end. Queued ones leave the queue."""
    from tlui.cli.choose import choose, goes_on
    from tlui.errors import TluiError
    from tlui.runs.directory import Home
    from tlui.runs.text import printable
    from tlui.scheduler import control, order
    from tlui.scheduler.queue import places

    store = Home.at(home)
    if bool(runs) + bool(filter) + all != 1:
        raise typer.BadParameter("name the runs to stop, or give --filter or --all")
    # the last in the queue first, so that nothing starts in the place of what was stopped
    if all:
        chosen = [place.run for place in reversed(places(store))]
    else:
        chosen = choose(store, runs, filter, goes_on, "lives or waits")
    if filter:
        place = {entry.run: number for number, entry in enumerate(order.entries(store), 1)}
        chosen.sort(key=lambda run: -place.get(run.id, 0))
    mode: control.Mode = "kill" if now else "interrupt" if interrupt else "stop"
    code = 0
    for run in chosen:
        try:
            print(f"{run.id}  {printable(control.stop(store, run, mode))}", flush=True)
        except TluiError as error:
            print(f"tlui: {printable(str(error))}", file=sys.stderr)
            code = 1
    if all and not chosen:
        print("nothing runs and nothing waits")
    return code
