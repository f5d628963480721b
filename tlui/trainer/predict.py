"""Classify photos with a trained run: `python -m tlui.trainer.predict`, for `tlui predict`.

Reads one request on stdin, `{"run": DIR, "classes": 6, "weights": "best", "batch_size": 32 or
null, "photos": [path…]}`, and writes JSON lines on stdout: `begin` (batch_size, device), a `photo`
for each in the order given (probabilities, or error), `end` (images, seconds of inference), or
`error` (message, code) where it cannot go on. The network runs as one graph of constants.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tlui.data.photos import read_ahead
from tlui.errors import TluiError
from tlui.recipe.schema import Experiment
from tlui.recipe.toml import load_experiment
from tlui.runs.directory import RunDirectory
from tlui.trainer.failure import explain
from tlui.trainer.output import stdout_for_answers


def predict(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The answers to a request, as they come.

    Raises:
        TluiError: The run's settings or weights cannot be used.
    """
    from tlui.trainer.environment import prepare_devices

    run = RunDirectory(Path(request["run"]))
    experiment = load_experiment(run.preset)
    batch_size = request.get("batch_size") or (
        experiment.evaluate.batch_size or experiment.train.batch_size
    )
    device = prepare_devices(1, callers=True).label
    classify = _classifier(run, experiment, request["classes"], request["weights"])
    yield {"type": "begin", "batch_size": batch_size, "device": device}
    timed = _Timed(classify)
    paths = [os.fsencode(photo) for photo in request["photos"]]
    yield from _answers(paths, experiment, batch_size, timed)
    yield {"type": "end", "images": timed.images, "seconds": timed.seconds}


def _classifier(
    run: RunDirectory, experiment: Experiment, classes: int, weights: str
) -> Callable[[np.ndarray], np.ndarray]:
    """From uint8 (n, size, size, 3) to float32 probabilities (n, classes)."""
    import tensorflow as tf

    from tlui.trainer.model.build import build
    from tlui.trainer.model.fold import folded_network
    from tlui.trainer.model.variables import assign_variables, read_checkpoint
    from tlui.trainer.objective import Objective

    arrays = read_checkpoint(run.checkpoints / f"{weights}.npz")
    network = build(experiment, classes, load_weights=False)
    assign_variables(network, arrays)
    logits = folded_network(network)
    objective = Objective(classes, experiment.head.output == "sigmoid")
    return lambda x: objective.probabilities(logits(tf.constant(x)).numpy())


class _Timed:
    """Runs a function on batches and adds up its time, the first batch having run once before."""

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]) -> None:
        self._function = function
        self.seconds = 0.0
        self.images = 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if not self.images:
            self._function(x)
        began = time.perf_counter()
        found = self._function(x)
        self.seconds += time.perf_counter() - began
        self.images += len(x)
        return found


def _answers(
    paths: list[bytes],
    experiment: Experiment,
    batch_size: int,
    classify: Callable[[np.ndarray], np.ndarray],
) -> Iterator[dict[str, Any]]:
    """One answer a photo, in order; every batch but the last is full."""
    from tlui.trainer.augment import centre_crop

    size = experiment.dataset.image_size
    side = experiment.augment.crop_from or size
    held: list[np.ndarray | str] = []
    good = 0

    def answer() -> Iterator[dict[str, Any]]:
        pixels = [found for found in held if not isinstance(found, str)]
        rows = iter(classify(centre_crop(np.stack(pixels), size)) if pixels else ())
        for found in held:
            if isinstance(found, str):
                yield {"type": "photo", "error": found}
            else:
                yield {"type": "photo", "probabilities": [float(f"{p:.7g}") for p in next(rows)]}

    for found in read_ahead(paths, side, experiment.dataset.resize, 2 * batch_size):
        held.append(found)
        good += not isinstance(found, str)
        if good == batch_size:
            yield from answer()
            held, good = [], 0
    yield from answer()


def main() -> int:
    """Answer one request; the exit code is that of its error, 0 without one."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    with stdout_for_answers() as out:

        def say(answer: dict[str, Any]) -> None:
            print(json.dumps(answer), file=out, flush=True)

        try:
            for answer in predict(json.load(sys.stdin)):
                say(answer)
        except BrokenPipeError:
            raise
        except Exception as error:
            outcome = explain(error)
            message = outcome.reason if outcome.expected else f"predicting failed: {outcome.reason}"
            code = error.code if isinstance(error, TluiError) else outcome.code
            say({"type": "error", "message": message, "code": code})
            return code
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # TensorFlow's threads take long to be torn down, and all is written
