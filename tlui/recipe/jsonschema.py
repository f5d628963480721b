"""The JSON Schema of a preset file, for editors that complete and check TOML.

It describes what a person may write, which is looser than a resolved experiment: tables of an
experiment may be partial, because the top of the file fills the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tlui.recipe import catalogue
from tlui.recipe.fields import descriptions
from tlui.recipe.schema import Experiment
from tlui.recipe.strict import Table

SWEEP = {
    "type": "object",
    "description": "A grid: dotted paths to lists of values; every point becomes a run.",
    "additionalProperties": {
        "anyOf": [{"type": "array", "minItems": 1}, {"type": "object"}],
    },
}


def preset_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of a preset file."""
    full = Experiment.model_json_schema()
    definitions: dict[str, Any] = full.pop("$defs")
    for table in _tables(Table):
        where = full if table is Experiment else definitions.get(table.__name__)
        for name, text in descriptions(table).items():
            if where is not None and name in where["properties"]:
                where["properties"][name].setdefault("description", text)
    for definition in [*definitions.values(), full]:
        _loosen(definition)
    _name_choices(definitions)
    top = full["properties"]
    own = {key: value for key, value in top.items() if key not in ("version", "origin")}
    definitions["PresetExperiment"] = {
        "type": "object",
        "description": "One experiment of a lab; it overrides what it names.",
        "properties": {**own, "sweep": SWEEP},
        "required": ["name"],
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tlui preset",
        "description": "One experiment, or a lab of several, with or without a sweep.",
        "type": "object",
        "properties": {
            **top,
            "sweep": SWEEP,
            "experiment": {
                "type": "array",
                "minItems": 1,
                "items": {"$ref": "#/$defs/PresetExperiment"},
            },
        },
        "required": ["name"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _tables(table: type[Table]) -> Iterator[type[Table]]:
    yield table
    for more in table.__subclasses__():
        yield from _tables(more)


def _loosen(node: Any) -> None:
    """Nothing is required, and variants are alternatives that need not tell which they are."""
    if isinstance(node, list):
        for item in node:
            _loosen(item)
    elif isinstance(node, dict):
        if isinstance(node.get("required"), list):
            del node["required"]
        node.pop("discriminator", None)
        if "oneOf" in node:
            node["anyOf"] = node.pop("oneOf")
        # TOML has no null: a key that is not set is left out
        if node.get("default", 0) is None:
            del node["default"]
        if isinstance(node.get("anyOf"), list):
            node["anyOf"] = [option for option in node["anyOf"] if option != {"type": "null"}]
        for value in node.values():
            _loosen(value)


def _name_choices(definitions: dict[str, Any]) -> None:
    """Names that validators check, as lists an editor can offer."""
    definitions["Backbone"]["properties"]["name"]["enum"] = list(catalogue.BACKBONES)
    phase = definitions["Phase"]["properties"]
    phase["freeze"] = {
        "description": phase["freeze"].get("description", ""),
        "default": "backbone",
        "anyOf": [
            {"enum": list(catalogue.REGIMES)},
            {"type": "string", "pattern": r"^(top:[1-9]\d*|from:.+)$"},
        ],
    }
    short = {"enum": list(catalogue.OPTIMIZERS), "description": "an optimizer with its defaults"}
    phase["optimizer"]["anyOf"] = [short, *phase["optimizer"]["anyOf"]]
