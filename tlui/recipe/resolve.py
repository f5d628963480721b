"""Every point of every experiment made whole: sweep values, dataset layout, absolute paths.

Problems are placed where the person can mend them: in the experiment's own table, at the top of
the file, on the sweep axis or on the `--set` that brought the value.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlui.errors import PresetError
from tlui.recipe.assign import assign, covers, leads_to, overlaps
from tlui.recipe.catalogue import DATASETS, unknown
from tlui.recipe.config import Config, config_path, load_config
from tlui.recipe.fields import Loc, experiment_tree, inside
from tlui.recipe.fields import Path as FieldPath
from tlui.recipe.overrides import Override
from tlui.recipe.problems import Problems, dotted, escape, shown
from tlui.recipe.schema import Experiment
from tlui.recipe.sweep import Axes, axis_label, point_suffixes, points
from tlui.recipe.validate import check_experiment

UNKNOWN_PATH = "(not known)"
"""`dataset.path` of a named dataset nobody said where to find, where that is no error."""


@dataclass
class Draft:
    """An experiment of a preset before its sweep is expanded."""

    name: str
    label: str
    """How messages call it: `experiment[head]`; '' in a preset that is one experiment."""
    top: dict[str, Any]
    own: dict[str, Any] | None
    document: dict[str, Any]
    """Top and own merged, overrides applied."""
    axes: Axes
    overrides: list[Override] = field(default_factory=list)

    def override(self, override: Override) -> bool:
        """Apply one `--set`; says whether it reached anything here."""
        if override.experiment not in (None, self.name):
            return False
        replaced = [path for path in self.axes if covers(override.path, path)]
        trial = copy.deepcopy(self.document)
        value = override.value[0] if override.axis and override.value else override.value
        if not assign(trial, override.path, value) and not replaced:
            return False
        for path in replaced:
            del self.axes[path]
        self.document = trial
        self._forget_origin(override)
        if override.axis:
            self.axes[override.path] = override.value
        self.overrides.append(override)
        return True

    def _forget_origin(self, override: Override) -> None:
        """A repeated run whose swept value is set anew no longer is that sweep's point."""
        origin = self.document.get("origin")
        sweep = origin.get("sweep") if isinstance(origin, dict) else None
        if isinstance(sweep, dict):
            for path in [p for p in sweep if overlaps(override.path, tuple(p.split(".")))]:
                del sweep[path]

    def place(self, loc: Loc, point: dict[FieldPath, Any]) -> tuple[str, bool]:
        """Where in the person's terms a setting stands, and whether anybody wrote it."""
        for override in reversed(self.overrides):
            if not override.axis and leads_to(override.path, loc):
                rest = dotted(loc[len(override.path) :])
                return override.label + (f" ({rest})" if rest else ""), True
        for path in point:
            if leads_to(path, loc):
                by_set = next((o for o in self.overrides if o.axis and o.path == path), None)
                axis = by_set.label if by_set else self._axis_home(path) + axis_label(path)
                rest = dotted(loc[len(path) :])
                return axis + (f" ({rest})" if rest else ""), True
        if self.own is None:
            return dotted(loc), True
        mine, above = _depth(self.own, loc), _depth(self.top, loc)
        if mine == above == 0:
            return dotted(loc), False
        return (f"{self.label}." if mine >= above else "") + dotted(loc), True

    def _axis_home(self, path: FieldPath) -> str:
        own = self.own or {}
        return f"{self.label}." if "sweep" in own and ".".join(path) in _names(own["sweep"]) else ""


def _names(sweep: Any, before: str = "") -> list[str]:
    if not isinstance(sweep, dict):
        return []
    names: list[str] = []
    for key, value in sweep.items():
        names += _names(value, f"{before}{key}.") if isinstance(value, dict) else [before + key]
    return names


def _depth(document: Any, loc: Loc) -> int:
    """How much of a place is written in a document."""
    for depth, part in enumerate(loc):
        document = inside(document, part)
        if document is None:
            return depth
    return len(loc)


@dataclass(frozen=True)
class Resolved:
    """A validated point and the sweep values that made it."""

    experiment: Experiment
    sweep: dict[FieldPath, Any]


def resolve(
    drafts: list[Draft],
    preset: str,
    problems: Problems,
    notes: list[str],
    config: Config | None,
    need_data: bool,
) -> dict[str, list[Resolved]]:
    """Every point of every experiment, by the experiment's name; problems are collected."""
    datasets = _Datasets(problems, notes, config, need_data)
    found: dict[str, list[Resolved]] = {}
    nowhere: dict[tuple[str, str], dict[str, None]] = {}
    taken: set[str] = set()
    for draft in drafts:
        suffixes = point_suffixes(draft.axes)
        found[draft.name] = []
        for point in points(draft.axes):
            document = copy.deepcopy(draft.document)
            missed = [path for path, value in point.items() if not assign(document, path, value)]
            for path in missed:
                place, _ = draft.place(path, {path: None})
                problems.add(place, "matched nothing: no such phase, or not of this variant")
            for override in draft.overrides:
                if not override.axis:
                    assign(document, override.path, override.value)
            complaints = datasets.fill(document)
            experiment, more = check_experiment(document)
            silent = {loc for loc, _ in complaints}
            if ("dataset", "name") in silent:
                silent.add(("dataset", "source"))
            complaints += [(loc, message) for loc, message in more if loc not in silent]
            complaints += _without_effect(document)
            for loc, message in complaints:
                place, written = draft.place(loc, point)
                if written:
                    problems.add(place, message)
                else:
                    nowhere.setdefault((place, message), {})[draft.label] = None
            if experiment is None or complaints or missed:
                continue
            name = _point_name(draft, point, suffixes, taken)
            origin = _origin(experiment, preset, draft, point)
            update = {"name": name, "origin": origin}
            found[draft.name].append(Resolved(experiment.model_copy(update=update), point))
    for (place, message), labels in nowhere.items():
        if len(labels) == len(drafts):
            problems.add(place, message)
        else:
            for label in labels:
                problems.add(f"{label}.{place}" if place else label, message)
    return found


def _without_effect(document: dict[str, Any]) -> list[tuple[Loc, str]]:
    """What may stand in a run's own preset.toml, where nothing came of it, and in no new preset."""
    train = document.get("train")
    features, devices = inside(train, "features"), inside(train, "devices")
    if features == "folded" and type(devices) is int and devices > 1:
        return [(("train", "features"), f'"folded" is for one device. Received: {devices=}')]
    return []


def _point_name(
    draft: Draft,
    point: dict[FieldPath, Any],
    suffixes: dict[FieldPath, dict[int, str]],
    taken: set[str],
) -> str:
    parts = [draft.name]
    parts += [suffixes[path][id(point[path])] for path in draft.axes if path in suffixes]
    plain = name = "-".join(part for part in parts if part)[:190]
    number = 2
    while name in taken:
        name, number = f"{plain}-{number}", number + 1
    taken.add(name)
    return name


def _origin(experiment: Experiment, preset: str, draft: Draft, point: dict[FieldPath, Any]) -> Any:
    from tlui.recipe.schema import Origin

    swept = {".".join(path): value for path, value in point.items()}
    if experiment.origin is not None:
        return experiment.origin.model_copy(update={"sweep": {**experiment.origin.sweep, **swept}})
    return Origin(preset=preset, experiment=draft.name, sweep=swept)


class _Datasets:
    """Named datasets and paths: looked up once a preset."""

    def __init__(
        self, problems: Problems, notes: list[str], config: Config | None, need_data: bool
    ) -> None:
        self.problems = problems
        self.notes = notes
        self.config = config
        self.need_data = need_data

    def fill(self, document: dict[str, Any]) -> list[tuple[Loc, str]]:
        """Complete `dataset` and make paths absolute, in place; returns what is wrong."""
        wrong = []
        dataset = document.get("dataset")
        if isinstance(dataset, dict):
            wrong += self._shortcut(dataset)
            wrong += _absolute(dataset, "path", ("dataset", "path"))
        backbone = document.get("backbone")
        if isinstance(backbone, dict) and _is_file(backbone.get("weights")):
            wrong += _absolute(backbone, "weights", ("backbone", "weights"))
        return wrong

    def _shortcut(self, dataset: dict[str, Any]) -> list[tuple[Loc, str]]:
        name = dataset.get("name")
        if not isinstance(name, str):
            return []
        shortcut = DATASETS.get(name)
        if shortcut is None:
            if "source" in dataset:
                return []
            text = unknown("dataset", escape(name), DATASETS)
            return [(("dataset", "name"), text + "; for your own data give dataset.source")]
        source = dataset.get("source", shortcut.dataset["source"])
        known = experiment_tree().keys()["dataset"].tables.get(str(source), {})
        same = source == shortcut.dataset["source"]
        for key, value in shortcut.dataset.items():
            if key in known and (same or key in SHARED):
                dataset.setdefault(key, copy.deepcopy(value))
        if "path" in dataset or "path" not in known:
            return []
        path = self._configured(name)
        if path is not None:
            dataset["path"] = path
            return []
        dataset["path"] = UNKNOWN_PATH
        text = (
            f"missing: where is {name}? Give --set dataset.path=FOLDER, or write "
            f'{name} = "FOLDER" under [datasets] in {escape(str(config_path()))}. '
            f"It is from {shortcut.home}"
        )
        if self.need_data:
            return [(("dataset", "path"), text)]
        note = f"dataset.path: {text}"
        if note not in self.notes:
            self.notes.append(note)
        return []

    def _configured(self, name: str) -> str | None:
        if self.config is None:
            try:
                self.config = load_config()
            except PresetError as error:
                self.problems.adopt(error.problems)
                self.config = Config()
        return self.config.datasets.get(name)


SHARED = ("image_size", "classes", "resize", "bad_images")
"""What a shortcut says of a dataset whatever form the person has it in."""


def _is_file(weights: Any) -> bool:
    return (
        isinstance(weights, str)
        and weights not in ("imagenet", "none", "")
        and (not weights.startswith("run:"))
    )


def _absolute(table: dict[str, Any], key: str, loc: Loc) -> list[tuple[Loc, str]]:
    given = table.get(key)
    if not isinstance(given, str) or not given or given == UNKNOWN_PATH:
        return []
    if "\0" in given or "\n" in given:
        return [(loc, f"is not a path. Received: {shown(given)}")]
    try:
        path = str(Path(given).expanduser().absolute())
        path.encode("utf-8")
    except (RuntimeError, ValueError, OSError) as error:
        return [(loc, f"is not a path that can be used: {escape(str(error))}")]
    table[key] = path
    return []
