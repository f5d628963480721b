"""How fast a trained network answers as `tlui predict` runs it, next to plain Keras: a table.

    TLUI_REALDATA=… python tests/benchmarks/inference.py [--size 224] [--rounds 20]

One process, one network with its ImageNet weights, real photos in memory: `model.predict` and the
graph of constants take turns, after both have run twice. Times are medians of wall and CPU seconds
from the pixels to the probabilities of one batch; the largest difference of a probability is said.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from machine import copy_weights, machine, realdata

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
TARGETS = {64: 2, 1: 5}


def main() -> None:
    """Measure both batch sizes and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=int, default=224, choices=(128, 224))
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KERAS_HOME"] = str(copy_weights(Path(folder)))
        _measure(given.size, given.rounds)


def _measure(size: int, rounds: int) -> None:
    import numpy as np
    import tensorflow as tf

    from tlui.data.photos import find, read_ahead
    from tlui.recipe.schema import Experiment
    from tlui.trainer.model.build import build
    from tlui.trainer.model.fold import folded_network
    from tlui.trainer.objective import Objective

    folder = realdata() / "datasets" / "intel6" / "test"
    paths = [photo.path for photo in find([os.fsencode(folder)])[0]][:: max(1, 300 // 64)]
    photos = np.stack(list(read_ahead(paths[: max(TARGETS)], size, "stretch", 64)))
    experiment = Experiment.model_validate(
        {
            "name": "inference",
            "dataset": {"source": "folder", "path": str(folder), "image_size": size},
            "backbone": {"name": "MobileNetV2", "alpha": 0.35},
            "phase": [{"lr": {"policy": "constant", "initial": 1e-3}}],
        }
    )
    network = build(experiment, 6)
    logits, objective = folded_network(network), Objective(6)
    print(machine(), f"{size} px, MobileNetV2 0.35, command: {' '.join(sys.argv)}\n")
    print("| photos a call | wall predict / folded | ratio | CPU | ratio | target | difference |")
    print("|---|---|---|---|---|---|---|")
    for batch, target in TARGETS.items():
        pixels = photos[:batch]
        floats = pixels.astype(np.float32)

        def plain(x: np.ndarray = floats, size: int = batch) -> np.ndarray:
            return network.model.predict(x, batch_size=size, verbose=0)

        def ours(x: np.ndarray = pixels) -> np.ndarray:
            return objective.probabilities(logits(tf.constant(x)).numpy())

        apart = float(np.abs(plain() - ours()).max())
        (wall_a, cpu_a), (wall_b, cpu_b) = _in_turns(
            plain, ours, rounds if batch > 1 else 5 * rounds
        )
        print(
            f"| batch {batch} | {wall_a * 1e3:.1f} / {wall_b * 1e3:.1f} ms | {wall_a / wall_b:.1f} "
            f"| {cpu_a * 1e3:.1f} / {cpu_b * 1e3:.1f} ms | {cpu_a / cpu_b:.1f} "
            f"| {target} | {apart:.0e} |",
            flush=True,
        )


def _in_turns(a: Callable[[], object], b: Callable[[], object], rounds: int) -> list[list[float]]:
    """Medians of (wall, CPU) seconds of both."""
    spent: list[list[tuple[float, float]]] = [[], []]
    for i in range(-1, rounds):
        for function, own in zip((a, b), spent, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            function()
            if i >= 0:
                own.append((time.perf_counter() - wall, time.process_time() - cpu))
    return [[statistics.median(column) for column in zip(*own, strict=True)] for own in spent]


if __name__ == "__main__":
    main()
