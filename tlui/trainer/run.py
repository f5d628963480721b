"""One run from its preset to its result: prepare, train, evaluate.

Every file written here appears whole, and result.json last of all: a run that has one is complete.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from tlui.recipe.schema import Phase
from tlui.runs.directory import RunDirectory
from tlui.runs.history import load
from tlui.trainer import reuse
from tlui.trainer.chorus import Chorus, ChorusFeed
from tlui.trainer.dataset import Dataset
from tlui.trainer.evaluate import EvaluationStoppedError
from tlui.trainer.failure import FINISHED, INTERRUPTED, STOPPED, Outcome
from tlui.trainer.features import CachedFeed, cached_feed, is_separable, is_streamed, views_ahead
from tlui.trainer.feed import Feed
from tlui.trainer.fit import DivergedError, Ending, Fit, Stage
from tlui.trainer.model.fold import folded
from tlui.trainer.model.freezing import RegimeReport
from tlui.trainer.model.prefix import frozen_prefix
from tlui.trainer.prepare import Run, prepare
from tlui.trainer.relay import coming
from tlui.trainer.reporter import Reporter
from tlui.trainer.result import evaluate_run
from tlui.trainer.scoring import Score
from tlui.trainer.signals import AskedToEndError, Requests
from tlui.trainer.step import Forward, Learner
from tlui.trainer.tensorboard import TensorBoard
from tlui.trainer.validation import validate
from tlui.trainer.voices import can_sing, companions


def train_run(
    directory: RunDirectory,
    dataset: Future[Dataset],
    reporter: Reporter,
    requests: Requests,
    score: Callable[[Path, list[str]], Score],
) -> Outcome:
    """Train, evaluate and store one run, from its last checkpoint where it has one.

    Args:
        dataset: Its photos, from `reading`.
        score: `scoring.score`, or where that is done elsewhere.

    Raises:
        TluiError: The preset, the data or the weights cannot be used.
        DivergedError: Loss not finite.
        OSError: Results cannot be stored.
    """
    try:
        run = prepare(directory, dataset.result(), reporter, requests, score)
        ending = _train(run)
    except AskedToEndError as asked:
        return _ended(asked.request, "before training began")
    if ending == "interrupt":
        requests.honour()
        return _ended("interrupt", "in the middle of training")
    if ending == "stop":
        requests.honour()
        reporter.log(f"stopped after {run.state.epoch} epochs; evaluating what there is")
    try:
        evaluate_run(run)
    except EvaluationStoppedError as asked:
        requests.honour()
        return _ended(str(asked), "in the middle of evaluation")
    if ending == "stop":
        return Outcome("stopped", STOPPED, f"stopped after {run.state.epoch} epochs")
    return Outcome("finished", FINISHED)


def _ended(request: str, when: str) -> Outcome:
    if request == "stop":
        return Outcome("stopped", STOPPED, f"stopped {when}")
    return Outcome("interrupted", INTERRUPTED, f"interrupted {when}", "It can be resumed.")


def _train(run: Run) -> Ending:
    state, experiment = run.state, run.experiment
    run.reporter.event(
        "open",
        version=1,
        attempt=run.reporter.attempt,
        epoch=state.epoch,
        step=state.global_step,
    )
    if asked := run.requests.poll():
        raise AskedToEndError(asked)
    earlier = load(run.directory).epochs[: state.epoch] if state.epoch else []
    board = TensorBoard(run.directory.tensorboard, lambda: reuse.graph(run.network), earlier)
    fit = Fit(
        experiment,
        run.network,
        run.objective,
        lambda phase, regime: _stage(run, phase, regime),
        state,
        run.reporter,
        run.requests,
        run.checkpoints,
        board,
        strategy=run.devices.strategy,
        gpu=run.devices.gpu,
        resumed=run.last,
    )
    try:
        return fit.run()
    except DivergedError as error:
        run.reporter.alert("loss_not_finite", str(error))
        try:
            run.checkpoints.flush_best()
        except OSError as trouble:
            run.reporter.log(f"the best epoch could not be stored: {trouble}", "warning")
        raise
    finally:
        board.close()
        with suppress(OSError):  # what went wrong is said already
            run.checkpoints.settle()


def _stage(run: Run, phase: Phase, regime: RegimeReport) -> Stage:
    """What the present phase trains: the part behind a frozen prefix on its features where
    that gives the same numbers, else the whole network on photos."""
    network, experiment = run.network, run.experiment
    separable = is_separable(experiment, run.devices.gpu)
    views = views_ahead(experiment, run.state.epoch + 1, phase.epochs - run.state.phase_epoch)
    traced = reuse.traced(
        network,
        (phase.freeze, regime.batchnorm, separable, run.devices.label, repr(run.objective)),
        (experiment.augment.model_dump_json(), views),
        experiment.train.features,
        {split: images.key for split, images in run.images.items()},
        (run.feed.batch_size, run.feed.evaluation_batch_size),
        run.feed.seed if views or is_streamed(experiment) else None,
    )
    if traced.cached is not None and not traced.cached.holds(experiment, run.devices):
        traced.forget()
    if traced.cached is None and separable and (found := _features(run, views)) is not None:
        traced.forget()  # what was traced while there was no room takes photos
        traced.cached = found
    run.cached = traced.cached
    variables = network.trainable_variables
    if run.cached is not None:
        run.cached.feed.follow(run.feed)
        cut = run.cached.prefix.cut
        ahead = run.cached.feed.stream is not None
        how = "in every epoch, ahead of the steps" if ahead else "once"
        run.reporter.log(f"features are computed {how}, up to {cut}")
        run.stage = Stage(run.cached.prefix.logits, variables, _together(run, traced), traced)
    else:
        run.stage = Stage(_forward(run, traced), variables, run.feed, traced)
    return run.stage


def _together(run: Run, traced: reuse.Traced) -> Feed:
    """The features; trained on together with runs that wait where the first phase allows it."""
    assert run.cached is not None
    feed, prefix = run.cached.feed, run.cached.prefix
    if not can_sing(run.experiment) or not reuse.keeps(run.network):
        return feed
    if prefix.upper is not None or feed.table is None:
        return feed
    objective = run.objective

    def validated() -> dict[str, float]:
        return validate(feed.evaluation("val"), traced.predictor(prefix.logits), objective)

    def chorus(learner: Learner) -> Chorus | None:
        found: Chorus | None = traced.chorus
        if found is None or found.place(run.directory.id) is None:
            traced.chorus = None
            voices = companions(run.directory, run.experiment, run.table.splits, coming())
            try:
                layers = prefix.head.layers
                found = traced.chorus = Chorus(voices, learner, layers, feed, validated)
            except ValueError:
                return None  # this one trains alone
            others = len(found.voices) - 1
            kind = (
                "1 run of its kind that waits"
                if others == 1
                else f"{others} runs of its kind that wait"
            )
            run.reporter.log(f"trains together with {kind}")
        return found

    def told(first: str) -> None:
        run.reporter.log(f"was trained together with run {first}")

    return ChorusFeed(feed, chorus, run.directory.id, told)


def _forward(run: Run, traced: reuse.Traced) -> Forward:
    """The whole network; its frozen prefix folded where the preset asks for it."""
    train = run.experiment.train
    prefix = frozen_prefix(run.network) if train.features == "folded" else None
    if prefix is None or train.devices > 1:
        return run.network.logits
    traced.forget()  # constants are of this moment's weights
    through = folded(prefix)
    run.reporter.log(f"the frozen layers up to {prefix.cut} are folded into constants")
    return lambda x, training: prefix.logits(through(x), training)


def _features(run: Run, views: tuple[int, ...]) -> CachedFeed | None:
    prefix = frozen_prefix(run.network)
    if prefix is None:
        return None

    cached = cached_feed(
        prefix, run.feed, run.images, run.experiment, run.devices, run.told_of_features, views
    )
    if cached is None:
        run.reporter.log("features fit neither cache nor memory: computed in every epoch")
    return cached
