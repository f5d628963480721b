import pytest
from factory import make_run, write_epochs

from tlui.runs.curve import POINTS, Curve
from tlui.runs.directory import Home
from tlui.runs.events import EventWriter


def test_agrees_with_the_history(home: Home) -> None:
    run = make_run(home, epochs=5)
    curve = Curve()
    assert curve.update(run, "val_accuracy")
    assert not curve.update(run, "val_accuracy")
    assert curve.epoch == 5 and len(curve.points) == 5
    assert curve.metrics()["val_accuracy"] == 0.87
    assert Curve.parse(curve.dump()) == curve


def test_resume_takes_back_epochs_and_the_best(home: Home) -> None:
    run = make_run(home, state="failed", epochs=9, done=5)
    curve = Curve()
    curve.update(run, "val_accuracy")
    best_of_three = curve.bests[2]["val_accuracy"]
    writer = EventWriter(run.events)
    writer.write("open", version=1, attempt=2, epoch=3, step=12)
    curve.update(run, "val_accuracy")
    assert curve.epoch == 3 and len(curve.points) == 3
    assert curve.metrics()["val_accuracy"] == best_of_three
    write_epochs(writer, [4], 9)
    writer.close()
    curve.update(run, "val_accuracy")
    again = Curve()
    again.update(run, "val_accuracy")
    assert (curve.epoch, curve.points, curve.bests) == (again.epoch, again.points, again.bests)


def test_long_runs_are_thinned(home: Home) -> None:
    run = make_run(home, epochs=1000, done=1000, steps=0)
    curve = Curve()
    curve.update(run, "val_loss")
    assert len(curve.points) <= POINTS
    assert curve.epoch == 1000
    assert curve.points == sorted(curve.points, key=lambda p: p or 0)
    writer = EventWriter(run.events)
    writer.write("open", version=1, attempt=2, epoch=500, step=0)
    writer.close()
    curve.update(run, "val_loss")
    assert len(curve.points) == (500 + curve.stride - 1) // curve.stride


def test_damaged_json_starts_afresh() -> None:
    for text in ("", None, "{", "[]", '{"odd": 1}'):
        assert Curve.parse(text) == Curve()


@pytest.mark.parametrize("steps", [0, 99], ids=["shorter", "longer"])
def test_a_log_begun_anew_is_read_from_its_beginning(home: Home, steps: int) -> None:
    run = make_run(home, state="failed", epochs=9, done=5)
    curve = Curve()
    curve.update(run, "val_accuracy")
    run.events.unlink()
    writer = EventWriter(run.events)
    write_epochs(writer, [6, 7], 9, steps=steps)
    writer.close()
    assert curve.update(run, "val_accuracy")
    assert curve.epoch == 7 and len(curve.points) == 7
