"""The settings a preset may hold, as a tree that dotted paths can be walked through.

Built once from the pydantic models, so that `--set`, sweeps and error messages agree with
validation on which paths exist, which keys a table has and what a value may be.
"""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import itertools
import textwrap
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Path = tuple[str, ...]
"""A dotted path split at its dots; list positions are decimal strings, `*` is every element."""
Loc = tuple[str | int, ...]
"""Where in a document: keys and list positions."""


@dataclass(frozen=True)
class Node:
    """One setting, or a table or list of settings."""

    kind: Literal["table", "list", "map", "leaf"]
    tables: dict[str, dict[str, Node]] = field(default_factory=dict)
    """For a table: tag -> key -> node; a table without variants has the one tag ''."""
    tag: str = ""
    """For a table with variants (`lr`, `optimizer`, `dataset`): the key that names the variant."""
    default: Any = None
    item: Node | None = None
    """For a list or map: its elements."""
    text: bool = False
    """For a leaf: whether only a string is valid."""
    required: bool = False
    info: FieldInfo | None = None
    where: tuple[type[BaseModel], str] | None = None
    """For a key of a table: the model it is a field of, and its name there."""

    @property
    def description(self) -> str:
        """What the setting is, in the words of the models; "" where they say nothing."""
        said = self.info.description if self.info is not None else None
        return said or (descriptions(self.where[0]).get(self.where[1], "") if self.where else "")

    def keys(self, variant: str = "") -> dict[str, Node]:
        """The keys of a table: of one variant, or of all where that one is not known."""
        if variant in self.tables:
            return self.tables[variant]
        merged: dict[str, Node] = {}
        for keys in self.tables.values():
            for key, node in keys.items():
                merged.setdefault(key, node)
        return merged


@functools.cache
def tree_of(model: type[BaseModel]) -> Node:
    """The tree of a pydantic model."""
    return Node("table", tables={"": _keys(model)})


def _keys(model: type[BaseModel]) -> dict[str, Node]:
    return {
        name: replace(_node(info.annotation, info), where=(model, name))
        for name, info in model.model_fields.items()
    }


@functools.cache
def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Field -> the text below it in the source, inherited fields included.

    Read when it is wanted: pydantic's own way (`use_attribute_docstrings`) parses every model's
    source whenever they are imported, which is half of the time of that.
    """
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
            assert isinstance(body, ast.ClassDef)
            for field, below in itertools.pairwise(body.body):
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    match below:
                        case ast.Expr(value=ast.Constant(value=str(text))):
                            found[field.target.id] = inspect.cleandoc(text)
    return found


def _node(annotation: Any, info: FieldInfo | None) -> Node:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    required = info is not None and info.is_required()
    if get_origin(annotation) in (Union, types.UnionType):
        members = [m for m in get_args(annotation) if m is not type(None)]
        members = [get_args(m)[0] if get_origin(m) is Annotated else m for m in members]
        if len(members) > 1 and all(_is_model(m) for m in members):
            tag = _tag(members)
            tables = {get_args(m.model_fields[tag].annotation)[0]: _keys(m) for m in members}
            return Node("table", tables, tag, _default(info), required=required, info=info)
        if len(members) > 1:
            return Node("leaf", default=_default(info), required=required, info=info)
        annotation = members[0]
    origin = get_origin(annotation)
    if _is_model(annotation):
        tables = {"": _keys(annotation)}
        return Node("table", tables, default=_default(info), required=required, info=info)
    if origin is list:
        item = _node(get_args(annotation)[0], None)
        return Node("list", default=_default(info), item=item, required=required, info=info)
    if origin is dict:
        item = _node(get_args(annotation)[1], None)
        return Node("map", default=_default(info), item=item, required=required, info=info)
    text = annotation is str or (
        origin is Literal and all(isinstance(word, str) for word in get_args(annotation))
    )
    return Node("leaf", default=_default(info), text=text, required=required, info=info)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _tag(members: Sequence[type[BaseModel]]) -> str:
    for name, info in members[0].model_fields.items():
        if get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1:
            return name
    raise TypeError(f"{members} share no tag")


def _default(info: FieldInfo | None) -> Any:
    if info is None or info.is_required():
        return None
    return info.get_default(call_default_factory=False)


@functools.cache
def experiment_tree() -> Node:
    """The settings of one experiment."""
    from tlui.recipe.schema import Experiment

    return tree_of(Experiment)


def variant(node: Node, value: Any) -> str:
    """Which variant of a table `value` is, '' where it cannot be told.

    Knows the short forms: an optimizer given by name alone, a dataset whose shortcut says its
    source, and a table that is not there but has a default.
    """
    if not node.tag:
        return ""
    if isinstance(value, str):
        return value if value in node.tables else ""
    if isinstance(value, dict):
        given = value.get(node.tag)
        if isinstance(given, str):
            return given if given in node.tables else ""
        if node.tag == "source":
            from tlui.recipe.catalogue import DATASETS

            shortcut = DATASETS.get(value["name"]) if isinstance(value.get("name"), str) else None
            return str(shortcut.dataset["source"]) if shortcut else ""
    if node.default is not None:
        return str(getattr(node.default, node.tag))
    return ""


def inside(value: Any, part: str | int) -> Any:
    """A member of a table or list; None where it has none (TOML knows no null)."""
    if isinstance(value, dict):
        return value.get(part)
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return None


def plain_loc(loc: Loc, tree: Node, data: Any) -> tuple[Loc, Node | None]:
    """The place without the union tags pydantic puts in, and the node it leads to."""
    plain: list[str | int] = []
    node: Node | None = tree
    value = data
    just_tagged = False
    for part in loc:
        if (
            node is not None
            and node.kind == "table"
            and node.tag
            and not just_tagged
            and part in node.tables
        ):
            just_tagged = True
            continue
        just_tagged = False
        if node is not None:
            if node.kind == "table":
                node = node.keys(variant(node, value)).get(str(part))
            else:
                node = node.item
        value = inside(value, part)
        plain.append(part)
    return tuple(plain), node


def default_at(path: Loc, data: Any, tree: Node) -> Any:
    """The value at a path of tables as written in `data`, or the default of the variant there."""
    node: Node | None = tree
    for part in path:
        if node is not None:
            listed = node.kind == "list"
            node = node.item if listed else node.keys(variant(node, data)).get(str(part))
        data = inside(data, part)
    return node.default if data is None and node is not None else data


def node_at(path: Path, tree: Node | None = None) -> Node | None:
    """The node a path leads to, whatever the data; None where no setting has that path."""
    node = tree or experiment_tree()
    for part in path:
        if node.kind == "table":
            child = node.keys().get(part)
        elif node.kind == "list":
            child = node.item if part == "*" or part.isdecimal() else None
        elif node.kind == "map" or (node.kind == "leaf" and _holds_map(node)):
            child = node.item or Node("leaf")
        else:
            child = None
        if child is None:
            return None
        node = child
    return node


def _holds_map(node: Node) -> bool:
    annotation = node.info.annotation if node.info else None
    return any(get_origin(member) is dict for member in get_args(annotation))


@functools.cache
def all_paths() -> tuple[str, ...]:
    """Every dotted path there is, list positions as `0`."""
    return tuple(".".join(path) for path in _walk(experiment_tree(), ()))


def _walk(node: Node, path: Path) -> Iterator[Path]:
    if path:
        yield path
    if node.kind == "table":
        for key, child in node.keys().items():
            yield from _walk(child, (*path, key))
    elif node.kind == "list" and node.item is not None and node.item.kind == "table":
        yield from _walk(node.item, (*path, "0"))


def nearest_path(path: Path) -> str | None:
    """The valid path most like an unknown one, with the list positions the person wrote."""
    plain = ["0" if part == "*" or part.isdecimal() else part for part in path]
    positions = [part for part in path if part == "*" or part.isdecimal()]
    wanted = ".".join(plain)
    near = difflib.get_close_matches(wanted, all_paths(), n=1, cutoff=0.6)
    if not near:
        same_end = [p for p in all_paths() if p.rsplit(".", 1)[-1] == path[-1]]
        near = same_end[:1]
    if not near:
        return None
    parts = near[0].split(".")
    for i, part in enumerate(parts):
        if part == "0" and positions:
            parts[i] = positions.pop(0)
    return ".".join(parts)
