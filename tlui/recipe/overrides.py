"""`--set PATH=VALUE`: overrides typed like TOML, on top of whatever the preset says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tomli

from tlui.recipe.assign import split_path
from tlui.recipe.catalogue import unknown
from tlui.recipe.fields import Node, Path, nearest_path, node_at
from tlui.recipe.problems import Problems, escape, shown
from tlui.recipe.sweep import bad_values

NOT_SET = {
    "name": "use --name",
    "version": "it is the preset's format",
    "origin": "tlui writes it",
}


@dataclass(frozen=True)
class Override:
    """One `--set`, understood."""

    text: str
    """Its path as written, for messages."""
    experiment: str | None
    """The one experiment it reaches, None for all."""
    path: Path
    value: Any
    axis: bool
    """Whether the value is the list of a sweep axis rather than the field's own value."""

    @property
    def label(self) -> str:
        return f"--set {escape(self.text)}"


def parse_overrides(
    sets: list[str] | tuple[str, ...], experiments: list[str], problems: Problems
) -> list[Override]:
    """Reads every `--set`; those that cannot be understood become problems."""
    found = (_parse(text, experiments, problems) for text in sets)
    return [override for override in found if override is not None]


def _parse(given: str, experiments: list[str], problems: Problems) -> Override | None:
    text, equals, raw = given.partition("=")
    text = text.strip()
    label = f"--set {escape(text)}"
    if not equals or not text:
        problems.add(f"--set {escape(given)}", "write it as PATH=VALUE, such as train.seed=2")
        return None
    if any("\ud800" <= char <= "\udfff" for char in given):
        problems.add(label, "is not UTF-8 text")
        return None
    try:
        path = split_path(text)
    except ValueError as error:
        problems.add(label, escape(str(error)))
        return None
    experiment = None
    if path[0] == "experiment":
        if len(path) < 3:
            problems.add(label, "write it as experiment.NAME.PATH=VALUE")
            return None
        experiment, path = (None if path[1] == "*" else path[1]), path[2:]
        if experiment is not None and experiment not in experiments:
            problems.add(label, unknown("experiment", escape(experiment), experiments))
            return None
    if len(path) == 1 and path[0] in NOT_SET:
        problems.add(label, f"cannot be set: {NOT_SET[path[0]]}")
        return None
    if path[0] == "sweep":
        problems.add(label, "give the list to the field itself: --set PATH=[VALUE, VALUE]")
        return None
    node = node_at(path)
    if node is None:
        near = nearest_path(path)
        hint = f' (did you mean "{near}"?)' if near else ""
        problems.add(label, f"there is no such setting{hint}")
        return None
    value = typed(raw, node)
    axis = isinstance(value, list) and (
        node.kind != "list" or (bool(value) and all(isinstance(v, list) for v in value))
    )
    if axis and (complaint := bad_values(value)):
        problems.add(label, complaint)
        return None
    return Override(text, experiment, path, value, axis)


def typed(raw: str, node: Node) -> Any:
    """`1e-4`, `true`, `[1, 2]`, `{policy = "constant"}`, `"text"` as TOML; else a bare word.

    Where the field takes only text, anything but quoted text and a list is taken as it stands,
    so that `--set dataset.path=2024` is a path.
    """
    try:
        document = tomli.loads(f"v = {raw.strip()}")
    except (ValueError, RecursionError):
        return raw.strip()
    value = document["v"]
    if len(document) != 1 or not isinstance(value, (str, int, float, list, dict)):
        return raw.strip()
    if node.text and not isinstance(value, (str, list)):
        return raw.strip()
    return value


def no_match(override: Override, phases: list[int]) -> str:
    """Why an override that names a real setting reached nothing."""
    if override.path[0] == "phase" and len(override.path) > 1 and override.path[1].isdecimal():
        most = max(phases, default=0)
        if int(override.path[1][:9]) >= most:
            if not most:
                return "matched nothing: there are no phases"
            return f"matched nothing: the last phase is phase.{most - 1}"
    return f"matched nothing in this preset. Received: {shown(override.value)}"
