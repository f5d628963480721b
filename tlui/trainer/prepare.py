"""All that one run works with, made ready: devices, data, network, and where training stands."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tlui.data.items import Progress
from tlui.data.store import Images
from tlui.data.table import Table
from tlui.errors import TluiError
from tlui.recipe.schema import Experiment
from tlui.runs.directory import RunDirectory
from tlui.runs.files import write_json
from tlui.trainer import reuse
from tlui.trainer.checkpoint import Checkpoint, Checkpoints
from tlui.trainer.dataset import Dataset, throttled
from tlui.trainer.environment import Devices, describe, prepare_devices
from tlui.trainer.features import CachedFeed
from tlui.trainer.feed import ImageFeed
from tlui.trainer.fit import Stage
from tlui.trainer.model.build import build
from tlui.trainer.model.network import Network
from tlui.trainer.model.variables import assign_variables
from tlui.trainer.model.warm import warm_start
from tlui.trainer.objective import Objective, objective_for
from tlui.trainer.reporter import Reporter
from tlui.trainer.scoring import Score
from tlui.trainer.signals import AskedToEndError, Requests
from tlui.trainer.state import TrainingState, monitored


@dataclass
class Run:
    """Everything one run works with."""

    directory: RunDirectory
    experiment: Experiment
    reporter: Reporter
    requests: Requests
    devices: Devices
    table: Table
    images: dict[str, Images]
    network: Network
    objective: Objective
    feed: ImageFeed
    checkpoints: Checkpoints
    state: TrainingState
    last: Checkpoint | None
    """The checkpoint `state` came from; None at a first start."""
    score: Callable[[Path, list[str]], Score]
    """`scoring.score`, wherever it is done."""
    cached: CachedFeed | None = None
    """The last phase's features, where it trained on some."""
    stage: Stage | None = None
    """What the last phase trained; None where nothing was left to train."""

    def told_of_features(self, split: str) -> Progress:
        """What hears how far the features of a split are, and ends it where that is asked for."""
        return throttled(self.reporter, self.requests, f"features of {split}", AskedToEndError)


def prepare(
    directory: RunDirectory,
    dataset: Dataset,
    reporter: Reporter,
    requests: Requests,
    score: Callable[[Path, list[str]], Score],
) -> Run:
    """Set up devices and network, with the weights and progress of the last checkpoint.

    Raises:
        TluiError: The weights cannot be used.
    """
    experiment, table, images = dataset.experiment, dataset.table, dataset.images
    devices = prepare_devices(experiment.train.devices, callers=experiment.learns_little)
    reporter.device(devices.label)
    if not devices.gpu and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"):
        reporter.log("no GPU here: training on the CPU")
    env = describe(experiment, devices, table.fingerprint, directory.read_meta())
    write_json(directory.env, env)
    write_json(directory.classes, {"version": 1, "classes": table.classes})
    objective = objective_for(experiment.head, table.classes, images["train"].labels)

    checkpoints = Checkpoints(directory.checkpoints)
    checkpoints.sweep()
    last, notes = checkpoints.load()
    for note in notes:
        reporter.log(note, "warning")
    network = _network(directory, experiment, table, devices, reporter, last)
    state = _state(experiment, table, reporter, last)
    feed = ImageFeed(
        images,
        batch_size=experiment.train.batch_size,
        evaluation_batch_size=experiment.evaluate.batch_size or experiment.train.batch_size,
        size=experiment.dataset.image_size,
        seed=experiment.train.seed,
        classes=len(table.classes),
        augment=experiment.augment,
        steps_per_execution=experiment.train.steps_per_execution,
        device="/GPU:0" if devices.gpu and devices.strategy is None else "",
    )
    return Run(
        directory,
        experiment,
        reporter,
        requests,
        devices,
        table,
        images,
        network,
        objective,
        feed,
        checkpoints,
        state,
        last,
        score,
    )


def _network(
    directory: RunDirectory,
    experiment: Experiment,
    table: Table,
    devices: Devices,
    reporter: Reporter,
    last: Checkpoint | None,
) -> Network:
    """The network with the weights training begins from."""
    runs = directory.path.parent
    start = experiment.start_from

    def make() -> Network:
        return build(
            experiment,
            len(table.classes),
            runs=runs,
            load_weights=last is None and start is None,
            strategy=devices.strategy,
        )

    fresh = last is None and start is None
    network = (
        reuse.network(experiment, len(table.classes), runs, make) if fresh else reuse.anew(make)
    )
    if last is not None:
        assign_variables(network, last.network())
    elif start is not None:
        if start.run is None:
            raise TluiError(
                f'start_from: the run of experiment "{start.experiment}" is not known; '
                "run the lab as a whole, or name a run with start_from.run"
            )
        warm = warm_start(
            network, RunDirectory(runs / start.run), start.weights, start.head, table.classes
        )
        reporter.log(
            f"starts from the {warm.checkpoint} weights of run {warm.run}; "
            f"head {warm.head}: {warm.reason}"
        )
    return network


def _state(
    experiment: Experiment, table: Table, reporter: Reporter, last: Checkpoint | None
) -> TrainingState:
    if last is not None:
        state = TrainingState.from_dict(last.state)
        where = f"epoch {state.epoch + 1}" + (f", step {state.step}" if state.step else "")
        done = state.phase >= len(experiment.phase)
        reporter.log("trained to its end already" if done else f"resuming at {where}")
    else:
        monitor = monitored(experiment.train.monitor, table.splits)
        if monitor != experiment.train.monitor:
            reporter.log(f"there is no val split: {monitor} picks the best epoch", "warning")
        state = TrainingState(monitor)
    return state
