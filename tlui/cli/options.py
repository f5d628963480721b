"""Options that many commands share, so that they are spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _folder(given: str) -> Path:
    """A path; nothing, as of `--home "$UNSET"`, is not the current folder."""
    if not given:
        raise typer.BadParameter("must not be empty")
    return Path(given)


HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="TLUI_HOME",
        show_envvar=True,
        help="Where runs are kept; your data folder where not given.",
        parser=_folder,
        metavar="PATH",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable JSON on stdout.")]
AsciiOption = Annotated[bool, typer.Option("--ascii", help="Only ASCII characters in drawings.")]
