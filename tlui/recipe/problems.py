"""What is wrong with a preset, in words: one line a problem, each naming file, key and way out.

Translates pydantic's errors into the sentences a person reads; the same wording serves presets,
the user's config file, `--set` and the form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from tlui.errors import PresetError
from tlui.recipe import catalogue
from tlui.recipe.fields import Loc, Node, inside, plain_loc, tree_of, variant
from tlui.recipe.number import short_number

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Problems:
    """Problems in the order found, each once."""

    def __init__(self, where: str) -> None:
        self.where = escape(where)
        self._lines: dict[str, None] = {}

    def add(self, path: str, message: str) -> None:
        """Note a problem at `path` (as `dotted` writes it; '' for the whole file)."""
        self._lines[": ".join(part for part in (self.where, path, message) if part)] = None

    def adopt(self, lines: Iterable[str]) -> None:
        """Note problems of another file, complete lines."""
        self._lines.update(dict.fromkeys(lines))

    @property
    def lines(self) -> list[str]:
        return list(self._lines)

    def raise_any(self) -> None:
        """Raises PresetError with all of them, if there are any."""
        if self._lines:
            raise PresetError(self.lines)


def escape(text: str) -> str:
    """Text with what could disturb a terminal (controls, bidi marks, lone bytes) as escapes."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def shown(value: Any, limit: int = 60) -> str:
    """A received value as the person wrote it, about as TOML, cut to `limit` characters."""
    if isinstance(value, str):
        text = '"' + escape(value) + '"'
    elif isinstance(value, float):
        text = short_number(value)
    elif isinstance(value, (dict, list, bool, int)) or value is None:
        text = escape(json.dumps(value, ensure_ascii=False, default=str))
    else:
        text = escape(str(value))
    return text if len(text) <= limit else text[: limit - 2] + " …"


def dotted(loc: Sequence[str | int]) -> str:
    """A place in the file's terms: `phase[1].lr.policy`."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + quoted_key(part)
    return text


def quoted_key(key: str) -> str:
    """A key as TOML writes it: bare where it can be, else quoted."""
    return key if BARE_KEY.fullmatch(key) else '"' + escape(key).replace('"', '\\"') + '"'


def sentences(
    error: ValidationError, model: type[BaseModel], data: Any, *, values_only: bool = False
) -> list[tuple[Loc, str]]:
    """Every problem pydantic found in `data`: where, without union tags, and what in words.

    With `values_only` those of keys that are missing or unknown are left out.
    """
    tree = tree_of(model)
    found: list[tuple[Loc, str]] = []
    for item in error.errors(include_url=False):
        if values_only and item["type"] in ("missing", "extra_forbidden"):
            continue
        loc, node = plain_loc(item["loc"], tree, data)
        context: dict[str, Any] = item.get("ctx") or {}
        raised = context.get("error")
        loc += getattr(raised, "at", ())
        near = _siblings(loc, tree, data) if item["type"] == "extra_forbidden" else []
        received = _original(data, loc, item["input"])
        found.append(_sentence(item["type"], loc, item["msg"], received, context, node, near))
    return found


def _original(data: Any, loc: Loc, received: Any) -> Any:
    """What the person wrote there (a date, say), where pydantic was shown something else."""
    for part in loc:
        data = inside(data, part)
    return received if data is None else data


TYPES = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text in quotes",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "string_too_short": "must not be empty",
}

KINDS = {"policy": "policy", "source": "source", "name": "optimizer"}
"""What a union's tag names, for `"exp" is not a policy`."""


def _sentence(
    kind: str,
    loc: Loc,
    message: str,
    received: Any,
    context: dict[str, Any],
    node: Node | None,
    siblings: list[str],
) -> tuple[Loc, str]:
    if kind == "extra_forbidden":
        return loc, catalogue.unknown("key", escape(str(loc[-1])), siblings)
    if kind == "missing":
        return loc, "missing" + _purpose(node)
    if kind == "union_tag_invalid":
        tag = context["discriminator"].strip("'")
        words = re.findall(r"'([^']*)'", context["expected_tags"])
        return (*loc, tag), catalogue.unknown(KINDS[tag], escape(str(context["tag"])), words)
    if kind == "union_tag_not_found":
        tag = context["discriminator"].strip("'")
        words = sorted(node.tables) if node is not None else []
        return (*loc, tag), f"missing; one of: {', '.join(words)}"
    if kind == "literal_error":
        if loc == ("version",):
            return loc, (
                f"this tlui reads version 1. Received: {shown(received)}; "
                "write version = 1, or install the tlui the preset was written for"
            )
        words = re.findall(r"'([^']*)'|(-?\d+)", context["expected"])
        options = [a or b for a, b in words]
        if isinstance(received, str) and all(a for a, _ in words):
            return loc, catalogue.unknown("choice", escape(received), options)
        return loc, f"must be one of: {', '.join(options)}. Received: {shown(received)}"
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return loc, f"must be {_range(node, context)}. Received: {shown(received)}"
    if kind == "too_short":
        return loc, f"must hold at least {context['min_length']}. Received: {shown(received)}"
    if kind == "string_too_long":
        return loc, f"must be at most {context['max_length']} characters long"
    if kind in ("value_error", "assertion_error"):
        return loc, escape(str(context.get("error", message)))
    if kind == "string_pattern_mismatch":
        return loc, f"is not written right. Received: {shown(received)}" + _purpose(node)
    if kind in TYPES:
        tail = "" if kind == "string_too_short" else f". Received: {shown(received)}"
        if loc[-1:] == ("lr",):
            rate = shown(received) if isinstance(received, float) else "1e-4"
            example = f'lr = {{ policy = "constant", initial = {rate} }}'
            return loc, f"{TYPES[kind]}, such as {example}{tail}"
        words_for = "a list of [[phase]] tables" if loc == ("phase",) else ""
        return loc, (f"must be {words_for}" if words_for else TYPES[kind]) + tail
    return loc, f"{escape(message)}. Received: {shown(received)}"


def _siblings(loc: Loc, tree: Node, data: Any) -> list[str]:
    """The keys that may stand where an unknown key was found."""
    node: Node | None = tree
    value = data
    for part in loc[:-1]:
        if node is None:
            return []
        node = node.keys(variant(node, value)).get(str(part)) if node.kind == "table" else node.item
        value = inside(value, part)
    return list(node.keys(variant(node, value))) if node is not None else []


def _purpose(node: Node | None) -> str:
    """`: what it is`, from the field's own documentation."""
    if node is None or not node.description:
        return ""
    words = " ".join(node.description.split()).replace("`", "").rstrip(".")
    return ": " + words[0].lower() + words[1:]


def _range(node: Node | None, context: dict[str, Any]) -> str:
    """`greater than 0`, `at least 0 and less than 1`: both ends where the field has two."""
    bounds = dict(context)
    for entry in node.info.metadata if node is not None and node.info else ():
        for end in ("gt", "ge", "lt", "le"):
            if getattr(entry, end, None) is not None:
                bounds[end] = getattr(entry, end)
    words = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}
    return " and ".join(
        f"{words[end]} {short_number(bounds[end])}" for end in words if end in bounds
    )
