"""Reading a preset: a TOML file with one experiment or a lab of several, resolved into runs.

The order is: top-level tables under every `[[experiment]]` (tables merge, lists such as `phase`
replace), then `--set`, then the sweep's values, then the named dataset's layout, then validation
of every point and the links between experiments. All problems of a file are raised together.

Paths in a preset (`dataset.path`, a weights file) start at the current directory, as when typed
on the command line, and may begin with `~`; in the resolved experiment they are absolute.
Nothing in a preset is ever executed.
"""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlui.errors import PresetError
from tlui.recipe.bundled import bundled_presets
from tlui.recipe.catalogue import unknown
from tlui.recipe.config import Config, parse_toml, read_text
from tlui.recipe.lab import Point, check_only, choose, link
from tlui.recipe.overrides import Override, no_match, parse_overrides
from tlui.recipe.problems import Problems, escape, quoted_key, shown
from tlui.recipe.resolve import Draft, resolve
from tlui.recipe.schema import Experiment
from tlui.recipe.sweep import MOST_POINTS, count, read_axes

__all__ = ["Point", "Preset", "load_preset", "parse_preset"]

OWN_KEYS = ("experiment", "sweep")
NOT_IN_EXPERIMENT = ("version", "origin")
LONGEST_NAME = 100


@dataclass(frozen=True)
class Preset:
    """A preset resolved into the runs it makes."""

    name: str
    path: Path | None
    points: list[Point] = field(default_factory=list)
    """In dependency order; names are unique."""
    notes: list[str] = field(default_factory=list)
    """What is not wrong but must be known, such as a dataset whose place is not known."""


def load_preset(
    path: Path | str,
    sets: Sequence[str] = (),
    only: Sequence[str] = (),
    *,
    name: str | None = None,
    config: Config | None = None,
    need_data: bool = True,
) -> Preset:
    """Read a preset file and resolve it into runs.

    Args:
        path: The TOML file.
        sets: Overrides `PATH=VALUE`, as given to `--set`.
        only: Names of experiments or runs to keep, with the parents they start from.
        name: Another name for the preset.
        config: The user's configuration; read from its file where not given.
        need_data: Whether a named dataset that nobody said where to find is an error; if not, it
            becomes a note and its path stays `UNKNOWN_PATH`.

    Raises:
        PresetError: With every problem, one line each.
    """
    path = Path(path)
    bundled = next((one for one in bundled_presets() if path.name in (one.name, one.stem)), None)
    if bundled is not None and not path.exists():
        text = f"there is no such file; the preset of that name that comes with tlui is {bundled}"
        raise PresetError([f"{escape(str(path))}: {text}"])
    text = read_text(path)
    return parse_preset(
        text, str(path), sets, only, name=name, config=config, need_data=need_data, path=path
    )


def parse_preset(
    text: str,
    where: str = "preset.toml",
    sets: Sequence[str] = (),
    only: Sequence[str] = (),
    *,
    name: str | None = None,
    config: Config | None = None,
    need_data: bool = True,
    path: Path | None = None,
) -> Preset:
    """The same for a preset's text; `where` is what errors call it."""
    document = parse_toml(text, where)
    problems = Problems(where)
    try:
        preset = _build(document, problems, sets, only, name, config, need_data, path)
    except RecursionError:
        raise PresetError([f"{escape(where)}: nested too deeply"]) from None
    problems.raise_any()
    assert preset is not None
    return preset


def _build(
    document: dict[str, Any],
    problems: Problems,
    sets: Sequence[str],
    only: Sequence[str],
    name: str | None,
    config: Config | None,
    need_data: bool,
    path: Path | None,
) -> Preset | None:
    _check_keys(document, problems)
    title = name if name is not None else document.get("name")
    if title is None:
        problems.add("name", 'missing: what the preset is called, such as name = "my-lab"')
    elif complaint := _bad_name(title):
        problems.add("--name" if name is not None else "name", complaint)
    title = title if isinstance(title, str) else "unnamed"
    drafts = _drafts(document, title, problems)
    names = [draft.name for draft in drafts]
    overrides = parse_overrides(list(sets), names, problems)
    _apply(drafts, overrides, problems)
    total = sum(count(draft.axes) for draft in drafts)
    if total > MOST_POINTS:
        problems.add("", f"its sweeps make {total:,} runs; the most is {MOST_POINTS:,}")
        return None
    notes: list[str] = []
    resolved = resolve(drafts, title, problems, notes, config, need_data)
    points = link(drafts, resolved, problems)
    if problems.lines:
        check_only(names, only, problems)
        return None
    return Preset(title, path, choose(points, only, problems), notes)


def _check_keys(document: dict[str, Any], problems: Problems) -> None:
    known = [*Experiment.model_fields, *OWN_KEYS]
    for key in [key for key in document if key not in known]:
        problems.add(quoted_key(key), unknown("key", escape(key), known))
        del document[key]
    version = document.get("version", 1)
    if version != 1 or isinstance(version, bool):
        problems.add(
            "version",
            f"this tlui reads version 1. Received: {shown(version)}; "
            "write version = 1, or install the tlui the preset was written for",
        )
        document["version"] = 1


def _bad_name(name: Any) -> str | None:
    """Why a preset or experiment cannot have this name."""
    if not isinstance(name, str):
        return f"must be text in quotes. Received: {shown(name)}"
    if not name.strip():
        return "must not be empty"
    if len(name) > LONGEST_NAME:
        return f"must be at most {LONGEST_NAME} characters long. Received: {len(name)}"
    if any(unicodedata.category(char)[0] == "C" or char in "\u2028\u2029" for char in name):
        return f"must not hold control characters. Received: {shown(name)}"
    if name != name.strip():
        return f"must not begin or end with a space. Received: {shown(name)}"
    return None


def _drafts(document: dict[str, Any], title: str, problems: Problems) -> list[Draft]:
    """Every experiment merged with the top, its sweep read."""
    top = {key: value for key, value in document.items() if key not in OWN_KEYS}
    top.pop("name", None)
    lab = document.get("experiment")
    if lab is None:
        axes = read_axes(document["sweep"], "sweep", problems) if "sweep" in document else {}
        return [Draft(title, "", top, None, {**top, "name": title}, axes)]
    if isinstance(lab, dict):
        problems.add("experiment", "is a list: write [[experiment]], with two brackets")
        return []
    if not isinstance(lab, list) or not lab or not all(isinstance(own, dict) for own in lab):
        problems.add(
            "experiment", f"must be a list of [[experiment]] tables. Received: {shown(lab)}"
        )
        return []
    if "origin" in top:
        problems.add("origin", "is written by tlui into a run's own preset; remove it")
        del top["origin"]
    drafts: list[Draft] = []
    top_axes = read_axes(document["sweep"], "sweep", problems) if "sweep" in document else {}
    for i, own in enumerate(lab):
        name, label = _experiment_name(own, i, drafts, problems)
        known = [k for k in Experiment.model_fields if k not in NOT_IN_EXPERIMENT] + ["sweep"]
        for key in [key for key in own if key not in known]:
            problems.add(f"{label}.{quoted_key(key)}", unknown("key", escape(key), known))
        own = {key: value for key, value in own.items() if key in known}
        axes = read_axes(own["sweep"], f"{label}.sweep", problems) if "sweep" in own else {}
        mine = {key: value for key, value in own.items() if key not in ("sweep", "name")}
        merged = merge(top, {**mine, "name": name})
        drafts.append(Draft(name, label, top, own, merged, {**top_axes, **axes}))
    return drafts


def _experiment_name(
    own: dict[str, Any], i: int, before: list[Draft], problems: Problems
) -> tuple[str, str]:
    """An experiment's name and how messages call it."""
    name = own.get("name")
    label = f"experiment[{i}]"
    if name is None:
        problems.add(f"{label}.name", "missing: every experiment needs a name")
    elif complaint := _bad_name(name):
        problems.add(f"{label}.name", complaint)
    else:
        if any(draft.name == name for draft in before):
            problems.add(f"{label}.name", f"there is another experiment {shown(name)}")
        else:
            return name, f"experiment[{quoted_key(name)}]"
    return f"experiment {i}", label


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` over `below`: tables merge key by key, everything else replaces."""
    merged = {key: copy.deepcopy(value) for key, value in below.items()}
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(value, dict) and isinstance(under, dict):
            merged[key] = merge(under, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _apply(drafts: list[Draft], overrides: list[Override], problems: Problems) -> None:
    """Apply every `--set`; one that needs another (`lr.k` needs `lr.policy`) may come first."""
    waiting = list(overrides)
    while waiting:
        left = [o for o in waiting if not sum(draft.override(o) for draft in drafts)]
        if len(left) == len(waiting):
            break
        waiting = left
    for override in waiting:
        phases = [len(p) for d in drafts if isinstance(p := d.document.get("phase"), list)]
        problems.add(override.label, no_match(override, phases))
