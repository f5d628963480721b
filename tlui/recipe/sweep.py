"""Sweeps: a grid of dotted paths over any field, and the short names of its points."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

from tlui.recipe.assign import overlaps, split_path
from tlui.recipe.fields import Path, nearest_path, node_at
from tlui.recipe.number import short_number
from tlui.recipe.problems import Problems, dotted, quoted_key, shown

MOST_POINTS = 10_000
"""More runs than this in one preset is taken for a mistake."""

Axes = dict[Path, list[Any]]

NOT_SWEPT = ("name", "version", "origin", "sweep", "description")


def read_axes(sweep: Any, where: str, problems: Problems) -> Axes:
    """The axes of a `sweep` table.

    Keys are quoted dotted paths (`"phase.0.lr.initial" = [..]`) or the same unquoted, which TOML
    reads as nested tables. Axes that cannot be used become problems.
    """
    axes: Axes = {}
    if not isinstance(sweep, dict):
        problems.add(
            where,
            f'must be a table of lists: sweep = {{ "phase.0.lr.initial" = [1e-4, 1e-5] }}. '
            f"Received: {shown(sweep)}",
        )
        return axes
    for parts, values in _lists(sweep, ()):
        name = f"{where}.{'.'.join(map(quoted_key, parts))}"
        try:
            path = tuple(p for part in parts for p in split_path(part))
        except ValueError as error:
            problems.add(name, str(error))
            continue
        if path[0] in NOT_SWEPT:
            problems.add(name, f"{path[0]} cannot be swept")
        elif node_at(path) is None:
            near = nearest_path(path)
            hint = f' (did you mean "{near}"?)' if near else ""
            problems.add(name, f"there is no such setting{hint}")
        elif not isinstance(values, list):
            problems.add(name, f"must be a list of values. Received: {shown(values)}")
        elif complaint := bad_values(values):
            problems.add(name, complaint)
        else:
            clash = next((other for other in axes if _same_field(other, path)), None)
            if clash is not None:
                problems.add(name, f'sets the same field as "{".".join(clash)}"')
            else:
                axes[path] = values
    return axes


def _lists(table: dict[str, Any], parts: Path) -> Iterator[tuple[Path, Any]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _lists(value, (*parts, key))
        else:
            yield (*parts, key), value


def _same_field(one: Path, other: Path) -> bool:
    return len(one) == len(other) and overlaps(one, other)


def bad_values(values: list[Any]) -> str | None:
    """Why a list cannot be an axis: it is empty, or holds a value twice."""
    if not values:
        return "is an empty list: a sweep needs at least one value"
    seen: set[tuple[str, Any]] = set()
    for value in values:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        key = ("number", value) if number else ("other", repr(value))
        if key in seen:
            return f"holds {shown(value)} twice"
        seen.add(key)
    return None


def count(axes: Axes) -> int:
    """How many points the grid has."""
    return math.prod(len(values) for values in axes.values())


def points(axes: Axes) -> Iterator[dict[Path, Any]]:
    """Every point of the grid, the last axis fastest; whole tables before parts of them."""
    order = sorted(axes, key=len)
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        yield {path: point[path] for path in order}


def point_suffixes(axes: Axes) -> dict[Path, dict[int, str]]:
    """A short text for each value (by its `id`) of each axis that varies: `1e-4`, `adam`."""
    return {
        path: dict(
            zip(
                map(id, values),
                _unique([_short(value, path[-1], values) for value in values]),
                strict=True,
            )
        )
        for path, values in axes.items()
        if len(values) > 1
    }


def _unique(names: list[str]) -> list[str]:
    seen: set[str] = set()
    result = []
    for i, name in enumerate(names, 1):
        if not name or name in seen:
            name = f"{name}-{i}".lstrip("-")
        while name in seen:
            name += "x"
        seen.add(name)
        result.append(name)
    return result


def _short(value: Any, key: str, values: list[Any]) -> str:
    if isinstance(value, bool):
        return f"{key}-{str(value).lower()}"
    if isinstance(value, (int, float)):
        return short_number(value)
    if isinstance(value, str):
        return slug(value)
    if isinstance(value, dict):
        return "-".join(_short(v, k, []) for k, v in _leaves(value) if _differs(k, v, values))
    if isinstance(value, list):
        return slug("-".join(_short(v, key, []) for v in value if not isinstance(v, (dict, list))))
    return slug(str(value))


def _leaves(table: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        elif not isinstance(value, list):
            yield key, value


def _differs(key: str, value: Any, values: list[Any]) -> bool:
    tables = [dict(_leaves(v)) for v in values if isinstance(v, dict)]
    return not tables or any(t.get(key) != value for t in tables)


def slug(text: str) -> str:
    """Text fit for a run's name: the last part of a path, odd characters as `_`."""
    last = text.rstrip("/").rsplit("/", 1)[-1]
    return re.sub(r"[^\w.+-]+", "_", last, flags=re.ASCII).strip("_")[:40]


def axis_label(path: Path) -> str:
    """How the file names an axis: `sweep."phase.0.lr.initial"`."""
    return dotted(("sweep", ".".join(path)))
