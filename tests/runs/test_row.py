import shutil
from pathlib import Path

import pytest

from tlui.runs.directory import Home
from tlui.runs.history import load
from tlui.runs.index import Index
from tlui.runs.row import dataset_word, leaves, lr_word, regime_word

V1 = Path(__file__).parent / "fixtures" / "v1"


def config(*phases: dict[str, object], **others: object) -> dict[str, object]:
    found = {f"phase.{i}.{k}": v for i, phase in enumerate(phases) for k, v in phase.items()}
    return found | {k.replace("__", "."): v for k, v in others.items()}


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (config({"freeze": "backbone"}), "head"),
        (config({"freeze": "none"}, backbone__weights="imagenet"), "all"),
        (config({"freeze": "none"}, backbone__weights="none"), "scratch"),
        (config({"freeze": "none"}, backbone__weights="none", start_from__run="12"), "all"),
        (config({"freeze": "batchnorm"}), "all but BN"),
        (config({"freeze": "top:20"}), "top 20"),
        (config({"freeze": "from:block_13"}), "from block_13"),
        (config({"freeze": "backbone"}, {"freeze": "none"}), "head then all"),
        (config({"freeze": "none"}, {"freeze": "none"}), "all"),
        ({}, ""),
    ],
)
def test_regime_word(given: dict[str, object], word: str) -> None:
    assert regime_word(given) == word


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (config({"lr.policy": "constant", "lr.initial": 1e-4}), "1e-4"),
        (config({"lr.policy": "exponential", "lr.initial": 1e-2}), "exp 0.01"),
        (config({"lr.policy": "step", "lr.initial": 1e-8}), "step 1e-8"),
        (config({"lr.initial": 1e-3}, {"lr.initial": 1e-5}), "1e-3 then 1e-5"),
        (config({"lr.initial": "fast"}), ""),
    ],
)
def test_lr_word(given: dict[str, object], word: str) -> None:
    assert lr_word(given) == word


def test_dataset_word() -> None:
    assert dataset_word({"dataset.name": "intel", "dataset.path": "/x/y"}) == "intel"
    assert dataset_word({"dataset.path": "~/data/my photos/"}) == "my photos"
    assert dataset_word({"dataset.source": "digits"}) == "digits"


def test_leaves_are_dotted() -> None:
    given = {"a": {"b": 1, "c": [1, 2]}, "phase": [{"lr": {"initial": 1}}], "empty": [], "n": {}}
    assert leaves(given) == {
        "a.b": 1,
        "a.c": [1, 2],
        "phase.0.lr.initial": 1,
        "empty": [],
        "n": {},
    }


def test_runs_of_the_first_format_open(home: Home) -> None:
    shutil.copytree(V1, home.runs, dirs_exist_ok=True)
    run = home.run("0a1b2c3d")
    with Index(home) as index:
        index.refresh()
        (row,) = index.rows()
    assert (row.id, row.name, row.state, row.newer) == ("0a1b2c3d", "head-1e-4", "finished", False)
    assert (row.val, row.test, row.regime, row.lr) == (0.87, 0.86, "head", "1e-4")
    assert row.config["train.batch_size"] == 32
    history = load(run)
    assert [epoch["epoch"] for epoch in history.epochs] == [1, 2, 3]
    assert len(history.steps) == 12
    status = run.observe().status
    assert status.owner is not None and status.owner.host == "gpu7"
    assert run.read_result()["splits"]["test"]["confusion"][2] == [1, 3, 16]  # type: ignore[index]
