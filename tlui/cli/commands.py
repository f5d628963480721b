"""The table of commands. A command's module is imported when the command is called, not before."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tlui.cli.options import AsciiOption, HomeOption

TABLE: dict[str, tuple[str, str]] = {
    "run": ("run:run", "Train every run of a preset, in order, and show how it goes."),
    "watch": ("watch:watch", "Show runs until they end."),
    "stop": ("stop:stop", "Stop runs at their next step: checkpoint, evaluate, end."),
    "resume": ("resume:resume", "Go on with interrupted, failed, stopped or killed runs."),
    "ls": ("ls:ls", "List runs, the newest first."),
    "show": ("show:show", "Show a run: settings, epochs, metrics, confusion matrix."),
    "plot": ("plot:plot", "Plot a metric of runs."),
    "compare": ("compare:compare", "Compare runs: the settings that differ, and the metrics."),
    "export": ("export:export", "Write runs, or their epochs, as CSV."),
    "predict": ("predict:predict", "Classify photos with a trained run."),
    "rm": ("rm:rm", "Delete runs for good: weights, results, everything."),
    "doctor": ("doctor:doctor", "Check what works here: TensorFlow, GPUs, weights, home, disk."),
    "queue": ("queue:app", "What runs where, what waits and why; and changing that."),
    "preset": ("preset:app", "Presets: check some, list those that come with tlui."),
    "dataset": ("dataset:app", "Datasets: check one, list the known ones."),
    "weights": ("weights:app", "ImageNet weights: which are at hand, fetch some."),
    "cache": ("cache:app", "Decoded images and features kept between runs."),
}
"""By name: where it is (a function, or a Typer of its own, in a module here), and its one line."""


class _Commands(Mapping[str, Any]):
    """The commands by name, each imported when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = TABLE[name][0].partition(":")
        found = getattr(importlib.import_module(f"tlui.cli.{module}"), attribute)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False, rich_markup_mode=None)
            alone.command(name)(found)
            found = alone
        command = typer.main.get_command(found)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(TABLE)

    def __len__(self) -> int:
        return len(TABLE)


class _Root(TyperGroup):
    """`tlui` itself: lists its commands without importing them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands()  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:
        return list(TABLE)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in TABLE.items()])


app = typer.Typer(
    cls=_Root,
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
    if context.invoked_subcommand is None:
        from tlui.cli.opening import open_app

        raise typer.Exit(open_app(home, ascii=ascii, mouse=not no_mouse))
    for given, option in ((ascii, "--ascii"), (no_mouse, "--no-mouse")):
        if given:
            name = context.invoked_subcommand
            raise typer.BadParameter(f"{option} goes behind {name}; before it, it is for the app")
    if home is not None:
        os.environ["TLUI_HOME"] = str(home)  # the command reads its --home from there
