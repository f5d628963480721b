"""Counts for `tlui preset check`: a request in, an answer out, errors one by one."""

import json
import subprocess
import sys

import pytest

from tlui.errors import TluiError
from tlui.recipe.toml import experiment_to_toml
from tlui.trainer.parameters import count


def phases(*freezes):
    return [{"freeze": f, "lr": {"policy": "constant", "initial": 1e-3}} for f in freezes]


@pytest.fixture
def text(experiment):
    def make(*freezes, name="SmallConvNet", size=16, weights="none"):
        made = experiment(name, size=size, weights=weights, phase=phases(*freezes))
        return {"toml": experiment_to_toml(made)}

    return make


@pytest.fixture
def experiment(experiment):
    """The shared fixture, with phases that may be given."""
    from tlui.recipe.schema import Experiment

    def make(name, phase, **options):
        made = experiment(name, **options)
        return Experiment.model_validate({**made.model_dump(), "phase": phase})

    return make


def test_each_phase_is_counted(text):
    request = {"experiments": [text("backbone", "batchnorm", "none")], "classes": [5]}
    [answer] = count(request)["experiments"]
    learning = [p["trainable_parameters"] for p in answer["phases"]]
    total = 288_352 + 128 * 5 + 5
    statistics = 2 * 2 * (32 + 64 + 128)
    assert learning == [128 * 5 + 5, total - 2 * statistics, total - statistics]
    assert {p["total_parameters"] for p in answer["phases"]} == {total}
    assert [p["first_learning"] for p in answer["phases"]] == [None, 1, 1]
    frozen = [sum(x["frozen"] for x in p["layers"]) for p in answer["phases"]]
    assert frozen == [21, 15, 9]
    assert answer["phases"][0]["layers"][1] == {"name": "block1_conv1", "frozen": True}


def test_one_that_cannot_be_counted_does_not_stop_the_others(text):
    too_many = {"toml": text("top:9")["toml"].replace("top:9", "top:99")}
    requests = {
        "experiments": [too_many, {"toml": "no = toml = "}, {}, text("none"), text("none")],
        "classes": [2, 2, 2, "many", 3],
    }
    answers = count(requests)["experiments"]
    assert "the backbone has 21 layers" in answers[0]["refused"]
    assert answers[1]["refused"] and answers[2]["error"] and answers[3]["error"]
    assert answers[4]["phases"]


@pytest.mark.parametrize(
    "request_", [{}, {"experiments": 1, "classes": []}, {"experiments": [], "classes": [1]}]
)
def test_requests_that_make_no_sense_are_refused(request_):
    with pytest.raises(TluiError, match="expected"):
        count(request_)


def test_as_a_process_without_weights_or_network(text, tmp_path):
    request = {
        "experiments": [text("backbone", name="MobileNetV2", size=32, weights="imagenet")],
        "classes": [3],
    }
    done = subprocess.run(
        [sys.executable, "-m", "tlui.trainer.parameters"],
        input=json.dumps(request), capture_output=True, text=True,
        env={"PATH": "", "PYTHONPATH": ":".join(sys.path), "KERAS_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    [answer] = json.loads(done.stdout)["experiments"]
    assert answer["phases"][0]["trainable_parameters"] == 1280 * 3 + 3
    assert not list(tmp_path.glob("models/*"))
