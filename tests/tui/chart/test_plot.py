"""What a chart looks like, to the character, and what its keys do."""

from __future__ import annotations

import math

import numpy as np

from tlui.runs.format import metric
from tlui.runs.status import GLYPHS as STATES
from tlui.tui.chart.data import Timeline
from tlui.tui.chart.glyphs import GLYPHS
from tlui.tui.chart.plot import Curve, Plot
from tlui.tui.lines import cells, plain


def line_of(values: list[float], name: str = "val") -> Timeline:
    line = Timeline()
    for i, value in enumerate(values):
        line.append(i * 10, i, i * 60.0, {name: value})
    return line


def picture(plot: Plot, width: int = 24, height: int = 7) -> str:
    return plain(plot.draw(width, height))


def block(text: str) -> str:
    return text.strip("\n")


def straight(**choices: object) -> Plot:
    line = line_of([0.0, 0.25, 0.5, 0.75, 1.0])
    return Plot("accuracy", [Curve("val", line.series["val"])], write=metric, **choices)  # type: ignore[arg-type]


def test_a_straight_line_in_braille() -> None:
    got = picture(straight(kind="braille"))
    assert got == block(
        """
accuracy       val 1.000
1 ┤                ⢀⣀⠤⠔⠒
  │          ⢀⣀⠤⠔⠒⠉⠁
  │    ⢀⣀⠤⠔⠒⠉⠁
0 ┤⠤⠔⠒⠉⠁
  └┬─────────┬─────────┬
   0         2     epoch
"""
    )


def test_a_straight_line_in_half_blocks() -> None:
    got = picture(straight(kind="half"))
    assert got == block(
        """
accuracy       val 1.000
1 ┤                 ▄▄▄▀
  │          ▄▄▄▄▀▀▀
  │    ▄▄▄▀▀▀
0 ┤▄▀▀▀
  └┬─────────┬─────────┬
   0         2     epoch
"""
    )


def test_a_straight_line_in_ascii() -> None:
    got = picture(straight(kind="ascii"))
    assert got.isascii()
    assert got == block(
        """
accuracy       val 1.000
1 +                __--'
  |          __--''
  |    __--''
0 +--''
  ++---------+---------+
   0         2     epoch
"""
    )


def test_nan_is_a_gap_not_a_bridge() -> None:
    line = line_of([0.0, 0.0, math.nan, 1.0, 1.0])
    rows = picture(Plot("a", [Curve("val", line.series["val"])]), 24, 7).splitlines()[1:-2]
    columns = ["".join(row[5:].ljust(19)[i] for row in rows).strip() for i in range(19)]
    assert all(columns[:4])
    assert not any(columns[6:12])
    assert all(columns[16:])


def test_without_colour_each_curve_carries_its_glyph() -> None:
    low, high = line_of([0.1] * 4), line_of([0.9] * 4)
    curves = [Curve("low", low.series["val"], 0), Curve("high", high.series["val"], 1)]
    got = picture(Plot("a", curves, kind="ascii", colour=False), 50, 7)
    assert got.splitlines()[0].endswith("A low 0.1  B high 0.9")
    upper, lower = got.splitlines()[1:3], got.splitlines()[3:5]
    assert "B" in "".join(upper)
    assert "A" in "".join(lower)
    assert "A" not in "".join(upper)


def test_log_y_leaves_out_what_is_not_above_zero() -> None:
    line = line_of([1.0, 0.1, 0.0, 0.01, 0.001], "loss")
    got = picture(Plot("loss", [Curve("train", line.series["loss"])], log_y=True), 40, 14)
    assert "log" in got.splitlines()[0]
    for tick in ("1 ┤", ".1 ┤", "1e-3 ┤" if "1e-3" in got else ".001 ┤"):
        assert tick in got


def test_every_line_is_as_wide_as_asked_or_narrower() -> None:
    rng = np.random.default_rng(0)
    curves = [
        Curve(f"run number {i}", line_of(list(rng.random(200))).series["val"], i) for i in range(8)
    ]
    for width, height in ((12, 3), (30, 8), (80, 20), (200, 50)):
        for kind in ("braille", "half", "ascii"):
            lines = Plot("accuracy", curves, kind=kind).draw(width, height)  # type: ignore[arg-type]
            assert len(lines) == height
            assert max(cells(line) for line in lines) <= width


def test_the_crosshair_reads_exact_values_and_jumps_between_far_points() -> None:
    plot = straight()
    plot.draw(60, 10)
    plot.move(1)
    assert plot.cursor == 0
    plot.move(1)
    assert plot.cursor == 1
    assert "epoch 1" in picture(plot, 60, 10)
    assert "val .2500" in picture(plot, 60, 10)
    plot.move(-1)
    plot.move(-1)
    assert plot.cursor == 0
    plot.move(10)
    assert plot.cursor == 1


def test_the_crosshair_is_drawn_where_nothing_else_is() -> None:
    plot = straight()
    plot.cursor = 2.0
    rows = picture(plot, 40, 8).splitlines()[1:-2]
    at = max(row.rfind("│") for row in rows)
    assert at > 10
    drawn = [row.ljust(40)[at] for row in rows]
    assert drawn.count("│") == len(rows) - 1
    assert picture(straight(), 40, 8).count("│") == len(rows) - 2


def test_zoom_shows_the_newest_and_follows_the_crosshair() -> None:
    line = line_of([float(i) for i in range(101)])
    plot = Plot("a", [Curve("val", line.series["val"])])
    plot.draw(60, 10)
    plot.zoom_by(1)
    plot.zoom_by(1)
    window = plot.window()
    assert (window.low, window.high) == (75.0, 100.0)
    plot.draw(60, 10)
    plot.cursor = 75.0
    plot.move(-10)
    assert plot.window().low < 75.0
    plot.zoom_by(-1)
    plot.zoom_by(-1)
    plot.zoom_by(-1)
    assert plot.zoom == 1


def test_smoothing_keeps_the_raw_curve_dim_behind() -> None:
    rng = np.random.default_rng(0)
    line = line_of(list(rng.random(60)))
    plot = Plot("a", [Curve("val", line.series["val"], 2)])
    plot.smooth(1)
    plot.smooth(1)
    styles = {style for row in plot.draw(60, 12) for _, style in row}
    assert {"s2", "s2-raw"} <= styles
    plot.smooth(-1)
    plot.smooth(-1)
    assert plot.smoothing == 0
    assert "s2-raw" not in {style for row in plot.draw(60, 12) for _, style in row}


def test_x_by_epoch_step_and_time() -> None:
    plot = straight()
    assert picture(plot).endswith("epoch")
    plot.next_axis()
    assert picture(plot).endswith("step")
    plot.next_axis()
    assert picture(plot).endswith("time")
    assert "2m" in picture(plot, 60, 8)


def test_no_points_says_so() -> None:
    assert "no points yet" in picture(Plot("loss"), 40, 8)


def test_a_spike_is_seen_among_a_hundred_thousand_points() -> None:
    values = np.zeros(100_000)
    values[54_321] = 1.0
    line = Timeline()
    x = np.arange(100_000.0)
    line.extend(x, x, x, {"loss": values})
    rows = picture(Plot("loss", [Curve("a", line.series["loss"])]), 100, 12).splitlines()
    at = 5 + int(0.54321 * 95)
    assert all(any("⠀" < c <= "⣿" for c in row[at - 1 : at + 2]) for row in rows[1:-2])


def test_curves_of_one_value_or_one_point_draw() -> None:
    for values in ([0.5], [0.5, 0.5], [math.nan, 0.5], [0.0]):
        line = line_of(values)
        for log in (False, True):
            plot = Plot("a", [Curve("val", line.series["val"])], log_y=log)
            assert len(plot.draw(40, 10)) == 10


def test_a_curve_without_a_point_at_the_crosshair_says_where_its_nearest_is() -> None:
    short, long = line_of([0.1, 0.2, 0.3]), line_of([0.5] * 9)
    plot = Plot("a", [Curve("short", short.series["val"]), Curve("long", long.series["val"], 1)])
    plot.draw(60, 9)
    plot.cursor = 7.0
    assert "short 0.3 @2" in picture(plot, 60, 9)
    plot.cursor = 1.0
    assert "short 0.2  " in picture(plot, 60, 9)


def test_panning_moves_the_zoomed_window_and_stops_at_the_ends() -> None:
    plot = straight(zoom=4)
    plot.pan(-1)
    assert (plot.window().low, plot.window().high) == (2.5, 3.5)
    for _ in range(9):
        plot.pan(-1)
    assert plot.window().low == 0
    plot.pan(1)
    assert plot.window().low == 0.5
    for _ in range(9):
        plot.pan(1)
    assert plot.window().high == 4


def test_every_curve_is_read_at_the_crosshair() -> None:
    line = line_of([0.5] * 9)
    curves = [Curve(f"a run with a long name {i}", line.series["val"], i) for i in range(8)]
    plot = Plot("a", curves)
    assert "name 7" not in picture(plot, 78, 14)
    plot.cursor = 3.0
    got = picture(plot, 78, 20)
    assert all(f"name {i} 0.5" in got for i in range(8))


def test_a_series_never_has_the_sign_of_a_state() -> None:
    states = {sign for signs in STATES.values() for sign in signs}
    for signs in GLYPHS.values():
        assert len(set(signs)) == 8
        assert not set(signs) & states
