"""Presets: merging, overrides, sweeps, links and order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tlui.errors import PresetError
from tlui.recipe.config import Config
from tlui.recipe.preset import Preset, load_preset, parse_preset

BASE = """
version = 1
name = "lab"
[dataset]
source = "digits"
[backbone]
name = "SmallConvNet"
weights = "none"
[[phase]]
epochs = 10
lr = { policy = "constant", initial = 1e-4 }
"""

LAB = (
    BASE
    + """
[[experiment]]
name = "head"
sweep = { "phase.0.lr.initial" = [1e-6, 1e-4, 5e-7] }
[[experiment]]
name = "then-full"
start_from = { experiment = "head", pick = "best" }
sweep = { "phase.0.lr.initial" = [1e-6, 1e-4] }
[[experiment.phase]]
freeze = "none"
epochs = 5
lr = { policy = "step", initial = 1e-5, drop = 0.5, epochs_drop = 10 }
"""
)


def names(preset: Preset) -> list[str]:
    return [point.name for point in preset.points]


def only(preset: Preset) -> Any:
    assert len(preset.points) == 1
    return preset.points[0].experiment


def problems(text: str, *sets: str, **given: Any) -> list[str]:
    with pytest.raises(PresetError) as caught:
        parse_preset(text, "p.toml", sets, **given)
    assert caught.value.code == 2
    return caught.value.problems


class TestOneExperiment:
    def test_is_one_run_under_the_presets_name(self) -> None:
        preset = parse_preset(BASE)
        assert names(preset) == ["lab"]
        origin = preset.points[0].experiment.origin
        assert origin is not None
        assert (origin.preset, origin.experiment, origin.sweep) == ("lab", "lab", {})

    def test_another_name(self) -> None:
        preset = parse_preset(BASE, name="mine")
        assert preset.name == "mine"
        assert names(preset) == ["mine"]
        assert preset.points[0].experiment.origin.preset == "mine"

    def test_another_name_for_a_lab_leaves_its_runs_theirs(self) -> None:
        before, preset = parse_preset(LAB), parse_preset(LAB, name="mine")
        assert [p.name for p in preset.points] == [p.name for p in before.points]
        origins = [p.experiment.origin for p in preset.points]
        assert {origin.preset for origin in origins if origin} == {"mine"}

    def test_from_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a b.toml"
        path.write_text(BASE)
        preset = load_preset(path)
        assert preset.path == path

    def test_an_optimizer_by_name_or_as_a_table(self) -> None:
        assert (
            only(parse_preset(BASE, sets=["phase.0.optimizer=sgd"])).phase[0].optimizer.name
            == "sgd"
        )
        given = only(parse_preset(BASE, sets=['phase.0.optimizer={name="sgd", momentum=0.9}']))
        assert given.phase[0].optimizer.momentum == 0.9


class TestLab:
    def test_top_is_the_default_and_a_phase_list_replaces(self) -> None:
        preset = parse_preset(LAB)
        head, full = preset.points[0].experiment, preset.points[-1].experiment
        assert head.backbone.name == full.backbone.name == "SmallConvNet"
        assert (head.phase[0].epochs, head.phase[0].freeze) == (10, "backbone")
        assert (full.phase[0].epochs, full.phase[0].freeze) == (5, "none")

    def test_tables_merge_key_by_key(self) -> None:
        text = BASE + '[head]\ndropout = 0.2\n[[experiment]]\nname = "a"\nhead = {pooling="max"}\n'
        head = only(parse_preset(text)).head
        assert (head.dropout, head.pooling) == (0.2, "max")

    def test_parents_come_first_whatever_the_order_in_the_file(self) -> None:
        text = BASE + "".join(
            f'[[experiment]]\nname = "{name}"\n'
            + (f'start_from = {{experiment = "{start}"}}\n' if start else "")
            for name, start in [("c", "b"), ("b", "a"), ("x", ""), ("a", "")]
        )
        preset = parse_preset(text)
        assert names(preset) == ["a", "b", "c", "x"]
        assert [point.parent for point in preset.points] == [None, "a", "b", None]

    def test_best_of_a_sweep_has_every_point_as_candidate(self) -> None:
        full = parse_preset(LAB).points[-1]
        assert full.parent is None
        assert full.parents == ("head-1e-6", "head-1e-4", "head-5e-7")

    def test_match_takes_the_point_with_the_same_values(self) -> None:
        preset = parse_preset(LAB.replace('"best"', '"match"'))
        assert [p.parent for p in preset.points[3:]] == ["head-1e-6", "head-1e-4"]

    def test_match_on_shared_axes_leaves_the_best_of_the_others(self) -> None:
        text = LAB.replace('"best"', '"match"').replace(
            "5e-7] }", '5e-7], "train.batch_size" = [16, 32] }'
        )
        assert parse_preset(text).points[-1].parents == ("head-1e-4-16", "head-1e-4-32")

    def test_only_an_experiment_pulls_in_its_parents(self) -> None:
        assert len(parse_preset(LAB, only=["then-full"]).points) == 5
        assert names(parse_preset(LAB, only=["head"])) == ["head-1e-6", "head-1e-4", "head-5e-7"]

    def test_only_a_run(self) -> None:
        preset = parse_preset(LAB.replace('"best"', '"match"'), only=["then-full-1e-4"])
        assert names(preset) == ["head-1e-4", "then-full-1e-4"]

    def test_sweep_at_the_top_is_every_experiments(self) -> None:
        text = LAB.replace("[dataset]", 'sweep = { "train.seed" = [1, 2] }\n[dataset]')
        assert len(parse_preset(text).points) == 10


class TestSet:
    def test_reaches_the_top_and_every_experiment(self) -> None:
        preset = parse_preset(LAB, sets=["phase.*.epochs=1", "train.batch_size=64"])
        assert {p.experiment.phase[0].epochs for p in preset.points} == {1}
        assert {p.experiment.train.batch_size for p in preset.points} == {64}

    def test_one_experiment(self) -> None:
        preset = parse_preset(LAB, sets=["experiment.head.phase.0.epochs=2"])
        assert [p.experiment.phase[0].epochs for p in preset.points] == [2, 2, 2, 5, 5]

    def test_a_value_removes_the_axis_over_the_same_field(self) -> None:
        preset = parse_preset(LAB, sets=["phase.0.lr.initial=1e-3"])
        assert names(preset) == ["head", "then-full"]
        assert preset.points[0].experiment.phase[0].lr.initial == 1e-3
        assert preset.points[1].parent == "head"

    def test_a_whole_table_removes_the_axis_inside_it(self) -> None:
        preset = parse_preset(LAB, sets=['phase.*.lr={policy="cosine", initial=0.1}'])
        assert names(preset) == ["head", "then-full"]
        assert {p.experiment.phase[0].lr.policy for p in preset.points} == {"cosine"}

    def test_a_list_for_a_scalar_becomes_an_axis(self) -> None:
        preset = parse_preset(BASE, sets=["phase.0.lr.initial=[1e-3, 1e-5]"])
        assert names(preset) == ["lab-1e-3", "lab-1e-5"]

    def test_a_list_for_a_list_is_its_value_and_a_list_of_lists_an_axis(self) -> None:
        assert only(parse_preset(BASE, sets=["head.hidden=[64, 32]"])).head.hidden == [64, 32]
        preset = parse_preset(BASE, sets=["head.hidden=[[64], [64, 32]]"])
        assert [p.experiment.head.hidden for p in preset.points] == [[64], [64, 32]]

    def test_the_later_wins(self) -> None:
        assert only(parse_preset(BASE, sets=["train.seed=1", "train.seed=2"])).train.seed == 2

    def test_one_that_needs_another_may_come_first(self) -> None:
        sets = ["phase.0.lr.k=0.3", "phase.0.lr.policy=exponential"]
        assert only(parse_preset(BASE, sets=sets)).phase[0].lr.k == 0.3

    def test_reaches_only_variants_that_have_it(self) -> None:
        preset = parse_preset(LAB, sets=["phase.*.lr.drop=0.25"])
        assert preset.points[-1].experiment.phase[0].lr.drop == 0.25
        assert preset.points[0].experiment.phase[0].lr.policy == "constant"

    def test_inside_an_optimizer_given_by_name_or_not_at_all(self) -> None:
        assert (
            only(parse_preset(BASE, sets=["phase.0.optimizer.beta_1=0.5"]))
            .phase[0]
            .optimizer.beta_1
            == 0.5
        )
        text = BASE.replace("epochs = 10", 'epochs = 10\noptimizer = "sgd"')
        assert (
            only(parse_preset(text, sets=["phase.0.optimizer.momentum=0.5"]))
            .phase[0]
            .optimizer.momentum
            == 0.5
        )

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("description=bare words", "bare words"),
            ('description="quoted"', "quoted"),
            ("description=2024", "2024"),
            ("description=true", "true"),
            ("description=1\nx = 2", "1\nx = 2"),
            ("description=2024-01-01", "2024-01-01"),
            ("description=", ""),
            ("description=a=b", "a=b"),
        ],
    )
    def test_text_fields_take_text_as_it_stands(self, given: str, expected: str) -> None:
        assert only(parse_preset(BASE, sets=[given])).description == expected

    def test_quoted_parts(self) -> None:
        given = only(
            parse_preset(BASE, sets=['head.class_weights."a.b"=2', "head.class_weights.c=1"])
        )
        assert given.head.class_weights == {"a.b": 2, "c": 1}

    def test_source_of_the_data_changed_altogether(self, tmp_path: Path) -> None:
        text = BASE.replace('source = "digits"', 'name = "intel"')
        sets = ["dataset.name=mine", "dataset.source=folder", f"dataset.path={tmp_path}"]
        dataset = only(parse_preset(text, sets=sets)).dataset
        assert (dataset.source, dataset.train_folder, dataset.classes) == ("folder", None, None)


class TestSweep:
    def test_over_any_field_in_either_spelling(self) -> None:
        text = BASE + "[sweep]\ntrain.seed = [1, 2]\n'phase.*.epochs' = [3, 4]\n"
        preset = parse_preset(text)
        assert names(preset) == ["lab-1-3", "lab-1-4", "lab-2-3", "lab-2-4"]
        assert preset.points[1].experiment.origin.sweep == {"train.seed": 1, "phase.*.epochs": 4}

    def test_names_of_points(self) -> None:
        cases: list[tuple[str, list[Any], list[str]]] = [
            ("phase.0.lr.initial", [1e-4, 0.001, 0.05, 1.5e-7], ["1e-4", "1e-3", "0.05", "1.5e-7"]),
            ("phase.0.optimizer", ["adam", "sgd"], ["adam", "sgd"]),
            ("phase.0.optimizer.name", ["adam", "sgd"], ["adam", "sgd"]),
            (
                "train.mixed_precision",
                [True, False],
                ["mixed_precision-true", "mixed_precision-false"],
            ),
            ("backbone.weights", ["none", "/x/y z.h5"], ["none", "y_z.h5"]),
            ("head.hidden", [[64], [64, 32]], ["64", "64-32"]),
        ]  # fmt: skip
        import tomli_w

        for path, values, expected in cases:
            preset = parse_preset(BASE + tomli_w.dumps({"sweep": {path: values}}))
            assert names(preset) == [f"lab-{end}" for end in expected]

    def test_tables_are_named_after_what_differs(self) -> None:
        text = BASE + (
            '[sweep]\n"phase.0.lr" = [\n'
            '{ policy = "step", initial = 1e-8, drop = 0.5, epochs_drop = 10 },\n'
            '{ policy = "step", initial = 1e-8, drop = 0.75, epochs_drop = 5 }]\n'
        )
        assert names(parse_preset(text)) == ["lab-0.5-10", "lab-0.75-5"]

    def test_an_axis_of_one_value_is_not_in_the_name(self) -> None:
        assert names(parse_preset(BASE + "[sweep]\ntrain.seed = [7]\n")) == ["lab"]

    def test_names_are_unique_across_experiments(self) -> None:
        text = BASE + (
            '[[experiment]]\nname = "a"\nsweep = {"train.seed" = [1, 2]}\n'
            '[[experiment]]\nname = "a-1"\n'
        )
        assert names(parse_preset(text)) == ["a-1", "a-2", "a-1-2"]

    def test_over_named_datasets(self) -> None:
        text = BASE.replace('source = "digits"', "") + '[sweep]\ndataset.name = ["intel", "pcam"]\n'
        config = Config(datasets={"intel": "/data/i", "pcam": "/data/p"})
        preset = parse_preset(text, config=config)
        assert [p.experiment.dataset.source for p in preset.points] == ["folder", "hdf5"]
        assert names(preset) == ["lab-intel", "lab-pcam"]

    def test_over_where_to_start_from(self) -> None:
        text = BASE + (
            '[[experiment]]\nname = "a"\n[[experiment]]\nname = "b"\n[[experiment]]\nname = "c"\n'
            'sweep = { "start_from.experiment" = ["a", "b"] }\n'
        )
        preset = parse_preset(text)
        assert [(p.name, p.parent) for p in preset.points[2:]] == [("c-a", "a"), ("c-b", "b")]


class TestDatasets:
    def test_a_shortcut_fills_what_is_not_given(self) -> None:
        text = BASE.replace('source = "digits"', 'name = "intel"\nimage_size = 64')
        dataset = only(parse_preset(text, config=Config(datasets={"intel": "/data/intel"}))).dataset
        assert dataset.path == "/data/intel"
        assert dataset.train_folder == "seg_train/seg_train"
        assert dataset.image_size == 64
        assert dataset.classes[0] == "buildings"

    def test_the_same_data_in_another_form(self, tmp_path: Path) -> None:
        text = BASE.replace('source = "digits"', 'name = "oregon-wildlife"\nsource = "folder"')
        dataset = only(parse_preset(text, sets=[f"dataset.path={tmp_path}"])).dataset
        assert dataset.source == "folder"
        assert len(dataset.classes) == 20

    def test_where_it_lies_is_asked_for_or_noted(self) -> None:
        text = BASE.replace('source = "digits"', 'name = "pcam"')
        (line,) = problems(text)
        assert line.startswith("p.toml: dataset.path: missing: where is pcam?")
        assert "--set dataset.path=FOLDER" in line
        assert "github.com/basveeling/pcam" in line
        assert len(parse_preset(text, need_data=False).notes) == 1

    def test_the_users_file_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config = tmp_path / "c.toml"
        config.write_text('[datasets]\npcam = "~/pcam"\n')
        monkeypatch.setenv("TLUI_CONFIG", str(config))
        monkeypatch.setenv("HOME", "/home/someone")
        text = BASE.replace('source = "digits"', 'name = "pcam"')
        assert only(parse_preset(text)).dataset.path == "/home/someone/pcam"

    def test_paths_start_at_the_current_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        text = BASE.replace('source = "digits"', 'source = "folder"\npath = "data"')
        experiment = only(parse_preset(text, sets=["backbone.weights=w/x.h5"]))
        assert experiment.dataset.path == str(tmp_path / "data")
        assert experiment.backbone.weights == str(tmp_path / "w" / "x.h5")
