"""`tlui weights pull|list`: ImageNet weights in Keras's cache, for machines without network.

Listing looks at files only; downloading is done by a process that has TensorFlow.
"""

from __future__ import annotations

from typing import Annotated, Any

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
    import os
    import subprocess

    from pydantic import ValidationError

    from tlui.errors import TluiError
    from tlui.recipe.schema import Backbone
    from tlui.runs.environment import importable, python

    try:
        Backbone(name=name, alpha=alpha, weights="imagenet")
    except ValidationError as error:
        problems = [e["msg"].removeprefix("Value error, ") for e in error.errors()]
        raise TluiError("\n".join(problems), code=2) from None
    command = python("tlui.trainer.download", name, "--alpha", f"{alpha:g}")
    if image_size is not None:
        command += ["--image-size", str(image_size)]
    code = subprocess.run(command, check=False, env=importable(os.environ)).returncode
    if code:
        raise typer.Exit(code if code > 0 else 1)


def list_weights(json: JsonOption = False) -> None:
    """Show the weights that are in Keras's cache, and the backbones they serve."""
    from tlui.cli.terminal import print_json
    from tlui.recipe.catalogue import weights_folder
    from tlui.runs.text import printable

    folder = weights_folder()
    rows = _rows(folder)
    if json:
        print_json({"folder": str(folder), "weights": rows})
        return
    if not rows:
        typer.echo(f"{printable(folder)}: no weights yet; tlui weights pull NAME fetches some")
        return
    typer.echo(printable(folder))
    for row in rows:
        fits = [f"alpha {row['alpha']:g}"] if row["alpha"] is not None else []
        fits += [f"{row['image_size']} px"] if row["image_size"] is not None else []
        serves = row["backbone"] or "(not a backbone without its top)"
        note = f"{serves} {', '.join(fits)}".strip()
        typer.echo(f"{row['bytes'] / 1e6:8.1f} MB  {note:<34}  {printable(row['file'])}")


def _rows(folder: Any) -> list[dict[str, Any]]:
    """Every weights file, with the backbone, alpha and image size it is for, where it is one's."""
    from tlui.recipe.catalogue import BACKBONES, weights_file

    known: dict[str, tuple[str, float | None, int | None]] = {}
    for name, spec in BACKBONES.items():
        if not spec.imagenet:
            continue
        for alpha in spec.alphas or (1.0,):
            for size in spec.sizes or (spec.size,):
                shown = alpha if spec.alphas else None, size if spec.sizes else None
                known[weights_file(name, alpha, size)] = (name, *shown)
    rows = []
    for path in sorted(folder.glob("*.h5")) if folder.is_dir() else []:
        backbone, width, side = known.get(path.name, (None, None, None))
        rows.append(
            {
                "file": path.name,
                "bytes": path.stat().st_size,
                "backbone": backbone,
                "alpha": width,
                "image_size": side,
            }
        )
    return rows


app = typer.Typer(
    help="ImageNet weights: which are at hand, fetch some.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
)
app.command("list")(list_weights)
app.command("pull")(pull)
