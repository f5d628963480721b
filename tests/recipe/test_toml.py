"""Resolved experiments survive being written and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlui.errors import PresetError
from tlui.recipe.bundled import bundled_presets
from tlui.recipe.config import Config
from tlui.recipe.preset import load_preset, parse_preset
from tlui.recipe.schema import Experiment
from tlui.recipe.toml import configuration, experiment_to_toml, flatten, load_experiment

text = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)
rate = st.floats(1e-12, 1.0)
share = st.floats(0, 0.49)

policies = st.one_of(
    st.fixed_dictionaries({"policy": st.just("constant"), "initial": rate}),
    st.fixed_dictionaries(
        {"policy": st.just("exponential"), "initial": rate, "k": rate},
        optional={"warmup": st.fixed_dictionaries({"epochs": st.floats(0.5, 9)})},
    ),
    st.fixed_dictionaries(
        {
            "policy": st.just("piecewise"),
            "initial": rate,
            "boundaries": st.just([1.5, 2]),
            "values": st.tuples(rate, rate).map(list),
            "per": st.sampled_from(["epoch", "step"]),
        }
    ),
)
optimizers = st.one_of(
    st.sampled_from(["adam", "adamw", "sgd", "rmsprop"]),
    st.fixed_dictionaries({"name": st.just("sgd"), "momentum": share}),
    st.fixed_dictionaries(
        {
            "name": st.just("sgd"),
            "momentum": share.filter(bool),
            "nesterov": st.booleans(),
        }
    ),
    st.fixed_dictionaries({"name": st.just("adam"), "global_clipnorm": rate}),
)
phases = st.fixed_dictionaries(
    {"lr": policies},
    optional={
        "freeze": st.sampled_from(["backbone", "none", "batchnorm", "top:20", "top:1"]),
        "epochs": st.integers(1, 500),
        "optimizer": optimizers,
    },
)
datasets = st.one_of(
    st.fixed_dictionaries(
        {"source": st.just("folder"), "path": text.map(lambda t: "/data/" + t.replace("/", ""))},
        optional={
            "name": text.map("my ".__add__),
            "image_size": st.integers(96, 512),
            "classes": st.lists(text, min_size=2, max_size=4, unique=True),
        },
    ),
    st.fixed_dictionaries({"source": st.just("digits"), "image_size": st.just(96)}),
)
experiments = st.fixed_dictionaries(
    {
        "name": text,
        "dataset": datasets,
        "backbone": st.sampled_from([{"name": "MobileNetV2", "alpha": 0.35}, {"name": "ResNet50"}]),
        "phase": st.lists(phases, min_size=1, max_size=3),
    },
    optional={
        "description": st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        "tags": st.lists(text, max_size=2),
        "head": st.fixed_dictionaries(
            {}, optional={"hidden": st.lists(st.integers(1, 9), max_size=2), "dropout": share}
        ),
        "start_from": st.just({"run": "0123", "head": "new"}),
        "origin": st.fixed_dictionaries(
            {
                "preset": text,
                "experiment": text,
                "sweep": st.dictionaries(
                    st.sampled_from(["phase.0.lr", "train.seed"]),
                    st.sampled_from([1, 1e-7, "x", True, [1, 2], {"policy": "constant"}]),
                ),
            }
        ),
    },
)


@given(experiments)
@settings(deadline=None)
def test_a_resolved_experiment_reads_back_equal(document: dict[str, Any]) -> None:
    document.setdefault("origin", {"preset": "p", "experiment": "e"})
    experiment = Experiment.model_validate(document)
    preset = parse_preset(experiment_to_toml(experiment), config=Config())
    assert [point.experiment for point in preset.points] == [experiment]


def test_every_run_of_the_bundled_presets_reads_back_equal(tmp_path: Path) -> None:
    names = ("intel", "food-101", "pcam", "oregon-wildlife")
    config = Config(datasets=dict.fromkeys(names, str(tmp_path)))
    for path in bundled_presets():
        for point in load_preset(path, config=config).points:
            file = tmp_path / "preset.toml"
            file.write_text(experiment_to_toml(point.experiment), "utf-8")
            assert load_experiment(file) == point.experiment


def test_a_repeated_run_with_its_swept_value_set_is_no_longer_that_point() -> None:
    lab = parse_preset(
        """
        name = "lab"
        dataset = { source = "digits" }
        backbone = { name = "SmallConvNet", weights = "none" }
        sweep = { "train.seed" = [1, 2], "train.batch_size" = [8, 16] }
        [[phase]]
        lr = { policy = "constant", initial = 1e-4 }
        """
    )
    again = parse_preset(experiment_to_toml(lab.points[0].experiment), sets=["train.seed=9"])
    (point,) = again.points
    assert point.name == "lab-1-8"
    assert point.experiment.origin is not None
    assert point.experiment.origin.sweep == {"train.batch_size": 8}


def test_a_broken_file_of_a_run_names_itself(tmp_path: Path) -> None:
    path = tmp_path / "preset.toml"
    path.write_text('name = "x"\nphase = []\n')
    with pytest.raises(PresetError) as caught:
        load_experiment(path)
    assert caught.value.problems[0].startswith(f"{path}: dataset: missing")


def test_flatten() -> None:
    nested = {
        "a": {"b": 1, "c": [1, 2]},
        "phase": [{"lr": {"initial": 0.1}}, {"epochs": 2}],
        "empty": {},
        "none": None,
        "list": [],
    }
    assert flatten(nested) == {
        "a.b": 1,
        "a.c": [1, 2],
        "phase.0.lr.initial": 0.1,
        "phase.1.epochs": 2,
        "empty": {},
        "none": None,
        "list": [],
    }


def test_configuration_leaves_out_names_and_notes() -> None:
    preset = parse_preset(
        'name = "x"\ndescription = "d"\ntags = ["t"]\n[dataset]\nsource = "digits"\n'
        '[backbone]\nname = "SmallConvNet"\nweights = "none"\n'
        '[[phase]]\nlr = { policy = "constant", initial = 1e-4 }\n'
    )
    leaves = configuration(preset.points[0].experiment)
    assert leaves["phase.0.lr.initial"] == 1e-4
    assert leaves["dataset.source"] == "digits"
    assert not {"name", "version", "description", "tags", "origin.preset"} & set(leaves)
