"""What the New form edits: a preset as plain tables, its fields as the text a person types.

A comma in a field makes a sweep axis. What is launched is what `toml` gives, read by the
same code as any preset. Knows nothing of Textual.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from tlui.recipe.assign import assign, value_at
from tlui.recipe.fields import Node, Path, experiment_tree, node_at, variant
from tlui.recipe.overrides import typed
from tlui.recipe.preset import merge
from tlui.tui.form_fields import (
    DATA,
    DEVICE,
    EVALUATE,
    EXPERIMENTS,
    MODEL,
    NAME,
    PHASES,
    TRAIN,
    Field,
    dataset_node,
    field_of,
    words,
)

NEEDED: dict[str, dict[str, Any]] = {
    "exponential": {"k": 0.3},
    "step": {"drop": 0.5, "epochs_drop": 10},
    "piecewise": {"boundaries": [5], "values": [1e-5]},
    "cosine-restarts": {"first_epochs": 5},
    "one-cycle": {"peak": 1e-2},
    "inverse-time": {"rate": 0.5},
}
"""What a policy cannot do without, as a first guess, when it is chosen in the form."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
START: dict[str, Any] = {
    "version": 1,
    "name": "my-run",
    "dataset": {"source": "folder", "path": ""},
    "backbone": {"name": "MobileNetV2"},
    "phase": [{"freeze": "backbone", "epochs": 10, "lr": {"policy": "constant", "initial": 1e-3}}],
}


class Draft:
    """A preset being edited."""

    def __init__(self, document: dict[str, Any] | None = None, where: str = "") -> None:
        """Start from a preset's document; from next to nothing by default.

        Args:
            document: As read from TOML; copied.
            where: The file it is from, for the header.
        """
        self.document: dict[str, Any] = copy.deepcopy(document if document else START)
        self.document.pop("origin", None)
        self.where = where
        self.only: tuple[str, ...] = ()
        self.device = "auto"
        self.start = {f.path: self.text(f.path) for f in self.fields()} if document else {}

    # -- reading

    @property
    def experiments(self) -> list[str]:
        """Names of a lab's experiments; empty where there is only one."""
        lab = self.document.get("experiment")
        if not isinstance(lab, list):
            return []
        return [str(one.get("name", "")) for one in lab if isinstance(one, dict)]

    def merged(self) -> dict[str, Any]:
        """The experiment that is shown: the first of those chosen, over what stands at the top."""
        top = {k: v for k, v in self.document.items() if k != "experiment"}
        for one in self.document.get("experiment") or ():
            if isinstance(one, dict) and (not self.only or one.get("name") in self.only):
                return merge(top, one)
        return top

    def axis(self, path: str) -> list[Any] | None:
        """The values a sweep gives a field, or None."""
        sweep = self.merged().get("sweep")
        found = sweep.get(path) if isinstance(sweep, dict) else None
        return found if isinstance(found, list) else None

    def text(self, path: str) -> str:
        """A field as its person would type it; empty where nothing is set."""
        special = {
            NAME: str(self.document.get("name", "")),
            EXPERIMENTS: ", ".join(self.only) or "all",
            DEVICE: self.device,
        }
        if path in special:
            return special[path]
        merged = self.merged()
        if path == PHASES:
            return str(len(merged.get("phase") or ()))
        axis = self.axis(path)
        if axis is not None:
            return ", ".join(words(value) for value in axis)
        value = value_at(merged, tuple(path.split(".")))
        if path.endswith("optimizer.name") and value is None:
            value = value_at(merged, tuple(path.split(".")[:-1]))
        return "" if value is None or isinstance(value, dict) else words(value)

    def phases(self) -> int:
        found = self.merged().get("phase")
        return len(found) if isinstance(found, list) else 0

    def fields(self) -> list[Field]:
        """Every line of the form, in order; which there are depends on what was chosen."""
        found = [Field(NAME, "name", "run", "what the preset is called")]
        if self.experiments:
            found.append(
                Field(EXPERIMENTS, "experiments", "run", "which to run; those they need come along",
                      ("all", *self.experiments))
            )  # fmt: skip
        found.append(
            Field(DEVICE, "device", "run", "auto takes the freest", ("auto", "cpu", "gpu", "gpu:0"))
        )
        merged = self.merged()
        tree = experiment_tree()
        dataset = node_at(("dataset",), tree)
        assert dataset is not None
        keys = list(dataset.keys(variant(dataset, merged.get("dataset"))))
        found += [field_of(f"dataset.{key}", "data") for key in DATA if key in keys]
        found.append(field_of("train.batch_size", "data"))
        found += [field_of(path, "model") for path in MODEL]
        count = self.phases()
        for i in range(count):
            found += self._phase(i, count, merged)
        found += [field_of(f"dataset.{key}", "data, more") for key in keys if key not in DATA]
        augment = node_at(("augment",), tree)
        assert augment is not None
        found += [field_of(f"augment.{key}", "augment") for key in augment.keys("")]
        found += [field_of(path, "train") for path in TRAIN]
        found += [field_of(path, "evaluate") for path in EVALUATE]
        return found

    def _phase(self, i: int, count: int, merged: dict[str, Any]) -> list[Field]:
        section = f"phase {i + 1} of {count}"
        base = f"phase.{i}"
        paths = [f"{base}.{key}" for key in ("freeze", "epochs", "optimizer.name", "lr.policy")]
        last = [f"{base}.batchnorm"]
        for table in ("lr", "optimizer"):
            node = node_at(("phase", "0", table))
            assert node is not None
            value = value_at(merged, ("phase", str(i), table))
            names = [k for k in node.keys(variant(node, value)) if k not in ("policy", "name")]
            if table == "lr":
                names = ["initial", *(n for n in names if n not in ("initial", "warmup", "per"))]
                names += ["per", "warmup.epochs", "warmup.start"]
                paths += [f"{base}.lr.{name}" for name in names]
            else:
                last += [f"{base}.optimizer.{name}" for name in names]
        paths += last
        found = [field_of(path, section) for path in paths]
        if i == 0:
            help = "how many stretches of training, such as head first, then everything"
            found.insert(0, Field(PHASES, "phases", section, help))
        return found

    # -- writing

    def put(self, path: str, text: str) -> None:
        """Take a field's text over; what it means is checked where presets are checked."""
        text = text.strip()
        if path == NAME:
            self.document["name"] = text
        elif path == DEVICE:
            self.device = text or "auto"
        elif path == EXPERIMENTS:
            chosen = tuple(t.strip() for t in text.split(",") if t.strip())
            self.only = () if "all" in chosen else chosen
        elif path == PHASES:
            self._set_phases(text)
        else:
            self._put_field(path, text)

    def _put_field(self, path: str, text: str) -> None:
        parts = tuple(path.split("."))
        node = node_at(parts) or Node("leaf")
        values = [_value(part, node) for part in _alternatives(text, node)]
        if text.startswith("[") and node.kind == "list":
            values = [typed(text, node)]
        for table in self._tables():
            sweep = table.get("sweep")
            if isinstance(sweep, dict):
                sweep.pop(path, None)
                if not sweep:
                    del table["sweep"]
        if len(values) > 1:
            self.document.setdefault("sweep", {})[path] = values
            values = values[:1]
        for table in self._tables():
            if table is not self.document and not _overrides(table, parts):
                continue
            if not values:
                short = parts[-2:] == ("optimizer", "name")
                _remove(table, parts[:-1] if short else parts)
            elif parts[-2:] == ("lr", "policy"):
                _set_policy(table, parts, values[0])
            elif parts[-2:] == ("optimizer", "name"):
                assign(table, parts[:-1], values[0])
            elif path == "dataset.source":
                _set_source(table, values[0])
            else:
                assign(table, parts, values[0])

    def _tables(self) -> list[dict[str, Any]]:
        lab = self.document.get("experiment")
        return [self.document, *(lab if isinstance(lab, list) else [])]

    def _set_phases(self, text: str) -> None:
        if not text.isdecimal() or not 1 <= int(text) <= 9:
            return
        for table in self._tables():
            phases = table.get("phase")
            if not isinstance(phases, list) or not phases:
                continue
            while len(phases) < int(text):
                phases.append({**copy.deepcopy(phases[-1]), "freeze": "none"})
            del phases[int(text) :]

    def toml(self) -> str:
        """The preset as it would be saved."""
        import tomli_w

        return tomli_w.dumps(self.document)

    def changes(self) -> list[tuple[str, str, str]]:
        """`(label, before, after)` of every field that differs from where it started."""
        if not self.start:
            return []
        found = []
        for field in self.fields():
            before, after = self.start.get(field.path, ""), self.text(field.path)
            if before != after and field.path not in (DEVICE,):
                found.append((field.path, before, after))
        return found


def _alternatives(text: str, node: Node) -> list[str]:
    """The values of a list: between commas; numbers may stand between blanks as well."""
    parts = [part for part in text.split(",") if part.strip()]
    numbers = [number for part in parts for number in part.split()]
    if node.kind == "leaf" and not node.text and all(NUMBER.fullmatch(n) for n in numbers):
        return numbers
    return parts


def _value(text: str, node: Node) -> Any:
    if node.kind == "list" and node.item is not None:
        return [_value(part, node.item) for part in text.split()]
    # people write .5 as the app shows it; TOML wants 0.5
    return typed(text if node.text else re.sub(r"^([+-]?)\.(?=\d)", r"\g<1>0.", text.strip()), node)


def _overrides(table: dict[str, Any], parts: Path) -> bool:
    """Whether an experiment says something of its own about a field, so that it must follow."""
    if parts[0] == "phase":
        return isinstance(table.get("phase"), list)
    return value_at(table, parts) is not None


def _remove(table: dict[str, Any], parts: Path) -> None:
    holders = [table]
    for part in parts[:-1]:
        here: Any = holders[-1]
        if isinstance(here, list):
            inside = here[int(part)] if part.isdecimal() and int(part) < len(here) else None
        else:
            inside = here.get(part) if isinstance(here, dict) else None
        if not isinstance(inside, dict | list):
            return
        holders.append(inside)  # type: ignore[arg-type]
    if isinstance(holders[-1], dict):
        holders[-1].pop(parts[-1], None)
    for depth in range(len(holders) - 1, 0, -1):
        outer, part = holders[depth - 1], parts[depth - 1]
        if holders[depth] == {} and isinstance(outer, dict) and part not in ("dataset",):
            outer.pop(part, None)


def _set_policy(table: dict[str, Any], parts: Path, policy: Any) -> None:
    """Change the policy, keeping what both have and guessing what the new one cannot miss."""
    before = value_at(table, parts[:-1])
    before = before if isinstance(before, dict) else {}
    node = node_at(parts[:-1])
    assert node is not None
    known = node.tables.get(str(policy), {})
    lr = {"policy": policy, "initial": before.get("initial", 1e-3)}
    lr |= {k: v for k, v in before.items() if k in known and k not in lr}
    lr = {**NEEDED.get(str(policy), {}), **lr}
    assign(table, parts[:-1], lr)


def _set_source(table: dict[str, Any], source: Any) -> None:
    """Change where the data comes from, keeping what both sources know."""
    before = table.get("dataset")
    before = before if isinstance(before, dict) else {}
    known = dataset_node().tables.get(str(source), {})
    table["dataset"] = {"source": source} | {
        k: v for k, v in before.items() if k in known and k not in ("source", "name")
    }
