"""How many parameters learn in each phase: `python -m tlui.trainer.parameters`.

Reads `{"experiments": [{"toml": "…"}], "classes": [n]}` on stdin and prints JSON on stdout, for
`tlui preset check` and the form, which import no TensorFlow. Networks are built with random
weights; nothing is downloaded or read.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import tomli
from pydantic import ValidationError

from tlui.errors import TluiError
from tlui.recipe.schema import Experiment
from tlui.trainer.model.network import Network
from tlui.trainer.output import stdout_for_answers


def count(requests: dict[str, Any]) -> dict[str, Any]:
    """The answer to one request.

    Args:
        requests: `experiments`, each with its resolved `toml`, and `classes`, one number each.

    Returns:
        `{"experiments": [answer…]}` in the same order. An answer is `{"phases": […]}` with
        `freeze`, `batchnorm`, `trainable_parameters`, `total_parameters`, `first_learning`
        (index of the first backbone layer that learns, or null) and `layers`, a list of
        `{"name", "frozen"}`; `{"refused": message}` where it could not be trained either; or
        `{"error": message}`.
    """
    experiments = requests.get("experiments")
    classes = requests.get("classes")
    if not isinstance(experiments, list) or not isinstance(classes, list):
        raise TluiError('expected {"experiments": [{"toml": …}], "classes": [n]}', code=2)
    if len(experiments) != len(classes):
        raise TluiError(
            f"expected one number of classes for each experiment. "
            f"Received: {len(experiments)} experiments, {len(classes)} numbers",
            code=2,
        )
    built: dict[str, Network] = {}
    return {
        "experiments": [
            _answer(entry, n, built) for entry, n in zip(experiments, classes, strict=True)
        ]
    }


def _answer(entry: Any, classes: Any, built: dict[str, Network]) -> dict[str, Any]:
    from tlui.trainer.model.freezing import batchnorm_mode, set_regime

    try:
        experiment = Experiment.model_validate(tomli.loads(str(entry["toml"])))
        network = _network(experiment, int(classes), built)
        phases = []
        for phase in experiment.phase:
            mode = batchnorm_mode(phase.batchnorm, experiment.transfers)
            report = set_regime(network, phase.freeze, mode)
            phases.append(
                {
                    "freeze": phase.freeze,
                    "batchnorm": report.batchnorm,
                    "trainable_parameters": report.trainable_parameters,
                    "total_parameters": report.total_parameters,
                    "first_learning": report.first_learning,
                    "layers": [{"name": n, "frozen": f} for n, f in report.layers],
                }
            )
        return {"phases": phases}
    except (TluiError, ValidationError, tomli.TOMLDecodeError) as error:
        return {"refused": str(error)}
    except (KeyError, TypeError, ValueError) as error:
        return {"error": f"cannot be counted: {error}"}


def _network(experiment: Experiment, classes: int, built: dict[str, Network]) -> Network:
    """Build it, or take one of the same shape: points of a sweep mostly share theirs."""
    from tlui.trainer.model.build import build

    shape = json.dumps(
        [
            experiment.backbone.name,
            experiment.backbone.alpha,
            experiment.dataset.image_size,
            experiment.head.model_dump(exclude={"class_weights", "label_smoothing"}),
            classes,
        ]
    )
    if shape not in built:
        built[shape] = build(experiment, classes, load_weights=False, mixed_precision=False)
    return built[shape]


def main() -> int:
    """Answer one request; exit code 2 where it makes no sense."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with stdout_for_answers() as answers:
        try:
            requests = json.load(sys.stdin)
            answer = count(requests if isinstance(requests, dict) else {})
        except json.JSONDecodeError as error:
            print(f"stdin is not JSON: {error}", file=sys.stderr)
            return 2
        except TluiError as error:
            print(error, file=sys.stderr)
            return error.code
        json.dump(answer, answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
