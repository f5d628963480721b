"""A store of many runs: all of them are listed, and the index answers as the directories do."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from benchmarks.store import app, command, make_store, timed
from factory import age, make_run

from tlui.runs.curve import Curve
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.files import read_json
from tlui.runs.index import Index
from tlui.runs.place import cache_folder
from tlui.runs.row import Row, summarise

RUNS = int(os.environ.get("TLUI_RUNS", "100000"))
"""How many the long test makes; the figures in the README are of 100,000."""
FILTER = "cfg.lr>=1e-5 dataset:intel status:finished"


def told(run: RunDirectory) -> Row:
    """A run as its directory tells it."""
    found = summarise(run, Curve())
    assert found is not None
    return found.row


def same(row: Row, run: RunDirectory) -> bool:
    """Whether a row of the index is what the directory says, what only the index knows aside."""
    known = {**vars(told(run)), "points": row.points, "short": row.short}
    return {k: v for k, v in vars(row).items() if v != known[k]} == {}


def matching(home: Home, ids: set[str]) -> set[str]:
    """What `FILTER` finds, from the directories."""
    found = set()
    for run in map(home.run, ids):
        config = (read_json(run.meta) or {})["config"]
        rate, name = config["phase.0.lr.initial"], config["dataset.name"]
        if rate >= 1e-5 and name == "intel" and run.observe().state == "finished":
            found.add(run.id)
    return found


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("runs", [1100, pytest.param(RUNS, marks=pytest.mark.slow)])
def test_a_large_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: int) -> None:
    chance = random.Random(runs)
    home = make_store(tmp_path / "home", runs)
    monkeypatch.setenv("TLUI_HOME", str(home.path))
    ids = {run.id for run in home}
    assert runs - runs // 1000 <= len(ids) <= runs, "two may have drawn one id"
    print()
    with Index(home) as index:
        timed("the index is built", index.rebuild)
        assert set(index.ids()) == ids and index.count() == len(ids)
        assert set(index.ids(FILTER)) == matching(home, ids)
        for run_id in chance.sample(sorted(ids), min(500, len(ids))):
            (row,) = index.get([run_id])
            assert same(row, home.run(run_id)), run_id
        before = index.states()
        assert before == Counter(row.state for row in index.rows(fresh=False))

    gone = chance.sample(sorted(ids), 20)
    for run_id in gone:
        shutil.rmtree(home.run(run_id).path)
    new = [make_run(home, name=f"new-{number}").id for number in range(20)]
    age(home.runs, 60)
    ids = ids.difference(gone) | set(new)
    with Index(home) as index:
        index.refresh()
        assert set(index.ids()) == ids
    shutil.rmtree(cache_folder())
    with Index(home) as index:
        index.refresh()
        assert set(index.ids()) == ids and set(index.ids(FILTER)) == matching(home, ids)
        assert same(index.get(new[:1])[0], home.run(new[0]))

    if runs < RUNS:
        return
    cache = cache_folder()  # what a person waits for
    command(home, cache, "ls")
    command(home, cache, "ls", "--filter", FILTER)
    app(home, cache)
