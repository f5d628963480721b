"""`tlui resume`: go on with runs that ended early, from their last checkpoint."""

from __future__ import annotations

from typing import Annotated

import typer

from tlui.cli.choose import FilterOption, RunsArgument
from tlui.cli.options import AsciiOption, HomeOption
from tlui.cli.run import DeviceOption, JsonLinesOption, MemoryOption, PerDeviceOption


def resume(
    runs: RunsArgument = None,
    filter: FilterOption = "",
    device: DeviceOption = "auto",
    per_device: PerDeviceOption = 1,
    min_free_memory: MemoryOption = 0,
    json: JsonLinesOption = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Queue them, start what fits and return.")
    ] = False,
    home: HomeOption = None,
    ascii: AsciiOption = False,
) -> int:
    """Continue interrupted, failed, stopped or killed runs; then as tlui run."""
    from functools import partial

    from tlui.cli.choose import choose
    from tlui.cli.follow import follow
    from tlui.cli.interrupt import defer
    from tlui.cli.run import choose_view, leave, require_devices, wishes
    from tlui.errors import TluiError
    from tlui.runs.directory import Home
    from tlui.scheduler import control, order
    from tlui.scheduler.backends import placed_on
    from tlui.scheduler.start import devices_wanted

    if bool(runs) == bool(filter):
        raise TluiError("name the runs to resume, or give --filter", 2)
    store = Home.at(home)
    wanted = wishes(device, per_device, min_free_memory)
    fits = partial(control.resumable, store)
    chosen = choose(store, runs, filter, fits, "can be resumed")
    placed = order.placed(wanted, map(placed_on, chosen))
    if not detach:
        local = [run for run in chosen if placed_on(run) == "local"]
        require_devices(wanted, [devices_wanted(run) for run in local])
    defer()
    for run in chosen:
        control.resume(store, run, placed[placed_on(run)])
    if detach:
        return leave(store, chosen, json)
    return follow(store, chosen, choose_view(json, ascii))
