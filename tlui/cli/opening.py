"""`tlui` without a command: the app, on screen as soon as can be."""

from __future__ import annotations

import gc
from pathlib import Path


def open_app(home: Path | None = None, *, ascii: bool = False, mouse: bool = True) -> int:
    """Open the app on a store; returns the exit code.

    Nothing that is imported or set up for the first frame is garbage, so none is looked for until
    that frame stands.

    Raises:
        TluiError: The home cannot be used.
    """
    gc.disable()
    from tlui.cli import interrupt
    from tlui.runs.directory import Home
    from tlui.tui.app import run

    interrupt.leave()
    return run(Home.at(home), ascii=ascii, mouse=mouse)
