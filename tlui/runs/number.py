"""What counts as a number in files that may be damaged. Imports nothing."""

from __future__ import annotations

from typing import Any


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def numeric(given: dict[str, Any], others: frozenset[str] = frozenset()) -> dict[str, Any]:
    """A copy without what should be a number or null and is not; `others` are no numbers."""
    return {k: v for k, v in given.items() if v is None or k in others or is_number(v)}
