"""`tlui watch`: look at a live run; leaving leaves it going."""

from __future__ import annotations

from typing import Annotated

import typer

from tlui.cli.options import AsciiOption, HomeOption
from tlui.cli.run import JsonLinesOption


def watch(
    runs: Annotated[list[str], typer.Argument(help="Runs: id prefix, name or @last.")],
    json: JsonLinesOption = False,
    home: HomeOption = None,
    ascii: AsciiOption = False,
) -> int:
    """Show runs until they end. Ctrl-C leaves them going (tlui stop ends one)."""
    from tlui.cli.follow import follow
    from tlui.cli.run import choose_view
    from tlui.runs.directory import Home
    from tlui.runs.reference import resolve

    store = Home.at(home)
    chosen = [resolve(store, run) for run in runs]
    return follow(store, chosen, choose_view(json, ascii, owned=False), owned=False)
