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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlui.data.photos import read_ahead
from tlui.errors import TluiError
from tlui.recipe.schema import Experiment
from tlui.recipe.toml import load_experiment
from tlui.runs.directory import RunDirectory
from tlui.trainer.failure import explain
from tlui.trainer.lean import lean_import
from tlui.trainer.output import stdout_for_answers

if TYPE_CHECKING:
    from tlui.trainer.callers import Batch, Callers


def predict(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The answers to a request, as they come.

    Raises:
        TluiError: The run's settings or weights cannot be used.
    """
    with lean_import():
        from tlui.trainer.callers import Callers
        from tlui.trainer.environment import prepare_devices
    run = RunDirectory(Path(request["run"]))
    experiment = load_experiment(run.preset)
    batch_size = request.get("batch_size") or (
        experiment.evaluate.batch_size or experiment.train.batch_size
    )
    devices = prepare_devices(1, callers=True)
    classify = _classifier(run, experiment, request["classes"], request["weights"])
    forward = Callers(classify, experiment.dataset.image_size, whole=devices.gpu)
    yield {"type": "begin", "batch_size": batch_size, "device": devices.label}
    paths = [os.fsencode(photo) for photo in request["photos"]]
    images = 0
    for answer in _answers(paths, experiment, batch_size, forward):
        images += "probabilities" in answer
        yield answer
    yield {"type": "end", "images": images, "seconds": forward.seconds}


def _classifier(
    run: RunDirectory, experiment: Experiment, classes: int, weights: str
) -> Callable[[Any], np.ndarray]:
    """From uint8 (n, size, size, 3) to float32 probabilities (n, classes)."""
    from tlui.trainer.model.build import build
    from tlui.trainer.model.fold import folded_network
    from tlui.trainer.model.variables import assign_variables, read_checkpoint
    from tlui.trainer.objective import Objective

    arrays = read_checkpoint(run.checkpoints / f"{weights}.npz")
    network = build(experiment, classes, load_weights=False)
    assign_variables(network, arrays)
    logits = folded_network(network)
    objective = Objective(classes, experiment.head.output == "sigmoid")
    return lambda x: objective.probabilities(logits(x).numpy())


def _answers(
    paths: list[bytes], experiment: Experiment, batch_size: int, forward: Callers
) -> Iterator[dict[str, Any]]:
    """One answer a photo, in order; every batch but the last is full."""
    left: list[str] = []
    batches = _batches(paths, experiment, batch_size, left)
    for (held, _, _, _), probabilities in forward.over(batches):
        rows = iter(probabilities)
        for found in held:
            if isinstance(found, str):
                yield {"type": "photo", "error": found}
            else:
                yield {"type": "photo", "probabilities": [float(f"{p:.7g}") for p in next(rows)]}
    yield from ({"type": "photo", "error": reason} for reason in left)


def _batches(
    paths: list[bytes], experiment: Experiment, batch_size: int, left: list[str]
) -> Iterator[Batch]:
    """(what was found of each photo: pixels or why there are none; pixels to classify; –; –).

    `left` gets what is wrong with the last photos, where none of them can be read.
    """
    import tensorflow as tf

    from tlui.trainer.augment import centre_crop

    size = experiment.dataset.image_size
    side = experiment.augment.crop_from or size
    held: list[np.ndarray | str] = []
    good: list[np.ndarray] = []

    def batch() -> Batch:
        return list(held), tf.constant(centre_crop(np.stack(good), size)), None, None

    for found in read_ahead(paths, side, experiment.dataset.resize, 2 * batch_size):
        held.append(found)
        if not isinstance(found, str):
            good.append(found)
        if len(good) == batch_size:
            yield batch()
            held.clear()
            good.clear()
    if good:
        yield batch()
    else:
        left.extend(reason for reason in held if isinstance(reason, str))


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
