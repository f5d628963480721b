"""Runs made of a preset: their order, their parents, what they start from."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import tomli_w
from factory import make_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scheduler.bench import Bench

from tlui.errors import PresetError, TluiError
from tlui.recipe.preset import parse_preset
from tlui.recipe.toml import load_experiment
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.files import write_json
from tlui.runs.index import Index
from tlui.runs.status import Status, write_status
from tlui.scheduler import order
from tlui.scheduler.create import create_runs, missing_runs
from tlui.scheduler.order import Wishes
from tlui.scheduler.parents import missed_by, readiness, take_parent, waiting_for
from tlui.scheduler.worker import alike

LAB = """
version = 1
name = "lab"
dataset = { source = "digits" }
backbone = { name = "SmallConvNet", weights = "none" }
[[phase]]
epochs = 1
lr = { policy = "constant", initial = 1e-3 }
[[experiment]]
name = "head"
sweep = { "phase.0.lr.initial" = [1e-3, 1e-4] }
[[experiment]]
name = "full"
start_from = { experiment = "head", pick = "PICK" }
sweep = { "phase.0.lr.initial" = [1e-3, 1e-4] }
"""


def finish(run: RunDirectory, value: float, monitor: str = "val_accuracy") -> None:
    best = {"epoch": 1, "monitor": monitor, "value": value}
    write_json(run.result, {"best": best, "metrics": {}})
    write_status(run.status, Status("finished"))


def test_runs_know_folder_and_commit_of_who_asked_for_them(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def place() -> tuple[object, object]:
        meta = create_runs(home, parse_preset(LAB.replace("PICK", "best")))[0].read_meta()
        return meta["folder"], meta["git_commit"]

    inside = tmp_path / "repository" / "inside"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    assert place() == (str(inside), None)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *words], cwd=inside.parent, check=True)
    asked = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    assert len(commit) == 40 and place() == (str(inside), commit)
    inside.rmdir()
    assert place() == (None, None)


def test_runs_are_queued_in_order_with_their_wishes(home: Home) -> None:
    wishes = Wishes(device="cpu", per_device=2)
    runs = create_runs(home, parse_preset(LAB.replace("PICK", "best")), wishes)
    line = order.entries(home)
    assert [entry.run for entry in line] == [run.id for run in runs]
    assert {entry.wishes() for entry in line} == {wishes}
    meta = runs[0].read_meta()
    assert (meta["preset"], meta["experiment"], meta["parents"]) == ("lab", "head", [])
    assert meta["config"]["phase.0.lr.initial"] == 1e-3
    assert len({run.read_meta()["lab"] for run in runs}) == 1


def test_a_matching_parent_is_known_from_the_start(home: Home) -> None:
    runs = create_runs(home, parse_preset(LAB.replace("PICK", "match")))
    heads, fulls = runs[:2], runs[2:]
    for head, full in zip(heads, fulls, strict=True):
        assert full.read_meta()["parents"] == [head.id]
        start = load_experiment(full.preset).start_from
        assert start is not None and (start.run, start.experiment) == (head.id, None)


@pytest.mark.parametrize(
    ("monitor", "values", "winner"),
    [("val_accuracy", (0.7, 0.9), 1), ("val_loss", (0.7, 0.9), 0)],
)
def test_the_best_parent_is_chosen_when_all_have_ended(
    home: Home, monitor: str, values: tuple[float, float], winner: int
) -> None:
    runs = create_runs(home, parse_preset(LAB.replace("PICK", "best")))
    heads, full = runs[:2], runs[2]
    assert full.read_meta()["parents"] == [head.id for head in heads]
    finish(heads[0], values[0], monitor)
    assert "which is queued" in readiness(home, full).reason
    finish(heads[1], values[1], monitor)
    ready = readiness(home, full)
    assert ready.ready and ready.parent == heads[winner].id
    take_parent(full, heads[winner].id)
    start = load_experiment(full.preset).start_from
    assert start is not None and (start.run, start.experiment) == (heads[winner].id, None)


def test_the_best_of_those_that_finished_will_do(home: Home) -> None:
    runs = create_runs(home, parse_preset(LAB.replace("PICK", "best")))
    finish(runs[0], 0.5)
    write_status(runs[1].status, Status("failed", reason="no memory"))
    assert readiness(home, runs[2]).parent == runs[0].id
    write_status(runs[0].status, Status("diverged", reason="nan"))
    lost = readiness(home, runs[2])
    assert lost.failed and "failed: no memory" in lost.reason and "diverged: nan" in lost.reason


def test_a_run_with_a_checkpoint_of_its_own_needs_its_parents_no_more(home: Home) -> None:
    heads, fulls = split(create_runs(home, parse_preset(LAB.replace("PICK", "match"))))
    for head in heads:
        shutil.rmtree(head.path)
    assert "no longer exists" in readiness(home, fulls[0]).reason
    (fulls[0].checkpoints / "last-previous.npz").touch()
    assert readiness(home, fulls[0]).ready


def test_small_heads_have_another_process_than_large_ones(home: Home) -> None:
    """It is set up for them, with other threads, and last digits depend on these."""
    text = """
version = 1
name = "heads"
dataset.source = "digits"
backbone.name = "SmallConvNet"
backbone.weights = "none"
sweep = { "head.hidden" = [[], [64], [2048]] }
[[phase]]
batchnorm = "inference"
lr = { policy = "constant", initial = 1e-3 }
"""
    none, small, large = create_runs(home, parse_preset(text))
    assert alike(none, small) and not alike(small, large)


def split(runs: list[RunDirectory]) -> tuple[list[RunDirectory], list[RunDirectory]]:
    return runs[:2], runs[2:]


def test_what_queued_runs_would_miss(home: Home) -> None:
    head, other, full, second = create_runs(home, parse_preset(LAB.replace("PICK", "best")))
    third = home.create("", {"name": "third", "config": {}, "parents": [full.id]})
    order.append(home, [third.id], Wishes())
    assert not waiting_for(home, [head.id]), "the other head will do"
    missed = waiting_for(home, [head.id, other.id])
    assert missed == {run.id: [full, second, third] for run in (head, other)}
    assert missed_by(missed[head.id]) == (
        f"full-1e-3 ({full.id}), full-1e-4 ({second.id}) and third ({third.id}) are queued, "
        "start from it and fail without it"
    )
    assert waiting_for(home, [full.id]) == {full.id: [third]}
    assert "is queued, starts from it and fails" in missed_by([third])
    assert not waiting_for(home, [head.id, other.id, full.id, second.id, third.id])
    write_status(other.status, Status("failed"))
    assert waiting_for(home, [head.id]) == {head.id: [full, second, third]}, "other has failed"
    for run in (full, second):
        (run.checkpoints / "last.npz").touch()
    assert not waiting_for(home, [head.id, other.id]), "they go on from checkpoints of their own"


def test_the_chosen_parent_is_written_before_the_trainer_starts(bench: Bench) -> None:
    runs = create_runs(bench.home, parse_preset(LAB.replace("PICK", "best")))
    names = [run.read_meta()["name"] for run in runs]
    finish(runs[0], 0.9)
    finish(runs[1], 0.8)
    for run in runs[:2]:
        order.remove(bench.home, run.id)
    bench.trainer = ("/bin/true",)
    assert bench.start() == [runs[2].id], names
    bench.ended(runs[2])
    start = load_experiment(runs[2].preset).start_from
    assert start is not None and start.run == runs[0].id


def test_starting_from_a_run_that_is_not_there_makes_nothing(home: Home) -> None:
    text = LAB.replace('experiment = "head", pick = "PICK"', 'run = "abcdef01"')
    with pytest.raises(TluiError, match="abcdef01"):
        create_runs(home, parse_preset(text))
    assert list(home) == [] and order.entries(home) == []


@given(
    st.text(max_size=20)
    | st.sampled_from(
        ["@", "@0", "@99999999999999999999", "#", "..", "/", "head#f", "%", "9" * 999]
    )
)
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_a_run_is_called_the_answer_is_a_line(home: Home, reference: str) -> None:
    if not list(home):
        make_run(home, name="head-1e-3")
    text = LAB.replace('experiment = "head", pick = "PICK"', f"run = {toml_string(reference)}")
    try:
        points = parse_preset(text).points
    except PresetError:
        return
    for line in missing_runs(home, points):
        assert line.startswith("experiment[full].start_from.run: ")
        assert not set(line) & {"\n", "\r", "\x1b", "\0"}


def toml_string(text: str) -> str:
    return tomli_w.dumps({"a": text}).removeprefix("a = ").strip()


def test_data_and_weights_that_are_not_there_make_nothing(home: Home) -> None:
    text = LAB.replace('source = "digits"', 'source = "folder", path = "/no/photos"')
    text = text.replace('weights = "none"', 'weights = "/no/weights.h5"').replace("PICK", "best")
    with pytest.raises(PresetError) as caught:
        create_runs(home, parse_preset(text, "lab.toml"))
    assert caught.value.code == 2
    assert caught.value.problems == [
        "lab: dataset.path: there is nothing at /no/photos",
        "lab: backbone.weights: there is no file /no/weights.h5 (or imagenet, none, run:ID)",
    ]
    assert list(home) == [] and order.entries(home) == []


def test_tags_are_found_by_filters(home: Home) -> None:
    text = LAB.replace("PICK", "best").replace('name = "full"', 'name = "full"\ntags = ["@deep"]')
    runs = create_runs(home, parse_preset(text))
    with Index(home) as index:
        index.refresh()
        assert set(index.ids("tag:@deep", "created")) == {run.id for run in runs[2:]}
