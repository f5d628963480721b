"""`tlui export`: runs or epochs as CSV."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from tlui.cli.options import HomeOption

if TYPE_CHECKING:
    from tlui.runs.row import Row


def export(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Runs: id prefix, name or @last; all if none.")
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="The file to write; - is stdout.")
    ] = "-",
    filter: Annotated[str, typer.Option("--filter", "-f", help="As in tlui ls.")] = "",
    sort: Annotated[
        str | None,
        typer.Option("--sort", "-s", help="As in tlui ls; else as named, or by creation."),
    ] = None,
    epochs: Annotated[
        bool, typer.Option("--epochs", help="One row an epoch instead of one a run.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    home: HomeOption = None,
) -> None:
    """Write runs as CSV: RFC 4180, UTF-8, empty for missing or not finite.

    The columns are run_id, names, state, times, every SPLIT_METRIC (train_ val_ test_ with loss
    accuracy top5_accuracy precision recall f1 weighted_f1 roc_auc), timings, parameter counts,
    memory, device, versions, then every setting under its dotted path.
    """
    from tlui.cli.terminal import reading
    from tlui.errors import TluiError
    from tlui.runs import export
    from tlui.runs.directory import Home
    from tlui.runs.index import Index
    from tlui.runs.reference import resolve_all
    from tlui.runs.text import printable

    if runs and filter:
        raise TluiError("name runs or give --filter, not both", 2)
    if force and output == "-":
        raise TluiError("--force replaces the file that -o names; none is named", 2)
    store = Home.at(home, create=False)
    with Index(store) as index:
        index.refresh(progress=reading)
        if runs:
            ids = [run.id for run in resolve_all(store, runs, index)]
            ids = index.in_order(ids, sort) if sort else ids
        else:
            ids = index.ids(filter, sort or "created")
        if filter and not ids:
            raise TluiError(f"no run matches: {printable(filter)}")
        index.get(ids)  # a handful is looked at again

        def rows() -> Iterator[Row]:
            return export.pages(index, ids)

        if epochs:
            written = export.save(
                output, force, lambda out: export.write_epochs(out, store, rows())
            )
        else:
            written = export.save(output, force, lambda out: export.write_runs(out, rows))
    if output != "-":
        what = "epoch" if epochs else "run"
        where = printable(output)
        print(f"{written:,} {what}{'' if written == 1 else 's'} in {where}", file=sys.stderr)
