"""`tlui stop`: end runs early, keeping what they have learnt."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tlui.cli.options import HomeOption


def stop(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Runs: id prefix, name or @last.")
    ] = None,
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
    from tlui.errors import TluiError
    from tlui.runs.directory import Home
    from tlui.runs.reference import resolve
    from tlui.runs.text import printable
    from tlui.scheduler import control
    from tlui.scheduler.queue import places

    store = Home.at(home)
    if bool(runs) == all:
        raise typer.BadParameter("name the runs to stop, or give --all")
    if all:
        # the last in the queue first, so that nothing starts in the place of what was stopped
        chosen = [place.run for place in reversed(places(store))]
    else:
        chosen = [resolve(store, run) for run in runs or []]
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
