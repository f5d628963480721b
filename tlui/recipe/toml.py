"""A resolved experiment as TOML and back, and as flat dotted leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tlui.errors import PresetError
from tlui.recipe.problems import Problems, dotted
from tlui.recipe.schema import Experiment
from tlui.recipe.validate import check_experiment

NOT_CONFIGURATION = ("version", "name", "description", "tags", "origin")


def experiment_to_toml(experiment: Experiment) -> str:
    """The complete configuration, defaults written out; reading it gives an equal Experiment."""
    import tomli_w

    return tomli_w.dumps(as_document(experiment))


def as_document(experiment: Experiment) -> dict[str, Any]:
    """The complete configuration as plain dicts; keys that are not set are left out."""
    return experiment.model_dump(mode="json", exclude_none=True)


def load_experiment(path: Path | str) -> Experiment:
    """A run's own preset.toml: one resolved experiment, read without the user's config.

    Raises:
        PresetError: With every problem of the file.
    """
    from tlui.recipe.config import read_toml

    document = read_toml(Path(path))
    experiment, found = check_experiment(document)
    if experiment is None:
        problems = Problems(str(path))
        for loc, message in found:
            problems.add(dotted(loc), message)
        raise PresetError(problems.lines)
    return experiment


def flatten(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted leaves: `{"phase": [{"epochs": 3}]}` gives `{"phase.0.epochs": 3}`.

    A list without tables in it is one leaf; so is an empty table.
    """
    return dict(_leaves(mapping, ""))


def configuration(experiment: Experiment) -> dict[str, Any]:
    """What a run is compared and filtered by: every leaf but names, notes and origin."""
    document = as_document(experiment)
    return flatten({k: v for k, v in document.items() if k not in NOT_CONFIGURATION})


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for i, inner in enumerate(value):
            yield from _leaves(inner, f"{path}.{i}" if path else str(i))
    elif path:
        yield path, value
