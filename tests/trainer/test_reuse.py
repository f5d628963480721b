"""A run that follows others in one process has the numbers it would have had alone."""

import os
import socket
import weakref

import pytest
from training import assert_same_arrays, assert_same_run, make_run, photo_experiment, start

from tlui.data.cache import NoRoomError
from tlui.runs.history import load
from tlui.runs.line import NextRun
from tlui.runs.status import read_status
from tlui.trainer import feature_feed, features, prepare, reuse
from tlui.trainer.model.build import build
from tlui.trainer.model.variables import named_variables

pytestmark = pytest.mark.usefixtures("forgetting")


def trained(home, experiment, more):
    from tlui.trainer.__main__ import train

    run = make_run(home, experiment)
    assert train(run, more=more) == 0, run.log
    return run


def test_no_run_leaves_its_network_behind(home, photos, monkeypatch):
    made = []

    def remembered(*given, **named):
        network = build(*given, **named)
        made.append(weakref.ref(network.backbone))
        return network

    monkeypatch.setattr(prepare, "build", remembered)
    for seed in (1, 2, 3):
        trained(home, photo_experiment(photos, train={"seed": seed}), more=True)
    assert [backbone() is None for backbone in made] == [True, True, False]


class TestSameNumbersAsAlone:
    def test_a_sweep(self, home, photos):
        """Rates, policies, optimizers, dropout, seeds and early stopping one after another."""
        points = [
            photo_experiment(photos),
            photo_experiment(photos, rate=1e-3),
            photo_experiment(photos, phase={"optimizer": "sgd"}),
            photo_experiment(photos, phase={"lr": {"policy": "constant", "initial": 1e-3}}),
            photo_experiment(photos, head={"dropout": 0.2}),
            photo_experiment(photos, train={"batch_size": 5, "seed": 3}),
            photo_experiment(
                photos,
                phase={"epochs": 4},
                train={"batch_size": 5, "early_stopping": {"patience": 1}},
            ),
            photo_experiment(photos),
        ]
        together = [trained(home, point, more=True) for point in points]
        reuse.keep(False)
        for run, point in zip(together, points, strict=True):
            assert_same_run(run, trained(home, point, more=False))

    def test_other_regimes_after_one_another(self, home, photos):
        last = {"freeze": "top:8", "optimizer": {"name": "sgd", "momentum": 0.9}}
        whole = {"freeze": "none", "batchnorm": "train", "epochs": 1}
        points = [
            photo_experiment(photos, phase=whole, rate=1e-3),
            photo_experiment(photos, phase=last, rate=1e-3),
            photo_experiment(photos, phase=whole, rate=2e-3),
            photo_experiment(photos, rate=1e-3),
        ]
        together = [trained(home, point, more=True) for point in points]
        reuse.keep(False)
        for run, point in zip(together, points, strict=True):
            assert_same_run(run, trained(home, point, more=False))

    @pytest.mark.parametrize(
        ("kind", "room"),
        [
            pytest.param({}, True, id="in memory"),
            pytest.param({}, False, id="on disk"),
            pytest.param({"augment": {"flip": "horizontal"}}, True, id="streamed"),
            pytest.param(
                {"augment": {"flip": "horizontal", "views": 2}},
                True,
                id="views",
                marks=pytest.mark.slow,
            ),
            pytest.param(
                {"phase": {"freeze": "none", "batchnorm": "train", "epochs": 1}, "rate": 1e-3},
                True,
                id="everything learns",
                marks=pytest.mark.slow,
            ),
        ],
    )
    def test_other_seeds_on_the_same_backbone(
        self, home, photos, told_apart, kind, room, monkeypatch
    ):
        """Features, streamed images and learning layers in the order of each run's own seed."""
        if not room:
            monkeypatch.setattr(feature_feed, "memory_for_tables", lambda: 0)
        points = [
            photo_experiment(
                photos, backbone=told_apart, train={"batch_size": 5, "seed": seed}, **kind
            )
            for seed in (1, 2)
        ]
        together = [trained(home, point, more=True) for point in points]
        reuse.keep(False)
        for run, point in zip(together, points, strict=True):
            assert_same_run(run, trained(home, point, more=False))

    def test_room_for_features_that_comes_between_two_runs(self, home, photos, monkeypatch):
        """What was traced for photos is no use for features."""

        def full(*given, **named):
            raise NoRoomError

        points = [photo_experiment(photos, rate=rate) for rate in (1e-2, 1e-3)]
        with monkeypatch.context() as short:
            short.setattr(features, "obtain", full)
            short.setattr(features, "memory_for_tables", lambda: 0)
            together = [trained(home, points[0], more=True)]
        together.append(trained(home, points[1], more=True))
        for run, words in zip(together, ("neither cache nor memory", "computed once"), strict=True):
            assert any(words in row["message"] for row in load(run).logs)
        reuse.keep(False)
        for run, point in zip(together, points, strict=True):
            assert_same_run(run, trained(home, point, more=False))

    def test_a_touched_file_is_seen(self, home, photos):
        from PIL import Image

        trained(home, photo_experiment(photos), more=True)
        Image.new("RGB", (40, 40), "green").save(photos / "train" / "red" / "03.png")
        after = trained(home, photo_experiment(photos), more=True)
        reuse.keep(False)
        assert_same_run(after, trained(home, photo_experiment(photos), more=False))

    @pytest.mark.parametrize("name", ["MobileNet", "EfficientNetB0"])
    def test_another_seed_on_the_same_backbone(self, photos, tmp_path, name):
        """As if it were built with it, dropout streams of the backbone included."""
        first = photo_experiment(photos, backbone={"name": name, "weights": "none"})
        path = tmp_path / "backbone.weights.h5"
        build(first, 2).backbone.save_weights(path)
        points = [
            photo_experiment(
                photos,
                backbone={"name": name, "weights": str(path)},
                train={"batch_size": 5, "seed": seed},
            )
            for seed in (1, 2, 1)
        ]
        reuse.keep(True)
        made = []
        for point in points:
            fresh = build(point, 2)
            made.append(reuse.network(point, 2, tmp_path, lambda point=point: build(point, 2)))
            arrays = [
                {k: v.numpy() for k, v in named_variables(network).items()}
                for network in (made[-1], fresh)
            ]
            assert_same_arrays(*arrays)
            configs = [
                [x.get_config() for x in network.head_layers[1:]] for network in (made[-1], fresh)
            ]
            assert configs[0] == configs[1]
        assert made[0] is made[1] is made[2]

    def test_graphs_are_used_again(self, home, photos, monkeypatch):
        """The point of it: the second run of a sweep builds no network and traces no graph."""
        from tlui.trainer import prepare

        built = []
        real = prepare.build
        monkeypatch.setattr(prepare, "build", lambda *a, **k: built.append(1) or real(*a, **k))
        for rate in (1e-2, 1e-3):
            trained(home, photo_experiment(photos, rate=rate), more=True)
        assert len(built) == 1
        kept = reuse._kept
        assert kept is not None
        [traced] = kept.traced.values()
        [(learner, _)] = traced.learners.values()
        assert learner._table.experimental_get_tracing_count() == 1


class TestRelay:
    def test_one_process_trains_what_it_is_handed(self, home, photos):
        runs = [make_run(home, photo_experiment(photos, rate=r)) for r in (1e-2, 1e-3)]
        ours, theirs = socket.socketpair()
        os.set_inheritable(theirs.fileno(), True)
        ours.settimeout(300)
        trainer = start(runs[0], pass_fds=(theirs.fileno(),), TLUI_NEXT=str(theirs.fileno()))
        theirs.close()
        assert ours.recv(100) == b"done\n"
        assert trainer.poll() is None
        NextRun(runs[1].path, []).send(ours)
        assert ours.recv(100) == b"done\n"
        ours.close()
        assert trainer.wait(60) == 0
        states = [read_status(run.status) for run in runs]
        assert [s.state for s in states] == ["finished", "finished"]
        assert {s.owner.pid for s in states} == {trainer.pid}
        assert "features" in runs[1].log.read_text()
        assert_same_run(runs[1], trained(home, photo_experiment(photos, rate=1e-3), more=False))
