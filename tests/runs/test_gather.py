"""Many runs read by several processes: the same as by one, whatever becomes of the helpers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import pytest

from tlui.runs import gather as gathering
from tlui.runs.directory import Home
from tlui.runs.gather import FIRST, PORTION, gather
from tlui.runs.index import Index
from tlui.runs.index_tables import Found
from tlui.runs.status import Status

RUNS = 2 * PORTION + 300


@pytest.fixture
def ids(home: Home, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A store that is worth two helpers, with a folder among its runs that is none."""
    monkeypatch.setattr(gathering, "MANY", RUNS)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    status = json.dumps(Status("finished").to_dict())
    for number in range(RUNS):
        folder = home.runs / f"{number:08x}"
        folder.mkdir()
        if number != 7:
            config = {"train.seed": number, "dataset.name": "intel é"}
            meta = {"version": 1, "created": number, "name": f"run-{number}", "config": config}
            (folder / "run.json").write_text(json.dumps(meta))
            (folder / "status.json").write_text(status)
    return sorted(path.name for path in home.runs.iterdir())


@pytest.fixture(autouse=True)
def _others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests started in this process and left is not counted as a helper."""
    monkeypatch.setitem(globals(), "OTHERS", {c.pid for c in psutil.Process().children()})


OTHERS: set[int] = set()


def helpers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.pid not in OTHERS]


def by_id(found: list[Found]) -> dict[str, Found]:
    return {one.values[0]: one for one in found}


def test_helpers_read_what_one_process_reads(home: Home, ids: list[str]) -> None:
    alone = by_id([f for _, part in gathering._read(home, ids) for f in part])
    portions = gather(home, ids)
    looked, found = next(portions)
    assert len(helpers()) == 2
    for more, part in portions:
        looked += more
        found += part
    assert looked == RUNS and len(found) == RUNS - 1
    assert by_id(found) == alone
    assert helpers() == []


def test_the_first_runs_come_first_and_are_not_waited_for(home: Home, ids: list[str]) -> None:
    wanted = ids[::-1]
    portions = gather(home, wanted)
    _, found = next(portions)
    assert [one.values[0] for one in found] == wanted[:FIRST]
    for helper in helpers():
        helper.suspend()
        helper.kill()
    assert len(found) + sum(len(part) for _, part in portions) == RUNS - 1


def test_the_shares_of_killed_helpers_are_read(home: Home, ids: list[str]) -> None:
    portions = gather(home, ids)
    looked, found = next(portions)
    for helper in helpers():
        helper.kill()
    for more, part in portions:
        looked += more
        found += part
    assert looked == RUNS and len(by_id(found)) == len(found) == RUNS - 1


def test_helpers_that_cannot_start_are_done_without(
    home: Home, ids: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-python"))
    assert sum(len(found) for _, found in gather(home, ids)) == RUNS - 1


def test_giving_up_leaves_no_helper(home: Home, ids: list[str]) -> None:
    portions = gather(home, ids)
    next(portions)
    portions.close()
    assert helpers() == []


def test_an_index_of_all_of_them(home: Home, ids: list[str]) -> None:
    seen: list[tuple[int, int]] = []
    with Index(home) as index:
        assert index.refresh(progress=lambda done, total: seen.append((done, total))) == RUNS - 1
        assert index.count("cfg.train.seed>=1000") == RUNS - 1000
    assert seen[-1] == (RUNS, RUNS)
