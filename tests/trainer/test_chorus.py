"""Heads of a sweep that train together have the numbers each has alone, bit for bit."""

import json
import zipfile
from functools import partial

import numpy as np
import pytest
from training import assert_same_run, last_weights, make_run, photo_experiment

from tlui.recipe.schema import Experiment
from tlui.runs.history import load
from tlui.runs.line import COMING
from tlui.runs.status import Status, read_status, write_status
from tlui.trainer import chorus, reuse, voices
from tlui.trainer.state import TrainingState

SPLITS = ("train", "val", "test")

pytestmark = pytest.mark.usefixtures("forgetting")


@pytest.fixture
def point(photos, told_apart):
    """Make a point of a sweep over heads that have something to learn."""
    return partial(photo_experiment, photos, backbone=told_apart)


def data(photos, **more):
    return {"source": "folder", "path": str(photos), "image_size": 48, **more}


def waiting(home, points):
    runs = [make_run(home, point) for point in points]
    for run in runs:
        write_status(run.status, Status("queued"))
    return runs


def train_in_turn(runs, monkeypatch):
    """One process is told of all, and handed one after the other."""
    from tlui.trainer.__main__ import train

    monkeypatch.setenv(COMING, " ".join(run.id for run in runs[1:]))
    reuse.keep(True)
    return [train(run, more=True) for run in runs]


def alone(home, point):
    from tlui.trainer.__main__ import train

    run = make_run(home, point)
    assert train(run) == 0, run.log.read_text()
    return run


def said(run):
    return [row["message"] for row in load(run).logs]


def together(run):
    return [message for message in said(run) if "together" in message]


class Steps:
    """How many steps were trained alone, and how many together."""

    def __init__(self, monkeypatch):
        self.alone = self.together = 0
        one, many = chorus.Learner.table_steps, chorus.Chorus._train

        def alone(learner, table, order, first, rates):
            self.alone += len(rates)
            one(learner, table, order, first, rates)

        def together(*given):
            self.together += 1
            return many(*given)

        monkeypatch.setattr(chorus.Learner, "table_steps", alone)
        monkeypatch.setattr(chorus.Chorus, "_train", together)


def sweep(point, **tables):
    """Rates, policies, epochs and early stopping of one kind."""
    fixed = {"policy": "constant", "initial": 3e-3}
    early = {"batch_size": 5, "early_stopping": {"patience": 1}}
    return [
        point(**tables),
        point(rate=1e-3, **tables),
        point(**{**tables, "phase": {**tables.get("phase", {}), "lr": fixed}}),
        point(**{**tables, "train": early, "phase": {**tables.get("phase", {}), "epochs": 4}}),
        point(rate=5e-2, **{**tables, "phase": {**tables.get("phase", {}), "epochs": 3}}),
    ]


ODD = {"dropout": 0.5, "hidden": [5]}
"""A head whose tensors fill no vector register."""


def saved_layers(run):
    """The layers of its saved network, with their seeds, as plain Keras shows them."""
    with zipfile.ZipFile(run.model) as archive:
        found = json.loads(archive.read("config.json"))["config"]["layers"]
    return [layer["config"] for layer in found if layer["class_name"] in ("Dense", "Dropout")]


def compare(home, points, monkeypatch):
    """Train three epochs of all of them together, recall them, and train each alone."""
    runs = waiting(home, points)
    steps = Steps(monkeypatch)
    assert train_in_turn(runs, monkeypatch) == [0] * len(points)
    assert len(together(runs[0])) == 1 and "trains together with" in together(runs[0])[0]
    for run in runs[1:]:
        assert together(run) == [f"was trained together with run {runs[0].id}"]
    assert steps.together == 3 and steps.alone == 0, "as many epochs as the longest needs"
    reuse.keep(False)
    monkeypatch.delenv(COMING)
    for run, point in zip(runs, points, strict=True):
        single = alone(home, point)
        assert_same_run(run, single)
        assert saved_layers(run) == saved_layers(single)
        assert run.read_result()["train_seconds"] > 0
    return runs


class TestSameNumbersAsAlone:
    @pytest.mark.parametrize(
        "tables",
        [
            {},
            {"phase": {"optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True}}},
            {"phase": {"optimizer": {"name": "adamw", "weight_decay": 0.01, "clipvalue": 0.05}}},
            pytest.param(
                {"phase": {"optimizer": {"name": "rmsprop", "momentum": 0.9}}, "head": ODD},
                marks=pytest.mark.slow,  # `test_optimizers` has both
            ),
            pytest.param(
                {"phase": {"optimizer": {"name": "adam", "clipnorm": 0.1}}, "head": ODD},
                marks=pytest.mark.slow,
            ),
            {"phase": {"optimizer": {"name": "sgd", "global_clipnorm": 0.1}}, "head": ODD},
            {"head": {"hidden": [], "dropout": 0.0}},
            {"augment": {"flip": "horizontal", "views": 2}},
            {
                "head": {
                    "output": "sigmoid",
                    "label_smoothing": 0.1,
                    "class_weights": "balanced",
                    "dropout": 0.3,
                }
            },
        ],
        ids=[
            *("adam", "sgd", "adamw", "rmsprop", "clipnorm", "global_clipnorm"),
            *("linear", "views", "sigmoid"),
        ],
    )
    def test_a_sweep(self, home, point, monkeypatch, tables):
        compare(home, sweep(point, **tables), monkeypatch)

    def test_optimizers(self, home, point, monkeypatch):
        """Of several kinds, two of them alike."""
        given = [
            "adam",
            {"name": "sgd", "momentum": 0.9},
            "rmsprop",
            {"name": "adam", "clipnorm": 0.1},
            "adam",
        ]
        points = [
            point(rate=(i + 1) * 1e-3, head=ODD, phase={"optimizer": one, "epochs": 3})
            for i, one in enumerate(given)
        ]
        compare(home, points, monkeypatch)

    @pytest.mark.parametrize("monitor", ["val_loss", "train_f1"])
    def test_plateau(self, home, photos, point, monkeypatch, monitor):
        """Rates that follow each run's own metrics."""
        points = [
            point(
                dataset=data(photos, validation=0.3),
                head=ODD,
                phase={"epochs": epochs, "lr": policy},
                train={"batch_size": 5, "monitor": monitor},
            )
            for policy, epochs in [
                (plateau(1e-2), 3),
                ({"policy": "constant", "initial": 1e-2}, 2),
                (plateau(3.0), 3),
                (plateau(0.1), 3),
            ]
        ]
        runs = compare(home, points, monkeypatch)
        assert [last_rate(run) for run in runs] == [0.005, 0.01, 1.5, 0.1], "not all are reduced"

    def test_plateau_without_val(self, home, photos, point, monkeypatch):
        points = [
            point(
                dataset=data(photos, validation=0),
                head={"hidden": [5]},
                phase={"epochs": 3, "lr": plateau(rate)},
                train={"batch_size": 5, "monitor": "val_loss"},
            )
            for rate in (1e-5, 3.0)
        ]
        runs = compare(home, points, monkeypatch)
        assert all("there is no val split" in " ".join(said(run)) for run in runs)
        assert last_rate(runs[0]) == 5e-6

    @pytest.mark.parametrize("head", [ODD, {"dropout": 0.3}], ids=["hidden", "linear"])
    def test_seeds(self, home, point, monkeypatch, head):
        """Initial weights, dropout and the order of batches differ, features do not."""
        points = [
            point(
                head=head,
                rate=rate,
                train={"batch_size": 5, "seed": seed},
                phase={"epochs": 3, "optimizer": optimizer},
            )
            for seed, rate, optimizer in [
                (1, 1e-2, "adam"),
                (7, 1e-2, "adam"),
                (7, 1e-3, "rmsprop"),
                (1, 1e-3, "adam"),
                (3, 1e-2, "adam"),
            ]
        ]
        runs = compare(home, points, monkeypatch)
        assert len({last_weights(run)["head/logits/kernel"].tobytes() for run in runs}) == 5

    def test_a_backbone_of_another_run(self, home, photos, point, monkeypatch):
        tuned = alone(home, point(phase={"freeze": "none", "epochs": 1}, rate=1e-3))
        weights = {"name": "MobileNet", "alpha": 0.25, "weights": f"run:{tuned.id}"}
        points = [
            point(backbone=weights, train={"batch_size": 5, "seed": seed}, phase={"epochs": 3})
            for seed in (1, 2)
        ]
        compare(home, points, monkeypatch)


def last_rate(run):
    return load(run).epochs[-1]["lr"]


def plateau(rate):
    return {"policy": "plateau", "initial": rate, "patience": 1, "min_delta": 0.05, "factor": 0.5}


class TestEachRunIsItsOwn:
    def test_a_leader_that_is_stopped_leaves_what_is_whole(self, home, point, monkeypatch):
        from tlui.trainer.__main__ import train, train_here
        from tlui.trainer.reporter import Reporter
        from tlui.trainer.signals import Requests

        points = [point(rate=r, phase={"epochs": 5}) for r in (1e-2, 1e-3)]
        runs = waiting(home, points)
        monkeypatch.setenv(COMING, runs[1].id)
        reporter, requests = Reporter(runs[0]), Requests(runs[0].requests)
        real = chorus.Chorus._train

        def in_the_third_epoch(self, learner, place, epoch, told):
            for done in real(self, learner, place, epoch, told):
                if epoch == 3:
                    requests.ask("stop")
                yield done

        monkeypatch.setattr(chorus.Chorus, "_train", in_the_third_epoch)
        outcome = train_here(runs[0], reporter, requests, more=True)
        reporter.end(outcome.state, outcome.code)
        assert outcome.state == "stopped" and len(load(runs[0]).epochs) == 2
        assert train(runs[1], more=True) == 0
        reuse.keep(False)
        monkeypatch.delenv(COMING)
        assert_same_run(runs[1], alone(home, points[1]))

    def test_one_that_diverges_harms_nobody(self, home, point, monkeypatch):
        decay = {"name": "adamw", "weight_decay": 1.0}  # weights times 1 - rate, in every step
        points = [
            point(phase={"optimizer": decay, "epochs": 6}, rate=rate) for rate in (1e-3, 1e3, 1e-2)
        ]
        runs = waiting(home, points)
        assert train_in_turn(runs, monkeypatch) == [0, 3, 0]
        status = read_status(runs[1].status)
        assert status is not None and status.state == "diverged"
        reuse.keep(False)
        monkeypatch.delenv(COMING)
        for i in (0, 2):
            assert_same_run(runs[i], alone(home, points[i]))

    def test_weights_that_changed_meanwhile_are_not_taken_for_old(self, home, point, monkeypatch):
        """What a voice was assumed to begin with is compared, not trusted."""
        points = [point(rate=rate) for rate in (1e-2, 1e-3)]
        runs = waiting(home, points)
        real = chorus.Chorus.__init__

        def other(self, *given):
            real(self, *given)
            self._moments[0].stacks[0].weights[0][1] += 1.0

        monkeypatch.setattr(chorus.Chorus, "__init__", other)
        steps = Steps(monkeypatch)
        assert train_in_turn(runs, monkeypatch) == [0, 0]
        assert steps.alone > 0
        reuse.keep(False)
        monkeypatch.delenv(COMING)
        assert_same_run(runs[1], alone(home, points[1]))


class TestWhoSings:
    def kind(self, home, point, given=None, **tables):
        given = given or {}
        leader = point(**given)
        tables = {**given, **tables}
        [run, other] = waiting(home, [leader, point(**tables)])
        return len(voices.companions(run, leader, SPLITS, [other.id])) == 2

    def test_what_differs_in_more_than_how_it_learns_does_not(self, home, point):
        assert self.kind(home, point, rate=5e-4)
        assert self.kind(home, point, phase={"epochs": 9})
        assert not self.kind(home, point, head={"dropout": 0.5, "hidden": [5]})
        assert self.kind(home, point, phase={"optimizer": "sgd"})
        assert not self.kind(home, point, train={"batch_size": 6})
        assert self.kind(home, point, phase={"lr": plateau(1e-3)})

    def test_a_seed_that_shapes_features_does_not(self, home, point):
        other = {"train": {"batch_size": 5, "seed": 3}}
        assert self.kind(home, point, **other)
        assert not self.kind(home, point, {"augment": {"flip": "both", "views": 2}}, **other)
        drawn = {"name": "MobileNet", "alpha": 0.25, "weights": "none"}
        assert not self.kind(home, point, {"backbone": drawn}, **other)

    def test_only_what_waits(self, home, point):
        leader = point()
        runs = waiting(home, [leader] * 4)
        write_status(runs[1].status, Status("running"))
        write_status(runs[2].status, Status("queued", attempt=1))
        runs[3].preset.write_text("version = 9")
        ids = [*(run.id for run in runs), "00000000"]
        assert [voice.run for voice in voices.companions(runs[0], leader, SPLITS, ids)] == [
            runs[0].id
        ]

    @pytest.mark.parametrize(
        "change",
        [
            {"train": {"mixed_precision": True}},
            {"train": {"devices": 2}},
        ],
    )
    def test_what_has_other_numbers_together_trains_alone(self, point, change):
        experiment = point(**change)
        assert isinstance(experiment, Experiment) and not voices.can_sing(experiment)

    def test_rates_are_those_of_the_policy(self, point):
        voice = voices.Voice("a", point().phase[0], 1, "val_loss")
        policy = voice.phase.lr
        first, second, third = (TrainingState("val_loss", phase_epoch=i) for i in range(3))
        assert voice.rates(second, 4) == [policy.value(1 + i / 4, 2) for i in range(4)]
        assert voice.rates(third, 4) == [0.0] * 4
        assert np.isclose(voice.rates(first, 4)[0], 1e-2)
