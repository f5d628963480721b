"""`tlui preset`: check presets, list those that come with tlui, print the schema for editors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tlui.cli.options import HomeOption, JsonOption
from tlui.errors import PresetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlui.data.listing import Listing
    from tlui.recipe.preset import Point, Preset
    from tlui.recipe.schema import Experiment

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override a setting; may be repeated."),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="NAME", help="Only this experiment or run, and its parents."),
]

COUNT_SECONDS = 600
"""Building the largest backbones takes minutes on a slow machine."""


LEARNS = {"backbone": "head", "none": "all", "batchnorm": "all but BN"}
"""What learns under a freezing regime; `top:N` and `from:LAYER` say it themselves."""


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Preset files.")],
    set: SetOption = None,
    only: OnlyOption = None,
    count: Annotated[
        bool,
        typer.Option("--count/--no-count", help="List the data's classes and count parameters."),
    ] = True,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> int:
    """Check presets: every problem at once, or the runs they make and what learns in each.

    Exit codes: 0 all are right, 1 right but for data or weights that are not here, so that tlui run
    would refuse them on this machine, 2 something is wrong.
    """
    from tlui.cli.main import complain
    from tlui.data.listing import data_problems
    from tlui.recipe.preset import load_preset
    from tlui.recipe.problems import escape
    from tlui.runs.directory import Home
    from tlui.scheduler.create import missing_runs, names_runs

    problems: list[str] = []
    presets: list[Preset] = []
    for file in files:
        try:
            preset = load_preset(file, set or (), only or (), need_data=False)
            presets.append(preset)
            if names_runs(preset.points):
                missing = missing_runs(Home.at(home, create=False), preset.points)
                problems += [f"{escape(str(file))}: {problem}" for problem in missing]
        except PresetError as error:
            problems += error.problems
    listings: dict[str, Listing] = {}
    for preset in presets if count else ():
        problems += data_problems(preset, listings)
    if problems:
        raise PresetError(list(dict.fromkeys(problems)))
    counts = [_parameters(preset.points, listings) if count else None for preset in presets]
    for preset, counted in zip(presets, counts, strict=True):
        refused = [answer["refused"] for answer in counted or [] if "refused" in answer]
        problems += [f"{escape(str(preset.path))}: {text}" for text in refused]
    if problems:
        raise PresetError(list(dict.fromkeys(problems)))
    if as_json:
        _print_json(presets, counts)
    else:
        for preset, counted in zip(presets, counts, strict=True):
            _print_preset(preset, counted, listings, count)
    code = 0
    for preset in presets:
        for absent in _absent(preset):
            code = complain(f"{preset.path}: {absent}: tlui run would refuse it here", 1)
    return code


def schema() -> None:
    """Print the JSON Schema of a preset file, for editors."""
    import json

    from tlui.recipe.jsonschema import preset_schema

    typer.echo(json.dumps(preset_schema(), indent=2, ensure_ascii=False))


def list_presets() -> None:
    """List the presets that come with tlui."""
    import tomli

    from tlui.recipe.bundled import bundled_presets
    from tlui.runs.text import printable

    found = bundled_presets()
    if not found:
        typer.echo("no presets were installed with tlui; they are in its source, under presets/")
    for path in found:
        try:
            description = tomli.loads(path.read_text("utf-8")).get("description", "")
        except (OSError, ValueError):
            description = "cannot be read"
        typer.echo(f"{printable(str(path))}\n    {printable(str(description))}")


app = typer.Typer(
    help="Presets: check some, list those that come with tlui, print their schema.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
)
app.command("check")(check)
app.command("schema")(schema)
app.command("list")(list_presets)


def _print_json(presets: list[Preset], counts: list[list[dict[str, Any]] | None]) -> None:
    from tlui.cli.terminal import print_json
    from tlui.recipe.toml import as_document

    rows = []
    for preset, counted in zip(presets, counts, strict=True):
        for i, point in enumerate(preset.points):
            rows.append(
                {
                    "preset": preset.name,
                    "name": point.name,
                    "parents": list(point.parents),
                    "config": as_document(point.experiment),
                    "parameters": counted[i].get("phases") if counted else None,
                }
            )
    print_json(rows)


def _print_preset(
    preset: Preset,
    counted: list[dict[str, Any]] | None,
    listings: dict[str, Listing],
    wanted: bool,
) -> None:
    from tlui.recipe.present import missing_weights
    from tlui.runs.text import printable

    runs = "1 run" if len(preset.points) == 1 else f"{len(preset.points)} runs"
    found = "ok but for what is not here" if _absent(preset) else "ok"
    typer.echo(f"{printable(str(preset.path))}: {found}, {runs}")
    header = [
        "run", "dataset", "backbone", "learns", "lr", "epochs", "trainable / total", "starts from",
    ]  # fmt: skip
    rows: list[list[str]] = []
    for i, point in enumerate(preset.points):
        phases = (counted[i].get("phases") or []) if counted else []
        for k, phase in enumerate(point.experiment.phase):
            first = [point.name, dataset_name(point.experiment), backbone_name(point.experiment)]
            rows.append(
                [
                    *(first if k == 0 else ["", "", ""]),
                    LEARNS.get(phase.freeze, phase.freeze),
                    policy_text(phase.lr),
                    str(phase.epochs),
                    _learning(phases, k),
                    _starts_from(point, preset) if k == 0 else "",
                ]
            )
    if not any(answer.get("phases") for answer in counted or []):
        header.pop(6)
        rows = [row[:6] + row[7:] for row in rows]
    widths = [max(len(printable(row[c])) for row in [header, *rows]) for c in range(len(header))]
    for row in [header, *rows]:
        cells = [printable(cell).ljust(width) for cell, width in zip(row, widths, strict=True)]
        typer.echo("  " + "  ".join(cells).rstrip())
    for line in _data_lines(preset, listings) if wanted else ():
        typer.echo(f"  data: {printable(line)}")
    for note in missing_weights(preset.points):
        typer.echo(f"  note: {printable(note)}")
    if wanted and counted is None:
        typer.echo("  note: parameters could not be counted (is TensorFlow installed?)")
    for error in dict.fromkeys(a["error"] for a in counted or [] if a.get("error")):
        typer.echo(f"  note: parameters: {printable(str(error))}")


def _absent(preset: Preset) -> list[str]:
    """What a preset names and is not on this machine, a line each."""
    from tlui.recipe.present import missing_files

    return [*preset.notes, *missing_files(preset.points)]


def dataset_name(experiment: Experiment) -> str:
    """What a dataset is called in tables: its name, or TFDS's; else the last part of its path."""
    dataset = experiment.dataset
    path = getattr(dataset, "path", None)
    named = dataset.name or getattr(dataset, "dataset", None)
    return named or (Path(path).name if path else "") or dataset.source


def backbone_name(experiment: Experiment) -> str:
    """`MobileNetV2 0.35`; `(random)` where it starts from no weights."""
    backbone = experiment.backbone
    alpha = "" if backbone.alpha == 1.0 else f" {backbone.alpha:g}"
    return f"{backbone.name}{alpha}" + ("" if experiment.transfers else " (random)")


def policy_text(lr: Any) -> str:
    """`1e-4` for a constant rate, `exponential 0.01` for others."""
    from tlui.recipe.number import short_number

    rate = short_number(lr.initial)
    return rate if lr.policy == "constant" else f"{lr.policy} {rate}"


def _starts_from(point: Point, preset: Preset) -> str:
    """The runs a point starts from: of this preset, or one that is there."""
    parents, start = point.parents, point.experiment.start_from
    if not parents:
        weights = point.experiment.backbone.weights
        given = weights if weights.startswith("run:") else ""
        return f"run {start.run}" if start is not None and start.run else given.replace(":", " ")
    if len(parents) == 1:
        return parents[0]
    one = next(point.experiment for point in preset.points if point.name == parents[0])
    return f"best of {one.origin.experiment if one.origin else parents[0]} ({len(parents)})"


def _learning(phases: list[dict[str, Any]], k: int) -> str:
    if k >= len(phases):
        return "–"
    learning, total = phases[k].get("trainable_parameters"), phases[k].get("total_parameters")
    if not isinstance(learning, int) or not isinstance(total, int):
        return "–"
    return f"{learning:,} / {total:,}"


def _data_lines(preset: Preset, listings: dict[str, Listing]) -> list[str]:
    """A line for each dataset that is at hand: its splits and its classes in their order."""
    from tlui.data.listing import listed

    found: dict[str, None] = {}
    for point in preset.points:
        listing = listed(point.experiment.dataset, listings)
        if listing.classes is None or not listing.images:
            continue
        names = ", ".join(listing.classes[:6]) + (" …" if len(listing.classes) > 6 else "")
        splits = ", ".join(f"{split} {images:,}" for split, images in listing.images.items())
        name = dataset_name(point.experiment)
        found[f"{name}: {splits}; {len(listing.classes)} classes: {names}"] = None
    return list(found)


def _parameters(
    points: Sequence[Point], listings: dict[str, Listing]
) -> list[dict[str, Any]] | None:
    """Parameters of every phase, counted by the trainer in its own process; None where it cannot.

    Equal networks are asked for once. One answer an experiment: `{"phases": [{...}]}` with
    `trainable_parameters` and `total_parameters`, `{"refused": ...}` where it cannot be trained,
    `{"error": ...}`, or `{}` where its data is not here, which is said elsewhere.
    """
    import json
    import os
    import subprocess

    from tlui.data.listing import listed
    from tlui.recipe.present import missing_files
    from tlui.recipe.resolve import UNKNOWN_PATH
    from tlui.recipe.toml import as_document, experiment_to_toml
    from tlui.runs.environment import importable, python

    questions: dict[str, tuple[str, int]] = {}
    answers: dict[str, dict[str, Any]] = {}
    keys = []
    for point in points:
        experiment = point.experiment
        listing = listed(experiment.dataset, listings)
        number = len(listing.classes) if listing.classes is not None else None
        key = _network_key(as_document(experiment), number or listing.unknown)
        keys.append(key)
        if number is None:
            away = getattr(experiment.dataset, "path", None) == UNKNOWN_PATH
            said = away or bool(missing_files([point]))
            answers[key] = {} if said else {"error": f"not counted: {listing.unknown}"}
        else:
            questions.setdefault(key, (experiment_to_toml(experiment), number))
    if not questions:
        return [answers[key] for key in keys]
    asked = {
        "experiments": [{"toml": text} for text, _ in questions.values()],
        "classes": [number for _, number in questions.values()],
    }
    try:
        answer = subprocess.run(
            python("tlui.trainer.parameters"),
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=COUNT_SECONDS,
            env=importable({**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}),
        )
        counted = json.loads(answer.stdout)["experiments"]
        if answer.returncode or len(counted) != len(questions):
            return None
    except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError):
        return None
    answers.update(zip(questions, counted, strict=True))
    return [answers[key] for key in keys]


def _network_key(document: dict[str, Any], classes: int | str) -> str:
    """What decides the parameter counts of an experiment."""
    import json

    freezing = [(phase["freeze"], phase["batchnorm"]) for phase in document["phase"]]
    shape = [document["dataset"]["image_size"], classes, "start_from" in document]
    return json.dumps([document["backbone"], document["head"], shape, freezing], sort_keys=True)
