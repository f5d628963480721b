"""The tables at the end of a lab."""

from __future__ import annotations

from factory import make_run

from tlui.cli.follow import Watched, watched
from tlui.cli.plain import JsonView, PlainView
from tlui.cli.tables import comparison, conclusion
from tlui.runs.directory import Home
from tlui.runs.files import write_json


def test_a_lab_is_compared_run_by_run_and_split_by_split(home: Home) -> None:
    runs = [make_run(home, name="head"), make_run(home, name="full")]
    for run in runs:
        result = run.read_result() or {}
        result |= {"peak_memory_mb": 812.0, "peak_gpu_memory_mb": None}
        result["metrics"] |= {"val_precision": 0.7312, "test_recall": 0.8125}
        result["splits"]["test"]["inference_seconds"] = 4.94
        write_json(run.result, result)
    lines = comparison([watched(run) for run in runs])
    cells = [line.split() for line in lines]
    assert lines[0].split("  ")[-3:] == ["params", "memory", "train"]
    assert [row[0] for row in cells[1:3]] == ["head", "full"]
    assert all("812M" in row for row in cells[1:3])
    assert cells[4] == ["run", "split", "accuracy", "precision", "recall", "f1", "roc", "auc",
                        "loss", "inference"]  # fmt: skip
    assert [row[:2] for row in cells[5:8:2]] == [["head", "train"], ["test", cells[7][1]]]
    assert ".7312" in cells[6] and ".8125" in cells[7] and cells[7][-1] == "4.9s"
    assert cells[8][:2] == ["full", "train"]
    assert len({len(line.rstrip()) for line in lines[5:11]}) == 1, "columns stand below each other"


def test_memory_is_the_gpus_where_there_was_one(home: Home) -> None:
    runs = [make_run(home, name="a"), make_run(home, name="b")]
    for run in runs:
        write_json(run.result, (run.read_result() or {}) | {"peak_gpu_memory_mb": 3174.4})
    assert all("3.1G" in line for line in comparison([watched(run) for run in runs])[1:3])


def test_one_run_is_compared_with_nothing(home: Home) -> None:
    assert comparison([watched(make_run(home))]) == []


def test_runs_without_results_have_no_splits(home: Home) -> None:
    runs = [make_run(home, state="queued"), make_run(home, state="queued")]
    assert len(comparison([watched(run) for run in runs])) == 4


def lab(home: Home) -> list[Watched]:
    runs = [make_run(home, name=name, state="stopped") for name in ("head-then-full-1e-3", "b")]
    for run in runs:
        write_json(run.result, (run.read_result() or {}) | {"images_per_second": 1452.0})
    return [watched(run) for run in runs]


def test_tables_fit_eighty_columns(home: Home) -> None:
    lines = comparison(lab(home), width=80)
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["run", "state", "val", "acc", "test", "acc", "test", "f1",
                                "params", "train"]  # fmt: skip
    assert "head-then-full-1e-3" in lines[1]
    assert lines[4].split() == ["run", "split", "acc", "prec", "recall", "f1", "auc", "loss",
                                "infer"]  # fmt: skip


def test_names_give_way_to_metrics_where_it_is_narrower_still(home: Home) -> None:
    lines = comparison(lab(home), width=44)
    assert max(map(len, lines)) <= 44
    assert lines[0].split()[-4:] == ["val", "acc", "test", "acc"]
    assert all("head-" in line and "…" in line and "1e-3" in line for line in (lines[1], lines[5]))


def test_facts_break_between_one_and_the_next(home: Home) -> None:
    (one, _) = lab(home)
    (whole,) = (line for line in conclusion(one) if "best epoch" in line)
    assert len(whole) > 80, "into a pipe it stays one line"
    lines = conclusion(one, width=80)
    assert max(map(len, lines)) <= 80 and "inference 1,452 img/s (batch 32, cpu)" in "\n".join(
        lines
    )
    assert " ".join(" ".join(lines).split()).endswith(whole.strip())


def test_epochs_come_before_the_evaluation_they_lead_to(home: Home, capsys) -> None:
    for view in (PlainView(), JsonView()):
        run = make_run(home, epochs=3, state="evaluating")
        one = watched(run)
        one.tail.poll()
        view.changed(one)
        view.draw([one])
        said = capsys.readouterr().out
        assert said.count("train_loss") == len(one.history.epochs) > 0
        assert said.rindex("train_loss") < said.index("evaluating")
