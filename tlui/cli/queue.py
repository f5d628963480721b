"""`tlui queue`: what runs where, what waits and why; and changing that."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tlui.cli.options import AsciiOption, HomeOption, JsonOption
from tlui.cli.run import DeviceOption, MemoryOption, NameOption, OnOption, PerDeviceOption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tlui.runs.directory import Home, RunDirectory
    from tlui.scheduler.order import Move
    from tlui.scheduler.queue import Place

app = typer.Typer(
    help="What runs where, what waits and why; and changing that.",
    rich_markup_mode=None,
    add_completion=False,
)
RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Runs: id prefix, name or @last; or places in the queue: 3, 3-7."),
]
FilterOption = Annotated[
    str,
    typer.Option("--filter", "-f", help="Those that wait and match, as in the app: preset:birds."),
]
PLACE = re.compile(r"\d{1,6}")
PLACES = re.compile(r"(\d{1,6})-(\d{1,6})")


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
    from tlui.cli.terminal import print_json_line
    from tlui.errors import TluiError
    from tlui.runs import format
    from tlui.runs.charset import ascii_only
    from tlui.runs.directory import Home
    from tlui.runs.text import printable
    from tlui.scheduler.queue import places
    from tlui.scheduler.start import start

    store = Home.at(home)
    said = ""
    started: list[str] = []
    try:
        started = start(store)
    except TluiError as error:  # a cluster that does not answer, say; what is known is shown
        said = str(error)
        complain(said, error.code)
    try:
        found = places(store)
    except TluiError as error:
        return error.code if str(error) == said else complain(str(error), error.code)
    _tell_started(found, started)
    if json:
        for place in found:
            print_json_line(
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
    name: NameOption = None,
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
def top(runs: RunsArgument = None, filter: FilterOption = "", home: HomeOption = None) -> int:
    """Make runs the next to start, in the order given."""
    return _move(runs, filter, home, "top")


@app.command()
def up(runs: RunsArgument = None, filter: FilterOption = "", home: HomeOption = None) -> int:
    """Move runs one place up."""
    return _move(runs, filter, home, "up")


@app.command()
def down(runs: RunsArgument = None, filter: FilterOption = "", home: HomeOption = None) -> int:
    """Move runs one place down."""
    return _move(runs, filter, home, "down")


@app.command()
def hold(runs: RunsArgument = None, filter: FilterOption = "", home: HomeOption = None) -> int:
    """Keep runs from starting until they are released."""
    from tlui.runs.directory import Home
    from tlui.scheduler import control

    store = Home.at(home)
    return _each(store, _chosen(store, runs, filter), control.hold, "held")


@app.command()
def release(runs: RunsArgument = None, filter: FilterOption = "", home: HomeOption = None) -> int:
    """Let held runs start."""
    from tlui.runs.directory import Home
    from tlui.scheduler import control
    from tlui.scheduler.queue import places
    from tlui.scheduler.start import start

    store = Home.at(home)
    code = _each(store, _chosen(store, runs, filter), control.release, "released")
    if started := start(store):
        _tell_started(places(store, only=started), started)
    return code


@app.command()
def drop(runs: RunsArgument = None, filter: FilterOption = "", home: HomeOption = None) -> int:
    """Take runs out of the queue; tlui resume puts one back."""
    from tlui.runs.directory import Home
    from tlui.scheduler import control

    store = Home.at(home)
    # the last one first: where a parent goes, its children should have gone
    return _each(store, reversed(_chosen(store, runs, filter)), control.drop, "dropped")


def _move(runs: list[str] | None, filter: str, home: Path | None, how: Move) -> int:
    from tlui.cli.choose import listed
    from tlui.runs.directory import Home
    from tlui.scheduler import control

    store = Home.at(home)
    chosen = _chosen(store, runs, filter)
    control.move_all(store, chosen, how)
    at = {number: run for number, run in enumerate(_line(store), 1) if run in chosen}
    if at:  # they may all have started meanwhile
        where = "place" if len(at) == 1 else "places"
        print(f"now at {where} {_ranges(list(at))}: {listed(list(at.values()))}")
    return 0


def _ranges(numbers: list[int]) -> str:
    """Rising numbers as `1, 3-5`."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in found)


def _line(store: Home) -> list[RunDirectory]:
    """The runs that wait, in their order."""
    from tlui.scheduler.queue import places

    return [place.run for place in places(store) if place.position is not None]


def _tell_started(found: Iterable[Place], started: list[str]) -> None:
    """Say on stderr which runs a look at the queue has started, and where."""
    from tlui.runs.text import printable

    for place in found:
        if place.run.id in started:
            device = printable(place.device)
            print(f"started {printable(place.name)} (#{place.run.id}) on {device}", file=sys.stderr)


def _chosen(store: Home, words: list[str] | None, filter: str) -> list[RunDirectory]:
    """The runs that are meant, each once; by a filter those of them that wait, in their order.

    Raises:
        TluiError: None is, or a word names none or several.
    """
    from tlui.errors import TluiError
    from tlui.runs.index import Index
    from tlui.runs.reference import resolve

    if bool(words) == bool(filter):
        raise TluiError("name runs, or places in the queue such as 3-7, or give --filter", 2)
    line = _line(store)
    with Index(store) as index:
        index.refresh(budget=0.0)
        if filter:
            fitting = set(index.ids(filter))
            found = [run for run in line if run.id in fitting]
            if not found:
                raise TluiError(f"nothing that waits matches: {filter}")
            return found
        found = []
        meant = partial(resolve, store, index=index, fits=line.__contains__)
        for word in words or []:
            if span := PLACES.fullmatch(word):
                first, last = int(span[1]), int(span[2])
                if not 1 <= first <= last <= len(line):
                    raise TluiError(f"{word}: {_extent(line)}", 2)
                found += line[first - 1 : last]
            else:
                found.append(_one(word, line, meant))
    return list(dict.fromkeys(found))


def _one(
    word: str, line: list[RunDirectory], resolve: Callable[[str], RunDirectory]
) -> RunDirectory:
    """The run that is meant by a word: at that place in the queue, or of that name."""
    from tlui.errors import TluiError

    place = int(word) if PLACE.fullmatch(word) else 0
    if not 1 <= place <= len(line):
        try:
            return resolve(word)
        except TluiError as error:
            said = f"{word}: {_extent(line)}; {error}" if PLACE.fullmatch(word) else str(error)
            raise TluiError(said, error.code) from None
    there = line[place - 1]
    try:
        run = resolve(word)
    except TluiError:
        return there
    if run != there:
        raise TluiError(
            f"{word}: may be place {word} in the queue ({there.id}) or the run of that name "
            f"({run.id}); give {word}-{word}, or an id",
            2,
        )
    return run


def _extent(line: list[RunDirectory]) -> str:
    return f"there are places 1 to {len(line)} in the queue" if line else "nothing waits"


def _each(
    store: Home,
    runs: Iterable[RunDirectory],
    change: Callable[[Home, RunDirectory], object],
    done: str,
) -> int:
    """Do it to all of them; one that has just started does not keep the others from it."""
    from tlui.cli.choose import counted, listed
    from tlui.cli.main import complain
    from tlui.errors import TluiError

    code = 0
    changed = []
    for run in runs:
        try:
            change(store, run)
        except TluiError as error:
            code = complain(str(error), error.code)
        else:
            changed.append(run)
    if changed:
        print(f"{done} {counted(changed)}: {listed(changed)}")
    return code
