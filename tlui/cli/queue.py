"""`tlui queue`: what runs where, what waits and why; and changing that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tlui.cli.options import AsciiOption, HomeOption, JsonOption
from tlui.cli.run import DeviceOption, MemoryOption, OnOption, PerDeviceOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from tlui.runs.directory import Home, RunDirectory

app = typer.Typer(
    help="What runs where, what waits and why; and changing that.",
    rich_markup_mode=None,
    add_completion=False,
)
RunsArgument = Annotated[list[str], typer.Argument(help="Runs: id prefix, name or @last.")]


@app.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    json: JsonOption = False,
    home: HomeOption = None,
    ascii: AsciiOption = False,
) -> int:
    """Show the queue, and start what fits."""
    if context.invoked_subcommand is not None:
        return 0
    from tlui.cli.main import complain
    from tlui.cli.tables import aligned
    from tlui.errors import TluiError
    from tlui.runs import format
    from tlui.runs.charset import ascii_only
    from tlui.runs.directory import Home
    from tlui.runs.files import to_json
    from tlui.runs.text import printable
    from tlui.scheduler.queue import places
    from tlui.scheduler.start import start

    store = Home.at(home)
    try:
        start(store)
    except TluiError as error:  # a cluster that does not answer, say; what is known is shown
        complain(str(error), error.code)
    found = places(store)
    if json:
        for place in found:
            print(
                to_json(
                    {
                        "id": place.run.id,
                        "name": place.name,
                        "state": place.state,
                        "device": place.device,
                        "host": place.host,
                        "position": place.position,
                        "reason": place.reason,
                    }
                )
            )
        return 0
    if not found:
        print("nothing runs and nothing waits: tlui run PRESET starts something")
        return 0
    ascii = ascii_only(ascii)
    rows = [["", "id", "state", "name", "where, or why it waits"]]
    for place in found:
        state = "‖ held" if place.state == "held" else format.state_word(place.state, ascii)
        rows.append(
            [
                str(place.position or ""),
                place.run.id,
                "= held" if ascii and place.state == "held" else state,
                printable(place.name),
                printable(place.where or "starts next"),
            ]
        )
    print("\n".join(aligned(rows, left=5)))
    return 0


@app.command()
def add(
    presets: Annotated[list[Path], typer.Argument(help="Preset files.")],
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Override a field. Repeatable.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this experiment. Repeatable.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Another name for it.")] = None,
    device: DeviceOption = "auto",
    per_device: PerDeviceOption = 1,
    min_free_memory: MemoryOption = 0,
    on: OnOption = None,
    json: JsonOption = False,
    home: HomeOption = None,
) -> int:
    """Queue presets and start what fits: tlui run --detach."""
    from tlui.cli.run import leave, placing, queue_presets, wishes
    from tlui.runs.directory import Home

    store = Home.at(home)
    wanted = wishes(device, per_device, min_free_memory)
    overrides = [*(sets or []), *placing(on)]
    return leave(store, queue_presets(store, presets, overrides, only or [], name, wanted), json)


@app.command()
def top(runs: RunsArgument, home: HomeOption = None) -> int:
    """Make runs the next to start, in the order given."""
    from tlui.scheduler import control

    return _each(list(reversed(runs)), home, lambda s, r: control.move(s, r, "top"))


@app.command()
def up(runs: RunsArgument, home: HomeOption = None) -> int:
    """Move runs one place up."""
    from tlui.scheduler import control

    return _each(runs, home, lambda s, r: control.move(s, r, "up"))


@app.command()
def down(runs: RunsArgument, home: HomeOption = None) -> int:
    """Move runs one place down."""
    from tlui.scheduler import control

    return _each(runs, home, lambda s, r: control.move(s, r, "down"))


@app.command()
def hold(runs: RunsArgument, home: HomeOption = None) -> int:
    """Keep runs from starting until they are released."""
    from tlui.scheduler import control

    return _each(runs, home, control.hold)


@app.command()
def release(runs: RunsArgument, home: HomeOption = None) -> int:
    """Let held runs start."""
    from tlui.scheduler import control
    from tlui.scheduler.start import start

    def let_go(store: Home, run: RunDirectory) -> None:
        control.release(store, run)
        start(store)

    return _each(runs, home, let_go)


@app.command()
def drop(runs: RunsArgument, home: HomeOption = None) -> int:
    """Take runs out of the queue; tlui resume puts one back."""
    from tlui.scheduler import control

    return _each(runs, home, control.drop)


def _each(
    runs: list[str], home: Path | None, change: Callable[[Home, RunDirectory], object]
) -> int:
    from tlui.runs.directory import Home
    from tlui.runs.reference import resolve

    store = Home.at(home)
    for run in [resolve(store, run) for run in runs]:
        change(store, run)
    return 0
