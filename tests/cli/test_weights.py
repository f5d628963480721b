"""`tlui weights`: what is in Keras's cache, and what cannot be fetched."""

import json
import os
import subprocess
import sys

import pytest

from tlui.cli.main import run


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    folder = tmp_path / "keras" / "models"
    folder.mkdir(parents=True)
    return folder


def test_an_empty_cache_says_how_to_fill_it(cache, capsys):
    assert run(["weights", "list"]) == 0
    assert "tlui weights pull NAME" in capsys.readouterr().out
    assert run(["weights", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights"] == []


def test_files_are_shown_with_the_backbones_they_serve(cache, capsys):
    for name in (
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_128_no_top.h5",
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "some\x1b[31mother.h5",
    ):
        (cache / name).write_bytes(b"x" * 2_500_000)
    assert run(["weights", "list"]) == 0
    out = capsys.readouterr().out
    assert "MobileNetV2" in out
    assert "alpha 0.35, 128 px" in out
    assert "ResNet50" in out
    assert "\x1b" not in out
    assert run(["weights", "list", "--json"]) == 0
    rows = {r["file"]: r for r in json.loads(capsys.readouterr().out)["weights"]}
    row = rows["mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_128_no_top.h5"]
    assert (row["backbone"], row["alpha"], row["image_size"]) == ("MobileNetV2", 0.35, 128)
    assert row["bytes"] == 2_500_000
    assert rows["some\x1b[31mother.h5"]["backbone"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MobilNetV2"], 'did you mean "MobileNetV2"?'),
        (["MobileNetV2", "--alpha", "0.3"], "MobileNetV2 has ImageNet weights for alpha 0.35"),
        (["SmallConvNet"], "SmallConvNet has no ImageNet weights"),
        (["ResNet50", "--alpha", "0.5"], "ResNet50 has no alpha"),
    ],
)
def test_what_cannot_be_is_refused_before_tensorflow_loads(cache, capsys, arguments, message):
    assert run(["weights", "pull", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_without_network_the_file_is_named(cache):
    done = subprocess.run(
        [sys.executable, "-m", "tlui.cli.main", "weights", "pull", "MobileNet", "--alpha", "0.25"],
        env={**os.environ, "https_proxy": "http://127.0.0.1:9"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(cache / "mobilenet_2_5_224_tf_no_top.h5") in done.stderr


def test_weights_at_hand_are_not_fetched_again(keras_home, monkeypatch, capfd):
    monkeypatch.setenv("KERAS_HOME", str(keras_home))
    assert run(["weights", "pull", "MobileNet", "--alpha", "0.25"]) == 0
    assert "already there" in capfd.readouterr().out
