"""How long a chart takes: 8 runs of 100,000 points into 120x30, and a point appended.

    python tests/benchmarks/chart.py

Prints medians; nothing is asserted, since the machine decides.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from tlui.tui.chart.data import Timeline
from tlui.tui.chart.plot import Curve, Plot

RUNS, POINTS, WIDTH, HEIGHT = 8, 100_000, 120, 30


def median_ms(action: Callable[[], object], times: int = 30) -> float:
    found = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        found.append((time.perf_counter() - start) * 1000)
    return statistics.median(found)


def timelines() -> list[Timeline]:
    rng = np.random.default_rng(0)
    found = []
    for run in range(RUNS):
        line = Timeline()
        x = np.arange(POINTS, dtype=float)
        loss = 2.0 * np.exp(-x / (8000 * (run + 1))) + 0.1 * rng.random(POINTS) + 0.05
        loss[rng.integers(0, POINTS, 20)] = np.nan
        line.extend(x, x / 5000, x * 0.05, {"loss": loss})
        found.append(line)
    return found


def main() -> None:
    lines = timelines()
    curves = [Curve(f"run {i}", line.series["loss"], i) for i, line in enumerate(lines)]
    print(f"{RUNS} runs x {POINTS:,} points into {WIDTH}x{HEIGHT}, milliseconds a draw (median)")
    for label, change in (
        ("plain", {}),
        ("log y", {"log_y": True}),
        ("smoothed, raw behind", {"smoothing": 0.9}),
        ("zoomed 64x", {"zoom": 64, "centre": 0.5}),
        ("no colour (glyphs)", {"colour": False}),
        ("half blocks", {"kind": "half"}),
        ("ASCII", {"kind": "ascii"}),
    ):
        plot = Plot("loss", curves, **change)  # type: ignore[arg-type]
        plot.draw(WIDTH, HEIGHT)
        print(f"  {label:24} {median_ms(lambda p=plot: p.draw(WIDTH, HEIGHT)):7.2f}")

    print("one point appended to 8 metrics, microseconds (mean of 10,000)")
    names = ("loss", "accuracy", "lr", "images_per_second", "a", "b", "c", "d")
    line = Timeline()
    size = 0
    for target in (10_000, 100_000, 1_000_000):
        if target > 100_000:
            x = np.arange(size, target - 10_000, dtype=float)
            line.extend(x, x, x, dict.fromkeys(names, x))
            size = len(line)
        for name in names:
            if name in line.series:
                line.series[name].smoothed(0.9)
        start = time.perf_counter()
        for i in range(size, target if target <= 10_000 else size + 10_000):
            line.append(i, i / 100, i * 0.1, dict.fromkeys(names, 0.5))
        took = time.perf_counter() - start
        done = len(line) - size
        size = len(line)
        print(f"  at {size:>9,} points {took / done * 1e6:7.2f}")
        if target == 10_000:
            x = np.arange(size, 90_000, dtype=float)
            line.extend(x, x, x, dict.fromkeys(names, x))
            size = len(line)


if __name__ == "__main__":
    main()
