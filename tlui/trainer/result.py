"""The end of a run: its weights evaluated on every split, and result.json, written last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tlui.data.items import HIDDEN
from tlui.runs.files import write_json
from tlui.trainer import reuse
from tlui.trainer.callers import Callers
from tlui.trainer.dataset import throttled
from tlui.trainer.environment import peak_memory, versions
from tlui.trainer.evaluate import EvaluationStoppedError, Predictions, predict
from tlui.trainer.features import CachedFeed
from tlui.trainer.model.fold import folded_network
from tlui.trainer.model.variables import assign_variables
from tlui.trainer.prepare import Run
from tlui.trainer.signals import AskedToEndError
from tlui.trainer.step import predictor

FOLDS_FROM = 2000
"""Images to evaluate from which on folding a network saves more time than it takes."""
MOST_FOLDED = 64_000_000
"""Weights beyond which copies as constants cost too much memory, unless they are asked for."""


def evaluate_run(run: Run) -> None:
    """Evaluate the chosen weights on every split and write result.json last.

    Raises:
        EvaluationStoppedError: Asked to end; what was predicted so far is stored.
        OSError: Predictions, model or result cannot be written.
    """
    run.reporter.state("evaluating")
    which = _choose_weights(run)
    peak = peak_memory()
    metrics: dict[str, float] = {}
    splits: dict[str, Any] = {}
    for split, found in _predictions(run):
        stored = run.directory.predictions / f"{split}.npz"
        found.write(stored)
        own, part = run.score(stored, run.table.classes)
        metrics |= {f"{split}_{name}": value for name, value in own.items()}
        splits[split] = {
            **part,
            "inference_seconds": found.seconds,
            "images_per_second": len(found.labels) / max(found.seconds, 1e-9),
            "batch_size": run.feed.evaluation_batch_size,
            "device": run.devices.label,
        }
    reuse.save(run.network, run.directory.model)
    write_json(run.directory.result, _result(run, which, metrics, splits, peak))


def _predictions(run: Run) -> Iterator[tuple[str, Predictions]]:
    """(split, predictions) of every split there is; from cached features where they hold."""
    cached = run.cached
    if cached is not None and not cached.holds(run.experiment, run.devices):
        cached = None
    stage = run.stage
    trained = predictor(run.network.logits)
    if stage is not None:
        trained = stage.traced.predictor(stage.forward)  # a graph that is traced already
    through = stage is None or stage.forward == run.network.logits
    whole = trained if through else predictor(run.network.logits)
    if _is_folded(run):
        constant = folded_network(run.network)
        whole = predictor(lambda x, training: constant(x))
    # threads of ours where TensorFlow's were set up for them (`prepare_devices`)
    alone = run.devices.gpu or not run.experiment.learns_little
    for split in run.experiment.evaluate.splits:
        told = throttled(run.reporter, run.requests, f"evaluating {split}", EvaluationStoppedError)
        if cached is not None and _has_features(run, cached, split):
            batches = cached.feed.evaluation(split)
            forward = Callers(trained, run.feed.size, whole=True)
            found = predict(batches, run.images[split].names, forward, run.objective, told)
            # what the network takes from image to answer: its prefix was timed when it ran
            seconds = found.seconds + cached.feed.features[split].seconds
            yield split, replace(found, seconds=seconds)
        elif (batches := run.feed.evaluation(split)) is not None:
            forward = Callers(whole, run.feed.size, whole=alone)
            yield split, predict(batches, run.images[split].names, forward, run.objective, told)


def _has_features(run: Run, cached: CachedFeed, split: str) -> bool:
    """Whether a split has features, in batches as it is evaluated in.

    Raises:
        EvaluationStoppedError: Asked to end while they were computed.
    """
    images = run.images.get(split)
    other_size = run.feed.batch_size != run.feed.evaluation_batch_size
    if images is None or (split == "train" and other_size):
        return False
    try:
        return cached.has(split, run.feed, images, run.told_of_features(split))
    except AskedToEndError as asked:
        raise EvaluationStoppedError(asked.request) from asked


def _is_folded(run: Run) -> bool:
    """Whether the whole network is evaluated with constants: where that is asked for, or where
    nothing rested whose features are to be exact, and it pays."""
    train = run.experiment.train
    if train.features == "folded" or train.devices > 1:
        return train.devices == 1
    images = sum(len(run.images[x]) for x in run.experiment.evaluate.splits if x in run.images)
    weights = run.network.model.count_params()
    learnt = run.experiment.phase[-1].freeze == "none"
    return learnt and images >= FOLDS_FROM and weights <= MOST_FOLDED


def _choose_weights(run: Run) -> str:
    """Put the weights to evaluate into the network; returns which they are."""
    if run.experiment.evaluate.weights == "best":
        best = run.checkpoints.load_best()
        if best is not None:
            assign_variables(run.network, best.network())
            return "best"
    return "last"


def _result(
    run: Run,
    which: str,
    metrics: dict[str, float],
    splits: dict[str, Any],
    training_peak: dict[str, float | None],
) -> dict[str, Any]:
    state = run.state
    phases = []
    for i, row in enumerate(state.phases):
        epochs = sum(r["phase"] == i for r in state.history)
        phases.append({**row, "epochs": epochs})
    timed: dict[str, Any] = splits.get("test") or next(iter(splits.values()), {})
    last = phases[-1] if phases else {}
    skipped: list[dict[str, str | None]] = [
        {"split": split, "name": name, "reason": reason}
        for split, images in run.images.items()
        for name, reason in (*images.skipped, *images.lost)
    ]
    skipped += [
        {"split": None, "name": item.name, "reason": item.reason}
        for item in run.table.skipped
        if item.reason != HIDDEN
    ]
    return {
        "version": 1,
        "metrics": metrics,
        "splits": splits,
        "best": {**(state.best or {}), "monitor": state.monitor},
        "evaluated": which,
        "epochs": state.epoch,
        "train_seconds": round(state.seconds, 3),
        "test_inference_seconds": splits.get("test", {}).get("inference_seconds"),
        "images_per_second": timed.get("images_per_second"),
        "trainable_parameters": last.get("trainable_parameters"),
        "total_parameters": last.get("total_parameters"),
        "phases": phases,
        **training_peak,
        "skipped_images": skipped,
        "device": run.reporter.status.device,
        "versions": versions(),
    }
