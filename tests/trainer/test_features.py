"""Cached features give the numbers of the ordinary path, and miss when anything changes."""

import os
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from training import asking, assert_same_arrays, digits_run, last_weights, make_run, train

from tlui.data import cache
from tlui.data.store import open_images
from tlui.data.table import open_dataset
from tlui.recipe.schema import Experiment
from tlui.runs.events import EventReader
from tlui.runs.history import load
from tlui.trainer import result
from tlui.trainer.environment import Devices
from tlui.trainer.features import cached_feed, is_separable, is_streamed
from tlui.trainer.feed import ImageFeed
from tlui.trainer.model.build import build
from tlui.trainer.model.freezing import set_regime
from tlui.trainer.model.prefix import frozen_prefix

CPU = "/proc/cpuinfo"
TOP = {
    "freeze": "top:8",
    "batchnorm": "inference",
    "epochs": 2,
    "optimizer": {"name": "sgd", "momentum": 0.9},
    "lr": {"policy": "constant", "initial": 1e-3},
}


def logged(run):
    return [e["message"] for e in EventReader(run.events).read_all() if e["type"] == "log"]


def entries(tmp_path):
    return sorted(p.name for p in (tmp_path / "cache" / "features").glob("[0-9a-f]*"))


def no_room(*given, **named):
    raise cache.NoRoomError


def frozen(size=32, **tables):
    """MobileNet on generated photos of two colours, from random but frozen weights."""
    phase = {"freeze": "backbone", "batchnorm": "inference", "epochs": 3}
    given = {
        "name": "frozen",
        "backbone": {"name": "MobileNet", "alpha": 0.25, "weights": "none"},
        "head": {"dropout": 0.5, "hidden": [4]},
        "train": {"batch_size": 5},
        "phase": [{**phase, "lr": {"policy": "cosine", "initial": 1e-2, "per": "step"}}],
        **tables,
    }
    dataset = {"source": "folder", "image_size": size, **given.pop("dataset", {})}
    return lambda photos: Experiment.model_validate(
        {"dataset": {**dataset, "path": str(photos)}, **given}
    )


def both_ways(home, experiment, monkeypatch, how="once"):
    cached = make_run(home, experiment)
    assert train(cached).state == "finished"
    monkeypatch.setenv("TLUI_FEATURES", "off")
    plain = make_run(home, experiment)
    assert train(plain).state == "finished"
    monkeypatch.delenv("TLUI_FEATURES")
    assert any(f"features are computed {how}" in line for line in logged(cached))
    assert not any("features" in line for line in logged(plain))
    return cached, plain


def assert_same_run(a, b):
    assert_same_arrays(last_weights(a), last_weights(b))
    assert a.read_result()["metrics"] == b.read_result()["metrics"]
    keys = ("train_loss", "train_f1", "val_loss", "val_accuracy", "lr", "best")
    rows = [[{k: row[k] for k in keys} for row in load(run).epochs] for run in (a, b)]
    assert rows[0] == rows[1]
    for split in ("train", "val", "test"):
        x, y = (np.load(run.predictions / f"{split}.npz")["probabilities"] for run in (a, b))
        assert x.tobytes() == y.tobytes()


class TestSameNumbers:
    def test_head_only(self, home, photos, monkeypatch):
        assert_same_run(*both_ways(home, frozen()(photos), monkeypatch))

    @pytest.mark.parametrize(
        "optimizer",
        [
            {"name": "adamw", "weight_decay": 0.01, "clipvalue": 0.05},
            {"name": "sgd", "momentum": 0.9, "nesterov": True, "global_clipnorm": 0.1},
            {"name": "rmsprop", "momentum": 0.9, "clipnorm": 0.1},
        ],
        ids=lambda optimizer: optimizer["name"],
    )
    def test_head_only_by_other_optimizers(self, home, photos, monkeypatch, optimizer):
        phase = {**TOP, "freeze": "backbone", "optimizer": optimizer}
        assert_same_run(*both_ways(home, frozen(48, phase=[phase])(photos), monkeypatch))

    def test_last_layers_learn(self, home, photos, monkeypatch):
        assert_same_run(*both_ways(home, frozen(phase=[TOP])(photos), monkeypatch))

    @pytest.mark.parametrize(
        ("name", "freeze"),
        [
            ("EfficientNetB0", "top:20"),
            *(
                pytest.param(name, freeze, marks=pytest.mark.slow)
                for name, freeze in [
                    ("EfficientNetB0", "backbone"),
                    ("EfficientNetB0", "top:50"),
                    ("EfficientNetV2B0", "top:20"),
                    ("MobileNetV2", "from:block_10_expand"),
                    ("MobileNetV3Small", "top:20"),
                    ("ResNet50", "top:10"),
                    ("ResNet50V2", "backbone"),
                    ("DenseNet121", "top:20"),
                    ("NASNetMobile", "top:20"),
                    ("ConvNeXtTiny", "top:10"),
                    ("VGG16", "top:3"),
                ]
            ),
        ],
    )
    def test_families(self, home, photos, monkeypatch, name, freeze):
        given = {"name": name, "weights": "none"}
        experiment = frozen(64, backbone=given, phase=[{**TOP, "freeze": freeze}])
        assert_same_run(*both_ways(home, experiment(photos), monkeypatch))

    @pytest.mark.slow
    def test_from_disk_where_memory_is_short(self, home, photos, monkeypatch):
        monkeypatch.setattr("tlui.trainer.feature_feed.MEMORY_SHARE", 0.0)
        assert_same_run(*both_ways(home, frozen()(photos), monkeypatch))

    @pytest.mark.slow
    def test_interrupted_and_resumed(self, home, photos):
        whole, cut = (make_run(home, frozen()(photos)) for _ in range(2))
        assert train(whole).state == "finished"
        assert train(cut, asking(cut, (8, "interrupt"))).state == "interrupted"
        assert train(cut).state == "finished"
        assert_same_run(whole, cut)

    def test_photos_from_the_cache_and_decoded_anew(self, home, photos, monkeypatch):
        """The image cache, with everything learning from changed photos."""
        everything = {**TOP, "freeze": "none"}
        experiment = frozen(phase=[everything], augment={"flip": "horizontal", "rotation": 20})
        cached, streamed = (make_run(home, experiment(photos)) for _ in range(2))
        assert train(cached).state == "finished"
        Path(os.environ["TLUI_CONFIG"]).write_text("[cache]\nlimit_gb = 1e-6\n")
        monkeypatch.setenv("TLUI_CACHE", f"{os.environ['TLUI_CACHE']}-small")
        assert train(streamed).state == "finished"
        assert not any("do not fit in the cache" in line for line in logged(cached))
        assert any("its limit is 1.0 kB" in line for line in logged(streamed))
        assert_same_run(cached, streamed)

    def test_evaluated_in_batches_of_another_size(self, home, photos, monkeypatch):
        given = {"evaluate": {"batch_size": 9}}
        cached, plain = both_ways(home, frozen(**given)(photos), monkeypatch)
        assert_same_run(cached, plain)
        assert [row["batch_size"] for row in cached.read_result()["splits"].values()] == [9] * 3


class TestViews:
    """Features of augmented images."""

    AUGMENT = {"flip": "both", "rotation": 20, "brightness": 0.2, "noise": 0.05}

    @pytest.mark.parametrize(
        "augment",
        [
            {**AUGMENT, "views": 3},  # as many as there are epochs
            {"flip": "horizontal", "crop_from": 40, "views": 2},
        ],
        ids=["a view an epoch", "two views, cropped"],
    )
    def test_the_numbers_of_the_ordinary_path(self, home, photos, monkeypatch, augment):
        cached, plain = both_ways(home, frozen(augment=augment)(photos), monkeypatch)
        assert_same_run(cached, plain)

    def test_enough_views_are_augmentation_without_a_limit(self, home, photos):
        limited, free = (
            make_run(home, frozen(augment={**self.AUGMENT, "views": views})(photos))
            for views in (3, 0)
        )
        for run in (limited, free):
            assert train(run).state == "finished"
        assert any("features are computed once" in line for line in logged(limited))
        assert any("ahead of the steps" in line for line in logged(free))
        assert_same_run(limited, free)

    @pytest.mark.slow
    def test_from_disk_where_memory_is_short(self, home, photos, monkeypatch):
        monkeypatch.setattr("tlui.trainer.feature_feed.MEMORY_SHARE", 0.0)
        augment = {**self.AUGMENT, "views": 2}
        assert_same_run(*both_ways(home, frozen(augment=augment)(photos), monkeypatch))

    def test_resumed_with_the_views_that_are_left(self, home, photos):
        whole, cut = (
            make_run(home, frozen(augment={**self.AUGMENT, "views": 2})(photos)) for _ in range(2)
        )
        assert train(whole).state == "finished"
        assert train(cut, asking(cut, (8, "interrupt"))).state == "interrupted"
        assert train(cut).state == "finished"
        assert_same_run(whole, cut)

    def test_each_is_an_entry_of_its_own(self, home, photos, tmp_path):
        """Other views, augmentation or seeds miss; more views share those that are there."""
        seen = set()
        for augment, seed, new in (
            ({"flip": "both", "views": 2}, 1, 5),  # two views, val, and train and test to evaluate
            ({"flip": "both", "views": 3}, 1, 1),
            ({"flip": "horizontal", "views": 2}, 1, 2),
            ({"flip": "both", "noise": 0.01, "views": 2}, 1, 2),
            ({"flip": "both", "views": 2}, 2, 5),  # other random weights too
        ):
            tables = {"augment": augment, "train": {"batch_size": 5, "seed": seed}}
            experiment = frozen(**tables)(photos)
            assert train(make_run(home, experiment)).state == "finished"
            assert len(set(entries(tmp_path)) - seen) == new, (augment, seed)
            seen = set(entries(tmp_path))


class TestStreamed:
    """The prefix runs ahead of the steps."""

    AUGMENT: ClassVar = {"flip": "both", "rotation": 20, "noise": 0.05}
    HOW = "in every epoch, ahead of the steps"

    @pytest.mark.parametrize(
        "tables",
        [
            {"augment": AUGMENT},
            {"augment": {"mixup": 0.3}, "train": {"batch_size": 5, "steps_per_execution": 3}},
            {"augment": {"flip": "horizontal"}, "phase": [TOP]},
        ],
        ids=["head", "mixup", "last layers"],
    )
    def test_the_numbers_of_the_ordinary_path(self, home, photos, monkeypatch, tables):
        experiment = frozen(**tables)(photos)
        assert_same_run(*both_ways(home, experiment, monkeypatch, self.HOW))

    def test_where_no_table_fits(self, home, photos, monkeypatch):
        monkeypatch.setattr("tlui.trainer.feature_feed.MEMORY_SHARE", 0.0)
        real = cache.obtain

        def full(kind, key, store, size, **more):
            if len(seen) < 1 and not seen.append(key):
                raise cache.NoRoomError
            return real(kind, key, store, size, **more)

        seen = []
        monkeypatch.setattr("tlui.trainer.features.obtain", full)
        assert_same_run(*both_ways(home, frozen()(photos), monkeypatch, self.HOW))

    def test_interrupted_and_resumed(self, home, photos):
        whole, cut = (make_run(home, frozen(augment=self.AUGMENT)(photos)) for _ in range(2))
        assert train(whole).state == "finished"
        assert train(cut, asking(cut, (8, "interrupt"))).state == "interrupted"
        assert train(cut).state == "finished"
        assert_same_run(whole, cut)


class TestFolded:
    @pytest.mark.parametrize("augment", [{}, {"flip": "horizontal"}], ids=["cached", "augmented"])
    def test_close_to_the_exact_numbers(self, home, photos, augment):
        exact, folded = (
            make_run(
                home, frozen(train={"batch_size": 5, "features": how}, augment=augment)(photos)
            )
            for how in ("exact", "folded")
        )
        for run in (exact, folded):
            assert train(run).state == "finished"
        a, b = last_weights(exact), last_weights(folded)
        assert a.keys() == b.keys()
        assert any(a[k].tobytes() != b[k].tobytes() for k in a)  # another path was taken
        learnt = [k for k in a if k.startswith("head/") and not k.endswith("state")]
        assert max(np.abs(a[k] - b[k]).max() for k in learnt) < 5e-3
        for split in ("train", "val", "test"):
            found = []
            for run in (exact, folded):
                with np.load(run.predictions / f"{split}.npz") as file:
                    found.append(file["probabilities"])
            assert np.abs(found[0] - found[1]).max() < 5e-3

    def test_evaluates_what_was_tuned(self, home, monkeypatch):
        made, plainly = [], result.folded_network
        monkeypatch.setattr(
            result, "folded_network", lambda network: made.append(network) or plainly(network)
        )
        exact, folded = (digits_run(home, train={"features": x}) for x in ("exact", "folded"))
        found = []
        for run, count in ((exact, 0), (folded, 1)):
            assert train(run).state == "finished" and len(made) == count
            with np.load(run.predictions / "test.npz") as file:
                found.append(file["probabilities"])
        assert_same_arrays(last_weights(exact), last_weights(folded))
        np.testing.assert_allclose(*found, rtol=0, atol=5e-5)

    def test_evaluates_many_photos_where_all_was_tuned(self, home, monkeypatch):
        made, plainly = [], result.folded_network
        monkeypatch.setattr(
            result, "folded_network", lambda network: made.append(network) or plainly(network)
        )
        runs = [digits_run(home) for _ in range(3)]
        found = []
        for run, least, most, count in zip(
            runs, (2000, 500, 500), (64_000_000, 64_000_000, 1000), (0, 1, 1), strict=True
        ):
            monkeypatch.setattr(result, "FOLDS_FROM", least)
            monkeypatch.setattr(result, "MOST_FOLDED", most)
            assert train(run).state == "finished" and len(made) == count
            with np.load(run.predictions / "test.npz") as file:
                found.append(file["probabilities"])
        assert found[0].tobytes() == found[2].tobytes() != found[1].tobytes()
        np.testing.assert_allclose(found[0], found[1], rtol=0, atol=5e-5)

    def test_does_not_share_features_with_exact(self, home, photos, tmp_path):
        for how, count in (("exact", 3), ("folded", 6)):
            given = {"batch_size": 5, "features": how}
            assert train(make_run(home, frozen(train=given)(photos))).state == "finished"
            assert len(entries(tmp_path)) == count
        held = cache.entries(tmp_path / "cache")
        assert {entry.meta["dataset"] for entry in held} == {photos.name}


class TestWhenItIsUsed:
    def test_not_with_augmentation(self, photos):
        assert not is_streamed(frozen()(photos))
        assert is_streamed(frozen(augment={"flip": "horizontal"})(photos))
        assert is_streamed(frozen(augment={"crop_from": 64})(photos))
        assert not is_streamed(frozen(augment={"crop_from": 64, "views": 1})(photos))
        assert is_separable(frozen(augment={"crop_from": 64})(photos), gpu=False)
        assert not is_separable(frozen(augment={"crop_from": 64})(photos), gpu=True)

    def test_not_where_everything_learns(self, home):
        run = digits_run(home, epochs=1)
        assert train(run).state == "finished"
        assert not any("features" in line for line in logged(run))


class TestKey:
    """cached_feed alone, without training."""

    @staticmethod
    def cache(
        experiment, meanwhile=lambda table: None, views=(), devices=Devices("cpu", False), **how
    ):
        table = open_dataset(experiment.dataset)
        size = experiment.dataset.image_size
        side, resize = experiment.augment.crop_from or size, experiment.dataset.resize
        images = {name: open_images(table, name, side, resize, **how) for name in ("train", "val")}
        meanwhile(table)
        feed = ImageFeed(
            images,
            experiment.train.batch_size,
            experiment.train.batch_size,
            size,
            seed=1,
            classes=2,
            augment=experiment.augment,
        )
        network = build(experiment, 2)
        set_regime(network, "backbone", "inference")
        prefix = frozen_prefix(network)
        return cached_feed(
            prefix, feed, images, experiment, devices, lambda split: lambda *done: None, views
        )

    def test_shared_by_runs_that_differ_in_the_head_only(self, photos, tmp_path):
        first = self.cache(frozen(size=32)(photos))
        before = entries(tmp_path)
        assert len(before) == 2  # train and val
        other = self.cache(frozen(size=32, head={"dropout": 0.1})(photos))
        assert entries(tmp_path) == before
        for split in ("train", "val"):
            a, b = first.feed.features[split].array, other.feed.features[split].array
            assert a.tobytes() == b.tobytes()

    @pytest.mark.parametrize(
        "change",
        [
            {"train": {"seed": 2, "batch_size": 5}},  # other random weights
            {"train": {"batch_size": 4}},
            {"train": {"batch_size": 5, "features": "folded"}},
            {"train": {"batch_size": 5, "mixed_precision": True}},
            {"backbone": {"name": "MobileNet", "alpha": 0.5, "weights": "none"}},
            {"head": {"pooling": "max"}},
            {"size": 40},
            {"augment": {"crop_from": 40, "views": 1}},
            {"dataset": {"resize": "crop"}},
        ],
        ids=str,
    )
    def test_missed_where_an_ingredient_differs(self, photos, tmp_path, change):
        self.cache(frozen()(photos))
        seen = set(entries(tmp_path))
        assert len(seen) == 2  # train and val
        for _ in range(2):
            self.cache(frozen(**change)(photos))
            assert len(set(entries(tmp_path)) - seen) == 2

    @pytest.mark.parametrize("split", ["train", "val"])
    def test_missed_where_a_photo_is_touched(self, photos, tmp_path, split):
        self.cache(frozen()(photos))
        seen = set(entries(tmp_path))
        table = open_dataset(frozen()(photos).dataset)
        touched = photos / table.splits[split].names[0]
        os.utime(touched, ns=(0, touched.stat().st_mtime_ns + 1))
        self.cache(frozen()(photos))
        assert len(set(entries(tmp_path)) - seen) == 2  # both are held out of one folder

    def test_missed_where_the_weights_file_holds_others(self, photos, tmp_path):
        file = tmp_path / "own.weights.h5"
        given = {"name": "MobileNet", "alpha": 0.25, "weights": str(file)}
        backbone = build(frozen()(photos), 2).backbone
        counts = []
        for _ in range(2):
            backbone.save_weights(file)
            self.cache(frozen(backbone=given)(photos))
            counts.append(len(entries(tmp_path)))
            backbone.weights[-1].assign(backbone.weights[-1] + 1e-6)
        assert counts == [2, 4]

    @pytest.mark.parametrize(
        ("name", "value", "count"),
        [("ONEDNN_MAX_CPU_ISA", "SSE41", 4), ("TF_CPP_MIN_LOG_LEVEL", "1", 2)],
    )
    def test_missed_where_kernels_round_otherwise(
        self, photos, tmp_path, monkeypatch, name, value, count
    ):
        self.cache(frozen()(photos))
        monkeypatch.setenv(name, value)
        self.cache(frozen()(photos))
        assert len(entries(tmp_path)) == count

    def test_shared_by_machines_of_one_kind(self, photos, tmp_path, monkeypatch):
        """Whatever their names; another CPU computes its own."""
        self.cache(frozen()(photos))
        monkeypatch.setattr("platform.node", lambda: "another")
        self.cache(frozen()(photos))
        assert len(entries(tmp_path)) == 2
        read = Path.read_text

        def another(path, *given, **named):
            text = read(path, *given, **named)
            return text.replace("flags\t", "flags\t: amx", 1) if path == Path(CPU) else text

        monkeypatch.setattr(Path, "read_text", another)
        self.cache(frozen()(photos))
        assert len(entries(tmp_path)) == 4

    @pytest.mark.parametrize("views", [(), (0, 1)])
    def test_features_of_a_photo_that_was_away_are_this_runs_alone(self, photos, tmp_path, views):
        """In every view that it is missing from."""
        augment = {"flip": "both", "views": 2} if views else {}
        experiment = frozen(augment=augment)(photos)
        aside = tmp_path / "aside.png"
        at = []

        def away(table):
            at.append(photos / table.splits["train"].names[3])
            at[0].rename(aside)

        def of_train(cached):
            held = cached.feed.views.values() if views else [cached.feed.features["train"]]
            return np.stack([found.array for found in held], 1)

        lost = self.cache(experiment, away, views, bad="skip", limit=0)
        assert len(entries(tmp_path)) == 1  # val
        assert not lost.holds(experiment, Devices("cpu", False))
        aside.rename(at[0])
        again = self.cache(experiment, views=views, bad="skip", limit=0)
        assert len(entries(tmp_path)) == (3 if views else 2)
        assert again.holds(experiment, Devices("cpu", False))
        differ = (of_train(lost) != of_train(again)).any(axis=2)
        assert differ[3].all() and differ.sum() == differ.shape[1]

    def test_gpus_of_another_kind_compute_their_own(self, photos, tmp_path):
        for name, count in (("A100", 2), ("A100", 2), ("T4", 4)):
            self.cache(frozen()(photos), devices=Devices(name, True))
            assert len(entries(tmp_path)) == count

    @pytest.mark.parametrize("augment", [{}, {"flip": "horizontal"}], ids=["once", "streamed"])
    def test_a_device_is_what_it_is_whatever_it_is_called(
        self, home, photos, tmp_path, monkeypatch, augment
    ):
        """In lists a cluster's CPUs bear their node's name."""
        runs = [make_run(home, frozen(augment=augment)(photos)) for _ in range(2)]
        for run, shown in zip(runs, ("cpu", "cpu on n7"), strict=True):
            monkeypatch.setenv("TLUI_DEVICE", shown)
            assert train(run).state == "finished"
            assert any("features are computed" in line for line in logged(run))
            assert run.read_result()["device"] == shown
            assert len(entries(tmp_path)) == 3
        assert_same_run(*runs)

    def test_what_is_computed_later_is_told_to_whom_it_concerns(self, photos, monkeypatch):
        """A run may be evaluated on splits that the one before it in its process was not."""
        experiment = frozen(size=32)(photos)
        cached = self.cache(experiment)
        told = []
        table = open_dataset(experiment.dataset)
        images = {name: open_images(table, name, 32, "stretch") for name in ("train", "val")}
        feed = ImageFeed(images, 5, 5, 32, seed=1, classes=2, augment=experiment.augment)
        del cached.feed.features["val"]
        array = cached.feed.features["train"].array
        assert cached.has("train", feed, images["train"], lambda *done: told.append(done))
        assert cached.feed.features["train"].array is array and not told
        monkeypatch.setattr("tlui.trainer.features.obtain", no_room)
        assert cached.has("val", feed, images["val"], lambda *done: told.append(done))
        assert told[-1] == (len(images["val"]),) * 2
        assert len(cached.feed.features["val"].array) == len(images["val"])

    def test_weights_that_changed_since_are_seen(self, photos):
        experiment = frozen(size=32)(photos)
        cached = self.cache(experiment)
        assert cached.holds(experiment, Devices("cpu", False))
        kernel = cached.prefix.layers[0].weights[0]
        kernel.assign(kernel * 1.0001)
        assert not cached.holds(experiment, Devices("cpu", False))
