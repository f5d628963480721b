"""How numbers of a preset are written: names, tables, messages. Imports next to nothing."""

from __future__ import annotations

import math


def short_number(value: float) -> str:
    """`1e-4`, `5e-7`, `0.25`, `32`: as people write rates, without losing digits."""
    if isinstance(value, int):
        return str(value)
    if value == 0 or not math.isfinite(value) or 0.01 <= abs(value) < 1e6:
        return repr(value).removesuffix(".0")
    texts = (f"{value:.{digits}e}" for digits in range(17))
    mantissa, _, exponent = next(text for text in texts if float(text) == value).partition("e")
    return f"{mantissa}e{int(exponent)}"
