"""Event files as TensorBoard reads them, against those of Keras's own callback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.graph.keras_util import keras_model_to_graph_def
from tensorboard.util.tensor_util import make_ndarray
from training import asking, digits_run, train

from tlui.runs.history import load
from tlui.trainer.tensorboard import TensorBoard

Curves = dict[str, dict[str, list[tuple[int, float]]]]
"""Folder -> tag -> (step, value)."""
GRAPH = "keras"
METRICS = ("loss", "accuracy", "precision", "recall", "f1")


def read(folder: Path) -> EventMultiplexer:
    return EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()


def curves(folder: Path) -> Curves:
    """What TensorBoard shows."""
    found = read(folder)
    return {
        run: {
            tag: [(p.step, float(make_ndarray(p.tensor_proto))) for p in found.Tensors(run, tag)]
            for tag in kinds["tensors"]
            if tag != GRAPH
        }
        for run, kinds in found.Runs().items()
    }


def graphs(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    """Folder -> (step, network) of those that have one, as the Graphs tab reads it."""
    found = read(folder)
    return {
        run: [(p.step, json.loads(make_ndarray(p.tensor_proto).item())) for p in points]
        for run, kinds in found.Runs().items()
        if GRAPH in kinds["tensors"] and (points := found.Tensors(run, GRAPH))
    }


def kinds(folder: Path) -> set[tuple[str, str]]:
    """Which plugin of TensorBoard shows each tag."""
    found = read(folder)
    return {
        (tag, found.SummaryMetadata(run, tag).plugin_data.plugin_name)
        for run, kinds in found.Runs().items()
        for tag in kinds["tensors"]
    }


@pytest.fixture(scope="module")
def network() -> keras.Model:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(
        loss="categorical_crossentropy",
        metrics=[
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            keras.metrics.Precision(name="precision"),
            keras.metrics.Recall(name="recall"),
            keras.metrics.F1Score("macro", name="f1"),
        ],
    )
    return model


@pytest.fixture(scope="module")
def of_keras(tmp_path_factory: pytest.TempPathFactory, network: keras.Model) -> Path:
    """What Keras's callback writes of three epochs of two steps."""
    folder = tmp_path_factory.mktemp("keras")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 4)), np.eye(3)[rng.integers(0, 3, 16)]
    network.fit(
        x,
        y,
        batch_size=8,
        epochs=3,
        validation_data=(x, y),
        verbose=0,
        callbacks=[keras.callbacks.TensorBoard(folder)],
    )
    return folder


@pytest.fixture
def of_tlui(tmp_path: Path, network: keras.Model) -> Path:
    """The same three epochs written here."""
    board = TensorBoard(tmp_path / "tensorboard", network.to_json)
    for epoch in (1, 2, 3):
        values = {
            f"{split}_{metric}": epoch / 10 for split in ("train", "val") for metric in METRICS
        }
        board.write({**values, "lr": 0.01, "epoch": epoch, "global_step": 2 * epoch, "best": True})
    board.close()
    return tmp_path / "tensorboard"


def test_folders_tags_and_steps_are_those_of_keras(of_keras: Path, of_tlui: Path) -> None:
    theirs, ours = curves(of_keras), curves(of_tlui)
    assert set(theirs) == {"train", "validation"}
    assert {"epoch_loss", "epoch_learning_rate"} <= set(theirs["train"])
    assert {"evaluation_loss_vs_iterations"} <= set(theirs["validation"])

    def steps(
        found: Curves,
    ) -> dict[str, dict[str, list[int]]]:
        return {
            folder: {tag: [step for step, _ in points] for tag, points in tags.items()}
            for folder, tags in found.items()
        }

    assert steps(ours) == steps(theirs)
    assert kinds(of_tlui) == kinds(of_keras)


def test_the_network_is_written_as_keras_does(of_keras: Path, of_tlui: Path) -> None:
    theirs, ours = graphs(of_keras), graphs(of_tlui)
    assert list(theirs) == ["train"]
    assert ours == theirs
    assert read(of_tlui).SummaryMetadata("train", GRAPH) == read(of_keras).SummaryMetadata(
        "train", GRAPH
    )


def test_names_of_files_are_told_apart_as_event_files(of_keras: Path, of_tlui: Path) -> None:
    for folder in ("train", "validation"):
        for root in (of_keras, of_tlui):
            (file,) = (root / folder).iterdir()
            assert file.name.startswith("events.out.tfevents.") and file.name.endswith(".v2")


def test_a_run_that_was_interrupted_shows_every_epoch_once(home) -> None:
    run = digits_run(home, epochs=5)
    for at in (25, 25):
        assert train(run, asking(run, (at, "interrupt"))).state == "interrupted"
    assert train(run).state == "finished"
    rows = load(run).epochs
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    found = curves(run.tensorboard)
    assert len(list((run.tensorboard / "train").iterdir())) > 1
    expected: Curves = {"train": {}, "validation": {}}
    for row in rows:
        at, step = row["epoch"] - 1, row["global_step"]
        for metric in METRICS:
            train_, val = row[f"train_{metric}"], row[f"val_{metric}"]
            expected["train"].setdefault(f"epoch_{metric}", []).append((at, train_))
            expected["validation"].setdefault(f"epoch_{metric}", []).append((at, val))
            tag = f"evaluation_{metric}_vs_iterations"
            expected["validation"].setdefault(tag, []).append((step, val))
        expected["train"].setdefault("epoch_learning_rate", []).append((at, row["lr"]))
    assert found.keys() == expected.keys()
    for folder, tags in expected.items():
        assert found[folder].keys() == tags.keys()
        for tag, points in tags.items():
            assert [step for step, _ in found[folder][tag]] == [step for step, _ in points], tag
            values = [value for _, value in points]
            assert [value for _, value in found[folder][tag]] == pytest.approx(values)


def test_a_resumed_run_still_shows_its_network(home) -> None:
    run = digits_run(home, epochs=5)
    assert train(run, asking(run, (40, "interrupt"))).state == "interrupted"
    assert graphs(run.tensorboard)
    assert train(run).state == "finished"
    assert len(list((run.tensorboard / "train").iterdir())) == 2
    ((step, network),) = graphs(run.tensorboard)["train"]
    assert step == 0
    saved = json.loads(keras.saving.load_model(run.model).to_json())
    assert keras_model_to_graph_def(network) == keras_model_to_graph_def(saved)
    assert len(keras_model_to_graph_def(network).node) > 20


def test_all_runs_of_a_store_are_told_apart(home) -> None:
    runs = [digits_run(home, epochs=1), digits_run(home, epochs=1)]
    for run in runs:
        assert train(run).state == "finished"
    assert set(curves(home.runs)) == {
        f"{run.id}/tensorboard/{folder}" for run in runs for folder in ("train", "validation")
    }
