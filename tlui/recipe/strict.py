"""The base of every table a person writes: unknown keys are errors, values are frozen.

What several keys of a table must agree on is a `rule`: a function of those keys alone, asked
whenever they are valid, so that a mistake elsewhere in the table hides nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails

from tlui.recipe.fields import Loc, Node, default_at, node_at, plain_loc, tree_of

Rule = Callable[..., "Iterator[Refused]"]
Marked = TypeVar("Marked", bound=Rule)
Self = TypeVar("Self", bound="Table")


class Refused(ValueError):
    """Valid values that cannot stand together, with the key inside their table that is to blame."""

    def __init__(self, message: str, *at: str | int) -> None:
        super().__init__(message)
        self.at = at


def rule(*keys: str) -> Callable[[Marked], Marked]:
    """Mark a static method of a table as a rule over some of its keys.

    It is called with the values of `keys`, in their order and with defaults filled in, and yields
    a `Refused` for each thing that is wrong. It is left out where one of them is not valid;
    but of a table of names (`class_weights`) it must look at the names only, which count even
    where a value is not valid.

    Args:
        keys: Keys of the table; dotted (`dataset.image_size`) where they lie in a table inside.
            With `*` for a position in a list the rule is asked once for each, and means the same
            position by a `*` in what it yields.
    """

    def mark(function: Marked) -> Marked:
        function.keys = keys  # type: ignore[attr-defined]
        return function

    return mark


@functools.cache
def _rules(table: type[BaseModel]) -> list[tuple[tuple[str, ...], Rule]]:
    """The rules of a table with their keys, those it inherits first."""
    members = [member for base in reversed(table.__mro__) for member in vars(base).values()]
    functions = [member.__func__ for member in members if isinstance(member, staticmethod)]
    return [(function.keys, function) for function in functions if hasattr(function, "keys")]


class Table(BaseModel):
    """One TOML table: unknown keys refused, immutable once read, NaN and infinity refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_rules(cls, given: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            table = read(given)
        except ValidationError as error:
            if not isinstance(given, dict):
                raise
            tree = tree_of(cls)
            wrong: list[InitErrorDetails] = []
            bad: list[Loc] = []
            for item in error.errors(include_url=False):
                loc, context = item["loc"], item.get("ctx", {})
                wrong.append(
                    InitErrorDetails(type=item["type"], loc=loc, input=item["input"], ctx=context)
                )
                if not isinstance(context.get("error"), Refused):
                    bad.append(plain_loc(loc, tree, given)[0])
            wrong += _broken(cls, given, lambda path: _written(path, given, tree, bad))
            raise ValidationError.from_exception_data(cls.__name__, wrong) from None
        wrong = list(_broken(cls, given, lambda path: functools.reduce(_member, path, table)))
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return table


class _SpoiltError(Exception):
    """A value that cannot be relied on."""


def _broken(
    table: type[BaseModel], given: Any, look: Callable[[Loc], Any]
) -> Iterator[InitErrorDetails]:
    """What a table's rules say of the values that `look` finds."""
    for keys, function in _rules(table):
        paths = [tuple(key.split(".")) for key in keys]
        lists = [path[: path.index("*")] for path in paths if "*" in path]
        try:
            positions = range(len(look(lists[0]))) if lists else range(1)
        except _SpoiltError:
            continue
        for position in positions:
            try:
                values = [look(_at(path, position)) for path in paths]
            except _SpoiltError:
                continue
            for refused in function(*values):
                if lists:  # a class may be called "*", too
                    refused.at = _at(refused.at, position)
                yield InitErrorDetails(
                    type="value_error", loc=(), input=given, ctx={"error": refused}
                )


def _at(path: Loc, position: int) -> Loc:
    return tuple(position if part == "*" else part for part in path)


def _member(value: Any, part: str | int) -> Any:
    return value[part] if isinstance(part, int) else getattr(value, part)


def _written(path: Loc, given: Any, tree: Node, bad: list[Loc]) -> Any:
    """A value as it is written, or its default.

    Raises:
        _SpoiltError: Something is wrong at it or above it, or in a list of plain values.
    """
    value = default_at(path, given, tree)
    listed = value if isinstance(value, list) else [value]
    node = node_at(tuple(map(str, path)), tree)
    plain = node is not None and node.item is not None and node.item.kind == "leaf"
    holds_tables = not plain and all(isinstance(item, dict) for item in listed)
    for loc in bad:
        alike = all(a == b for a, b in zip(path, loc, strict=False))
        if alike and (len(loc) <= len(path) or not holds_tables):
            raise _SpoiltError
    return value
