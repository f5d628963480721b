"""What a trainer's own records cost: prints a Markdown table.

    TLUI_REALDATA=… python tests/benchmarks/records.py [--size 224] [--epochs 3]

Trains MobileNetV2 0.35 on intel6 twice, everything learning and the head alone on cached features,
and counts the wall time that passes in what writes events, status, TensorBoard's files and
checkpoints, beside the time of training. The heartbeat's thread is counted as well, although
training goes on beside it.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import copy_weights, machine, realdata

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.training import digits_experiment, make_run, train
from tlui.runs.directory import Home
from tlui.runs.events import EventReader

KINDS = ("steps and epochs", "status", "TensorBoard", "checkpoints")
spent: Counter[str] = Counter()
inside = threading.local()


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=int, default=224, choices=(128, 224))
    parser.add_argument("--epochs", type=int, default=3, help="of full tuning; ten times for heads")
    given = parser.parse_args()
    print(machine(), f"{given.size} px, command: {' '.join(sys.argv)}\n")
    print(f"| training | a step | {' | '.join(KINDS)} | steps, epochs, status |")
    print("|---|---|" + "---|" * (len(KINDS) + 1))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KERAS_HOME"] = str(copy_weights(Path(folder)))
        os.environ["TLUI_CACHE"] = str(Path(folder) / "cache")
        (Path(folder) / "home" / "runs").mkdir(parents=True)
        home = Home(Path(folder) / "home")
        watch()
        for title, freeze, epochs in (
            ("full tuning", "none", given.epochs),
            ("head on cached features", "backbone", 10 * given.epochs),
        ):
            print(measure(home, title, freeze, epochs, given.size), flush=True)


def watch() -> None:
    """Count the time of what keeps records."""
    from tlui.trainer.checkpoint import Checkpoints
    from tlui.trainer.pace import Pace
    from tlui.trainer.reporter import Reporter
    from tlui.trainer.tensorboard import TensorBoard

    for owner, name, kind in (
        (Pace, "step", KINDS[0]),
        (Pace, "epoch", KINDS[0]),
        (Reporter, "event", KINDS[0]),
        (Reporter, "_write", KINDS[1]),
        (TensorBoard, "write", KINDS[2]),
        (Checkpoints, "write", KINDS[3]),
        (Checkpoints, "write_behind", KINDS[3]),
        (Checkpoints, "settle", KINDS[3]),
        (Checkpoints, "remember_best", KINDS[3]),
    ):
        setattr(owner, name, counted(getattr(owner, name), kind))


def counted(function: Callable[..., Any], kind: str) -> Callable[..., Any]:
    """The same, its time added to a kind; once, where it calls another that is counted."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        if getattr(inside, "deep", False):
            return function(*arguments, **named)
        inside.deep = True
        began = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            spent[kind] += time.perf_counter() - began
            inside.deep = False

    return call


def measure(home: Home, title: str, freeze: str, epochs: int, size: int) -> str:
    """A line of the table."""
    experiment = digits_experiment(
        dataset={"source": "folder", "path": str(realdata() / "datasets" / "intel6"),
                 "image_size": size, "validation": 0.15},
        backbone={"name": "MobileNetV2", "alpha": 0.35},
        phase=[{"freeze": freeze, "epochs": epochs, "lr": {"policy": "constant", "initial": 1e-3}}],
    )  # fmt: skip
    run = make_run(home, experiment)
    spent.clear()
    if train(run).state != "finished":
        raise SystemExit(run.log.read_text())
    rows = [e for e in EventReader(run.events).read_all() if e["type"] == "epoch"]
    seconds = sum(row["seconds"] for row in rows)  # what it takes to compute features left out
    steps = rows[-1]["global_step"]
    shares = [f"{spent[kind] / seconds:.2%}" for kind in KINDS]
    records = (spent[KINDS[0]] + spent[KINDS[1]]) / seconds
    return (
        f"| {title}, {epochs} epochs | {1000 * seconds / steps:.1f} ms | {' | '.join(shares)} "
        f"| {records:.2%} |"
    )


if __name__ == "__main__":
    main()
