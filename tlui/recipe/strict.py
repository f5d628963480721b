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

from tlui.recipe.fields import default_at, plain_loc, tree_of

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

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="wrap")
    @classmethod
    def _keep_rules(cls, given: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        wrong: list[InitErrorDetails] = []
        table: Self | None = None
        try:
            table = read(given)
        except ValidationError as error:
            if not isinstance(given, dict):
                raise
            for item in error.errors(include_url=False):
                context = item.get("ctx", {})
                wrong.append(
                    InitErrorDetails(
                        type=item["type"], loc=item["loc"], input=item["input"], ctx=context
                    )
                )
        bad = [
            plain_loc(item["loc"], tree_of(cls), given)[0]
            for item in wrong
            if not isinstance(item["ctx"].get("error"), Refused)
        ]
        for keys, function in _rules(cls):
            paths = [tuple(key.split(".")) for key in keys]
            if table is not None:
                values = [functools.reduce(getattr, path, table) for path in paths]
            else:
                values = [default_at(path, given, tree_of(cls)) for path in paths]
                if any(map(functools.partial(_spoilt, bad=bad), paths, values)):
                    continue
            for broken in function(*values):
                error_of = InitErrorDetails(
                    type="value_error", loc=(), input=given, ctx={"error": broken}
                )
                wrong.append(error_of)
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        assert table is not None
        return table


def _spoilt(path: tuple[str, ...], value: Any, bad: list[tuple[str | int, ...]]) -> bool:
    """Whether a value cannot be relied on, for what is wrong at, above or (in a list) in it."""
    return any(
        all(a == b for a, b in zip(path, loc, strict=False))
        and (len(loc) <= len(path) or not isinstance(value, dict))
        for loc in bad
    )
