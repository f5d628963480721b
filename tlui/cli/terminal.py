"""Writing to stdout: whether it is a terminal, JSON on it, tables on it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def is_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty()


def columns() -> int | None:
    """How wide the terminal is; None where stdout is none, and lines may be of any length."""
    import shutil

    return shutil.get_terminal_size().columns if is_terminal() else None


def console() -> Console:
    """A Rich console on stdout that takes no markup, emoji or highlighting from anybody's text."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False, soft_wrap=False)


def print_json(value: Any) -> None:
    """One JSON document; numbers not finite are null."""
    from tlui.runs.files import to_json
    from tlui.runs.text import json_safe

    print(json_safe(to_json(value, indent=1)))


def print_json_line(value: Any) -> None:
    """One JSON document on a line of its own, at once."""
    from tlui.runs.files import to_json
    from tlui.runs.text import json_safe

    print(json_safe(to_json(value)), flush=True)


def print_json_list(values: Iterable[Any]) -> None:
    """A JSON array, an object a line, written as the objects come."""
    from tlui.runs.files import to_json
    from tlui.runs.text import json_safe

    start = "["
    for value in values:
        sys.stdout.write(f"{start}\n{json_safe(to_json(value))}")
        start = ","
    sys.stdout.write("[]\n" if start == "[" else "\n]\n")


def reading(done: int, total: int) -> None:
    """Say on stderr how far reading a large store is, where a person sees it."""
    if sys.stderr.isatty():
        end = "\n" if done >= total else ""
        print(f"\rreading {total:,} runs: {done / total:.0%}", end=end, file=sys.stderr, flush=True)
