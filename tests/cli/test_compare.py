import json

import pytest
from factory import make_run

from tlui.cli.compare import best, differing
from tlui.cli.main import run as tlui
from tlui.runs.directory import Home
from tlui.runs.index import Index

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def three(home: Home) -> list[str]:
    return [
        make_run(home, name="a", top=0.7).id,
        make_run(home, name="b", top=0.9, config={"phase.0.lr.initial": 1e-6}).id,
        make_run(home, name="c", state="failed", config={"head.dropout": None, "tags": ["x"]}).id,
    ]


def table(capsys: Capture) -> dict[str, list[str]]:
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    return {line[0]: line[1:] for line in lines}


def test_only_what_differs_and_the_best_marked(three: list[str], capsys: Capture) -> None:
    assert tlui(["compare", *three]) == 0
    found = table(capsys)
    assert found["phase.0.lr.initial"] == ["1e-4", "1e-6", "1e-4"]
    assert found["head.dropout"] == ["0.2", "0.2", "–"]
    assert found["tags"] == ["", "", "x"]
    assert "train.batch_size" not in found
    assert found["test_accuracy"] == [".6900", ".8900*", "–"]
    assert found["val_loss"][1].endswith("*")
    assert found["trainable_parameters"] == ["7,686", "7,686", "–"]


def test_filter_and_metrics(three: list[str], capsys: Capture) -> None:
    args = ["--filter", "status:finished", "--sort", "-val_accuracy", "-m", "test_f1"]
    assert tlui(["compare", *args]) == 0
    found = table(capsys)
    assert [title[0] for title in found[""]] == ["b", "a"]
    assert list(found)[-1] == "test_f1"


def test_named_runs_are_sorted_where_that_is_asked_for(three: list[str], capsys: Capture) -> None:
    orders = []
    for sort in ([], ["--sort", "created"], ["--sort", "-created"]):
        assert tlui(["compare", *three[1:], three[0], *sort, "--json"]) == 0
        orders.append([row["run_id"] for row in json.loads(capsys.readouterr().out)])
    assert orders[0] == [*three[1:], three[0]]
    assert sorted(orders[1]) == sorted(three) and orders[1] == orders[2][::-1]


@pytest.mark.parametrize("width", [50, 80, 160])
def test_terminal_of_any_width(
    three: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr("tlui.cli.terminal.is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    assert tlui(["compare", *three, "--ascii"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    assert all(f"{name} #" in out for name in "abc")
    assert ".8900*" in out


def test_json(three: list[str], capsys: Capture) -> None:
    assert tlui(["compare", "b", "a", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found] == ["b", "a"]
    assert found[0]["test_accuracy"] == 0.89


def test_least_is_best_for_losses_and_times(home: Home, three: list[str]) -> None:
    with Index(home) as index:
        index.refresh()
        rows = index.get(three)
    assert best("val_loss", rows) == {1}
    assert best("test_accuracy", rows) == {1}
    assert best("train_seconds", rows) == set()  # equal
    assert best("trainable_parameters", rows) == set()
    assert differing(rows[:2]) == ["phase.0.lr.initial"]


def test_bad_usage(three: list[str], capsys: Capture) -> None:
    assert tlui(["compare"]) == 2
    assert tlui(["compare", "a", "--filter", "b"]) == 2
    assert tlui(["compare", "a", "-m", "acuracy"]) == 2
    assert tlui(["compare", "--filter", "status:queued"]) == 1
    assert "no run matches: status:queued" in capsys.readouterr().err


def test_the_best_of_each_value(home: Home, capsys: Capture) -> None:
    for name, experiment, top in (
        ("step-1", "step", 0.7),
        ("step-2", "step", 0.8),
        ("static-1", "static", 0.75),
        ("static-2", "static", 0.6),
    ):
        make_run(home, name=name, experiment=experiment, top=top)
    args = ["--filter", "status:finished", "--best-of", "experiment"]
    assert tlui(["compare", *args]) == 0
    titles = {title.split()[0] for title in table(capsys)[""]}
    assert titles == {"step-2", "static-1"}


def test_the_best_of_an_unknown_field_is_named(home: Home, capsys: Capture) -> None:
    make_run(home, name="a")
    assert tlui(["compare", "@last", "--best-of", "experimnt"]) == 2
    assert "experiment" in capsys.readouterr().err


def test_the_best_of_a_setting(home: Home, capsys: Capture) -> None:
    for name, rate, top in (("a", 1e-4, 0.7), ("b", 1e-4, 0.8), ("c", 1e-6, 0.5)):
        make_run(home, name=name, top=top, config={"phase.0.lr.initial": rate})
    assert tlui(["compare", "--filter", "status:finished", "--best-of", "cfg.lr"]) == 0
    assert {title.split()[0] for title in table(capsys)[""]} == {"b", "c"}
