import math

import pytest
from factory import make_run, write_epochs

from tlui.runs.directory import Home
from tlui.runs.events import EventWriter
from tlui.runs.history import History, Tail, decimate, load, smooth


def test_folds_a_whole_run(home: Home) -> None:
    history = load(make_run(home, epochs=5, steps=3))
    assert [row["epoch"] for row in history.epochs] == [1, 2, 3, 4, 5]
    assert list(history.steps.x) == list(range(1, 16))
    assert history.steps.epoch[3] == 1 + 1 / 3
    assert len(history.phases) == 1
    assert history.best("val_accuracy") == history.epochs[-1]
    assert history.best("val_loss") == history.epochs[-1]
    assert history.metrics()[0].startswith("train_")
    assert [state["state"] for state in history.states] == ["running", "finished"]


def test_resume_voids_what_was_trained_past_it(home: Home) -> None:
    run = make_run(home, state="failed", epochs=6, done=4, steps=2)
    writer = EventWriter(run.events)
    writer.write("step", phase=0, epoch=5, step=1, steps=2, global_step=9, loss=7.0)
    writer.write("open", version=1, attempt=2, epoch=3, step=6)
    history = load(run)
    assert [row["epoch"] for row in history.epochs] == [1, 2, 3]
    assert list(history.steps.x) == [1, 2, 3, 4, 5, 6]
    assert len(history.phases) == 1
    write_epochs(writer, range(4, 7), 6, steps=2)
    writer.close()
    history = load(run)
    assert [row["epoch"] for row in history.epochs] == [1, 2, 3, 4, 5, 6]
    assert list(history.steps.x) == [float(x) for x in range(1, 13)]
    assert 7.0 not in history.steps.columns["loss"]
    assert len(history.attempts) == 2


def test_pauses_between_attempts_do_not_count_as_training() -> None:
    history = History().feed(
        [
            {"type": "open", "t": 100.0, "epoch": 0, "step": 0},
            {"type": "epoch", "t": 110.0, "epoch": 1},
            {"type": "open", "t": 5000.0, "epoch": 1, "step": 4},
            {"type": "epoch", "t": 5008.0, "epoch": 2},
        ]
    )
    assert history.series("elapsed") == [10.0, 18.0]


def test_any_portions_give_the_same(home: Home) -> None:
    run = make_run(home, epochs=4)
    whole = load(run)
    tail = Tail(run)
    tail._reader.read = lambda most=64, read=tail._reader.read: read(64)  # type: ignore[method-assign]
    while tail.poll(portions=1):
        pass
    assert tail.history.epochs == whole.epochs
    assert tail.history.steps.x == whole.steps.x
    assert tail.history.count == whole.count


def test_tail_sees_what_is_appended(home: Home) -> None:
    run = make_run(home, state="running", epochs=4, done=1, steps=1)
    tail = Tail(run)
    assert tail.poll()
    assert not tail.poll()
    writer = EventWriter(run.events)
    writer.write("alert", kind="disk", message="the disk is full")
    assert tail.poll()
    assert tail.history.alerts[-1]["message"] == "the disk is full"
    writer.close()


def test_strange_records_are_survived() -> None:
    history = History().feed(
        [
            {"type": "epoch"},
            {"type": "epoch", "epoch": "two"},
            {"type": "step", "global_step": None},
            {"type": "step", "global_step": 10**400},
            {"type": "open", "version": 99, "epoch": []},
            {"type": "telepathy", "t": 1},
            {"type": "epoch", "epoch": 1, "val_loss": None, "val_accuracy": 0.5},
        ]
    )
    assert len(history.epochs) == 1 and len(history.steps) == 0
    assert history.newer
    assert math.isnan(history.series("val_loss")[0])
    assert history.best("val_loss") is None


def test_decimate_keeps_every_peak() -> None:
    xs = [float(x) for x in range(10_000)]
    ys = [0.0] * 10_000
    ys[1234], ys[8765] = 5.0, -3.0
    ys[50] = math.nan
    dx, dy = decimate(xs, ys, 60)
    assert len(dx) <= 120
    assert dx == sorted(dx)
    assert (1234.0, 5.0) in zip(dx, dy, strict=True)
    assert (8765.0, -3.0) in zip(dx, dy, strict=True)
    assert not any(math.isnan(y) for y in dy)
    assert decimate([1.0, 2.0], [3.0, 4.0], 60) == ([1.0, 2.0], [3.0, 4.0])
    assert decimate([], [], 60) == ([], [])


def test_smooth_is_unbiased_at_the_start() -> None:
    assert smooth([2.0, 2.0, 2.0], 0.9) == [2.0, 2.0, 2.0]
    assert smooth([1.0, 3.0], 0.5) == [1.0, (0.25 + 1.5) / 0.75]
    assert math.isnan(smooth([1.0, math.nan, 1.0], 0.5)[1])


@pytest.mark.parametrize("t", [None, "x", [], 1e300, -1, 10**400])
def test_a_record_without_its_time_is_as_late_as_the_one_before(t: object) -> None:
    history = History().feed(
        [
            {"type": "open", "t": 100.0, "epoch": 0, "step": 0},
            {"type": "epoch", "t": 107.0, "epoch": 1},
            {"type": "epoch", "t": t, "epoch": 2, "seconds": [], "val_loss": "x", "lr": 1e-3},
        ]
    )
    assert [(row["t"], row["elapsed"]) for row in history.epochs] == [(107.0, 7.0), (107.0, 7.0)]
    assert {"seconds", "val_loss"}.isdisjoint(history.epochs[1]) and history.epochs[1]["lr"] == 1e-3
