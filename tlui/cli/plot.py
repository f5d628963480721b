"""`tlui plot`: curves of runs on stdout."""

from __future__ import annotations

import math
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from tlui.cli.options import AsciiOption, HomeOption

if TYPE_CHECKING:
    from tlui.runs.history import History

COLORS = (
    *((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167)),
    *((86, 180, 233), (213, 94, 0), (240, 228, 66), (153, 153, 153)),
)
"""Okabe and Ito's colours, in the order of the runs."""
SIGNS = "*o+x#@%="
"""What tells curves apart without colour or beyond ASCII."""
TICKS = 6
MOST = 64
"""Runs that a filter may bring into one plot."""
SIZE = "In characters; that of the terminal if not given."
XS = ("epoch", "step", "time")
Curve = tuple[list[float], list[float]]


def plot(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Runs: id prefix, name or @last.")
    ] = None,
    filter: Annotated[str, typer.Option("--filter", "-f", help="As in tlui ls.")] = "",
    metric: Annotated[
        str, typer.Option("--metric", "-m", help="Several by comma; loss and lr also by step.")
    ] = "val_accuracy",
    x: Annotated[str, typer.Option("--x", help="epoch, step or time.")] = "epoch",
    log_y: Annotated[bool, typer.Option("--log-y", help="Logarithmic y axis.")] = False,
    smooth: Annotated[
        float, typer.Option("--smooth", min=0.0, max=0.999, help="0 is off; as in TensorBoard.")
    ] = 0.0,
    width: Annotated[int | None, typer.Option("--width", min=20, max=1000, help=SIZE)] = None,
    height: Annotated[int | None, typer.Option("--height", min=6, max=500, help=SIZE)] = None,
    home: HomeOption = None,
    ascii: AsciiOption = False,
) -> None:
    """Plot a metric of runs: val_accuracy, train_loss, lr ... or, by step, loss and accuracy."""
    from tlui.cli.terminal import is_terminal, reading
    from tlui.errors import TluiError
    from tlui.recipe.catalogue import unknown
    from tlui.runs.charset import ascii_only
    from tlui.runs.directory import Home
    from tlui.runs.history import decimate, load
    from tlui.runs.history import smooth as smoothed
    from tlui.runs.index import Index
    from tlui.runs.reference import resolve_all
    from tlui.runs.text import printable

    if x not in XS:
        raise TluiError(unknown("axis", x, XS), 2)
    if bool(runs) == bool(filter):
        raise TluiError("name the runs to plot, or give --filter", 2)
    store = Home.at(home, create=False)
    with Index(store) as index:
        if filter:
            index.refresh(progress=reading)
        else:
            index.refresh(budget=0.0)
        if filter:
            ids = index.ids(filter, "created")
            if not ids:
                raise TluiError(f"no run matches {printable(filter)}; tlui ls shows what there is")
            if len(ids) > MOST:
                raise TluiError(
                    f"{len(ids):,} runs match, {MOST} can be plotted; narrow --filter", 2
                )
        else:
            ids = [run.id for run in resolve_all(store, runs or [], index)]
        rows = index.get(ids)
    columns, lines = _size(width, height)
    curves: list[tuple[str, Curve]] = []
    names = [name.strip() for name in metric.split(",") if name.strip()]
    for row in rows:
        history = load(store.run(row.id))
        for name in names:
            xs, ys = series(history, name, x)
            if log_y:
                ys = [y if y > 0 else math.nan for y in ys]
            xs, ys = decimate(xs, smoothed(ys, smooth) if smooth else ys, columns)
            label = printable(row.title) + (f" {name}" if len(names) > 1 else "")
            if ys:
                curves.append((label, (xs, ys)))
            else:
                known = ", ".join(history.metrics()) or "no epoch yet"
                print(f"tlui: {label} has no {printable(name)} ({known})", file=sys.stderr)
    if not curves:
        raise TluiError("nothing to plot")
    color = is_terminal() and not os.environ.get("NO_COLOR")
    unit = " (minutes)" if x == "time" else ""
    title = f"{printable(metric)} by {x}{unit}" + (f", smoothed {smooth:g}" if smooth else "")
    for line in draw(curves, title, columns, lines, log_y, color, ascii_only(ascii)):
        print(line)


def series(history: History, name: str, x: str) -> Curve:
    """A metric of a run with its x: of epochs where they have it, else of steps.

    `time` is in minutes of training.
    """
    if any(math.isfinite(y) for y in history.series(name)):
        xs = {
            "epoch": history.series("epoch"),
            "step": history.series("global_step"),
            "time": [seconds / 60 for seconds in history.series("elapsed")],
        }[x]
        return xs, history.series(name)
    steps = history.steps
    if name not in steps.columns:
        return [], []
    place = {"epoch": steps.epoch, "step": steps.x}.get(x)
    xs = list(place) if place is not None else [seconds / 60 for seconds in steps.seconds]
    return xs, list(steps.columns[name])


def draw(
    curves: list[tuple[str, Curve]],
    title: str,
    width: int,
    height: int,
    log_y: bool = False,
    color: bool = False,
    ascii: bool = False,
) -> list[str]:
    """The plot as lines of text, at most `width` wide, legend below."""
    import plotext

    figure = plotext.figure
    figure.clear()
    plotext.terminal.limit(False, False)
    legend = _legend([label for label, _ in curves], width, color)
    figure.plot_size(width, max(height - len(legend), 6))
    figure.theme("colorless")  # the terminal's own colours; the curves bring theirs
    figure.title(title)
    first, last = (end(x for _, (xs, _) in curves for x in xs) for end in (min, max))
    low, high = (end(y for _, (_, ys) in curves for y in ys) for end in (min, max))
    if first == last:
        figure.ruler("x").ticks([first], [f"{first:.3g}"])
    elif float(first).is_integer() and float(last).is_integer():  # epochs or steps
        whole = range(int(first), int(last) + 1, math.ceil((last - first) / TICKS))
        figure.ruler("x").ticks(list(whole), [str(x) for x in whole])
    if low == high:
        room = abs(low) / 10 or 0.1
        figure.ruler("y").lim(low - room, high + room)
    elif log_y:  # of a flat line both scales show the same, and plotext fails on one
        figure.ruler("y").scale("log")
    for at, (_, (xs, ys)) in enumerate(curves):
        sign = SIGNS[at % len(SIGNS)] if ascii or (not color and len(curves) > 1) else "braille"
        pixel = COLORS[at % len(COLORS)] if color else None
        signal = figure.signal(xs, ys, marker=plotext.marker(sign, pixel=pixel))
        figure.draw(signal.lines())
    text = figure.build().string(colorless=not color)
    lines = [line.rstrip() for line in text.rstrip("\n").split("\n")]
    if ascii:
        lines = [line.translate(_FRAME).encode("ascii", "replace").decode() for line in lines]
    return [*lines, *legend]


_FRAME = str.maketrans("─│┌┐└┘├┤┬┴┼⁻", "-|++++++++|-")


def _legend(labels: list[str], width: int, color: bool) -> list[str]:
    """What each curve is, several to a line as they fit."""
    lines: list[str] = []
    used = width + 1
    for at, label in enumerate(labels):
        sign = SIGNS[at % len(SIGNS)] if not color else "■"
        text = f" {sign} {label} "
        if used + len(text) > width:
            lines.append("")
            used = 0
        used += len(text)
        if color:
            r, g, b = COLORS[at % len(COLORS)]
            text = f" \x1b[38;2;{r};{g};{b}m{sign}\x1b[0m {label} "
        lines[-1] += text
    return lines if len(labels) > 1 else [f"   {labels[0]}"]


def _size(width: int | None, height: int | None) -> tuple[int, int]:
    import shutil

    found = shutil.get_terminal_size((80, 24))
    return width or max(found.columns, 20), height or max(min(found.lines - 2, 30), 6)
