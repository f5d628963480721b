"""The table of commands. Modules named here import nothing heavy at their top."""

from __future__ import annotations

from typing import Annotated

import typer

from tlui.cli.options import AsciiOption, HomeOption

app = typer.Typer(
    name="tlui",
    help="Configure, launch, watch, stop, resume and compare transfer-learning runs.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    home: HomeOption = None,
    ascii: AsciiOption = False,
    no_mouse: Annotated[bool, typer.Option("--no-mouse", help="Leave the mouse alone.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """A terminal experiment manager for transfer learning. Without a command: the app."""
    if version:
        import tlui

        typer.echo(f"tlui {tlui.__version__}")
        raise typer.Exit
