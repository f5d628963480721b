"""`tlui dataset check|list`: look a dataset over before it is trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from tlui.cli.options import JsonOption

if TYPE_CHECKING:
    from tlui.data.check import Item, Report
    from tlui.recipe.sources import Dataset

SHOWN = 20
TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="PRESET|FOLDER|NAME",
        help="A preset, a folder of photos (HDF5, TFRecords and prepared TFDS too), a CSV, or a "
        "name that `tlui dataset list` shows.",
    ),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, max=256, help="Threads; default: one a CPU.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change the preset, as in `tlui run`."),
]


def check(
    target: TargetArgument,
    sets: SetOption = None,
    json: JsonOption = False,
    workers: WorkersOption = None,
) -> None:
    """Decode every image; find unreadable ones, duplicates, leakage and class problems.

    Exits with 1 where training would stop or its figures would mislead: classes that cannot be
    trained on, unreadable images (unless the preset skips them), or the same image in two splits.
    """
    from tlui.cli.terminal import print_json
    from tlui.data.check import check_dataset
    from tlui.data.table import open_dataset
    from tlui.data.target import datasets_of

    wrong = False
    reports: list[Report] = []
    for dataset in datasets_of(target, sets):
        table = open_dataset(dataset, check=False)
        with _progress(f"checking {table.name}", quiet=json) as told:
            report = check_dataset(table, workers, told)
        reports.append(report)
        unreadable = bool(report.bad) and dataset.bad_images == "fail"
        wrong |= bool(report.problems or report.leaks or unreadable)
        if not json:
            for line in lines_of(report, dataset):
                typer.echo(line)
    if json:
        documents = [report.to_json() for report in reports]
        print_json(documents[0] if len(documents) == 1 else documents)
    if wrong:
        raise typer.Exit(1)


def list_datasets(json: JsonOption = False) -> None:
    """Show the datasets that presets may name, where to get them and where yours lie."""
    import os

    from tlui.cli.terminal import print_json
    from tlui.recipe.catalogue import DATASETS
    from tlui.recipe.config import config_path, load_config
    from tlui.runs.text import printable

    places = load_config().datasets
    rows = [
        {
            "name": name,
            "title": shortcut.title,
            "home": shortcut.home,
            "note": shortcut.note,
            "images": shortcut.sizes,
            "path": places.get(name),
        }
        for name, shortcut in DATASETS.items()
    ]
    own = [n for n in places if n not in DATASETS]
    rows += [{"name": n, "title": "your own", "path": places[n]} for n in own]
    rows.append({"name": "digits", "title": "scikit-learn's 8x8 digits; bundled", "path": ""})
    if json:
        print_json(rows)
        return
    for row in rows:
        typer.echo(f"{printable(row['name']):<16} {printable(row['title'])}")
        if row.get("home"):
            typer.echo(f"{'':<16} from {row['home']}")
        if row.get("note"):
            typer.echo(f"{'':<16} {row['note']}")
        place = row["path"]
        if isinstance(place, str) and place:
            there = "" if os.path.exists(os.path.expanduser(place)) else " (not there)"  # noqa: PTH110,PTH111
            typer.echo(f"{'':<16} in {printable(place)}{there}")
        elif place is None:
            typer.echo(f"{'':<16} place not known")
    typer.echo(f"\nPlaces are read from [datasets] in {printable(config_path())}")


def lines_of(report: Report, dataset: Dataset) -> list[str]:
    """A report as text, safe to print."""
    from tlui.runs.text import printable

    lines = [f"{printable(report.name)} ({report.source})  {printable(report.root)}", ""]
    lines += _class_table(report)
    lines.append("")
    if report.widths:
        (w0, w1, w2), (h0, h1, h2) = report.widths, report.heights
        lines.append(f"sizes    width {w0}-{w2} (median {w1}), height {h0}-{h2} (median {h1})")
        lines.append(f"formats  {_tally(report.formats)}")
        lines.append(f"modes    {_tally(report.modes)}")
    if report.skipped:
        lines.append(f"skipped  {_tally(report.skipped)}")
    lines += [f"note     {printable(note)}" for note in report.notes]
    for problem in report.problems:
        lines += ["", *(f"problem: {line}" if not i else line for i, line in _numbered(problem))]
    if report.bad:
        what = "training skips them" if dataset.bad_images == "skip" else "training will refuse"
        lines += ["", f"problem: {_count(len(report.bad), 'unreadable image')} ({what}):"]
        lines += _capped([f"{bad.name}: {bad.reason}" for bad in report.bad])
    if report.leaks:
        lines += [
            "",
            f"problem: {_count(len(report.leaks), 'image')} in more than one split (leakage):",
        ]
        lines += _capped([_group(group, splits=True) for group in report.leaks])
    if report.duplicates:
        lines += [
            "",
            f"warning: {_count(len(report.duplicates), 'image')} more than once in a split:",
        ]
        lines += _capped([_group(group, splits=False) for group in report.duplicates])
    if report.conflicts:
        lines += [
            "",
            f"warning: {_count(len(report.conflicts), 'image')} under more than one class:",
        ]
        lines += _capped([_group(group, splits=True) for group in report.conflicts])
    if not (report.problems or report.bad or report.leaks):
        lines += ["", f"ok: {_count(report.images, 'image')}, all readable, none in two splits"]
    return [*lines, ""]


def _class_table(report: Report) -> list[str]:
    from tlui.data.sources.folder import NO_CLASS
    from tlui.runs.text import printable, shorten

    splits = list(report.counts)
    names = [shorten(printable(name), 40) for name in report.classes]
    width = max([len(name) for name in names] + [len("imbalance")])
    loose = report.classes == [NO_CLASS]
    rows = [("class", ["photos"] if loose else [str(split) for split in splits])]
    for i, name in enumerate(names):
        rows.append((name, [f"{report.counts[split][i]:,}" for split in splits]))
    rows.append(("total", [f"{sum(report.counts[split]):,}" for split in splits]))
    ratios = [report.imbalance(split) for split in splits]
    rows.append(("imbalance", ["-" if r == float("inf") else f"{r:.1f}" for r in ratios]))
    if len(rows) > 3 + 200:
        rows = [*rows[:100], (f"… {len(names) - 99:,} more classes", []), *rows[-2:]]
    return [name.ljust(width) + "".join(f"{cell:>10}" for cell in cells) for name, cells in rows]


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    from tlui.runs.text import printable

    for i, line in enumerate(text.split("\n")):
        yield i, printable(line)


def _group(group: Sequence[Item], splits: bool) -> str:
    parts = [f"{item.split}: {item.name} [{item.label}]" if splits else item.name for item in group]
    return " = ".join(parts[:4]) + (f" … and {len(parts) - 4} more" if len(parts) > 4 else "")


def _capped(names: Sequence[str]) -> list[str]:
    from tlui.runs.text import printable

    shown = [f"  {printable(name)}" for name in names[:SHOWN]]
    if len(names) > SHOWN:
        shown.append(f"  … and {len(names) - SHOWN:,} more (--json has all)")
    return shown


def _tally(counts: dict[str, int]) -> str:
    return ", ".join(f"{what} {count:,}" for what, count in counts.items())


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


@contextmanager
def _progress(title: str, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr, only where that is a terminal."""
    import sys

    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    from tlui.runs.text import printable

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(Text(printable(title)).plain, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


app = typer.Typer(
    help="Datasets: check one, list the known ones.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
)
app.command("check")(check)
app.command("list")(list_datasets)
