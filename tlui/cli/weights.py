"""`tlui weights pull|list`: ImageNet weights in Keras's cache, for machines without network.

Listing looks at files only; downloading is done by a process that has TensorFlow.
"""

from __future__ import annotations

from typing import Annotated

import typer

from tlui.cli.options import JsonOption

NameArgument = Annotated[str, typer.Argument(help="A backbone, such as MobileNetV2.")]
AlphaOption = Annotated[float, typer.Option("--alpha", help="Width multiplier.")]
SizeOption = Annotated[
    int | None,
    typer.Option(
        "--image-size",
        min=8,
        help="Side of your images in pixels; MobileNets have a file for each of some sizes.",
    ),
]


def pull(name: NameArgument, alpha: AlphaOption = 1.0, image_size: SizeOption = None) -> None:
    """Download a backbone's ImageNet weights into Keras's cache ($KERAS_HOME or ~/.keras)."""
    import subprocess
    import sys

    from tlui.errors import TluiError
    from tlui.recipe.catalogue import BACKBONES, unknown

    if name not in BACKBONES:
        raise TluiError(unknown("backbone", name, BACKBONES), code=2)
    command = [sys.executable, "-m", "tlui.trainer.weights", name, "--alpha", f"{alpha:g}"]
    if image_size is not None:
        command += ["--image-size", str(image_size)]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise typer.Exit(code if code > 0 else 1)


def list_weights(json: JsonOption = False) -> None:
    """Show the weights that are in Keras's cache."""
    import os
    from json import dumps
    from pathlib import Path

    from tlui.runs.text import printable

    folder = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"
    found = sorted(folder.glob("*.h5")) if folder.is_dir() else []
    if json:
        rows = [{"file": path.name, "bytes": path.stat().st_size} for path in found]
        typer.echo(dumps({"folder": str(folder), "files": rows}))
        return
    if not found:
        typer.echo(f"{printable(folder)}: no weights yet; tlui weights pull NAME fetches some")
        return
    typer.echo(printable(folder))
    for path in found:
        top = "no top" if "no_top" in path.name or "notop" in path.name else "with top"
        typer.echo(f"{path.stat().st_size / 1e6:8.1f} MB  {top:<8}  {printable(path.name)}")
