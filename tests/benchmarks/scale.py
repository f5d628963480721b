"""How cost grows with the photos of a dataset and with the runs of a sweep: two tables.

    TLUI_REALDATA=… python tests/benchmarks/scale.py [--what photos,runs] [--size 224]

Head-only training of MobileNetV2 0.35, first time (no caches), as in speed.py. Larger datasets are
intel6 with copies of its photos, each a shade brighter, so that no two files are alike. Below each
table: the line fitted to it, how far the farthest point is from it, and what one more costs beyond
the middle point next to what it costs below (CPU; 1 is linear).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from machine import machine, realdata
from PIL import Image
from speed import Bench, Cost, become_reaper

TIMES = (1, 2, 4)
RUNS = (1, 2, 4, 8, 16)


def main() -> None:
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--what", default="photos,runs")
    parser.add_argument("--size", type=int, default=224, choices=(128, 224))
    parser.add_argument("--epochs", type=int, default=10)
    given = parser.parse_args()
    become_reaper()
    print(machine(), f"{given.size} px, command: {' '.join(sys.argv)}\n")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), realdata(), given.size, given.epochs)
        original = bench.data
        bench.ours(1, cold=True)  # programs and libraries come from memory from now on
        for what in given.what.split(","):
            counts, costs = [], []
            print(f"| {what} | CPU s | wall s | MB |\n|---|---|---|---|")
            for times in TIMES if what == "photos" else RUNS:
                if what == "photos":
                    bench.data = _enlarged(original, Path(folder) / f"x{times}", times)
                    counts.append(sum(path.is_file() for path in bench.data.rglob("*")))
                    costs.append(bench.ours(given.epochs, cold=True))
                else:
                    bench.data = original
                    rates = tuple(float(f"{r:.3g}") for r in np.geomspace(1e-4, 1e-2, times))
                    counts.append(times)
                    costs.append(bench.ours(given.epochs, rates=rates, cold=True))
                last = costs[-1]
                print(f"| {counts[-1]:,} | {last.cpu:.1f} | {last.wall:.1f} | {last.memory:.0f} |",
                      flush=True)  # fmt: skip
            print("\n" + _fit(what, counts, costs) + "\n", flush=True)


def _enlarged(original: Path, target: Path, times: int) -> Path:
    """The dataset with `times` versions of every photo."""
    for path in original.rglob("*"):
        if not path.is_file():
            continue
        folder = target / path.relative_to(original).parent
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).write_bytes(path.read_bytes())
        pixels = np.asarray(Image.open(path).convert("RGB")).astype(np.int64)
        for shade in range(1, times):
            brighter = np.minimum(pixels + 3 * shade, 255).astype(np.uint8)
            Image.fromarray(brighter).save(folder / f"{path.stem}-{shade}.jpg", quality=92)
    return target


def _fit(what: str, counts: list[int], costs: list[Cost]) -> str:
    x = np.array(counts, float)
    lines = []
    for name in ("cpu", "wall"):
        y = np.array([getattr(cost, name) for cost in costs])
        slope, start = np.polyfit(x, y, 1)
        off = np.abs(start + slope * x - y).max() / y.max()
        unit, each = (1000, "1,000 photos") if what == "photos" else (1, "run")
        lines.append(f"{name}: {start:.1f} s + {slope * unit:.2f} s a {each} (off by {off:.0%})")
    y = np.array([cost.cpu for cost in costs])
    ends = [0, len(x) // 2, len(x) - 1]
    below, beyond = np.diff(y[ends]) / np.diff(x[ends])
    return "; ".join(lines) + f"; one more, beyond / below the middle: {beyond / below:.2f}"


if __name__ == "__main__":
    main()
