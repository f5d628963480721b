"""What a chart draws from: append-only curves folded into min/max buckets as points arrive.

Promise: appending costs the same whether a curve holds ten points or ten million, and drawing
costs what the screen is wide, never what the run is long. Values that are not finite are NaN and
show as gaps. Knows numpy, and nothing of screens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
XAxis = Literal["step", "epoch", "time"]
X_AXES: tuple[XAxis, ...] = ("epoch", "step", "time")

FOLD = 4
"""Buckets of one level that make a bucket of the next."""


class Column:
    """A growing array of float64; appending is amortised constant."""

    __slots__ = ("_data", "_size")

    def __init__(self) -> None:
        self._data: Floats = np.empty(64)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def values(self) -> Floats:
        """A view of what is there; not to be written to, valid until the next append."""
        return self._data[: self._size]

    def append(self, value: float) -> None:
        if self._size == len(self._data):
            self._grow(self._size + 1)
        self._data[self._size] = value
        self._size += 1

    def extend(self, values: Floats | Sequence[float]) -> None:
        end = self._size + len(values)
        if end > len(self._data):
            self._grow(end)
        self._data[self._size : end] = values
        self._size = end

    def truncate(self, size: int) -> None:
        self._size = min(self._size, size)

    def _grow(self, least: int) -> None:
        data = np.empty(max(least, 2 * len(self._data)))
        data[: self._size] = self._data[: self._size]
        self._data = data


@dataclass(frozen=True)
class Buckets:
    """A stretch of a curve: bucket i covers points from `first[i]` on and spans `low..high`."""

    first: NDArray[np.int64]
    low: Floats
    high: Floats


class Pyramid:
    """Values with their minima and maxima over 4, 16, 64 … points; NaN is passed over."""

    def __init__(self) -> None:
        self.raw = Column()
        self._levels: list[tuple[Column, Column]] = []

    def __len__(self) -> int:
        return len(self.raw)

    def append(self, value: float) -> None:
        """Add one point; amortised constant."""
        self.raw.append(value)
        if len(self.raw) % FOLD == 0:
            self._fold()

    def extend(self, values: Floats | Sequence[float]) -> None:
        """Add many points at once."""
        self.raw.extend(values)
        self._fold()

    def truncate(self, size: int) -> None:
        """Forget every point from `size` on."""
        self.raw.truncate(size)
        for depth, (low, high) in enumerate(self._levels, 1):
            low.truncate(size // FOLD**depth)
            high.truncate(size // FOLD**depth)

    def _fold(self) -> None:
        below_low = below_high = self.raw
        depth = 0
        while True:
            if depth == len(self._levels):
                if len(below_low) < FOLD:
                    return
                self._levels.append((Column(), Column()))
            low, high = self._levels[depth]
            have, want = len(low), len(below_low) // FOLD
            if want <= have:
                return
            part = slice(have * FOLD, want * FOLD)
            low.extend(np.fmin.reduce(below_low.values[part].reshape(-1, FOLD), axis=1))
            high.extend(np.fmax.reduce(below_high.values[part].reshape(-1, FOLD), axis=1))
            below_low, below_high = low, high
            depth += 1

    def buckets(self, start: int, stop: int, most: int) -> Buckets:
        """Points `start..stop` as at most about `most` buckets, each whole or the last one.

        Where the points themselves are few enough every bucket is one point.
        """
        start, stop = max(start, 0), min(stop, len(self.raw))
        depth, size = 0, 1
        while (stop - start) / size > most and depth < len(self._levels):
            depth += 1
            size *= FOLD
        if depth == 0:
            values = self.raw.values[start:stop]
            return Buckets(np.arange(start, stop), values, values)
        low, high = self._levels[depth - 1]
        begin, end = start // size, min(stop // size, len(low))
        first = np.arange(begin, max(end, begin)) * size
        lows, highs = low.values[begin:end], high.values[begin:end]
        rest = self.raw.values[max(end, begin) * size : stop]
        if len(rest):
            first = np.append(first, max(end, begin) * size)
            lows = np.append(lows, np.fmin.reduce(rest))
            highs = np.append(highs, np.fmax.reduce(rest))
        return Buckets(first.astype(np.int64), lows, highs)


class Smoother:
    """TensorBoard's debiased exponential moving average, continued as points arrive.

    `last = w * last + (1 - w) * x`, shown as `last / (1 - w**n)` over the n finite points so far;
    a point that is not finite stays a gap and moves nothing.
    """

    BLOCK = 64

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.pyramid = Pyramid()
        self._last = 0.0
        self._count = 0
        powers = weight ** np.arange(self.BLOCK + 1)
        self._carry = powers[1:]
        gap = np.subtract.outer(np.arange(self.BLOCK), np.arange(self.BLOCK))
        self._kernel = np.where(gap >= 0, powers[np.abs(gap)], 0.0) * (1 - weight)

    def follow(self, values: Floats) -> Pyramid:
        """Smooth what `values` holds beyond what was followed already."""
        new = values[len(self.pyramid) :]
        if not len(new):
            return self.pyramid
        known = np.isfinite(new)
        out = np.full(len(new), np.nan)
        out[known] = self._average(new[known])
        self.pyramid.extend(out)
        return self.pyramid

    def _average(self, values: Floats) -> Floats:
        out = np.empty(len(values))
        for start in range(0, len(values), self.BLOCK):
            part = values[start : start + self.BLOCK]
            size = len(part)
            out[start : start + size] = (
                self._kernel[:size, :size] @ part + self._carry[:size] * self._last
            )
            self._last = float(out[start + size - 1])
        counts = self._count + np.arange(1, len(values) + 1)
        self._count += len(values)
        result: Floats = out / (1.0 - np.power(self.weight, counts))
        return result


class Series:
    """One metric over a timeline."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.pyramid = Pyramid()
        self._smoother: Smoother | None = None

    def __len__(self) -> int:
        return len(self.pyramid)

    @property
    def values(self) -> Floats:
        return self.pyramid.raw.values

    def smoothed(self, weight: float) -> Pyramid:
        """The curve under an EMA of `weight` in [0, 1); 0 is the curve itself."""
        if weight <= 0:
            return self.pyramid
        if self._smoother is None or self._smoother.weight != weight:
            self._smoother = Smoother(weight)
        return self._smoother.follow(self.values)

    def truncate(self, size: int) -> None:
        self.pyramid.truncate(size)
        self._smoother = None

    def at(self, axis: XAxis, x: float) -> tuple[float, float] | None:
        """The point nearest to `x` as (x, value); None where the curve holds no finite point."""
        xs = self.timeline.x(axis)[: len(self)]
        if not len(xs):
            return None
        right = int(np.searchsorted(xs, x))
        finite = np.isfinite(self.values)
        for reach in (8, len(xs)):
            lo, hi = max(right - reach, 0), min(right + reach, len(xs))
            near = np.flatnonzero(finite[lo:hi]) + lo
            if len(near):
                best = int(near[np.argmin(np.abs(xs[near] - x))])
                return float(xs[best]), float(self.values[best])
        return None


class Timeline:
    """Points in time, each at a step, an epoch and a second, with a value for some metrics.

    All three x run forward; `append` clamps what would run back.
    """

    def __init__(self) -> None:
        self._x: dict[XAxis, Column] = {"step": Column(), "epoch": Column(), "time": Column()}
        self.series: dict[str, Series] = {}

    def __len__(self) -> int:
        return len(self._x["step"])

    def x(self, axis: XAxis) -> Floats:
        """Positions of all points: global step, epoch (real), or seconds since the start."""
        return self._x[axis].values

    def append(
        self, step: float, epoch: float, time: float, values: Mapping[str, float | None]
    ) -> None:
        """Add one point. Metrics not named get a gap; a metric not seen before starts with gaps.

        A place that falls, or is none, is that of the point before.
        """
        size = len(self)
        for axis, value in (("step", step), ("epoch", epoch), ("time", time)):
            column = self._x[axis]  # type: ignore[index]
            column.append(max(column.values[-1] if size else 0.0, value))
        for name, given in values.items():
            if name not in self.series:
                self.series[name] = Series(self)
            one = self.series[name]
            if len(one) < size:
                one.pyramid.extend(np.full(size - len(one), np.nan))
            one.pyramid.append(_finite(given))

    def extend(
        self,
        step: Floats,
        epoch: Floats,
        time: Floats,
        values: Mapping[str, Floats],
    ) -> None:
        """Add many points at once: arrays of one length, x rising."""
        size = len(self)
        self._x["step"].extend(step)
        self._x["epoch"].extend(epoch)
        self._x["time"].extend(time)
        for name, given in values.items():
            one = self.series.setdefault(name, Series(self))
            if len(one) < size:
                one.pyramid.extend(np.full(size - len(one), np.nan))
            one.pyramid.extend(np.where(np.isfinite(given), given, np.nan))

    def truncate_after(self, step: float) -> None:
        """Forget every point past `step`: what a resume declares void."""
        size = int(np.searchsorted(self.x("step"), step, side="right"))
        for column in self._x.values():
            column.truncate(size)
        for one in self.series.values():
            one.truncate(size)


def _finite(value: float | None) -> float:
    if value is None or not -np.inf < value < np.inf:
        return float("nan")
    return float(value)
