"""Warm start from another run's checkpoint: what is taken over, and what is refused."""

import numpy as np
import pytest

from tlui.errors import TluiError
from tlui.runs.files import write_json, write_whole
from tlui.trainer.model.build import build
from tlui.trainer.model.variables import named_variables
from tlui.trainer.model.warm import warm_start

CLASSES = ["cat", "dog", "owl"]


@pytest.fixture
def small(experiment):
    def make(classes=3, seed=1, **head):
        return build(experiment("SmallConvNet", size=16, head=head), classes, seed)

    return make


@pytest.fixture
def run(home, small):
    """A run of three classes with a best and a last checkpoint."""
    run = home.create("", {"name": "a", "preset": "p", "experiment": "e", "config": {}})
    write_json(run.classes, {"classes": CLASSES})
    for name, seed in (("best", 7), ("last", 8)):
        arrays = {k: v.numpy() for k, v in named_variables(small(seed=seed)).items()}
        arrays["optimizer/0"] = np.zeros(3)
        write_whole(run.checkpoints / f"{name}.npz", lambda f, a=arrays: np.savez(f, **a))
    return run


def value(network, key):
    return named_variables(network)[key].numpy()


def assert_same(one, two, part):
    keys = [k for k in named_variables(one) if k.startswith(part) and "seed" not in k]
    assert keys
    for key in keys:
        np.testing.assert_array_equal(value(one, key), value(two, key))


@pytest.mark.parametrize(("which", "seed"), [("best", 7), ("last", 8)])
def test_same_classes_keep_backbone_and_head(run, small, which, seed):
    network = small()
    done = warm_start(network, run, which, "auto", CLASSES)
    assert (done.head, done.checkpoint) == ("kept", which)
    assert_same(network, small(seed=seed), "backbone/")
    assert_same(network, small(seed=seed), "head/")


@pytest.mark.parametrize(
    ("head", "classes", "build_head"),
    [
        ("auto", ["cat", "dog", "fox"], {}),
        ("auto", ["dog", "cat", "owl"], {}),
        ("auto", CLASSES, {"hidden": [4]}),
        ("new", CLASSES, {}),
    ],
)
def test_the_head_stays_new(run, small, head, classes, build_head):
    network = small(**build_head)
    before = small(**build_head)
    assert warm_start(network, run, "best", head, classes).head == "new"
    assert_same(network, small(seed=7), "backbone/")
    assert_same(network, before, "head/")


def test_keep_takes_the_head_over_whatever_the_names(run, small):
    network = small()
    assert warm_start(network, run, "best", "keep", ["a", "b", "c"]).head == "kept"
    assert_same(network, small(seed=7), "head/")


def test_keep_with_other_shapes_is_refused_and_changes_nothing(run, small):
    network = small(classes=5)
    with pytest.raises(TluiError, match=r"head/logits/kernel: \(128, 3\) given, \(128, 5\) wanted"):
        warm_start(network, run, "best", "keep", ["a", "b", "c", "d", "e"])
    assert_same(network, small(classes=5), "backbone/")


def test_another_backbone_is_refused(run, experiment):
    network = build(experiment(size=32), 3)
    with pytest.raises(TluiError, match=rf"run {run.id} has another backbone.*\n.*block1_conv1"):
        warm_start(network, run, "best", "auto", CLASSES)


def test_last_stands_in_for_a_best_that_is_not_there(run, small):
    (run.checkpoints / "best.npz").unlink()
    assert warm_start(small(), run, "best", "auto", CLASSES).checkpoint == "last"
    (run.checkpoints / "last.npz").unlink()
    with pytest.raises(TluiError, match="no such checkpoint"):
        warm_start(small(), run, "best", "auto", CLASSES)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04."])
def test_a_damaged_checkpoint_is_said_to_be_one(run, small, content):
    (run.checkpoints / "best.npz").write_bytes(content)
    with pytest.raises(TluiError, match=r"best\.npz: not a readable checkpoint"):
        warm_start(small(), run, "best", "auto", CLASSES)
