"""The fields of the New form: their labels and order by hand, choices and help from the schema."""

from __future__ import annotations

import re
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from tlui.recipe.catalogue import BACKBONES, DATASETS, OPTIMIZERS, POLICIES, REGIMES
from tlui.recipe.fields import Node, node_at
from tlui.recipe.number import short_number
from tlui.recipe.schema import MONITORS

DATA = ("source", "name", "path", "image_size", "resize", "validation", "test", "bad_images")
MODEL = ("backbone.name", "backbone.alpha", "backbone.weights", "start_from.run", "head.pooling",
         "head.hidden", "head.dropout", "head.output", "head.label_smoothing",
         "head.class_weights")  # fmt: skip
TRAIN = ("train.seed", "train.monitor", "train.early_stopping.patience",
         "train.early_stopping.min_delta", "train.mixed_precision", "train.devices",
         "train.steps_per_execution")  # fmt: skip
EVALUATE = ("evaluate.weights", "evaluate.splits", "evaluate.batch_size")
LABELS = {
    "dataset.source": "source", "dataset.name": "dataset", "dataset.image_size": "image",
    "dataset.validation": "val share", "dataset.test": "test share",
    "dataset.bad_images": "bad images", "train.batch_size": "batch", "backbone.name": "backbone",
    "backbone.weights": "weights", "start_from.run": "start from", "head.pooling": "pooling",
    "head.class_weights": "class weights", "head.label_smoothing": "smoothing",
    "head.output": "output", "train.early_stopping.patience": "patience",
    "train.early_stopping.min_delta": "min delta", "train.mixed_precision": "mixed prec.",
    "train.steps_per_execution": "steps/call", "evaluate.batch_size": "batch",
    "phase.optimizer.global_clipnorm": "clip together",
    "dataset.validation_folder": "val folder", "dataset.validation_list": "val list",
    "dataset.validation_files": "val files", "dataset.validation_split": "val split",
}  # fmt: skip
EXPERIMENTS = "experiments"
PHASES = "phases"
NAME = "name"
DEVICE = "device"


@dataclass(frozen=True)
class Field:
    """One line of the form."""

    path: str
    """Dotted path, or one of `name`, `experiments`, `phases`, `device`."""
    label: str
    section: str
    help: str = ""
    choices: tuple[str, ...] = ()
    default: str = ""
    many: bool = False
    """Whether the field itself is a list, its items apart by spaces."""


def words(value: Any) -> str:
    """A value as it is typed into a field."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return short_number(value)
    if isinstance(value, list):
        if any(isinstance(v, str) and " " in v for v in value):
            import json

            return json.dumps(value, ensure_ascii=False)
        return " ".join(words(v) for v in value)
    return str(value)


def field_of(path: str, section: str) -> Field:
    """A field with what the schema says of it."""
    node = node_at(tuple(path.split(".")))
    assert node is not None, path
    leaf = path.rpartition(".")[2]
    label = LABELS.get(re.sub(r"^phase\.\d+\.", "phase.", path))
    if label is None:
        rest = path.split(".")
        label = " ".join(rest[3:]) if rest[0] == "phase" and len(rest) > 3 else leaf
        if rest[-1] in ("policy", "name") and rest[0] == "phase":
            label = "lr" if rest[-1] == "policy" else "optimizer"
        label = label.replace("_", " ")
    help = node.description.split("\n")[0]
    default = "" if node.required or node.default is None else words(node.default)
    if path.endswith("optimizer.name"):
        default = "adam"
    if isinstance(node.default, dict) or (node.kind == "table" and not path.endswith("name")):
        default = ""
    return Field(path, label, section, help, choices_of(path, node), default, node.kind == "list")


def choices_of(path: str, node: Node) -> tuple[str, ...]:
    """The words a field takes, where they can be listed."""
    if path.startswith("phase.") and path.endswith(".freeze"):
        return (*REGIMES, "top:20")
    named: dict[str, Sequence[str]] = {
        "backbone.name": list(BACKBONES),
        "backbone.weights": ("imagenet", "none"),
        "dataset.source": tuple(dataset_node().tables),
        "dataset.name": list(DATASETS),
        "train.monitor": MONITORS,
        "head.class_weights": ("none", "balanced"),
        "evaluate.splits": ("train val test", "val test", "test"),
    }
    if path in named:
        return tuple(named[path])
    if path.endswith(".policy"):
        return tuple(POLICIES)
    if path.endswith("optimizer.name"):
        return tuple(OPTIMIZERS)
    return _literal(node.info.annotation if node.info is not None else None)


def dataset_node() -> Node:
    """The schema's tree of `[dataset]`: one table for every source."""
    node = node_at(("dataset",))
    assert node is not None
    return node


def _literal(annotation: Any) -> tuple[str, ...]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _literal(get_args(annotation)[0])
    if origin is Literal:
        return tuple(str(word) for word in get_args(annotation))
    if annotation is bool:
        return ("false", "true")
    if origin in (Union, types.UnionType):
        return tuple(word for part in get_args(annotation) for word in _literal(part))
    return ()
