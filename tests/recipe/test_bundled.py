"""The presets that come with tlui are what they say, and the schema for editors fits them."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli

from tlui.recipe.bundled import bundled_presets
from tlui.recipe.config import Config
from tlui.recipe.jsonschema import preset_schema
from tlui.recipe.preset import Preset, load_preset

CONFIG = Config(datasets=dict.fromkeys(("intel", "food-101", "pcam", "oregon-wildlife"), "/data"))
PATHS = bundled_presets()


def lab(name: str, *sets: str) -> Preset:
    path = next(path for path in PATHS if path.stem == name)
    return load_preset(path, sets, config=CONFIG)


def initial_rates(preset: Preset, experiment: str) -> list[float]:
    return [
        point.experiment.phase[0].lr.initial
        for point in preset.points
        if point.experiment.origin is not None and point.experiment.origin.experiment == experiment
    ]


def test_the_quickstart_comes_first() -> None:
    assert [path.stem for path in PATHS] == [
        "quickstart",
        "food101-finetune",
        "intel-dropout",
        "intel-regimes",
        "oregon-lr-policies",
        "pcam-backbones",
    ]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
class TestEach:
    def test_is_named_after_its_file_and_makes_runs(self, path: Path) -> None:
        preset = load_preset(path, config=CONFIG)
        assert preset.name == path.stem
        assert preset.points
        assert all(p.experiment.origin and p.experiment.description for p in preset.points)

    def test_fits_the_schema(self, path: Path) -> None:
        document = tomli.loads(path.read_text("utf-8"))
        jsonschema.Draft202012Validator(preset_schema()).validate(document)

    def test_can_be_pointed_at_other_photos(self, path: Path, tmp_path: Path) -> None:
        if path.stem == "quickstart":
            pytest.skip("its data is bundled")
        preset = load_preset(
            path,
            [
                "dataset.name=mine",
                "dataset.source=folder",
                f"dataset.path={tmp_path}",
                "phase.*.epochs=1",
            ],
            config=Config(),
        )
        for point in preset.points:
            assert point.experiment.dataset.source == "folder"
            assert all(phase.epochs == 1 for phase in point.experiment.phase)


class TestLabs:
    def test_quickstart_transfers_to_other_classes(self) -> None:
        by_name = {point.name: point for point in lab("quickstart").points}
        assert by_name["head"].parent == "source"
        assert by_name["head-then-full"].parent == "head"
        assert by_name["random-head"].parent is None
        assert by_name["random-head"].experiment.phase == by_name["head"].experiment.phase
        assert by_name["source"].experiment.dataset.classes == list("01234")
        assert by_name["head"].experiment.dataset.classes == list("56789")

    def test_intel_regimes(self) -> None:
        preset = lab("intel-regimes")
        assert initial_rates(preset, "scratch") == [1e-6, 1e-4, 1e-7]
        for name in ("full", "head", "head-then-full"):
            assert initial_rates(preset, name) == [1e-6, 1e-4, 5e-7]
        assert len(preset.points[-1].parents) == 3

    def test_intel_dropout_runs_batchnorm_in_inference_but_from_scratch(self) -> None:
        preset = lab("intel-dropout")
        assert initial_rates(preset, "scratch") == [1e-6, 1e-5, 1e-4]
        assert initial_rates(preset, "full") == [1e-7, 1e-6, 1e-5]
        assert initial_rates(preset, "head") == [1e-7, 1e-6, 1e-5]
        assert initial_rates(preset, "head-then-full") == [1e-6, 1e-5]
        for point in preset.points:
            scratch = point.experiment.backbone.weights == "none"
            assert point.experiment.phase[0].batchnorm == ("train" if scratch else "inference")
            assert point.experiment.head.dropout == 0.2

    def test_pcam_backbones(self) -> None:
        preset = lab("pcam-backbones")
        backbones = Counter(point.experiment.backbone.name for point in preset.points)
        assert backbones == {"MobileNet": 1, "ResNet50": 1, "DenseNet121": 3}
        for point in preset.points:
            assert point.experiment.train.batch_size == 256
            assert point.experiment.head.output == "sigmoid"
            assert point.experiment.dataset.image_size == 96

    def test_food101_finetune(self) -> None:
        head, *tuned = lab("food101-finetune").points
        assert (head.experiment.phase[0].epochs, head.experiment.phase[0].freeze) == (
            50,
            "backbone",
        )
        assert initial_rates(lab("food101-finetune"), "finetune") == [1e-7, 1e-8]
        for point in tuned:
            assert point.parent == "head"
            assert (point.experiment.phase[0].epochs, point.experiment.phase[0].freeze) == (
                15,
                "batchnorm",
            )

    def test_oregon_lr_policies(self) -> None:
        preset = lab("oregon-lr-policies")
        head = preset.points[0].experiment
        assert [head.phase[0].lr.value(e, 50) for e in (0, 1)] == pytest.approx(
            [0.01, 0.0074081822]
        )
        assert (head.train.batch_size, head.augment.crop_from, head.augment.rotation) == (
            64,
            256,
            15,
        )
        assert initial_rates(preset, "static") == [1e-7, 1e-8, 1e-9, 1e-10]
        policies = Counter(point.experiment.phase[0].lr.policy for point in preset.points[1:])
        assert policies == {"constant": 4, "exponential": 4, "step": 3}
        drops = [p.experiment.phase[0].lr.value(11, 30) for p in preset.points if "step" in p.name]
        assert drops == pytest.approx([0.5e-8, 0.75**2 * 1e-8, 0.98**11 * 1e-8])


class TestSchema:
    validator = jsonschema.Draft202012Validator(preset_schema())

    def test_is_itself_valid(self) -> None:
        jsonschema.Draft202012Validator.check_schema(preset_schema())

    @pytest.mark.parametrize(
        "change",
        [
            {"haed": {}},
            {"backbone": {"name": "MobilNet"}},
            {"experiment": [{"description": "no name"}]},
            {"train": {"batch_size": "x"}},
            {"phase": [{"freeze": "top:0"}]},
            {"phase": [{"lr": {"policy": "exp"}}]},
            {"sweep": {"train.seed": []}},
        ],
        ids=str,
    )
    def test_refuses(self, change: dict[str, Any]) -> None:
        document = copy.deepcopy(tomli.loads(PATHS[0].read_text("utf-8")))
        assert not list(self.validator.iter_errors(document))
        assert list(self.validator.iter_errors({**document, **change}))
