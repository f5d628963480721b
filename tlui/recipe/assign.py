"""Dotted paths with `*` applied to the plain dicts of a preset: what `--set` and sweeps share.

An assignment reaches only settings that exist for the data at hand: list positions that are
there, keys the table's variant has (`lr.k` where the policy is exponential). It says how many it
reached and never invents a phase.
"""

from __future__ import annotations

import copy
from typing import Any

from tlui.recipe.fields import Node, Path, experiment_tree, variant


def split_path(text: str) -> Path:
    """`phase.0.lr.initial` as parts; a part with dots or spaces is quoted as in TOML.

    Raises:
        ValueError: Where a part is empty or a quote is not closed.
    """
    parts: list[str] = []
    i = 0
    while True:
        if i < len(text) and text[i] in "\"'":
            end = text.find(text[i], i + 1)
            if end < 0:
                raise ValueError(f"a quote is not closed in {text}")
            parts.append(text[i + 1 : end])
            i = end + 1
        else:
            end = text.find(".", i)
            end = len(text) if end < 0 else end
            parts.append(text[i:end].strip())
            i = end
        if not parts[-1]:
            raise ValueError(f"a part is empty in {text!r}")
        if i >= len(text):
            return tuple(parts)
        if text[i] != ".":
            raise ValueError(f"a dot is missing after a quote in {text}")
        i += 1


def covers(outer: Path, inner: Path) -> bool:
    """Whether setting `outer` replaces all that `inner` sets."""
    return len(outer) <= len(inner) and all(
        a in ("*", b) for a, b in zip(outer, inner, strict=False)
    )


def overlaps(one: Path, other: Path) -> bool:
    """Whether both may set the same field, or one sets a table the other sets a part of."""
    return all(a == b or "*" in (a, b) for a, b in zip(one, other, strict=False))


def leads_to(pattern: Path, loc: tuple[str | int, ...]) -> bool:
    """Whether a place in a document lies at or inside what `pattern` sets."""
    return len(pattern) <= len(loc) and all(
        a in ("*", str(b)) for a, b in zip(pattern, loc, strict=False)
    )


def assign(document: dict[str, Any], path: Path, value: Any) -> int:
    """Set `value` at every place `path` reaches in `document`; returns how many."""
    return _assign(document, experiment_tree(), path, value)


def _assign(here: Any, node: Node, path: Path, value: Any) -> int:
    part, rest = path[0], path[1:]
    if node.kind == "list":
        if not isinstance(here, list) or node.item is None:
            return 0
        if part == "*":
            positions = range(len(here))
        elif part.isdecimal() and len(part) < 9 and int(part) < len(here):
            positions = range(int(part), int(part) + 1)
        else:
            return 0
        reached = 0
        for i in positions:
            if rest:
                here[i], count = _into(here[i], node.item, rest, value)
                reached += count
            else:
                here[i] = copy.deepcopy(value)
                reached += 1
        return reached
    if not isinstance(here, dict):
        return 0
    if node.kind == "table":
        child = node.keys(variant(node, here)).get(part)
    else:
        child = node.item or Node("leaf")
    if child is None:
        return 0
    if not rest:
        here[part] = copy.deepcopy(value)
        return 1
    inside, count = _into(here.get(part), child, rest, value)
    if count:
        here[part] = inside
    return count


def _into(inside: Any, node: Node, rest: Path, value: Any) -> tuple[Any, int]:
    """Assign inside a member that may be missing or in its short form (`optimizer = "adam"`)."""
    if node.tag and (inside is None or isinstance(inside, str)):
        name = variant(node, inside)
        inside = {node.tag: name} if name else ({} if inside is None else inside)
    elif inside is None and node.kind in ("table", "map", "leaf"):
        inside = {}
    return inside, _assign(inside, node, rest, value)


def value_at(document: Any, path: Path) -> Any:
    """What stands at a path without `*`; None where nothing does."""
    for part in path:
        if isinstance(document, dict):
            document = document.get(part)
        elif isinstance(document, list) and part.isdecimal() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None
    return document
