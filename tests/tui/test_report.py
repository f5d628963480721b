"""Tables of a finished run in as much room as there is."""

from __future__ import annotations

import pytest

from tlui.tui.lines import cells, plain
from tlui.tui.report import class_lines, confusion_lines
from tlui.tui.theme import Theme

NAMES = ("buildings", "forest", "glacier", "mountain", "sea", "street")
SPLIT = {
    "confusion": [[45 if i == j else 1 for j in range(6)] for i in range(6)],
    "classes": [
        {"name": name, "precision": 0.8491, "recall": 0.9, "f1": 0.8738, "support": 50}
        for name in NAMES
    ],
}


@pytest.mark.parametrize("width", [39, 47, 58, 80])
def test_every_number_of_a_class_is_whole(width: int) -> None:
    lines = class_lines(SPLIT, "test", width, False)
    text = plain(lines)
    assert all(cells(line) <= width for line in lines)
    assert all(name in text for name in NAMES)
    assert [t for t in ("prec", "recall", "f1", "images") if t not in text] == []
    for row in text.splitlines()[-6:]:
        assert row.split()[1:] == [".8491", ".9000", ".8738", "50"]


@pytest.mark.parametrize(("width", "share"), [(39, False), (47, True)])
def test_a_share_that_has_no_room_is_left_out_of_the_matrix(width: int, share: bool) -> None:
    lines = confusion_lines(SPLIT, "test", width, Theme())
    assert all(cells(line) <= width for line in lines)
    assert "…" not in plain(lines)
    assert ("90%" in plain(lines)) is share
