"""The table of commands. Modules named here import nothing heavy at their top."""

from __future__ import annotations

from typing import Annotated

import typer

from tlui.cli import (
    cache,
    compare,
    dataset,
    doctor,
    export,
    ls,
    plot,
    predict,
    preset,
    queue,
    resume,
    rm,
    run,
    show,
    stop,
    watch,
    weights,
)
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
    if context.invoked_subcommand is None:
        from tlui.runs.directory import Home
        from tlui.tui.app import run as open_app

        raise typer.Exit(open_app(Home.at(home), ascii=ascii, mouse=not no_mouse))


app.command("run")(run.run)
app.command("watch")(watch.watch)
app.command("stop")(stop.stop)
app.command("resume")(resume.resume)
app.command("ls")(ls.ls)
app.command("show")(show.show)
app.command("plot")(plot.plot)
app.command("compare")(compare.compare)
app.command("export")(export.export)
app.command("predict")(predict.predict)
app.command("rm")(rm.rm)
app.add_typer(queue.queue, name="queue")
app.add_typer(preset.app, name="preset")


def _group(name: str, help: str) -> typer.Typer:
    group = typer.Typer(help=help, no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group, name=name)
    return group


_datasets = _group("dataset", "Datasets: check one, list the known ones.")
_datasets.command("check")(dataset.check)
_datasets.command("list")(dataset.list_datasets)

_weights = _group("weights", "ImageNet weights: which are at hand, fetch some.")
_weights.command("list")(weights.list_weights)
_weights.command("pull")(weights.pull)

_cache = _group("cache", "Decoded images and features kept between runs.")
_cache.command("ls")(cache.list_entries)
_cache.command("rm")(cache.remove_entries)

app.command("doctor")(doctor.doctor)
