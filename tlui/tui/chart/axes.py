"""Axes: linear and log scales, ticks at round numbers, and how a tick is written."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tlui.tui.chart.data import Floats, XAxis


@dataclass(frozen=True)
class Scale:
    """Maps `low..high` to 0..1; on a log scale what is not above zero becomes NaN."""

    low: float
    high: float
    log: bool = False

    def fraction(self, values: Floats) -> Floats:
        """Where values lie: 0 at `low`, 1 at `high`; beyond them outside 0..1."""
        if self.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                logs = np.where(values > 0, np.log10(np.where(values > 0, values, 1.0)), np.nan)
            low, high = math.log10(self.low), math.log10(self.high)
            scaled: Floats = (logs - low) / (high - low)
            return scaled
        linear: Floats = (values - self.low) / (self.high - self.low)
        return linear

    def value(self, fraction: float) -> float:
        """The value at a fraction of the axis."""
        if self.log:
            low, high = math.log10(self.low), math.log10(self.high)
            return float(10 ** (low + fraction * (high - low)))
        return self.low + fraction * (self.high - self.low)


def scale_for(low: float, high: float, log: bool = False, pad: float = 0.04) -> Scale:
    """A scale that holds `low..high` with a little air; never of no extent.

    Args:
        low: Smallest value shown; above zero where `log`.
        high: Largest value shown.
        log: Logarithmic.
        pad: Share of the extent added on either side.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return Scale(0.1, 1.0, True) if log else Scale(0.0, 1.0)
    if log:
        low, high = max(low, 1e-300), max(high, 1e-300)
        extent = math.log10(high / low)
        if extent < 1e-9:
            return Scale(low / 2, high * 2, True)
        return Scale(low / 10 ** (pad * extent), high * 10 ** (pad * extent), True)
    if high - low <= abs(high) * 1e-12:
        room = abs(high) * 0.5 or 1.0
        return Scale(low - room, high + room)
    room = (high - low) * pad
    return Scale(low - room, high + room)


def calm(scale: Scale, low: bool = True) -> Scale:
    """A scale widened to round ends, so that a curve that grows does not redraw itself whole.

    The ends move outwards to multiples of a round number about a 24th of the extent; with `low`
    off only the upper end moves.
    """
    first, last = scale.low, scale.high
    if scale.log:
        first, last = math.log10(first), math.log10(last)
    extent = last - first
    if not (extent > 0 and math.isfinite(extent)):
        return scale
    power = 10.0 ** math.floor(math.log10(extent / 24))
    step = power * next(f for f in (1, 2, 5, 10) if power * f >= extent / 24 * (1 - 1e-9))
    last = math.ceil(last / step - 1e-6) * step
    if low:
        first = math.floor(first / step + 1e-6) * step
    if scale.log:
        return Scale(10**first if low else scale.low, 10**last, True)
    return Scale(first, last)


def linear_ticks(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """At most `most` (≥ 2) multiples of 1, 2, 2.5 or 5 times a power of ten within the range.

    With `whole`, whole numbers only (epochs, steps), where the range holds any.
    """
    extent = high - low
    if extent <= 0 or not math.isfinite(extent):
        return [low]
    power = 10.0 ** math.floor(math.log10(extent / max(most, 2)))
    finer: list[float] = []
    for factor in (1, 2, 2.5, 5, 10, 20, 25, 50, 100):
        step = power * factor
        if whole and not float(step).is_integer() and extent >= 1:
            continue
        first = math.ceil(low / step - 1e-9)
        last = math.floor(high / step + 1e-9)
        if last - first > 3 * max(most, 2):
            continue
        ticks = [round(i * step, 12) if step > 1e-9 else i * step for i in range(first, last + 1)]
        if len(ticks) <= max(most, 2):
            return finer if len(ticks) < 2 and 0 < len(finer) <= most + 1 else ticks
        finer = ticks
    return finer or [low]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Powers of ten within the range, thinned to `most`; 1-2-5 steps where decades are few."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    decades = [10.0**i for i in range(first, last + 1)]
    if len(decades) >= 2 or most < 2:
        stride = max(1, math.ceil(len(decades) / max(most, 1)))
        return decades[::stride]
    fine = [
        m * 10.0**i
        for i in range(first - 1, last + 2)
        for m in (1, 2, 5)
        if low <= m * 10.0**i <= high
    ]
    return fine[:most] if len(fine) >= 2 else linear_ticks(low, high, most)


def tick_text(value: float, ticks: list[float]) -> str:
    """A tick as it is written: `.75`, `1.5`, `2k`, `1e-4`; digits enough for its neighbours."""
    if value == 0:
        return "0"
    size = abs(value)
    least = min((abs(t) for t in ticks if t), default=size)
    if size >= 1e6 or min(size, least) < 1e-3:
        digits = next((d for d in range(4) if _reads(f"{value:.{d}e}", value)), 3)
        mantissa, exponent = f"{value:.{digits}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    if size >= 1e4:
        digits = next((d for d in range(3) if _reads(f"{value / 1000:.{d}f}", value / 1000)), 2)
        return f"{value / 1000:.{digits}f}k"
    digits = max((_decimals(t) for t in ticks), default=0)
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if size < 1 else text


def _reads(text: str, value: float) -> bool:
    return math.isclose(float(text), value, rel_tol=1e-9)


def _decimals(value: float) -> int:
    return next((d for d in range(6) if _reads(f"{value:.{d}f}", value)), 6)


def x_ticks(x: Scale, axis: XAxis, most: int) -> list[float]:
    """Round values of x, at most so many: of time in seconds, minutes, hours."""
    if axis == "time":
        extent = x.high - x.low
        for step in (
            1,
            2,
            5,
            10,
            15,
            30,
            60,
            120,
            300,
            600,
            900,
            1800,
            3600,
            7200,
            14400,
            43200,
            86400,
        ):
            if extent / step <= most:
                first = math.ceil(x.low / step)
                return [float(i * step) for i in range(first, int(x.high // step) + 1)]
    return linear_ticks(x.low, x.high, most, whole=axis != "time")


def clock(seconds: float) -> str:
    """`42s`, `3m10`, `1h24`."""
    total = int(seconds + 0.5)
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m{total % 60:02d}" if total % 60 else f"{total // 60}m"
    return f"{total // 3600}h{total % 3600 // 60:02d}"
