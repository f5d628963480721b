import math

import pytest
from factory import make_run

from tlui.cli.main import run as tlui
from tlui.cli.plot import draw, series
from tlui.runs.directory import Home
from tlui.runs.history import load

Capture = pytest.CaptureFixture[str]


def plotted(capsys: Capture, *args: str) -> list[str]:
    assert tlui(["plot", *args]) == 0
    return capsys.readouterr().out.splitlines()


def test_size_title_and_legend(home: Home, capsys: Capture) -> None:
    make_run(home, name="head", epochs=8)
    make_run(home, name="full", epochs=8, top=0.95)
    lines = plotted(capsys, "head", "full", "--width", "60", "--height", "15")
    assert len(lines) == 15 and max(map(len, lines)) <= 60
    assert "val_accuracy by epoch" in lines[0]
    assert "* head #" in lines[-1] and "o full #" in lines[-1]
    body = "\n".join(lines[1:-2])
    assert "*" in body and "o" in body
    assert "\x1b" not in "".join(lines)


def test_rising_curve_rises(home: Home, capsys: Capture) -> None:
    make_run(home, epochs=8)
    lines = plotted(capsys, "@last", "--ascii", "--width", "60", "--height", "16")
    assert "".join(lines).isascii()
    inside = [line.partition("|")[2] for line in lines if "|" in line or line[4:5] == "+"]
    columns = [row.index("*") for row in inside if "*" in row]
    assert columns == sorted(columns, reverse=True)


def test_every_x(home: Home) -> None:
    history = load(make_run(home, epochs=3, steps=4))
    assert series(history, "val_loss", "epoch")[0] == [1, 2, 3]
    assert series(history, "val_loss", "step")[0] == [4, 8, 12]
    xs, ys = series(history, "loss", "step")
    assert xs == list(range(1, 13)) and len(ys) == 12
    xs, _ = series(history, "loss", "epoch")
    assert xs[:4] == [0.25, 0.5, 0.75, 1.0]
    xs, _ = series(history, "loss", "time")
    assert xs == sorted(xs) and xs[-1] < 1
    assert series(history, "telepathy", "epoch") == ([], [])


@pytest.mark.parametrize(
    "epochs,x,ticks",
    [(1, "epoch", "1"), (10, "epoch", "1 3 5 7 9"), (3, "step", "12 16 20 24 28 32 36")],
)
def test_epochs_and_steps_are_whole_numbers(
    home: Home, capsys: Capture, epochs: int, x: str, ticks: str
) -> None:
    make_run(home, epochs=epochs, steps=12)
    lines = plotted(capsys, "@last", "-m", "val_loss", "--x", x, "--width", "60")
    assert lines[-2].split() == ticks.split()


def test_log_y_and_smooth(home: Home, capsys: Capture) -> None:
    make_run(home, epochs=8)
    args = ["@last", "-m", "train_loss,val_loss", "--log-y", "--smooth", "0.6"]
    lines = plotted(capsys, *args)
    assert "smoothed 0.6" in lines[0]
    assert "train_loss" in lines[-1] and "val_loss" in lines[-1]


def test_long_runs_are_decimated_and_peaks_stay() -> None:
    xs = [float(x) for x in range(200_000)]
    ys = [0.0] * 200_000
    ys[100_000] = 1.0
    from tlui.runs.history import decimate

    lines = draw([("x", decimate(xs, ys, 60))], "t", 60, 16)
    assert any("⡇" in line or "⢸" in line or "⡀" in line for line in lines[2:4])


@pytest.mark.parametrize(
    "points",
    [
        ([1.0], [0.5]),
        ([1.0, 2.0], [0.5, 0.5]),
        ([0.0, 0.0], [0.1, 0.9]),
        ([1.0, 2.0], [1e-12, 1e12]),
    ],
)
def test_odd_curves_are_drawn(points: tuple[list[float], list[float]]) -> None:
    for log in (False, True):
        assert len(draw([("x", points)], "t", 40, 10, log)) == 10


def test_what_cannot_be_plotted_is_said(home: Home, capsys: Capture) -> None:
    make_run(home)
    assert tlui(["plot", "@last", "--metric", "val_acuracy"]) == 1
    err = capsys.readouterr().err
    assert "has no val_acuracy" in err and "val_accuracy" in err
    assert tlui(["plot", "@last", "--x", "epohc"]) == 2
    assert 'did you mean "epoch"' in capsys.readouterr().err
    make_run(home, state="queued")
    assert tlui(["plot", "@last"]) == 1
    assert "no epoch yet" in capsys.readouterr().err


def test_losses_that_are_not_finite_leave_gaps(home: Home) -> None:
    run = make_run(home, state="diverged", epochs=4, done=3)
    with open(run.events, "a") as file:
        file.write('{"type":"epoch","t":9e9,"epoch":4,"val_loss":null}\n')
    xs, ys = series(load(run), "val_loss", "epoch")
    assert xs == [1, 2, 3, 4] and math.isnan(ys[3])


def test_filter_chooses_the_runs(home: Home, capsys: Capture) -> None:
    make_run(home, name="head", epochs=3)
    make_run(home, name="full", epochs=3)
    assert any("head #" in line for line in plotted(capsys, "--filter", "name:head"))
    assert not any("full #" in line for line in plotted(capsys, "--filter", "name:head"))
    assert tlui(["plot", "--filter", "name:nobody"]) == 1
    assert "no run matches name:nobody" in capsys.readouterr().err
    assert tlui(["plot"]) == tlui(["plot", "head", "--filter", "name:head"]) == 2
    assert capsys.readouterr().err.count("name the runs to plot, or give --filter") == 2
