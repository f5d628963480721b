"""The form's document: fields to TOML and back."""

from __future__ import annotations

import tomllib

import pytest

from tlui.errors import PresetError
from tlui.recipe.bundled import bundled_presets
from tlui.recipe.preset import load_preset, parse_preset
from tlui.recipe.toml import configuration
from tlui.tui import forecast
from tlui.tui.draft import Draft

SMALL = """
name = "small"
[dataset]
source = "digits"
[backbone]
name = "SmallConvNet"
weights = "none"
[[phase]]
epochs = 3
lr = {policy = "constant", initial = 1e-3}
"""


def small() -> Draft:
    return Draft(tomllib.loads(SMALL))


def one(draft: Draft) -> dict[str, object]:
    return configuration(parse_preset(draft.toml()).points[0].experiment)


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("dataset.image_size", "48", 48),
        ("dataset.resize", "pad", "pad"),
        ("dataset.validation", ".2", 0.2),
        ("dataset.test", "0.3", 0.3),
        ("dataset.bad_images", "skip", "skip"),
        ("dataset.classes", "0 1 2", ["0", "1", "2"]),
        ("dataset.classes", '["3", "4"]', ["3", "4"]),
        ("dataset.split_seed", "9", 9),
        ("train.batch_size", "16", 16),
        ("backbone.weights", "run:2a000001", "run:2a000001"),
        ("start_from.run", "@last", "@last"),
        ("head.pooling", "max", "max"),
        ("head.hidden", "128 64", [128, 64]),
        ("head.dropout", ".5", 0.5),
        ("head.label_smoothing", "0.1", 0.1),
        ("head.class_weights", "balanced", "balanced"),
        ("phase.0.freeze", "top:20", "top:20"),
        ("phase.0.batchnorm", "train", "train"),
        ("phase.0.epochs", "12", 12),
        ("phase.0.optimizer.name", "sgd", "sgd"),
        ("phase.0.optimizer.beta_1", "0.8", 0.8),
        ("phase.0.lr.initial", "5e-7", 5e-7),
        ("phase.0.lr.per", "step", "step"),
        ("phase.0.lr.warmup.epochs", "2", 2),
        ("augment.flip", "both", "both"),
        ("augment.rotation", "15", 15),
        ("augment.mixup", "0.2", 0.2),
        ("train.seed", "7", 7),
        ("train.monitor", "val_f1", "val_f1"),
        ("train.early_stopping.patience", "3", 3),
        ("train.mixed_precision", "true", True),
        ("evaluate.weights", "last", "last"),
        ("evaluate.splits", "val test", ["val", "test"]),
        ("evaluate.batch_size", "8", 8),
    ],
)
def test_a_field_reaches_the_run(path: str, text: str, value: object) -> None:
    draft = small()
    draft.put(path, text)
    assert one(draft)[path] == value


def test_clearing_a_field_brings_its_default_back() -> None:
    draft = small()
    for path, text in (("head.dropout", ".5"), ("head.hidden", "64"), ("augment.flip", "both"),
                       ("phase.0.optimizer.name", "sgd"), ("train.early_stopping.patience", "3"),
                       ("start_from.run", "@last")):  # fmt: skip
        draft.put(path, text)
        draft.put(path, "")
        assert draft.text(path) == ""
    assert one(draft) == one(small())


def test_every_field_of_the_form_can_be_put_and_says_what_it_is() -> None:
    draft = small()
    paths = [field.path for field in draft.fields()]
    assert len(paths) == len(set(paths))
    for field in draft.fields():
        assert field.label and field.section
        draft = small()
        text = field.choices[-1] if field.choices else field.default
        draft.put(field.path, text)
        if field.path != "phases" and text:
            assert draft.text(field.path) == text


@pytest.mark.parametrize("policy", [
    "constant", "exponential", "step", "polynomial", "piecewise", "cosine", "cosine-restarts",
    "one-cycle", "inverse-time", "plateau"])  # fmt: skip
def test_choosing_a_policy_makes_a_preset_that_is_right(policy: str) -> None:
    draft = small()
    draft.put("phase.0.lr.initial", "1e-4")
    draft.put("phase.0.lr.policy", policy)
    found = one(draft)
    assert found["phase.0.lr.policy"] == policy
    assert found["phase.0.lr.initial"] == 1e-4
    curves, problem = forecast.rate_curves(draft)
    assert not problem
    assert len(curves) == 1
    draft.put("phase.0.lr.policy", "constant")
    assert one(draft)["phase.0.lr.policy"] == "constant"


def test_the_drawn_rate_is_the_trained_rate() -> None:
    draft = small()
    draft.put("phase.0.lr.policy", "exponential")
    draft.put("phase.0.lr.k", "0.5")
    draft.put("phases", "2")
    draft.put("phase.1.lr.policy", "constant")
    draft.put("phase.1.lr.initial", "1e-5")
    (curve,), _ = forecast.rate_curves(draft)
    first, second = parse_preset(draft.toml()).points[0].experiment.phase
    for x in (0.5, 1.5, 2.5):
        got = curve.series.at("epoch", x)
        assert got is not None
        assert got[1] == first.lr.value(got[0], 3)
    got = curve.series.at("epoch", 4.0)
    assert got is not None
    assert got[1] == second.lr.value(1.0, 3)


def test_every_field_takes_a_list_and_makes_a_sweep_of_it() -> None:
    alone = {"name", "device", "phases"}  # of the whole preset, not of one run
    for field in small().fields():
        if field.path in alone:
            continue
        draft = small()
        values = (*field.choices, "1", "2")[:2]
        draft.put(field.path, ", ".join(values))
        axis = draft.axis(field.path)
        assert axis is not None and len(axis) == 2, field.path
        assert draft.text(field.path) == ", ".join(values)


@pytest.mark.parametrize("text", ["1e-3 .1", "1e-3  .1,", "1e-3, .1"])
def test_numbers_may_stand_between_blanks(text: str) -> None:
    draft = Draft()
    draft.put("phase.0.lr.initial", text)
    assert draft.document["sweep"] == {"phase.0.lr.initial": [1e-3, 0.1]}
    draft.put("head.hidden", "64 32")
    draft.put("dataset.path", "/my photos/2 3")
    assert draft.document["head"]["hidden"] == [64, 32]
    assert draft.document["dataset"]["path"] == "/my photos/2 3"


def test_a_comma_makes_a_sweep_and_taking_it_back_ends_it() -> None:
    draft = small()
    draft.put("phase.0.lr.initial", "1e-3, 1e-4,1e-5")
    draft.put("head.dropout", "0, .5")
    assert len(parse_preset(draft.toml()).points) == 6
    assert draft.text("phase.0.lr.initial") == "1e-3, 1e-4, 1e-5"
    curves, _ = forecast.rate_curves(draft)
    assert len(curves) == 3
    draft.put("head.dropout", ".5")
    assert len(parse_preset(draft.toml()).points) == 3
    draft.put("phase.0.lr.initial", "1e-4,")
    assert len(parse_preset(draft.toml()).points) == 1


def test_another_source_keeps_what_both_know() -> None:
    draft = small()
    draft.put("dataset.image_size", "64")
    draft.put("dataset.source", "folder")
    draft.put("dataset.path", "/tmp")
    found = one(draft)
    assert found["dataset.source"] == "folder"
    assert found["dataset.image_size"] == 64


@pytest.mark.parametrize("path", bundled_presets(), ids=lambda p: p.stem)
def test_every_preset_loads_unchanged(path: object) -> None:
    from pathlib import Path

    path = Path(str(path))
    draft = Draft(tomllib.loads(path.read_text()), str(path))
    assert draft.changes() == []
    points = parse_preset(draft.toml(), need_data=False).points
    expected = load_preset(path, need_data=False).points
    assert [p.name for p in points] == [p.name for p in expected]


def test_a_field_of_a_lab_reaches_every_experiment_and_one_can_be_chosen() -> None:
    path = next(p for p in bundled_presets() if p.stem == "intel-regimes")
    draft = Draft(tomllib.loads(path.read_text()), str(path))
    draft.put("phase.0.epochs", "2")
    draft.put("dataset.image_size", "64")
    points = parse_preset(draft.toml(), need_data=False).points
    assert {p.experiment.phase[0].epochs for p in points} == {2}
    assert {p.experiment.dataset.image_size for p in points} == {64}
    assert ("phase.0.epochs", "10", "2") in draft.changes()
    draft.put("experiments", "head")
    chosen = parse_preset(draft.toml(), need_data=False, only=draft.only).points
    assert {p.experiment.origin.experiment for p in chosen} == {"head"}  # type: ignore[union-attr]


def test_problems_find_their_field() -> None:
    draft = small()
    draft.put("phase.0.epochs", "none")
    draft.put("head.dropout", "2")
    draft.put("phase.0.lr.initial", "-1")
    with pytest.raises(PresetError):
        parse_preset(draft.toml())
    checked = forecast.check(1, draft.toml(), ())
    found, rest = forecast.by_field(checked.problems, [f.path for f in draft.fields()])
    assert {"phase.0.epochs", "head.dropout", "phase.0.lr.initial"} <= set(found)
    assert not rest
