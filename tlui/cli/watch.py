"""`tlui watch`: look at a live run; leaving leaves it going."""

from __future__ import annotations

from tlui.cli.choose import FilterOption, RunsArgument
from tlui.cli.options import AsciiOption, HomeOption
from tlui.cli.run import JsonLinesOption


def watch(
    runs: RunsArgument = None,
    filter: FilterOption = "",
    json: JsonLinesOption = False,
    home: HomeOption = None,
    ascii: AsciiOption = False,
) -> int:
    """Show runs until they end. Ctrl-C leaves them going (tlui stop ends one)."""
    from tlui.cli.choose import choose, goes_on
    from tlui.cli.follow import follow
    from tlui.cli.run import choose_view
    from tlui.errors import TluiError
    from tlui.runs.directory import Home

    if bool(runs) == bool(filter):
        raise TluiError("name the runs to watch, or give --filter", 2)
    store = Home.at(home)
    chosen = choose(store, runs, filter, goes_on, "lives or waits")
    return follow(store, chosen, choose_view(json, ascii, owned=False), owned=False)
