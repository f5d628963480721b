"""Download ImageNet weights into Keras's cache: `python -m tlui.trainer.download NAME`.

The part of `tlui weights pull` that needs TensorFlow.
"""

from __future__ import annotations

import argparse
import os
import sys

from pydantic import ValidationError

from tlui.errors import TluiError
from tlui.recipe.schema import Backbone
from tlui.trainer.output import hushed


def main(arguments: list[str] | None = None) -> int:
    """Fetch one backbone's weights and say where they are."""
    parser = argparse.ArgumentParser(prog="python -m tlui.trainer.download")
    parser.add_argument("name")
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--image-size", type=int)
    given = parser.parse_args(arguments)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    try:
        backbone = Backbone(name=given.name, alpha=given.alpha, weights="imagenet")
    except ValidationError as error:
        for problem in error.errors():
            print(problem["msg"].removeprefix("Value error, "), file=sys.stderr)
        return 2
    try:
        with hushed():
            from tlui.trainer.model.backbones import spec_of
            from tlui.trainer.model.weights import pull

        file, there = pull(backbone, given.image_size or spec_of(backbone.name).size)
    except TluiError as error:
        print(error, file=sys.stderr)
        return error.code
    print(f"{'already there: ' if there else ''}{file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
