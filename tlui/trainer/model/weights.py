"""Where a backbone's weights come from: ImageNet, nowhere, a file, or another run.

`imagenet` is Keras's own download and cache (`$KERAS_HOME/models`). Files are read as arrays only
(`h5.py`). Whatever the source, the architecture is the one of random weights: EfficientNet's extra
Rescaling layer, which Keras adds for ImageNet only, is folded into the Normalization layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras
import numpy as np

from tlui.errors import TluiError
from tlui.recipe.backbones import weights_file, weights_folder
from tlui.recipe.schema import Backbone
from tlui.trainer.model import h5
from tlui.trainer.model.backbones import IMAGENET_STD, build_backbone, spec_of
from tlui.trainer.model.naming import fresh_names, is_counted, layer_variables, snake
from tlui.trainer.model.variables import mismatches, read_checkpoint, settle, shorten


def backbone_with_weights(backbone: Backbone, size: int, runs: Path | None) -> keras.Model:
    """The backbone, built and filled.

    Args:
        size: Side of the input, in pixels.
        runs: The folder of all runs, for `run:ID`.

    Raises:
        TluiError: The weights are absent, damaged or do not fit.
    """
    if backbone.weights == "imagenet":
        return _imagenet(backbone, size)
    model = build_backbone(backbone, size)
    if backbone.weights == "none":
        return model
    if backbone.weights.startswith("run:"):
        load_run(model, backbone.weights.removeprefix("run:"), runs)
    else:
        load_file(model, Path(backbone.weights).expanduser())
    return model


def _imagenet(backbone: Backbone, size: int) -> keras.Model:
    filled = build_imagenet(backbone, size)
    if spec_of(backbone.name).module != "efficientnet":
        return filled
    model = build_backbone(backbone, size)
    model.set_weights(filled.get_weights())
    fold_rescaling(model)
    return model


def build_imagenet(backbone: Backbone, size: int) -> keras.Model:
    """What keras.applications builds with `weights="imagenet"`, downloading if it must.

    Raises:
        TluiError: No network and not in the cache: names the file, where it goes, and the
            command that fetches it.
    """
    try:
        return build_backbone(backbone, size, "imagenet")
    except TluiError:
        raise
    except Exception as error:  # Keras raises bare Exception where a download fails
        raise TluiError(_not_there(backbone, size, str(error))) from error


def _not_there(backbone: Backbone, size: int, reason: str) -> str:
    file = weights_folder() / weights_file(backbone.name, backbone.alpha, size)
    if file.is_file():
        return (
            f"{backbone.name}: its ImageNet weights in {file} cannot be used: {reason}\n"
            "Delete that file to have it downloaded again"
        )
    options = f" --alpha {backbone.alpha:g}" if spec_of(backbone.name).alphas else ""
    options += f" --image-size {size}" if spec_of(backbone.name).sizes else ""
    return (
        f"{backbone.name}: its ImageNet weights are not in Keras's cache and could not be "
        f"downloaded ({reason.split(' -- ')[-1]}).\n"
        f"On a machine with network: tlui weights pull {backbone.name}{options}\n"
        f"then copy {file.name}\n"
        f"  to {file}\n"
        "($KERAS_HOME moves the cache)"
    )


def fold_rescaling(model: keras.Model) -> None:
    """Put EfficientNet's extra Rescaling(1/sqrt(std)) into the Normalization in front of it.

    With ImageNet weights Keras divides by sqrt(std) after dividing by sqrt(variance);
    variance * std gives the same, since sqrt(v * s) = sqrt(v) * sqrt(s).
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.input_mean is None:
            variance = np.asarray(layer.adapt_variance)
            layer.adapt_variance.assign(variance * np.reshape(IMAGENET_STD, variance.shape))
            layer.finalize_state()


def load_run(model: keras.Model, run_id: str, runs: Path | None) -> None:
    """Fill the backbone from another run's best checkpoint (its last where it has no best).

    Raises:
        TluiError: No such run or checkpoint, or its backbone is another.
    """
    folder = runs / run_id if runs is not None else None
    if folder is None or not re.fullmatch(r"[0-9a-f]+", run_id) or not folder.is_dir():
        raise TluiError(f'backbone.weights = "run:{run_id}": no such run; see tlui ls', code=2)
    arrays = read_checkpoint(_checkpoint(folder))
    theirs = {k: v for k, v in arrays.items() if k.startswith("backbone/")}
    own = backbone_variables(model)
    problems = mismatches(own, theirs)
    problems += [f"{key}: not in that run" for key in own if key not in theirs]
    if problems:
        raise TluiError(
            f'backbone.weights = "run:{run_id}": that run has another backbone:\n'
            + shorten(problems)
        )
    for key, array in theirs.items():
        own[key].assign(array)
    settle(model)


def weights_from(given: str, runs: Path | None) -> Path:
    """The file that `backbone.weights` stands for, which need not be there."""
    if given.startswith("run:") and runs is not None:
        return _checkpoint(runs / given.removeprefix("run:"))
    return Path(given).expanduser()


def _checkpoint(run: Path) -> Path:
    best, last = run / "checkpoints" / "best.npz", run / "checkpoints" / "last.npz"
    return best if best.is_file() else last


def backbone_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """The variables of a backbone by the keys of `named_variables`, dropout streams included."""
    layers = [x for x in model.layers if not isinstance(x, keras.layers.InputLayer)]
    return {
        key: variable
        for layer, name in zip(layers, fresh_names(layers), strict=True)
        for key, variable in layer_variables(layer, f"backbone/{name}")
    }


def load_file(model: keras.Model, path: Path) -> None:
    """Fill the backbone from a .h5, .weights.h5 or .keras file.

    The file may be of the backbone alone, of the backbone with its top, or of a whole classifier
    it is part of; every weight of the backbone must be in it with its shape.

    Raises:
        TluiError: Absent, damaged, holding code, or not of this backbone: what misfits is named.
    """
    with h5.open_weights(path) as file:
        old = h5.old_layers(file)
        arrays = _match_old(model, old) if old is not None else _match_new(model, file)
    if isinstance(arrays, list):
        raise TluiError(f"{path}: does not hold the weights of this backbone:\n" + shorten(arrays))
    for layer, values in arrays.values():
        for variable, value in zip(own_weights(layer), values, strict=True):
            variable.assign(value)
    if _of_imagenet(model):
        fold_rescaling(model)
    settle(model)


Found = dict[str, tuple[keras.layers.Layer, list[np.ndarray]]]
"""Per layer name: the layer and its arrays, in Keras's order."""


def own_weights(layer: keras.layers.Layer) -> list[keras.Variable]:
    """A layer's weights in the order files hold them: trainable first."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def _misfit(name: str, layer: keras.layers.Layer, values: list[np.ndarray]) -> str | None:
    want = [tuple(v.shape) for v in own_weights(layer)]
    got = [tuple(np.shape(v)) for v in values]
    return None if want == got else f"{name}: {got} in the file, {want} wanted"


def _match_old(model: keras.Model, old: list[h5.OldLayer]) -> Found | list[str]:
    """In order, wherever in the file the backbone starts; else by name.

    Order is what Keras goes by: names given by its counter differ from process to process. Names
    that were given on purpose must agree.
    """
    flat = [x for x in _in_order(model) if own_weights(x)]
    for start in range(len(old) - len(flat) + 1):
        pairs = list(zip(flat, old[start : start + len(flat)], strict=True))
        if all(_same_place(x, o) for x, o in pairs):
            return {o.name: (x, o.weights) for x, o in pairs}
    by_name = {layer.name: layer.weights for layer in old}
    problems = [f"{x.name}: not in the file" for x in flat if x.name not in by_name]
    named = {x.name: (x, by_name[x.name]) for x in flat if x.name in by_name}
    problems += [p for name, (x, values) in named.items() if (p := _misfit(name, x, values))]
    return problems or named


def _in_order(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Every layer, those of nested models where the nested model stands."""
    for layer in model.layers:
        if getattr(layer, "layers", None):
            yield from _in_order(layer)
        else:
            yield layer


def _same_place(layer: keras.layers.Layer, old: h5.OldLayer) -> bool:
    if not is_counted(layer) and not f"/{old.name}".endswith(f"/{layer.name}"):
        return False
    return _misfit(layer.name, layer, old.weights) is None


def _match_new(model: keras.Model, file: h5py.File) -> Found | list[str]:
    """Keras 3 numbers layers by class within each model: try every model in the file."""
    paths = list(_new_paths(model, ""))
    closest: list[str] | None = None
    for root in h5.new_roots(file):
        found: Found = {}
        problems = []
        for path, layer in paths:
            group = h5.item(file, f"{root}/{path}/vars")
            if group is None:
                problems.append(f"{path}: not in the file")
                continue
            sets = [h5.item(group, str(i)) for i in range(len(own_weights(layer)))]
            values = [s[()] for s in sets if s is not None]
            problem = _misfit(path, layer, values)
            if problem:
                problems.append(problem)
            found[path] = (layer, values)
        if not problems:
            return found
        if closest is None or len(problems) < len(closest):
            closest = problems
    return closest or ["no Keras weights in it"]


def _new_paths(model: keras.Model, prefix: str) -> list[tuple[str, keras.layers.Layer]]:
    paths: list[tuple[str, keras.layers.Layer]] = []
    seen: dict[str, int] = {}
    for layer in model.layers:
        stem = snake(type(layer).__name__)
        count = seen.get(stem, 0)
        seen[stem] = count + 1
        path = f"{prefix}layers/{stem}" + (f"_{count}" if count else "")
        if own_weights(layer):
            paths.append((path, layer))
        if getattr(layer, "layers", None):
            paths += _new_paths(layer, f"{path}/")
    return paths


def _of_imagenet(model: keras.Model) -> bool:
    """Whether a Normalization layer holds ImageNet's statistics, which want the fold.

    A file that tlui wrote has them folded already.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.input_mean is None:
            variance = np.ravel(np.asarray(layer.adapt_variance))
            return bool(np.allclose(variance, np.square(IMAGENET_STD), rtol=1e-3))
    return False


def pull(backbone: Backbone, size: int) -> tuple[Path, bool]:
    """Download into Keras's cache; the file, and whether it was there already."""
    file = weights_folder() / weights_file(backbone.name, backbone.alpha, size)
    there = file.is_file()
    build_imagenet(backbone, size)
    return file, there
