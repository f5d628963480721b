"""How fast tlui trains next to the same network in PyTorch: prints a Markdown table.

    TLUI_REALDATA=… python tests/benchmarks/against_torch.py --torch PYTHON [--size 224]

PYTHON is an interpreter that has torch, h5py and Pillow; the script it runs (torch_script.py) and
`tlui run` take turns on intel6 with the same ImageNet weights. Seconds as in speed.py: whole
commands, import, decoding and the evaluation of three splits included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from machine import machine, realdata
from speed import Bench, Cost, become_reaper

SCRIPT = Path(__file__).resolve().with_name("torch_script.py")


@dataclass(frozen=True)
class Row:
    """A line of the table: what PyTorch does, and the regime of tlui's run."""

    title: str
    work: str
    freeze: str
    share: float = 1.0
    """Of the epochs."""


ROWS = {
    "head": Row("head only, {} epochs; PyTorch without a feature cache", "head", "backbone"),
    "features": Row("head only, {} epochs; PyTorch with one", "features", "backbone"),
    "full": Row("full tuning, {} epochs", "full", "none", 0.5),
}


def main() -> None:
    """Measure the rows asked for and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--torch", required=True, metavar="PYTHON")
    parser.add_argument("--rows", default=",".join(ROWS), help="comma-separated: %(default)s")
    parser.add_argument("--size", type=int, default=224, choices=(128, 224))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--turns", type=int, default=1, help="repeat each row; the best counts")
    given = parser.parse_args()
    photos = realdata()
    become_reaper()
    version = subprocess.run(
        [given.torch, "-c", "import torch; print(torch.__version__)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    command = " ".join(sys.argv)
    print(machine(), f"torch {version}; {given.size} px, command: {command}\n")
    print("| work | wall torch / tlui | ratio | CPU torch / tlui | ratio | MB | accuracy |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), photos, given.size, given.epochs)
        for name in given.rows.split(","):
            row = ROWS[name]
            epochs = max(1, round(given.epochs * row.share))
            theirs, ours = [], []
            for _ in range(given.turns):
                theirs.append(_torch(bench, given.torch, row.work, epochs))
                ours.append(bench.ours(epochs, freeze=row.freeze, cold=True))
            a, b = (min(costs, key=lambda c: c.cpu) for costs in (theirs, ours))
            print(
                f"| {row.title.format(epochs)} | {a.wall:.1f} / {b.wall:.1f} s "
                f"| {a.wall / b.wall:.1f} | {a.cpu:.1f} / {b.cpu:.1f} s | {a.cpu / b.cpu:.1f} "
                f"| {a.memory:.0f} / {b.memory:.0f} | {a.accuracy:.3f} / {b.accuracy:.3f} |",
                flush=True,
            )


def _torch(bench: Bench, python: str, work: str, epochs: int) -> Cost:
    folder = bench.scratch / "torch"
    folder.mkdir(exist_ok=True)
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_{bench.size}_no_top.h5"
    command = [
        *(python, str(SCRIPT), str(bench.data)),
        *("--weights", str(bench.scratch / "keras" / "models" / name)),
        *("--work", work, "--epochs", str(epochs), "--size", str(bench.size)),
    ]
    wall, cpu = bench.measure([command], folder)
    found = json.loads((folder / "torch.json").read_text())
    return Cost(wall, cpu, found["peak_memory_mb"], found["test_accuracy"])


if __name__ == "__main__":
    main()
