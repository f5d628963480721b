"""How fast tlui trains next to a plain Keras script doing the same: prints a Markdown table.

    TLUI_REALDATA=… python tests/benchmarks/speed.py [--rows head,warm,sweep] [--size 224]

Both train MobileNetV2 0.35 with its ImageNet weights on intel6 (900 training photos), the plain
script (plain.py) and `tlui run` one after the other in turns. CPU is user + system time of every
process of a command, wall is the whole command: start, import, training, evaluation of the three
splits. On a machine that others use too, trust the CPU column.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from machine import compile_modules, copy_weights, machine, realdata

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
RATES = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2)
SHORT_RATES = (3e-4, 6e-4, 1e-3, 3e-3, 6e-3)
LAST_20 = "top:20"

PRESET = """
version = 1
name = "speed"
[dataset]
source = "folder"
path = "{data}"
image_size = {size}
validation = 0.15
[backbone]
name = "MobileNetV2"
alpha = 0.35
[head]
dropout = 0.2
{more}
[[phase]]
freeze = "{freeze}"
epochs = {epochs}
lr = {{ policy = "constant", initial = {rate} }}
"""


@dataclass(frozen=True)
class Cost:
    """What commands took, in seconds; peak memory in MB of the largest process of them."""

    wall: float
    cpu: float
    memory: float
    accuracy: float


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    title: str
    target: float
    plain: Callable[[Bench], Cost]
    ours: Callable[[Bench], Cost]


class Bench:
    """A scratch folder with a store, caches and a copy of Keras's folder."""

    def __init__(
        self, scratch: Path, realdata: Path, size: int, epochs: int, once: bool = False
    ) -> None:
        self.scratch = scratch
        self.data = realdata / "datasets" / "intel6"
        self.size = size
        self.epochs = epochs
        self.once = once
        self.count = 0
        copy_weights(scratch)
        compile_modules()

    def plain(
        self,
        work: str,
        epochs: int,
        rates: tuple[float, ...] = (1e-3,),
        sizes: tuple[int, ...] = (),
    ) -> Cost:
        """The plain script, once for each learning rate and size."""
        folder = self.scratch / "plain"
        folder.mkdir(exist_ok=True)
        commands = [
            [
                *(sys.executable, str(HERE.with_name("plain.py")), str(self.data)),
                *("--work", work, "--epochs", str(epochs)),
                *("--rate", str(rate), "--size", str(size)),
            ]
            for rate in (rates[:1] if self.once else rates)
            for size in sizes or (self.size,)
        ]
        wall, cpu = self.measure(commands, folder)
        if self.once:
            wall, cpu = wall * len(rates), cpu * len(rates)
        found = json.loads((folder / "plain.json").read_text())
        return Cost(wall, cpu, found["peak_memory_mb"], found["test_accuracy"])

    def ours(
        self,
        epochs: int,
        *,
        freeze: str = "backbone",
        more: str = "",
        rates: tuple[float, ...] = (1e-3,),
        sizes: tuple[int, ...] = (),
        cold: bool,
    ) -> Cost:
        """`tlui run` of one preset, a sweep where there are several rates or sizes."""
        if cold:
            shutil.rmtree(self.scratch / "cache", ignore_errors=True)
        self.count += 1
        home = self.scratch / f"home-{self.count}"
        fields = {"data": self.data, "size": self.size, "freeze": freeze, "epochs": epochs}
        text = PRESET.format(**fields, rate=rates[0], more=more)
        axes = f'"phase.0.lr.initial" = {list(rates)}'
        if sizes:
            axes += f', "dataset.image_size" = {list(sizes)}'
        text = text.replace("[dataset]", f"sweep = {{ {axes} }}\n[dataset]", 1)
        preset = self.scratch / "speed.toml"
        preset.write_text(text)
        command = [sys.executable, "-m", "tlui.cli.main", "run", str(preset), "--home", str(home)]
        wall, cpu = self.measure([command], self.scratch)
        results = [json.loads(path.read_text()) for path in sorted(home.glob("runs/*/result.json"))]
        runs = len(rates) * max(1, len(sizes))
        if len(results) != runs:
            raise SystemExit(f"{len(results)} of {runs} runs have a result: {home}")
        best = max(r["metrics"]["test_accuracy"] for r in results)
        return Cost(wall, cpu, max(r["peak_memory_mb"] for r in results), best)

    def measure(self, commands: list[list[str]], folder: Path) -> tuple[float, float]:
        """Wall and CPU seconds of commands one after the other, their children included.

        What a command leaves running is waited for: supervisors have sessions of their own.
        """
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KERAS_HOME": str(self.scratch / "keras"),
            "TLUI_CACHE": str(self.scratch / "cache"),
            "TLUI_CONFIG": str(self.scratch / "no-config.toml"),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "-1",
        }
        wall = cpu = 0.0
        for command in commands:
            before = _children_seconds()
            began = time.perf_counter()
            with open(folder / "output.txt", "wb") as log:
                done = subprocess.run(command, cwd=folder, env=env, stdout=log, stderr=log)
            wall += time.perf_counter() - began
            _reap()
            cpu += _children_seconds() - before
            if done.returncode:
                tail = (folder / "output.txt").read_text(errors="replace")[-2000:]
                raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{tail}")
        return wall, cpu


def become_reaper() -> None:
    """Orphans of this process come to it, so that their CPU time is counted (Linux's prctl)."""
    import ctypes

    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def _reap() -> None:
    """Wait for every orphan that came here."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


FOLDED = '[train]\nfeatures = "folded"'
AUGMENT = '[augment]\nflip = "horizontal"\nrotation = 15\nfill = "reflect"'

ROWS = {
    "head": Row(
        "head only, {e} epochs, first time",
        6,
        lambda b: b.plain("head", b.epochs),
        lambda b: b.ours(b.epochs, cold=True),
    ),
    "warm": Row(
        "head only, {e} epochs, caches warm",
        10,
        lambda b: b.plain("head", b.epochs),
        lambda b: b.ours(b.epochs, cold=False),
    ),
    "folded": Row(
        'the same with train.features = "folded"',
        6,
        lambda b: b.plain("head", b.epochs),
        lambda b: b.ours(b.epochs, more=FOLDED, cold=True),
    ),
    "sweep": Row(
        "head-only sweep of 8 learning rates x {e} epochs",
        30,
        lambda b: b.plain("head", b.epochs, RATES),
        lambda b: b.ours(b.epochs, rates=RATES, cold=True),
    ),
    "top20": Row(
        "last 20 layers, {e} epochs",
        3,
        lambda b: b.plain("top20", b.epochs),
        lambda b: b.ours(b.epochs, freeze=LAST_20, cold=True),
    ),
    "augmented": Row(
        "head only with flip + rotation, {e} epochs",
        1.5,
        lambda b: b.plain("augmented", b.epochs),
        lambda b: b.ours(b.epochs, more=AUGMENT, cold=True),
    ),
    "full": Row(
        "full tuning, {h} epochs",
        1.15,
        lambda b: b.plain("full", max(1, b.epochs // 2)),
        lambda b: b.ours(max(1, b.epochs // 2), freeze="none", cold=True),
    ),
    "queue": Row(
        "queue of 5 short runs (head only, 2 epochs)",
        2,
        lambda b: b.plain("head", 2, SHORT_RATES),
        lambda b: b.ours(2, rates=SHORT_RATES, cold=True),
    ),
    "mixed": Row(
        "queue of 6 short runs, 128 and 224 px in turn",
        2,
        lambda b: b.plain("head", 2, SHORT_RATES[:3], (128, 224)),
        lambda b: b.ours(2, rates=SHORT_RATES[:3], sizes=(128, 224), cold=True),
    ),
}


def main() -> None:
    """Measure the rows asked for and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", default=",".join(ROWS), help="comma-separated: %(default)s")
    parser.add_argument("--size", type=int, default=224, choices=(128, 224))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--once",
        action="store_true",
        help="where it would run several times, run the plain\nscript once and count it that often",
    )
    parser.add_argument("--turns", type=int, default=1, help="repeat each row; the best counts")
    given = parser.parse_args()
    photos = realdata()
    become_reaper()
    print(machine(), f"{given.size} px, command: {' '.join(sys.argv)}\n")
    print(
        "| work | wall plain / tlui | ratio | CPU plain / tlui | ratio | target | MB | accuracy |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), photos, given.size, given.epochs, given.once)
        for name in given.rows.split(","):
            print(_line(bench, ROWS[name], given.turns), flush=True)


def _line(bench: Bench, row: Row, turns: int) -> str:
    plain, ours = [], []
    for _ in range(turns):
        plain.append(row.plain(bench))
        ours.append(row.ours(bench))
    a, b = (min(costs, key=lambda c: c.cpu) for costs in (plain, ours))
    title = row.title.format(e=bench.epochs, h=max(1, bench.epochs // 2))
    return (
        f"| {title} | {a.wall:.1f} / {b.wall:.1f} s | {a.wall / b.wall:.1f} "
        f"| {a.cpu:.1f} / {b.cpu:.1f} s | {a.cpu / b.cpu:.1f} | {row.target:g} "
        f"| {a.memory:.0f} / {b.memory:.0f} | {a.accuracy:.3f} / {b.accuracy:.3f} |"
    )


if __name__ == "__main__":
    main()
