"""How fast a trained network answers as `tlui predict` runs it, next to plain Keras: a table.

    TLUI_REALDATA=… python tests/benchmarks/inference.py [--size 224] [--rounds 20] [--turns 3]

A process each, as a user has them, in turns: `model.predict`, and the graph of constants by the
callers of `tlui predict`; the same network with its ImageNet weights, real photos in memory. Times
are medians of wall and CPU seconds from the pixels to the probabilities of one call, after two to
warm up; the best of the turns counts. The largest difference of a probability is said.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import copy_weights, machine, realdata

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {64: 2, 1: 5}
SIDES = ("plain", "ours")


def main() -> None:
    """Measure both batch sizes and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=int, default=224, choices=(128, 224))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        sys.path.insert(0, str(ROOT))
        print(json.dumps(_measure(given.side, given.size, given.rounds)))
        return
    print(machine(), f"{given.size} px, MobileNetV2 0.35, command: {' '.join(sys.argv)}\n")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KERAS_HOME"] = str(copy_weights(Path(folder)))
        found: dict[str, list[Any]] = {side: [] for side in SIDES}
        for _ in range(given.turns):
            for side in SIDES:
                command = [sys.executable, __file__, "--side", side, "--size", str(given.size)]
                command += ["--rounds", str(given.rounds)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(done.stderr[-2000:])
                found[side].append(json.loads(done.stdout.splitlines()[-1]))
    print("| photos a call | wall predict / tlui | ratio | CPU | ratio | target | difference |")
    print("|---|---|---|---|---|---|---|")
    for batch, target in TARGETS.items():
        a, b = ([turn[str(batch)] for turn in found[side]] for side in SIDES)
        wall, cpu = ([1e3 * min(t[what] for t in x) for x in (a, b)] for what in ("wall", "cpu"))
        pairs = zip(a[0]["answers"], b[0]["answers"], strict=True)
        apart = max(abs(x - y) for row, other in pairs for x, y in zip(row, other, strict=True))
        print(
            f"| batch {batch} | {wall[0]:.1f} / {wall[1]:.1f} ms | {wall[0] / wall[1]:.1f} "
            f"| {cpu[0]:.1f} / {cpu[1]:.1f} ms | {cpu[0] / cpu[1]:.1f} | {target} | {apart:.0e} |"
        )


def _measure(side: str, size: int, rounds: int) -> dict[int, Any]:
    """Medians and answers by batch size, in this process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import numpy as np
    import tensorflow as tf

    from tlui.data.photos import find, read_ahead
    from tlui.recipe.schema import Experiment
    from tlui.trainer.callers import Callers
    from tlui.trainer.environment import prepare_devices
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
    if side == "ours":
        prepare_devices(1, callers=True)
    network = build(experiment, 6)
    logits, objective = folded_network(network), Objective(6)
    forward = Callers(lambda x: objective.probabilities(logits(x).numpy()), size)

    def plain(x: np.ndarray) -> np.ndarray:
        found: np.ndarray = network.model.predict(x, batch_size=len(x), verbose=0)
        return found

    def ours(x: np.ndarray) -> np.ndarray:
        [(_, found)] = forward.over([(None, tf.constant(x), None, None)])
        return found

    answer = plain if side == "plain" else ours
    results = {}
    for batch in TARGETS:
        pixels = photos[:batch] if side == "ours" else photos[:batch].astype(np.float32)
        results[batch] = _medians(answer, pixels, rounds if batch > 1 else 5 * rounds)
    return results


def _medians(answer: Callable[[Any], Any], pixels: Any, rounds: int) -> dict[str, Any]:
    answer(pixels)
    answers = answer(pixels).tolist()
    spent = []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        answer(pixels)
        spent.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = (statistics.median(column) for column in zip(*spent, strict=True))
    return {"wall": wall, "cpu": cpu, "answers": answers}


if __name__ == "__main__":
    main()
