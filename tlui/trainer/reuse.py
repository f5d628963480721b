"""What a run leaves to the next one in the same process, so that the next is as if it were first.

A trainer may be handed several runs one after another (`relay`). Those of a sweep differ in
learning rates and the like: they begin with the same network, see the same features and run the
same graphs. What is kept here is keyed by everything that shapes it and put back into the state
it had when it was new, bit for bit, so a run's numbers do not depend on what ran before it.
Nothing is kept unless `keep` says that more runs may come.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlui.recipe.schema import Experiment
from tlui.runs.files import to_json
from tlui.trainer.model.head import reseed
from tlui.trainer.model.network import Network, save_portable
from tlui.trainer.model.template import Template, template
from tlui.trainer.model.variables import SEED, named_variables
from tlui.trainer.model.weights import weights_from
from tlui.trainer.step import Forward, Learner, predictor, to_array

MOST_BYTES = 512 * 2**20
"""Networks larger than this are built anew: the copy of their first weights costs too much."""
MOST_STAGES = 3


@dataclass
class Traced:
    """The graphs of one stage, by what they compute."""

    predict: Callable[[Any], np.ndarray] | None = None
    learners: dict[str, tuple[Learner, list[np.ndarray]]] = field(default_factory=dict)
    """By optimizer: the learner, and its optimizer's variables when they were new."""
    cached: Any = None
    """The CachedFeed that goes with them."""
    chorus: Any = None
    """The Chorus that trains on it, its voices the runs that may follow."""

    def forget(self) -> None:
        """Start anew: they are graphs of something else."""
        self.predict = self.cached = self.chorus = None
        self.learners.clear()

    def predictor(self, forward: Forward) -> Callable[[Any], np.ndarray]:
        """From a batch to logits; always of the same `forward`."""
        if self.predict is None:
            self.predict = predictor(forward)
        return self.predict

    def learner(self, optimizer: str, rate: float, make: Callable[[], Learner]) -> Learner:
        """A learner whose optimizer is new, with `rate` as its learning rate."""
        if optimizer not in self.learners:
            learner = make()
            if _keeping:
                first = [to_array(v) for v in learner.optimizer.variables]
                self.learners[optimizer] = learner, first
            return learner
        learner, first = self.learners[optimizer]
        for variable, value in zip(learner.optimizer.variables, first, strict=True):
            variable.assign(value)
        learner.begin_at(rate)
        return learner


@dataclass
class _Kept:
    key: str
    network: Network
    first: dict[str, np.ndarray]
    """Every variable when the network was new."""
    seed: int
    """Which it was made with, or looks as if."""
    traced: dict[str, Traced] = field(default_factory=dict)
    saved: int = 0
    """How often it was saved with that."""
    template: Template | None = None
    graph: str = ""


_keeping = False
_kept: _Kept | None = None


def keep(wanted: bool = True) -> None:
    """Keep what the next run may use, or (False) forget what is kept and keep no more."""
    global _keeping, _kept
    _keeping = wanted
    if not wanted:
        _kept = None


def network(
    experiment: Experiment, classes: int, runs: Path, make: Callable[[], Network]
) -> Network:
    """The network an experiment begins with: made, or put back to how it was made.

    Args:
        runs: The folder of all runs.
        make: Builds it; deterministic given experiment and classes, from no other run's weights.
    """
    global _kept
    key = _network_key(experiment, classes, runs) if _keeping else None
    if _kept is not None and _kept.key == key:
        if _kept.seed != experiment.train.seed:
            _kept = _with_seed(_kept, experiment.train.seed, make)
        keras.utils.set_random_seed(experiment.train.seed)
        variables = named_variables(_kept.network)
        for name, array in _kept.first.items():
            variables[name].assign(array)
        return _kept.network
    _kept = None
    made = anew(make)
    if key is not None:
        variables = named_variables(made)
        if sum(4 * int(np.prod(v.shape)) for v in variables.values()) <= MOST_BYTES:
            _kept = _Kept(key, made, _arrays(made), experiment.train.seed)
    return made


def _with_seed(kept: _Kept, seed: int, make: Callable[[], Network]) -> _Kept:
    """The same network and graphs, the network as if made with another seed."""
    first = kept.first
    if any(key.startswith("backbone/") and key.endswith(f"/{SEED}") for key in first):
        first = _arrays(anew(make))  # its dropout streams are drawn while it is made
    reseed(kept.network.head_layers, seed)
    head = {k: v for k, v in _arrays(kept.network).items() if k.startswith("head/")}
    return _Kept(kept.key, kept.network, {**first, **head}, seed, kept.traced)


def _arrays(network: Network) -> dict[str, np.ndarray]:
    return {name: to_array(v) for name, v in named_variables(network).items()}


def keeps(network: Network) -> bool:
    """Whether the next run may have this network, with its graphs."""
    return _kept is not None and _kept.network is network


def anew(make: Callable[[], Network]) -> Network:
    """A network that is made, when those of the runs before are gone but for what is kept."""
    if _keeping:
        gc.collect()  # networks and graphs refer to themselves
    return make()


def save(network: Network, path: Path) -> None:
    """`save_portable`; from the second time on with a template where the network is kept.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    kept = _kept if _kept is not None and _kept.network is network else None
    if kept is not None and kept.saved == 1:
        kept.template = template(network.model, path.with_name(f".template.{os.getpid()}.keras"))
    save_portable(network, path, kept.template if kept is not None else None)
    if kept is not None:
        kept.saved += 1


def graph(network: Network) -> str:
    """The network's layers as JSON; asked of Keras once where the network is kept."""
    kept = _kept if _kept is not None and _kept.network is network else None
    if kept is None:
        return str(network.model.to_json())
    kept.graph = kept.graph or str(network.model.to_json())
    return kept.graph


def traced(network: Network, *facts: Any) -> Traced:
    """The graphs of a stage of this network that agrees in all `facts`, or a place for them."""
    if _kept is None or _kept.network is not network:
        return Traced()
    key = _digest(facts)
    if key not in _kept.traced:
        while len(_kept.traced) >= MOST_STAGES:
            del _kept.traced[next(iter(_kept.traced))]
        _kept.traced[key] = Traced()
    return _kept.traced[key]


def _network_key(experiment: Experiment, classes: int, runs: Path) -> str | None:
    """None where the weights come from something that may change."""
    weights = experiment.backbone.weights
    stamp: Any = None
    if weights not in ("imagenet", "none"):
        try:
            found = weights_from(weights, runs).stat()
        except OSError:
            return None
        stamp = [found.st_mtime_ns, found.st_size, found.st_ino]
    if experiment.train.devices > 1 or experiment.start_from is not None:
        return None
    return _digest(
        (
            experiment.backbone.model_dump(),
            stamp,
            experiment.head.model_dump(),
            experiment.dataset.image_size,
            experiment.train.seed if weights == "none" else None,
            experiment.train.mixed_precision,
            classes,
        )
    )


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(json.loads(to_json(facts))).encode()).hexdigest()
