"""What a preset may say of where its runs are trained, and that it is no way in."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tlui.errors import PresetError
from tlui.recipe.placement import RunPlacement, Slurm, seconds
from tlui.recipe.preset import parse_preset
from tlui.recipe.toml import configuration, experiment_to_toml

PRESET = """
version = 1
name = "placed"
[dataset]
source = "digits"
[backbone]
name = "SmallConvNet"
weights = "none"
[[phase]]
freeze = "none"
lr = { policy = "constant", initial = 1e-3 }
"""


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("90", 5400),
        ("1:30", 90),
        ("1:30:00", 5400),
        ("2-12", 216_000),
        ("2-12:30", 217_800),
        ("1-00:00:30", 86_430),
    ],
)
def test_time_limits_are_read_as_slurm_reads_them(time: str, expected: int) -> None:
    assert seconds(time) == expected


@pytest.mark.parametrize("time", ["", "0", "0:00", "1h", "1:2:3:4", "-5", "1-", "2-1:2:3:4"])
def test_other_times_are_refused(time: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        seconds(time)


@pytest.mark.parametrize(
    "flag",
    [
        "--wrap=touch owned",
        "--wrap=id",
        "--output=/etc/passwd",
        "--error=x",
        "--export=LD_PRELOAD=x",
        "--chdir=/tmp",
        "--array=0-9",
        "--dependency=singleton",
        "--mail-user=thief@example.org",
        "--account=a\n#SBATCH --wrap=id",
        "--account=a b",
        "--account=\x1b[31m",
        "--Account=a",
        "-A",
        "account=a",
        "",
        "--",
        "script.sh",
    ],
)
def test_a_flag_that_is_not_about_resources_is_refused(flag: str) -> None:
    with pytest.raises(ValidationError):
        Slurm(extra=[flag])


@pytest.mark.parametrize("value", ["--wrap=id", "gpu\n", "a b", "$(id)", "a;b", "", "-"])
@pytest.mark.parametrize("name", ["partition", "gpus", "mem", "time"])
def test_no_value_is_more_than_a_word(name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        Slurm.model_validate({name: value})


def test_a_limit_leaves_room_for_its_signal() -> None:
    assert Slurm.model_validate({"time": 3, "signal": 120}).time == "3"
    with pytest.raises(ValidationError, match="must be less than the time limit"):
        Slurm.model_validate({"time": 2, "signal": 120})


def test_all_mistakes_are_named_with_the_nearest_word() -> None:
    text = PRESET + (
        '[run]\non = "slrum"\n[slurm]\npartitoin = "gpu"\nextra = ["--constrain=a100"]\n'
    )
    with pytest.raises(PresetError) as caught:
        parse_preset(text)
    said = "\n".join(caught.value.problems)
    for word in ('did you mean "slurm"', 'did you mean "partition"', '"--constraint"'):
        assert word in said


def test_placement_survives_the_runs_own_preset() -> None:
    text = PRESET + '[run]\non = "slurm"\n[slurm]\ngpus = 2\nmem = 800\ntime = 90\n'
    (point,) = parse_preset(text).points
    assert point.experiment.run == RunPlacement(on="slurm")
    assert point.experiment.slurm == Slurm(gpus="2", mem="800", time="90")
    (again,) = parse_preset(experiment_to_toml(point.experiment)).points
    assert again.experiment.slurm == point.experiment.slurm
    assert configuration(point.experiment)["run.on"] == "slurm"


@pytest.mark.parametrize(
    ("given", "path", "expected"),
    [
        ("run.on=slurm", "run.on", "slurm"),
        ("slurm.time=2:00:00", "slurm.time", "2:00:00"),
        ("slurm.gpus=2", "slurm.gpus", "2"),
        ("slurm.partition=gpu", "slurm.partition", "gpu"),
    ],
)
def test_set_reaches_it(given: str, path: str, expected: str) -> None:
    (point,) = parse_preset(PRESET, sets=[given]).points
    assert configuration(point.experiment)[path] == expected
