"""Write the names of every backbone's layers: `python -m tlui.trainer.model.layers`.

Builds each backbone of the catalogue with random weights, which takes a few minutes and GB.
"""

from __future__ import annotations

import gc

import keras

from tlui.recipe.catalogue import BACKBONES
from tlui.recipe.layers import FILE
from tlui.recipe.schema import Backbone
from tlui.trainer.model.backbones import build_backbone
from tlui.trainer.model.naming import fresh_names


def built_names(backbone: str, alpha: float = 1.0) -> list[str]:
    """The layers of a backbone as Keras builds it, in order, without its input."""
    model = build_backbone(
        Backbone(name=backbone, alpha=alpha, weights="none"), BACKBONES[backbone].least
    )
    return fresh_names([x for x in model.layers if not isinstance(x, keras.layers.InputLayer)])


def main() -> None:
    """Build them all and write the file."""
    lines = []
    for backbone in BACKBONES:
        lines.append(" ".join([backbone, *built_names(backbone)]))
        keras.backend.clear_session()
        gc.collect()
    FILE.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
