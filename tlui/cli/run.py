"""`tlui run`: make the runs of presets, start them, stay with them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tlui.cli.options import AsciiOption, HomeOption

if TYPE_CHECKING:
    from tlui.cli.follow import View
    from tlui.recipe.preset import Preset
    from tlui.runs.directory import Home, RunDirectory
    from tlui.scheduler.order import Wishes

DeviceOption = Annotated[
    str,
    typer.Option("--device", help="auto, cpu, gpu (the freest), or gpu:N (index or UUID)."),
]
PerDeviceOption = Annotated[
    int, typer.Option("--per-device", min=1, max=64, help="Share a device among N runs of tlui.")
]
MemoryOption = Annotated[
    int,
    typer.Option(
        "--min-free-memory",
        min=0,
        help="MB of GPU memory that must be free; with it, GPUs other processes use are taken.",
    ),
]
OnOption = Annotated[
    str | None,
    typer.Option("--on", help="local, or slurm: jobs of the cluster. Same as --set run.on=WHERE"),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        help="Another name for the preset, for --filter preset:NAME. The runs of its experiments "
        "keep their names; where it has none, they are named by it.",
    ),
]
JsonLinesOption = Annotated[
    bool, typer.Option("--json", help="JSON lines: run, epoch, alert, note, end, done records.")
]


def run(
    presets: Annotated[
        list[Path], typer.Argument(help="Preset files, or a run's own preset.toml.")
    ],
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a field: phase.0.lr.initial=1e-4. Repeatable."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Only this experiment, with what it starts from. Repeatable."),
    ] = None,
    name: NameOption = None,
    device: DeviceOption = "auto",
    per_device: PerDeviceOption = 1,
    min_free_memory: MemoryOption = 0,
    on: OnOption = None,
    json: JsonLinesOption = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Queue it, start what fits and return.")
    ] = False,
    home: HomeOption = None,
    ascii: AsciiOption = False,
) -> int:
    """Train every run of a preset, in order, and show how it goes.

    Ctrl-C once stops at the next step, evaluates what is there and drops the rest; twice kills.
    Losing the terminal (SIGHUP) leaves the runs going: tlui watch shows them again.

    Exit codes: 0 done, 1 a run failed, 2 bad usage or preset, 3 a run diverged,
    129 the terminal hung up and the runs go on, 130 stopped.
    """
    from tlui.runs.directory import Home

    store = Home.at(home)
    runs = queue_presets(
        store,
        presets,
        [*(sets or []), *placing(on)],
        only or [],
        name,
        wishes(device, per_device, min_free_memory),
        here=not detach,
    )
    view = choose_view(json, ascii)
    _announce(store, runs, view, device)
    if detach:
        return leave(store, runs, json)
    from tlui.cli.follow import follow

    return follow(store, runs, view)


def wishes(device: str, per_device: int = 1, min_free_memory: int = 0) -> Wishes:
    """What the options ask for. Raises typer.BadParameter for a device that is no device."""
    from tlui.scheduler.order import Wishes

    kind, _, which = device.partition(":")
    if device not in ("auto", "cpu", "gpu") and not (kind == "gpu" and which):
        raise typer.BadParameter(f"--device is auto, cpu, gpu or gpu:N. Received: {device}")
    return Wishes(device=device, per_device=per_device, min_free_memory=min_free_memory)


def require_devices(wanted: Wishes, counts: Iterable[int]) -> None:
    """Refuse to wait for devices that this host does not have.

    Args:
        wanted: What the command line asked for.
        counts: How many devices each run trains on at once.

    Raises:
        TluiError: It never could train one of them.
    """
    from tlui.errors import TluiError
    from tlui.scheduler.devices import list_devices, never

    devices = list_devices()
    for count in sorted(set(counts)):
        if why := never(wanted, count, devices):
            text = f"--device {wanted.device}: {why}; --detach queues it for a host that has it"
            raise TluiError(text, 2)


def placing(on: str | None) -> list[str]:
    """`--on` as an override of the preset."""
    return [] if on is None else [f"run.on={on}"]


def queue_presets(
    home: Home,
    presets: Sequence[Path],
    sets: Sequence[str],
    only: Sequence[str],
    name: str | None,
    wanted: Wishes,
    *,
    here: bool = False,
) -> list[RunDirectory]:
    """Read all presets first, then make their runs, so that a bad one leaves nothing behind.

    With `here` this host itself must have the devices they want; in a queue they may wait for one
    that does.
    """
    from tlui.cli.interrupt import defer, heed
    from tlui.cli.main import complain
    from tlui.errors import PresetError, TluiError
    from tlui.recipe.preset import load_preset
    from tlui.scheduler.control import delete
    from tlui.scheduler.create import create_runs, refuse_absent

    if name is not None and len(presets) > 1:
        raise typer.BadParameter("--name goes with one preset")
    loaded = []
    problems: list[str] = []
    for path in presets:
        try:
            loaded.append(load_preset(path, sets, only, name=name))
            refuse_absent(home, loaded[-1])
            if len(loaded[-1].points) > 1:  # one alone says so itself, as fast
                problems += _data_problems(loaded[-1])
        except PresetError as error:
            problems += error.problems
    if problems:
        raise PresetError(problems)
    if here:
        placed = [one.experiment for preset in loaded for one in preset.points]
        require_devices(wanted, [e.train.devices for e in placed if e.run.on == "local"])
    for preset in loaded:
        for note in preset.notes:
            complain(note, 0)
    defer()
    made: list[RunDirectory] = []
    try:
        for preset in loaded:
            made += create_runs(home, preset, wanted, before_each=heed)
    except BaseException:
        for run in made:
            with suppress(TluiError):
                delete(home, run)
        raise
    return made


def _data_problems(preset: Preset) -> list[str]:
    from tlui.data.listing import data_problems

    return data_problems(preset, {})


def choose_view(json: bool, ascii: bool = False, owned: bool = True) -> View:
    """JSON lines, plain lines where stdout is no terminal, else the live screen."""
    from tlui.cli.plain import JsonView, PlainView
    from tlui.runs.charset import ascii_only

    if json:
        return JsonView()
    ascii = ascii_only(ascii)
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return PlainView(ascii)
    from tlui.cli.live import LiveView

    return LiveView(ascii, owned=owned)


def leave(home: Home, runs: Sequence[RunDirectory], json: bool) -> int:
    """Start what fits and say how to come back; the exit code is 1 where one failed at once."""
    from tlui.cli.main import complain
    from tlui.cli.terminal import print_json_line
    from tlui.errors import TluiError
    from tlui.runs.text import printable
    from tlui.scheduler.start import start

    code = 0
    try:
        start(home)
    except TluiError as error:
        code = complain(str(error), error.code)
    failed = []
    for run in runs:
        name, state = str(run.read_meta().get("name")), run.observe().state
        if state == "failed":
            failed.append(run)
        if json:
            record = {"type": "run", "id": run.id, "name": name, "state": state}
            print_json_line(record)
        else:
            print(f"{run.id}  {state:8}  {printable(name)}")
    going = [run for run in runs if run not in failed]
    if going and not code and not json:
        print(f"\nthey go on by themselves: tlui watch {going[0].id}, tlui queue", flush=True)
    for run in failed:
        print(f"tlui: {run.id}: {printable(run.observe().reason)}", file=sys.stderr)
    return int(bool(failed)) or code


def _announce(home: Home, runs: Sequence[RunDirectory], view: View, device: str) -> None:
    from tlui.scheduler.backends import placed_on
    from tlui.scheduler.devices import no_gpu_reason

    many = f"{len(runs)} runs" if len(runs) > 1 else f"run {runs[0].id}"
    view.say(f"{many} in {home.path}")
    here = any(placed_on(run) == "local" for run in runs)
    if here and device == "auto" and (reason := no_gpu_reason()):
        view.say(f"{reason}: training on the CPU")
