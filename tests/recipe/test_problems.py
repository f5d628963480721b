"""What is said when a preset is wrong: exact words, all problems at once, in the file's terms."""
# ruff: noqa: E501

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tlui.errors import PresetError
from tlui.recipe.preset import load_preset, parse_preset

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
sweep = { "phase.0.lr.initial" = [1e-6, 1e-4] }
[[experiment]]
name = "full"
start_from = { experiment = "head" }
[[experiment.phase]]
lr = { policy = "step", initial = 1e-5, drop = 0.5, epochs_drop = 10 }
"""
)


def problems(text: str, *sets: str, only: tuple[str, ...] = ()) -> list[str]:
    """The lines, without the file's name in front (which is asserted)."""
    with pytest.raises(PresetError) as caught:
        parse_preset(text, "p.toml", sets, only)
    assert all(line.startswith("p.toml: ") for line in caught.value.problems)
    return [line.removeprefix("p.toml: ") for line in caught.value.problems]


def edited(old: str, new: str, text: str = BASE) -> str:
    assert old in text
    return text.replace(old, new)


class TestOneProblem:
    @pytest.mark.parametrize(
        ("old", "new", "line"),
        [
            (
                '"constant"',
                '"exp"',
                'phase[0].lr.policy: "exp" is not a policy (did you mean "exponential"?)',
            ),
            (
                'policy = "constant", ',
                "",
                "phase[0].lr.policy: missing; one of: constant, cosine, cosine-restarts, "
                "exponential, inverse-time, one-cycle, piecewise, plateau, polynomial, step",
            ),
            (
                ", initial = 1e-4",
                "",
                "phase[0].lr.initial: missing: learning rate at the start (after warm-up)",
            ),
            (
                "1e-4",
                "-0.5",
                "phase[0].lr.initial: must be greater than 0 and at most 1000. Received: -0.5",
            ),
            ("1e-4", "nan", "phase[0].lr.initial: must be a finite number. Received: nan"),
            ("1e-4", '"1e-4"', 'phase[0].lr.initial: must be a number. Received: "1e-4"'),
            ("1e-4", "2024-01-01", "phase[0].lr.initial: must be a number. Received: 2024-01-01"),
            (
                "epochs = 10",
                "epoch = 10",
                'phase[0].epoch: "epoch" is not a key (did you mean "epochs"?)',
            ),
            ("epochs = 10", "epochs = 1.5", "phase[0].epochs: must be a whole number. Received: 1.5"),
            ("epochs = 10", "epochs = true", "phase[0].epochs: must be a whole number. Received: true"),
            (
                "epochs = 10",
                'freeze = "batchnrm"',
                'phase[0].freeze: "batchnrm" is not a freezing regime (did you mean "batchnorm"?)',
            ),
            (
                "epochs = 10",
                'optimizer = "adm"',
                'phase[0].optimizer.name: "adm" is not an optimizer (did you mean "adam"?)',
            ),
            (
                "epochs = 10",
                'optimizer = { name = "adam", beta_1 = 1.5 }',
                "phase[0].optimizer.beta_1: must be at least 0 and less than 1. Received: 1.5",
            ),
            (
                "epochs = 10",
                'optimizer = { name = "sgd", nesterov = true }',
                "phase[0].optimizer.momentum: nesterov does nothing without momentum; set momentum, "
                "such as 0.9",
            ),
            (
                '"SmallConvNet"',
                '"MobilNetV2"',
                'backbone.name: "MobilNetV2" is not a backbone (did you mean "MobileNetV2"?)',
            ),
            (
                'weights = "none"',
                "",
                'backbone.weights: SmallConvNet has no ImageNet weights; set backbone.weights = "none"'
                ", a file or run:ID",
            ),
            (
                '"SmallConvNet"',
                '"Xception"',
                "dataset.image_size: Xception needs images of at least 71 px. Received: 32",
            ),
            (
                '"SmallConvNet"',
                '"ResNet50"\nalpha = 0.5',
                "backbone.alpha: ResNet50 has no alpha. Received: 0.5",
            ),
            (
                '"SmallConvNet"',
                '"MobileNetV2"\nalpha = 1e308',
                "backbone.alpha: must be greater than 0 and at most 10. Received: 1e308",
            ),
            ('"digits"', '"folders"', 'dataset.source: "folders" is not a source (did you mean "folder"?)'),
            ('"digits"', '"folder"', "dataset.path: missing: where the dataset lies"),
            (
                'source = "digits"',
                'name = "intell"',
                'dataset.name: "intell" is not a dataset (did you mean "intel"?); '
                "for your own data give dataset.source",
            ),
            (
                "version = 1",
                "version = 2",
                "version: this tlui reads version 1. Received: 2; write version = 1, "
                "or install the tlui the preset was written for",
            ),
            ('name = "lab"', "", 'name: missing: what the preset is called, such as name = "my-lab"'),
            (
                'name = "lab"',
                'name = "a\\u001b[31m"',
                'name: must not hold control characters. Received: "a\\x1b[31m"',
            ),
            ('name = "lab"', 'name = "a\\nb"', 'name: must not hold control characters. Received: "a\\nb"'),
            (
                'source = "digits"',
                'source = "digits"\nclasses = ["a", "a"]',
                'dataset.classes: names "a" twice',
            ),
            (
                'source = "digits"',
                'source = "digits"\nvalidation = 0.6\ntest = 0.4',
                "dataset: validation and test together must leave something to train on. "
                "Received: 0.6 + 0.4",
            ),
        ],
    )  # fmt: skip
    def test_is_the_only_line(self, old: str, new: str, line: str) -> None:
        assert problems(edited(old, new)) == [line]

    @pytest.mark.parametrize(
        ("added", "line"),
        [
            ("[head]\npooling = 'avgg'", 'head.pooling: "avgg" is not a choice (did you mean "avg"?)'),
            ("[head]\ndropout = 1", "head.dropout: must be at least 0 and less than 1. Received: 1"),
            ("[head]\nhidden = [0]", "head.hidden[0]: must be greater than 0. Received: 0"),
            (
                "[head]\nclass_weights = { a = 0 }",
                "head.class_weights.a: must be greater than 0. Received: 0",
            ),
            (
                "[head]\nclass_weights = 'balance'",
                'head.class_weights: "balance" is not a way to weigh classes (did you mean "balanced"?)',
            ),
            (
                "[train]\nmonitor = 'val_acuracy'",
                'train.monitor: "val_acuracy" is not a monitored metric (did you mean "val_accuracy"?)',
            ),
            (
                "[train]\nbatch_size = 31\ndevices = 2",
                "train.batch_size: must be a multiple of devices. Received: batch_size=31, devices=2",
            ),
            ("[augment]\nmixup = 1\ncutmix = 1", "augment: mixup and cutmix cannot both be on; choose one"),
            ("[augment]\nviews = -1", "augment.views: must be at least 0 and at most 10000. Received: -1"),
            ("[augment]\nviews = 5\nmixup = 0.2", "augment: views keeps versions of single images and mixup mixes two of them; set views = 0 or mixup = 0"),
            ("[augment]\nviews = 5\ncutmix = 1", "augment: views keeps versions of single images and cutmix mixes two of them; set views = 0 or cutmix = 0"),
            (
                "[augment]\ncrop_from = 16",
                "augment.crop_from: must be at least dataset.image_size, 32. Received: 16",
            ),
            ("[evaluate]\nsplits = ['tst']", 'evaluate.splits[0]: "tst" is not a choice (did you mean "test"?)'),
            ("[start_from]", "start_from: give either experiment or run"),
            (
                "[start_from]\nexperiment = 'x'",
                'start_from.experiment: there is no other experiment in this preset. Received: "x"; '
                "to start from a run that is there, give start_from.run",
            ),
            ("[sweep]\ntrain.seed = []", 'sweep.train.seed: is an empty list: a sweep needs at least one value'),
            ("[sweep]\ntrain.seed = 3", "sweep.train.seed: must be a list of values. Received: 3"),
            ("[sweep]\ntrain.seed = [1, 2, 1]", "sweep.train.seed: holds 1 twice"),
            (
                "[sweep]\n'train.sed' = [1]",
                'sweep."train.sed": there is no such setting (did you mean "train.seed"?)',
            ),
            (
                "[sweep]\n'phase.0.epochs' = [1, 2]\n'phase.*.epochs' = [3, 4]",
                'sweep."phase.*.epochs": sets the same field as "phase.0.epochs"',
            ),
            (
                "[sweep]\n'phase.2.epochs' = [1, 2]",
                'sweep."phase.2.epochs": matched nothing: no such phase, or not of this variant',
            ),
            ("[sweep]\nname = ['a', 'b']", "sweep.name: name cannot be swept"),
            ("[haed]", 'haed: "haed" is not a key (did you mean "head"?)'),
            ("[experiment]\nname = 'x'", "experiment: is a list: write [[experiment]], with two brackets"),
        ],
    )  # fmt: skip
    def test_of_a_table_is_the_only_line(self, added: str, line: str) -> None:
        assert problems(BASE + added) == [line]

    def test_too_many_points(self) -> None:
        text = (
            BASE
            + f"[sweep]\ntrain.seed = {list(range(101))}\n'phase.0.epochs' = {list(range(1, 101))}"
        )
        assert problems(text) == ["its sweeps make 10,100 runs; the most is 10,000"]


class TestPlaces:
    def test_what_an_experiment_wrote_is_named_there(self) -> None:
        line = "must be greater than 0 and less than 1. Received: 1.5"
        assert problems(edited("drop = 0.5", "drop = 1.5", LAB)) == [
            f"experiment[full].phase[0].lr.drop: {line}"
        ]

    def test_what_the_top_wrote_is_named_once_for_all(self) -> None:
        got = problems(edited('"SmallConvNet"', '"SmalConvNet"', LAB))
        assert got == [
            'backbone.name: "SmalConvNet" is not a backbone (did you mean "SmallConvNet"?)'
        ]

    def test_what_nobody_wrote_is_missing_once(self) -> None:
        assert problems(edited("[dataset]", "[head]", edited('source = "digits"', "", LAB))) == [
            'dataset: missing: a table saying which images: a name such as "intel", or source and path'
        ]

    def test_what_one_experiment_lacks(self) -> None:
        text = edited(
            "[[phase]]\nepochs = 10\n", "[[experiment]]\nname = 'a'\n[[experiment.phase]]\n"
        )
        text += "[[experiment]]\nname = 'b c'\n"
        assert problems(text) == [
            'experiment["b c"].phase: missing: at least one [[phase]] table with freeze, epochs and lr'
        ]

    def test_a_swept_value_is_named_at_its_axis(self) -> None:
        assert problems(edited("1e-6, 1e-4]", "1e-6, -1e-4, 'x']", LAB)) == [
            'experiment[head].sweep."phase.0.lr.initial": must be greater than 0 and at most 1000. '
            "Received: -1e-4",
            'experiment[head].sweep."phase.0.lr.initial": must be a number. Received: "x"',
        ]

    def test_inside_a_swept_table(self) -> None:
        text = BASE + '[sweep]\n"phase.0.lr" = [{ policy = "cosine", initial = 1, k = 2 }]'
        assert problems(text) == [
            'sweep."phase.0.lr" (k): "k" is not a key '
            "(one of: initial, per, warmup, policy, end, decay_epochs)"
        ]

    def test_a_set_value_is_named_there(self) -> None:
        assert problems(LAB, "phase.*.epochs=0", "head.pooling=av") == [
            '--set head.pooling: "av" is not a choice (did you mean "avg"?)',
            "--set phase.*.epochs: must be at least 1 and at most 100000. Received: 0",
        ]


class TestExperiments:
    @pytest.mark.parametrize(
        ("old", "new", "line"),
        [
            (
                'experiment = "head"',
                'experiment = "hed"',
                'experiment[full].start_from.experiment: "hed" is not an experiment '
                '(did you mean "head"?)',
            ),
            (
                'experiment = "head"',
                'experiment = "full"',
                'experiment[full].start_from.experiment: "full" cannot start from itself',
            ),
            (
                'name = "head"\n',
                'name = "head"\nstart_from = { experiment = "full" }\n',
                "experiment[head].start_from.experiment: goes in a circle: head -> full -> head",
            ),
            (
                'experiment = "head"',
                'experiment = "head", pick = "match"',
                'experiment[full].start_from.pick: "match" needs a sweep axis that "head" has too; '
                '"best" takes the best',
            ),
            ('name = "full"', 'name = "head"', 'experiment[1].name: there is another experiment "head"'),
            ('name = "full"', "", "experiment[1].name: missing: every experiment needs a name"),
            ('name = "full"', 'name = ""', "experiment[1].name: must not be empty"),
            ('name = "full"', "name = 3", "experiment[1].name: must be text in quotes. Received: 3"),
            (
                'name = "full"',
                'name = "full"\nbackbon = 1',
                'experiment[full].backbon: "backbon" is not a key (did you mean "backbone"?)',
            ),
            (
                'name = "full"',
                'name = "full"\nversion = 1',
                'experiment[full].version: "version" is not a key',
            ),
        ],
    )  # fmt: skip
    def test_one_problem(self, old: str, new: str, line: str) -> None:
        (got,) = problems(edited(old, new, LAB))
        assert got.startswith(line)

    def test_values_of_another_kind(self) -> None:
        text = edited('experiment = "head"', "experiment = []", LAB)
        assert problems(text) == [
            "experiment[full].start_from.experiment: must be text in quotes. Received: []"
        ]
        text = edited('lr = { policy = "step"', 'freeze = {}\nlr = { policy = "step"', LAB)
        assert problems(text) == [
            "experiment[full].phase[0].freeze: must be text in quotes. Received: {}"
        ]

    def test_match_without_such_a_point(self) -> None:
        text = edited('experiment = "head" }', 'experiment = "head", pick = "match" }', LAB)
        text = edited(
            "[[experiment.phase]]",
            'sweep = {"phase.0.lr.initial"=[1e-3]}\n[[experiment.phase]]',
            text,
        )
        assert problems(text) == [
            'experiment[full].start_from.pick: no run of "head" has phase.0.lr.initial = 1e-3'
        ]

    def test_only(self) -> None:
        assert problems(LAB, only=("hed", "head-1e-5")) == [
            '--only: "hed" is not an experiment or run (did you mean "head"?)',
            '--only: "head-1e-5" is not an experiment or run (did you mean "head-1e-6"?)',
        ]


class TestWhoStartsFromWhom:
    def test_another_backbone_than_that_of_the_weights(self) -> None:
        text = edited(
            'start_from = { experiment = "head" }',
            'start_from = { experiment = "head" }\nbackbone = { name = "MobileNetV2" }',
            LAB,
        )
        assert problems(text) == [
            'experiment[full].backbone.name: must be that of "head", which it starts from: '
            '"SmallConvNet". Received: "MobileNetV2"',
        ]

    def test_another_width(self) -> None:
        text = edited('"SmallConvNet"', '"MobileNet"\nalpha = 0.5', LAB)
        text = edited('experiment = "head" }', 'experiment = "head" }\nbackbone.alpha = 0.25', text)
        assert problems(text) == [
            'experiment[full].backbone.alpha: must be that of "head", which it starts from: 0.5. '
            "Received: 0.25"
        ]


class TestSets:
    @pytest.mark.parametrize(
        ("given", "line"),
        [
            ("phase.0.lr.inital=1", 'phase.0.lr.inital: there is no such setting (did you mean "phase.0.lr.initial"?)'),
            ("phase.*.epoch=1", 'phase.*.epoch: there is no such setting (did you mean "phase.*.epochs"?)'),
            ("initial=1", 'initial: there is no such setting (did you mean "phase.0.lr.initial"?)'),
            ("phase.7.epochs=1", "phase.7.epochs: matched nothing: the last phase is phase.0"),
            ("dataset.path=x", 'dataset.path: matched nothing in this preset. Received: "x"'),
            ("phase.0.lr.k=1", "phase.0.lr.k: matched nothing in this preset. Received: 1"),
            ("experiment.hed.train.seed=1", 'experiment.hed.train.seed: "hed" is not an experiment (did you mean "head"?)'),
            ("experiment.head=1", "experiment.head: write it as experiment.NAME.PATH=VALUE"),
            ("foo", "foo: write it as PATH=VALUE, such as train.seed=2"),
            ("=3", "=3: write it as PATH=VALUE, such as train.seed=2"),
            ("name=x", "name: cannot be set: use --name"),
            ("sweep.x=[1]", "sweep.x: give the list to the field itself: --set PATH=[VALUE, VALUE]"),
            ("phase..x=1", "phase..x: a part is empty in 'phase..x'"),
            ("train.seed=-1", "train.seed: must be at least 0 and less than 2147483648. Received: -1"),
            ("train.seed=\udcff", "train.seed: is not UTF-8 text"),
            ("train.seed=[]", "train.seed: is an empty list: a sweep needs at least one value"),
            ("train.seed=[1, 2, 1]", "train.seed: holds 1 twice"),
            ("train.seed=one", 'train.seed: must be a whole number. Received: "one"'),
        ],
    )  # fmt: skip
    def test_one_problem(self, given: str, line: str) -> None:
        assert problems(LAB, given) == [f"--set {line}"]


class TestFiles:
    def test_syntax_names_line_and_column(self) -> None:
        assert problems("a = 1\nb = [\n") == ["line 3, column 1: not valid TOML: Invalid value"]

    def test_all_problems_at_once(self) -> None:
        got = problems(edited("epochs = 10", "epochs = 0", edited("digits", "digit")) + "[haed]")
        assert len(got) == 3

    def test_empty(self) -> None:
        assert [line.partition(":")[0] for line in problems("")] == [
            "name",
            "dataset",
            "backbone",
            "phase",
        ]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"\xff\xfe", "is not UTF-8 text (byte 0)"),
            (b"#" * 4_000_001, "is larger than 4 MB, so it is not a preset"),
            (None, "cannot be read: No such file or directory"),
        ],
    )
    def test_unreadable(self, tmp_path: Path, content: bytes | None, reason: str) -> None:
        path = tmp_path / "p.toml"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(PresetError) as caught:
            load_preset(path)
        assert caught.value.problems == [f"{path}: {reason}"]

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(PresetError, match="cannot be read: Is a directory"):
            load_preset(tmp_path)

    @pytest.mark.parametrize(
        ("name", "what"),
        [("pipe.toml", "a named pipe"), ("/dev/zero", "a terminal or another device")],
    )
    def test_what_has_no_end(self, tmp_path: Path, name: str, what: str) -> None:
        os.mkfifo(tmp_path / "pipe.toml")
        path = tmp_path / name
        with pytest.raises(PresetError) as caught:
            load_preset(path)
        way_out = "Give a file, or pipe it into /dev/stdin"
        assert caught.value.problems == [f"{path}: is {what}, not a file. {way_out}"]

    def test_a_pipe_of_the_shell(self) -> None:
        reading, writing = os.pipe()
        os.write(writing, BASE.encode())
        os.close(writing)
        assert load_preset(Path(f"/dev/fd/{reading}")).name == "lab"
        os.close(reading)

    @pytest.mark.parametrize(
        "text", ["a = " + "[" * 5000, "a." * 3000 + "b = 1", "n = " + "9" * 5000]
    )
    def test_nested_or_long_beyond_reason(self, text: str) -> None:
        with pytest.raises(PresetError):
            parse_preset(text)


class TestBehindAWrongWord:
    """A word that decides what its table may hold does not hide the table's other mistakes."""

    def test_values_are_checked_by_the_likeliest_word(self) -> None:
        text = edited('source = "digits"', 'source = "foldr"\nimage_size = "big"')
        text = edited('name = "SmallConvNet"', 'name = "MobilNetV2"\nalpha = -1', text)
        text = edited('"constant", initial = 1e-4', '"exp", initial = 0', text)
        found = problems(text)
        assert 'dataset.source: "foldr" is not a source (did you mean "folder"?)' in found
        assert 'dataset.image_size: must be a whole number. Received: "big"' in found
        assert "backbone.alpha: must be greater than 0 and at most 10. Received: -1" in found
        assert "phase[0].lr.initial: must be greater than 0 and at most 1000. Received: 0" in found

    def test_keys_are_not_asked_of_a_guess(self) -> None:
        text = edited('"constant"', '"exp"')  # exponential would need k
        assert problems(text) == [
            'phase[0].lr.policy: "exp" is not a policy (did you mean "exponential"?)'
        ]

    def test_only_is_checked_beside_a_preset_that_is_wrong(self) -> None:
        found = problems(edited("epochs = 10", "epochs = 0", LAB), only=("hed",))
        assert found[-1] == '--only: "hed" is not an experiment or run (did you mean "head"?)'
        assert len(found) == 2


class TestRules:
    """What several keys must agree on is told beside what is wrong with others."""

    @pytest.mark.parametrize(
        ("table", "wrong", "lines"),
        [
            pytest.param(
                "dataset",
                'validation = 0.6\ntest = 0.4\nclasses = ["a", "a", "b", "b", "b"]',
                [
                    "dataset: validation and test together must leave something to train on. "
                    "Received: 0.6 + 0.4",
                    'dataset.classes: names "a" twice',
                    'dataset.classes: names "b" 3 times',
                ],
                id="dataset",
            ),
            pytest.param(
                "augment",
                "crop_from = 16\nmixup = 0.2\ncutmix = 1\nviews = 4",
                [
                    "augment: mixup and cutmix cannot both be on; choose one",
                    "augment: views keeps versions of single images and mixup mixes two of them; "
                    "set views = 0 or mixup = 0",
                    "augment: views keeps versions of single images and cutmix mixes two of them; "
                    "set views = 0 or cutmix = 0",
                    "augment.crop_from: must be at least dataset.image_size, 32. Received: 16",
                ],
                id="augment",
            ),
            pytest.param(
                "train",
                "devices = 3",
                [
                    "train.batch_size: must be a multiple of devices. "
                    "Received: batch_size=32, devices=3"
                ],
                id="train",
            ),
            pytest.param(
                "train",
                'devices = 2\nfeatures = "folded"',
                ['train.features: "folded" is for one device. Received: devices=2'],
                id="folded",
            ),
            pytest.param(
                "slurm",
                "time = 1\nsignal = 90",
                [
                    "slurm: signal comes before the job begins: it must be less than the time "
                    "limit. Received: signal=90 s, time=60 s"
                ],
                id="slurm",
            ),
            pytest.param(
                "start_from", "", ["start_from: give either experiment or run"], id="start"
            ),
        ],
    )
    @pytest.mark.parametrize("broken", [False, True])
    def test_beside_an_unknown_key(
        self, table: str, wrong: str, lines: list[str], broken: bool
    ) -> None:
        header = f"[{table}]\n"
        text = BASE if header in BASE else BASE + header
        unknown = "odd = 1\n" if broken else ""
        found = problems(edited(header, f"{header}{unknown}{wrong}\n", text))
        odd = [line for line in found if line.startswith(f'{table}.odd: "odd" is not a key')]
        assert len(odd) == broken
        assert sorted(set(found) - set(odd)) == sorted(lines)
        assert len(found) == len(lines) + broken

    def test_across_tables_that_have_other_mistakes(self) -> None:
        text = edited('"SmallConvNet"', '"Xception"\nalpha = 0.5\nodd = 1')
        text = edited('source = "digits"', 'source = "digits"\nresize = 3\nsplit_seed = -1', text)
        assert sorted(problems(text)) == [
            "backbone.alpha: Xception has no alpha. Received: 0.5",
            'backbone.odd: "odd" is not a key (one of: name, alpha, weights)',
            "dataset.image_size: Xception needs images of at least 71 px. Received: 32",
            "dataset.resize: must be one of: stretch, crop, pad. Received: 3",
            "dataset.split_seed: must be at least 0. Received: -1",
        ]

    def test_layers_that_the_backbone_has_not(self) -> None:
        text = edited("[[phase]]", "odd = 1\n[[phase]]\nfreeze = 'top:22'")
        text += "odd = 2\n" + "".join(
            f"[[phase]]\nfreeze = '{freeze}'\nlr = {{ policy = 'constant', initial = 1e-4 }}\n"
            for freeze in (
                "top:21",
                "from:block3",
                "from:block3_conv1",
                "from:3block_con1",
                "top:x",
            )
        )
        assert sorted(problems(text)) == [
            'backbone.odd: "odd" is not a key (one of: name, alpha, weights)',
            'phase[0].freeze: the backbone has 21 layers, so it is top:1 to top:21 ("none" lets '
            'everything learn). Received: "top:22"',
            'phase[0].odd: "odd" is not a key (one of: freeze, batchnorm, epochs, optimizer, lr)',
            'phase[2].freeze: the backbone has no layer "block3" (nearest: block3_conv1, '
            'block3_conv1_bn, block3_conv1_relu). Received: "from:block3"',
            'phase[4].freeze: the backbone has no layer "3block_con1" (nearest: block3_conv1, '
            'block2_conv1, block1_conv1). Received: "from:3block_con1"',
            'phase[5].freeze: "top:x" is not a freezing regime (did you mean "top:N"?)',
        ]

    def test_a_swept_layer_is_named_at_its_axis(self) -> None:
        text = BASE + '[sweep]\n"phase.0.freeze" = ["top:3", "from:nowhere"]'
        (line,) = problems(text)
        assert line.startswith(
            'sweep."phase.0.freeze": the backbone has no layer "nowhere" (nearest: block'
        )

    def test_layers_are_those_of_the_width(self) -> None:
        text = edited("epochs = 10", 'freeze = "from:block_10_add"')
        parse_preset(edited('"SmallConvNet"', '"MobileNetV2"\nalpha = 0.16', text))
        (found,) = problems(edited('"SmallConvNet"', '"MobileNetV2"\nalpha = 0.2', text))
        assert 'phase[0].freeze: the backbone has no layer "block_10_add"' in found

    def test_inside_policies_and_optimizers(self) -> None:
        text = edited(
            '{ policy = "constant", initial = 1e-4 }',
            '{ policy = "one-cycle", initial = 0.1, peak = 0.1, rise = 2 }\n'
            'optimizer = { name = "sgd", clipnorm = 1, clipvalue = 1, momentum = 2 }\n'
            "[[phase]]\nlr = { policy = 'piecewise', initial = -1, boundaries = [3, 2], values = [1] }",
        )
        assert sorted(problems(text)) == [
            "phase[0].lr.peak: must be above initial. Received: peak=0.1, initial=0.1",
            "phase[0].lr.rise: must be greater than 0 and less than 1. Received: 2",
            "phase[0].optimizer.momentum: must be at least 0 and less than 1. Received: 2",
            "phase[0].optimizer: only one of clipnorm and clipvalue may be set",
            "phase[1].lr.boundaries: must rise. Received: [3, 2]",
            "phase[1].lr.initial: must be greater than 0 and at most 1000. Received: -1",
            "phase[1].lr.values: must hold one rate for each boundary. "
            "Received: 2 boundaries, 1 values",
        ]

    def test_class_weights_against_class_names(self) -> None:
        text = edited(
            'source = "digits"', 'source = "digits"\nodd = 1\nclasses = ["a", "cat", "dog"]'
        )
        text += "[head]\noutput = 'sigmoid'\nclass_weights = { cat = -1, dgo = true, a = 0 }"
        assert sorted(problems(text))[1:] == [
            "head.class_weights.a: must be greater than 0. Received: 0",
            "head.class_weights.cat: must be greater than 0. Received: -1",
            'head.class_weights.dgo: "dgo" is not a class (did you mean "dog"?)',
            "head.class_weights.dgo: must be a number. Received: true",
            'head.output: "sigmoid" is for two classes; the dataset has 3',
        ]

    def test_a_class_called_star(self) -> None:
        text = edited('source = "digits"', 'source = "digits"\nclasses = ["a", "b"]')
        text += "[head]\nclass_weights = { a = 1, b = 1, '*' = 1 }"
        assert problems(text) == ['head.class_weights."*": "*" is not a class (one of: a, b)']

    @pytest.mark.parametrize(
        ("old", "new", "line"),
        [
            ('source = "digits"', 'source = "digits"\nvalidation = 2\ntest = 0.9', "dataset.validation"),
            ('source = "digits"', 'source = "digits"\nimage_size = "8"', "dataset.image_size"),
            (
                "initial = 1e-4",
                'policy = "one-cycle", initial = 0, peak = 0.1',
                "phase[0].lr.initial",
            ),
        ],
    )  # fmt: skip
    def test_nothing_follows_from_a_value_that_is_no_value(
        self, old: str, new: str, line: str
    ) -> None:
        text = BASE.replace('policy = "constant", ', "") if "policy" in new else BASE
        (only,) = problems(edited(old, new, text))
        assert only.startswith(line + ": must be")


def test_a_rate_alone_is_shown_as_a_policy() -> None:
    assert problems(edited('{ policy = "constant", initial = 1e-4 }', "5e-4")) == [
        'phase[0].lr: must be a table, such as lr = { policy = "constant", initial = 5e-4 }. '
        "Received: 5e-4"
    ]


def test_the_name_of_a_preset_that_comes_with_tlui(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        PresetError, match=r"^quickstart: there is no such file; .*quickstart\.toml$"
    ):
        load_preset("quickstart")
