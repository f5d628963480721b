"""The catalogue against the library it describes."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from tlui.recipe.catalogue import (
    BACKBONES,
    DATASETS,
    OPTIMIZERS,
    unknown,
    weights_at_hand,
    weights_file,
)
from tlui.recipe.fields import node_at

SMALL = ("MobileNet", "MobileNetV2", "MobileNetV3Small")
MODES = {"tf", "torch", "caffe"}


@pytest.fixture(scope="module")
def keras() -> Any:
    return pytest.importorskip("keras")


def theirs() -> list[str]:
    return [name for name, spec in BACKBONES.items() if spec.module != "tlui"]


def slow_unless_small(names: list[str]) -> list[Any]:
    marks = {False: [pytest.mark.slow], True: []}
    return [pytest.param(name, marks=marks[name in SMALL]) for name in names]


class TestBackbones:
    def test_every_image_family_of_the_library_is_there(self, keras: Any) -> None:
        builders = {
            name
            for name, value in vars(keras.applications).items()
            if inspect.isfunction(value) and name[0].isupper()
        }
        assert builders == set(theirs())

    @pytest.mark.parametrize("name", slow_unless_small(theirs()))
    def test_parameters_and_smallest_input(self, keras: Any, name: str) -> None:
        spec = BACKBONES[name]
        build = getattr(keras.applications, name)
        shape = (spec.least, spec.least, 3)
        network = build(weights=None, include_top=False, input_shape=shape)
        assert network.count_params() == spec.parameters
        with pytest.raises(ValueError, match="at least"):
            smaller = (spec.least - 1, spec.least - 1, 3)
            build(weights=None, include_top=False, input_shape=smaller)

    @pytest.mark.parametrize("name", [n for n, s in BACKBONES.items() if s.alphas])
    def test_parameters_at_the_other_widths(self, keras: Any, name: str) -> None:
        spec = BACKBONES[name]
        assert {1.0, *spec.scaled} == set(spec.alphas)
        alpha = spec.alphas[0]
        network = getattr(keras.applications, name)(
            weights=None, include_top=False, input_shape=(32, 32, 3), alpha=alpha
        )
        assert network.count_params() == spec.parameters_at(alpha)

    def test_our_own(self, keras: Any) -> None:
        from tlui.recipe.schema import Backbone
        from tlui.trainer.model.backbones import build_backbone

        spec = BACKBONES["SmallConvNet"]
        backbone = Backbone(name="SmallConvNet", weights="none")
        for size in (spec.least, spec.size):
            assert build_backbone(backbone, size).count_params() == spec.parameters

    @pytest.mark.parametrize("name", theirs())
    def test_scaling_is_what_the_family_does(self, keras: Any, name: str) -> None:
        import numpy as np

        spec = BACKBONES[name]
        module = getattr(keras.applications, spec.module)
        image = np.random.default_rng(0).uniform(0, 255, (1, 2, 2, 3)).astype("float32")
        got = module.preprocess_input(image.copy())
        if spec.scaling == "own":
            wanted = image
        else:
            from keras.src.applications.imagenet_utils import preprocess_input

            wanted = preprocess_input(image.copy(), mode=spec.scaling)
        np.testing.assert_array_equal(got, wanted)


class TestWeightsFiles:
    def asked_for(
        self, keras: Any, monkeypatch: pytest.MonkeyPatch, name: str, alpha: float, size: int
    ) -> str:
        """The file the library would download."""
        from keras.src.utils import file_utils

        class Asked(Exception):
            pass

        def ask(fname: str, *args: Any, **kwargs: Any) -> None:
            assert kwargs["cache_subdir"] == "models"
            raise Asked(fname)

        monkeypatch.setattr(file_utils, "get_file", ask)
        given = {"alpha": alpha} if BACKBONES[name].alphas else {}
        with pytest.raises(Asked) as caught:
            getattr(keras.applications, name)(
                include_top=False, weights="imagenet", input_shape=(size, size, 3), **given
            )
        return str(caught.value)

    @pytest.mark.filterwarnings("ignore:.input_shape. is undefined")
    @pytest.mark.parametrize(
        ("name", "alpha", "size"),
        [
            ("MobileNet", 0.25, 128),
            ("MobileNet", 1.0, 96),
            ("MobileNetV2", 0.35, 96),
            ("MobileNetV2", 1.4, 100),
            ("MobileNetV3Small", 0.75, 96),
            *[
                pytest.param(name, 1.0, max(BACKBONES[name].least, 96), marks=pytest.mark.slow)
                for name in theirs()
            ],
        ],
    )
    def test_named_as_the_library_does(
        self, keras: Any, monkeypatch: pytest.MonkeyPatch, name: str, alpha: float, size: int
    ) -> None:
        assert weights_file(name, alpha, size) == self.asked_for(
            keras, monkeypatch, name, alpha, size
        )

    def test_none_where_there_are_none(self) -> None:
        with pytest.raises(ValueError, match=r"no ImageNet weights at alpha 0\.3"):
            weights_file("MobileNet", 0.3)
        with pytest.raises(ValueError, match="no ImageNet weights"):
            weights_file("SmallConvNet")

    def test_at_hand(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        assert not weights_at_hand("VGG16")
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / weights_file("VGG16")).touch()
        assert weights_at_hand("VGG16")
        assert not weights_at_hand("MobileNet", 0.3)

    def test_the_real_cache(self, realdata: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KERAS_HOME", str(realdata / "weights" / "keras_home"))
        assert weights_at_hand("MobileNet", 0.25, 224)
        assert weights_at_hand("MobileNet", 0.25, 96)
        assert weights_at_hand("MobileNetV2", 0.35, 128)
        assert not weights_at_hand("MobileNetV2", 0.35, 96)


class TestDatasets:
    @pytest.mark.parametrize("name", sorted(DATASETS))
    def test_a_shortcut_is_a_valid_dataset(self, name: str) -> None:
        from tlui.recipe.schema import Experiment

        given = {**DATASETS[name].dataset, "path": "/data", "name": name}
        lr = {"policy": "constant", "initial": 1}
        dataset = Experiment.model_validate(
            {
                "name": "x",
                "dataset": given,
                "backbone": {"name": "MobileNet"},
                "phase": [{"lr": lr}],
            }
        ).dataset
        assert dataset.classes == sorted(dataset.classes or [])
        assert DATASETS[name].home.startswith("https://")

    def test_their_classes(self) -> None:
        count = {name: len(DATASETS[name].dataset["classes"]) for name in DATASETS}
        assert count == {"intel": 6, "oregon-wildlife": 20, "food-101": 101, "pcam": 2}


def test_every_optimizer_is_described() -> None:
    node = node_at(("phase", "0", "optimizer"))
    assert node is not None
    assert set(node.tables) == set(OPTIMIZERS)


def test_what_is_like_no_word_gets_all_of_them() -> None:
    assert unknown("field", "foo", ["zoom", "flip"]) == '"foo" is not a field (one of: zoom, flip)'


@pytest.mark.parametrize(
    ("received", "near"),
    [
        ("exp", "exponential"),
        ("Cosine", "cosine"),
        ("costant", "constant"),
        ("cosine-r", "cosine-restarts"),
    ],
)
def test_the_nearest_word(received: str, near: str) -> None:
    known = ["constant", "exponential", "step", "cosine", "cosine-restarts"]
    assert unknown("policy", received, known) == (
        f'"{received}" is not a policy (did you mean "{near}"?)'
    )


def test_all_words_where_none_is_near() -> None:
    assert unknown("axis", "zz", ["a", "b"]) == '"zz" is not an axis (one of: a, b)'
