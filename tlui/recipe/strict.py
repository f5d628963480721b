"""The base of every table a person writes: unknown keys are errors, values are frozen."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """One TOML table: unknown keys refused, immutable once read, NaN and infinity refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Refused(ValueError):
    """A value a validator refuses, with the key inside its table that is to blame."""

    def __init__(self, message: str, *at: str | int) -> None:
        super().__init__(message)
        self.at = at
