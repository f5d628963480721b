import dataclasses
import multiprocessing
import os
import shutil
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from factory import age, dead_identity, epoch_metrics, make_result, make_run, write_epochs

from tlui.runs import index_tables
from tlui.runs.directory import Home
from tlui.runs.events import EventWriter
from tlui.runs.files import write_json
from tlui.runs.index import Index
from tlui.runs.marks import Mark, mark, read_marks
from tlui.runs.process import identify
from tlui.runs.status import Status, read_status, write_status


def settle(home: Home) -> None:
    """Make the folder of runs look old enough for its mtime to be trusted."""
    age(home.runs, 60)


def test_rows_say_what_the_files_say(home: Home) -> None:
    run = make_run(
        home,
        name="then-full",
        epochs=5,
        top=0.9,
        config={"phase.0.lr.policy": "exponential", "phase.0.freeze": "none"},
    )
    with Index(home) as index:
        assert index.refresh() == 1
        (row,) = index.rows()
    assert (row.id, row.name, row.state, row.epoch, row.epochs) == (
        run.id,
        "then-full",
        "finished",
        5,
        5,
    )
    assert (row.dataset, row.backbone, row.regime, row.lr) == (
        "intel",
        "MobileNetV2",
        "all",
        "exp 1e-4",
    )
    assert (row.val, row.test) == (0.9, 0.89)
    assert row.metrics == run.read_result()["metrics"]  # type: ignore[index]
    assert row.config == run.read_meta()["config"]
    assert row.measures["trainable_parameters"] == 2_231_558
    assert len(row.points) == 5
    assert row.id.startswith(row.short)


@pytest.mark.parametrize("done", [0, 2])
def test_of_a_killed_run_the_epochs_count_that_were_finished(home: Home, done: int) -> None:
    for owner in (identify(), dead_identity()):
        run = make_run(home, state="running", epochs=7, done=done, owner=owner)
        status = read_status(run.status)
        assert status is not None
        under_way = {**status.progress, "epoch": done + 1}
        write_status(run.status, dataclasses.replace(status, progress=under_way))
    with Index(home) as index:
        index.refresh()
        found = {row.state: row.epoch for row in index.rows()}
    assert found == {"running": done + 1, "interrupted": done}


def test_nothing_changed_costs_nothing(home: Home) -> None:
    for _ in range(3):
        make_run(home)
    settle(home)
    with Index(home) as index:
        assert index.refresh() == 3
        assert index.refresh() == 0
        assert index.generation == 1


def test_runs_come_and_go(home: Home) -> None:
    first = make_run(home)
    settle(home)
    with Index(home) as index:
        index.refresh()
        second = make_run(home)
        assert index.refresh() == 1
        assert index.count() == 2
        shutil.rmtree(first.path)
        settle(home)
        assert index.refresh() == 1
        assert index.ids() == [second.id]


def test_a_live_run_is_followed(home: Home) -> None:
    run = make_run(home, state="running", epochs=10, done=2)
    with Index(home) as index:
        index.refresh()
        before = index.rows()[0]
        writer = EventWriter(run.events)
        write_epochs(writer, [3], 10)
        writer.close()
        assert index.refresh() == 1
        after = index.rows()[0]
        assert len(after.points) == len(before.points) + 1
        assert after.metrics["val_accuracy"] > before.metrics["val_accuracy"]
        assert index.count("status:running") == 1


def test_a_killed_run_is_interrupted_and_a_silent_one_stale(home: Home) -> None:
    run = make_run(home, state="running")
    with Index(home) as index:
        index.refresh()
        assert index.rows()[0].state == "running"
        age(run.status, 3600)
        index.refresh()
        assert index.rows()[0].state == "stale"
        status = read_status(run.status)
        assert status is not None
        write_status(run.status, dataclasses.replace(status, owner=dead_identity()))
        index.refresh()
        assert index.rows()[0].state == "interrupted"
        assert index.count("status:interrupted") == 1
        assert index.count("status:live") == 0


def test_a_resumed_run_is_noticed(home: Home) -> None:
    runs = [make_run(home, created=1e9 + i) for i in range(5)]
    settle(home)
    with Index(home) as index:
        index.refresh()
        write_status(runs[0].status, Status("queued"))
        index.refresh()
        assert index.count("status:queued") == 1


@pytest.mark.parametrize("known", [True, False], ids=["seen-before", "new"])
def test_a_run_that_waits_to_go_on_shows_what_it_has_reached(home: Home, known: bool) -> None:
    run = make_run(home, state="interrupted", epochs=10, done=4)
    best = epoch_metrics(4, 10)["val_accuracy"]
    with Index(home) as index:
        if known:
            index.refresh()
        status = read_status(run.status)
        assert status is not None
        write_status(run.status, dataclasses.replace(status, state="queued", owner=None))
        index.refresh()
        (row,) = index.rows()
        assert (row.state, row.epoch, row.val) == ("queued", 4, best)
        assert len(row.points) == 4


def test_ended_runs_beyond_the_newest_are_looked_at_in_turn(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlui.runs.index.NEWEST", 1)
    runs = [make_run(home, created=1e9 + i, steps=0) for i in range(6)]
    settle(home)
    with Index(home) as index:
        index.refresh()
        write_status(runs[0].status, Status("queued"))
        index.refresh(budget=0.0)
        assert index.count("status:queued") == 0
        assert index.rows("", "created", limit=1)[0].state == "queued"  # whoever is shown is
        write_status(runs[1].status, Status("queued"))
        index.refresh(budget=10.0)
        assert index.count("status:queued") == 2


def test_deleted_index_is_rebuilt(home: Home) -> None:
    make_run(home)
    with Index(home) as index:
        index.refresh()
        assert index.path is not None
        index.path.unlink()
    with Index(home) as index:
        assert index.refresh() == 1


@pytest.mark.parametrize("damage", ["garbage", "cut", "hole", "empty", "text"])
def test_damaged_index_is_rebuilt(home: Home, damage: str) -> None:
    for i in range(30):
        make_run(home, name=f"run-{i}", steps=0)
    with Index(home) as index:
        index.refresh()
        path = index.path
    assert path is not None
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    data = path.read_bytes()
    path.write_bytes(
        {
            "garbage": os.urandom(len(data)),
            "cut": data[: len(data) // 2],
            "hole": data[:4096] + b"\xa5" * (len(data) - 8192) + data[-4096:],
            "empty": b"",
            "text": b"not a database " * 1000,
        }[damage]
    )
    with Index(home) as index:
        index.refresh()
        assert index.count() == 30
        assert len(index.rows("val_accuracy>.1 cfg.train.seed=1", "-test_f1")) == 30


def test_damage_while_open_is_survived(home: Home) -> None:
    make_run(home)
    with Index(home) as index:
        index.refresh()
        for name in ("runs", "docs", "settings"):
            index._db.execute(f"DROP TABLE {name}")
        assert index.count("val_accuracy>.1") == 1
        assert [row.state for row in index.rows()] == ["finished"]


def test_index_of_another_schema_is_rebuilt(home: Home) -> None:
    make_run(home)
    with Index(home) as index:
        index.refresh()
        path = index.path
    assert path is not None
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE runs")
        db.execute("CREATE TABLE runs (other)")
        db.execute("PRAGMA user_version = 77")
    with Index(home) as index:
        index.refresh()
        assert index.count() == 1


def test_without_a_place_for_it_the_index_lives_in_memory(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(home)
    monkeypatch.setattr("tlui.runs.index.index_path", lambda home: None)
    with Index(home) as index:
        assert index.path is None
        assert index.refresh() == 1
        assert index.count("status:finished") == 1


def test_index_that_cannot_be_written_gives_way_to_memory(home: Home) -> None:
    make_run(home)
    with Index(home) as index:
        index.refresh()
        index._db.execute("PRAGMA query_only = ON")
        make_run(home)
        assert index.refresh() == 2
        assert index.path is None
        assert index.count() == 2


def test_link_in_the_place_of_the_index_is_not_followed(home: Home, tmp_path: Path) -> None:
    with Index(home) as index:
        path = index.path
    assert path is not None
    path.unlink()
    (tmp_path / "outside").write_text("precious")
    path.symlink_to(tmp_path / "outside")
    with Index(home) as index:
        make_run(home)
        assert index.refresh() == 1
    assert (tmp_path / "outside").read_text() == "precious"


def test_every_home_has_its_own(home: Home, tmp_path: Path) -> None:
    other = Home.at(tmp_path / "other")
    make_run(home)
    with Index(home) as index, Index(other) as second:
        index.refresh()
        second.refresh()
        assert (index.count(), second.count()) == (1, 0)


def test_home_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    with Index(Home(tmp_path / "nowhere")) as index:
        assert index.refresh() == 0
        assert index.rows() == []
        assert index.count("val_accuracy>.9 cfg.lr<1") == 0


def test_pages(home: Home) -> None:
    runs = [make_run(home, name=f"r{i}", created=1e9 + i, steps=0) for i in range(7)]
    with Index(home) as index:
        index.refresh()
        newest_first = [run.id for run in reversed(runs)]
        assert index.ids() == newest_first
        assert [r.id for r in index.rows(offset=2, limit=3)] == newest_first[2:5]
        assert [r.id for r in index.get([*newest_first[::-1], "00000000"])] == newest_first[::-1]


def test_more_settings_than_columns(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_tables, "COLUMNS_MOST", 20)
    make_run(home, config={"zz.last": 5, "zz.\"quoted'": "x"})
    make_run(home, config={"zz.last": 7})
    with Index(home) as index:
        index.refresh()
        assert index.count("cfg.zz.last>6") == 1
        assert index.count("cfg.zz.last:*") == 2
        assert len(index.rows("cfg.train.seed:1", "-cfg.zz.last")) == 2


def test_marks_are_user_data_outside_the_index(home: Home) -> None:
    first, second = make_run(home), make_run(home)
    mark(home, [first.id], pinned=True, note="a [keeper]")
    mark(home, [second.id], hidden=True)
    mark(home, [first.id], pinned=None, hidden=False)
    assert read_marks(home)[first.id] == Mark(pinned=True, note="a [keeper]")
    with Index(home) as index:
        index.refresh()
        assert index.ids("pinned:true") == [first.id]
        assert index.ids("-hidden:yes") == [first.id]
        assert index.ids("keeper") == [first.id]
        assert index.get([first.id])[0].note == "a [keeper]"
        mark(home, [first.id], pinned=False, note="")
        index.refresh()
        assert index.count("pinned:true") == 0
        index.rebuild()
        assert index.ids("-hidden:yes") == [first.id]


def test_marks_set_at_once_are_all_kept(home: Home) -> None:
    ids = [f"{n:08x}" for n in range(24)]
    threads = [threading.Thread(target=mark, args=(home, [i], True)) for i in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read_marks(home)) == ids


def _refresh(path: Path, answers: "multiprocessing.Queue[object]") -> None:
    try:
        with Index(Home(path)) as index:
            for _ in range(5):
                index.refresh()
            answers.put(index.count())
    except BaseException as error:
        answers.put(repr(error))


def test_several_processes_refresh_at_once(home: Home) -> None:
    for i in range(60):
        make_run(home, name=f"r{i}", steps=0)
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue[object] = context.Queue()
    workers = [context.Process(target=_refresh, args=(home.path, answers)) for _ in range(4)]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert found == [60] * 4
    with Index(home) as index:
        assert index.refresh() == 0


def test_several_threads_share_an_index(home: Home) -> None:
    make_run(home)
    errors: list[BaseException] = []
    with Index(home) as index:

        def work() -> None:
            try:
                for _ in range(20):
                    index.refresh(budget=0.0)
                    index.rows("val_accuracy>.1")
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", b""),
        ("run.json", b"[]"),
        ("run.json", b'{"name": 7, "config": [], "created": "x", "preset": null, "parents": 3}'),
        ("run.json", b'{"config": {"phase.x": 1, "phase.0.epochs": "many", "a": 1e999}}'),
        ("status.json", b'{"state": "fini'),
        ("result.json", b'{"metrics": []}'),
        ("result.json", b'{"metrics": {"val_accuracy": "high"}, "splits": {"val": 3}, "best": 1}'),
        ("result.json", b'{"version": 9, "metrics": {"val_accuracy": 0.5}, "versions": []}'),
        ("events.jsonl", b'{"type":"epoch","epoch":1e400}\n{"type":"epoch"'),
        ("preset.toml", b"\xff"),
    ],
)
def test_damaged_files_cost_no_more_than_what_they_held(
    home: Home, name: str, content: bytes
) -> None:
    sound, run = make_run(home), make_run(home)
    (run.path / name).write_bytes(content)
    with Index(home) as index:
        index.refresh()
        assert set(index.ids()) == {sound.id, run.id}
        assert len(index.rows("", "-val_accuracy")) == 2
    assert (run.path / name).read_bytes() == content


def test_lost_run_json_is_read_from_the_preset(home: Home) -> None:
    run = make_run(home, name="head")
    run.preset.write_text(
        'version = 1\nname = "head"\n[origin]\npreset = "p"\nexperiment = "e"\n'
        '[[phase]]\nfreeze = "backbone"\nepochs = 4\nlr = {policy = "constant", initial = 1e-3}\n'
    )
    run.meta.unlink()
    with Index(home) as index:
        index.refresh()
        (row,) = index.rows()
    assert (row.name, row.preset, row.regime, row.lr, row.epochs) == (
        "head",
        "p",
        "head",
        "1e-3",
        4,
    )
    assert "run.json" in row.reason


def test_newer_formats_are_read_as_far_as_possible_and_said(home: Home) -> None:
    run = make_run(home)
    write_json(run.meta, {**run.read_meta(), "version": 2, "crystal": "ball"})
    with Index(home) as index:
        index.refresh()
        (row,) = index.rows()
    assert row.newer and row.test == 0.86


def test_foreign_folder_named_like_a_run_is_left_alone(home: Home) -> None:
    (home.runs / "abcdef01").mkdir()
    (home.runs / "abcdef01" / "thesis.tex").write_text("precious")
    with Index(home) as index:
        assert index.refresh() == 0
        assert index.rows() == []
    assert (home.runs / "abcdef01" / "thesis.tex").read_text() == "precious"


def test_progress_is_told_of_large_stores(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlui.runs.index.BATCH", 2)
    monkeypatch.setattr("tlui.runs.gather.PORTION", 2)
    for _ in range(5):
        make_run(home, steps=0)
    told: list[tuple[int, int]] = []
    with Index(home) as index:
        index.refresh(progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_the_newest_runs_of_a_large_store_are_known_first(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlui.runs.index.BATCH", 2)
    monkeypatch.setattr("tlui.runs.gather.PORTION", 2)
    runs = [make_run(home, name=f"run-{n}", steps=0) for n in range(7)]
    for n, run in enumerate(runs):
        age(run.meta, 100 - n)
    known: list[list[str]] = []
    with Index(home) as index:
        index.refresh(progress=lambda *_: known.append([row.name for row in index.rows()]))
        assert index.count() == 7
    assert [sorted(names) for names in known] == [
        ["run-5", "run-6"],
        ["run-3", "run-4", "run-5", "run-6"],
        [f"run-{n}" for n in range(1, 7)],
        [f"run-{n}" for n in range(7)],
    ]


def test_giving_up_reading_a_large_store_leaves_an_index_that_is_completed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlui.runs.index.BATCH", 2)
    monkeypatch.setattr("tlui.runs.gather.PORTION", 2)
    for _ in range(5):
        make_run(home, steps=0)
    settle(home)

    def give_up(done: int, total: int) -> None:
        raise InterruptedError

    with Index(home) as index, pytest.raises(InterruptedError):
        index.refresh(progress=give_up)
    with Index(home) as index:
        assert index.count() == 2
        assert index.refresh() == 3
        assert index.count() == 5


def test_new_runs_within_one_tick_of_the_folder_are_seen(home: Home) -> None:
    """A folder's mtime may stand still for some milliseconds while entries come."""
    with Index(home) as index:
        for n in range(1, 6):
            make_run(home, steps=0)
            now = time.time()
            os.utime(home.runs, (now, now))
            index.refresh()
            assert index.count() == n


def test_a_run_seen_while_it_trained_shows_all_its_epochs_at_the_end(home: Home) -> None:
    run = make_run(home, state="running", epochs=4, done=2)
    with Index(home) as index:
        index.refresh()
        assert index.get([run.id])[0].epoch in (2, 3)
        writer = EventWriter(run.events)
        write_epochs(writer, (3, 4), 4)
        writer.close()
        write_json(run.result, make_result())
        write_status(run.status, Status("finished", progress={"epoch": 4}))
        index.refresh()
        row = index.get([run.id])[0]
    assert (row.epoch, len(row.points)) == (4, 4)


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE runs SET name = 'ruf-1'",
        "UPDATE runs SET val = 0.99",
        "UPDATE docs SET doc = substr(doc, 1, 40)",
        "UPDATE docs SET doc = replace(doc, '0.0001', '0.0009')",
        "UPDATE curves SET curve = replace(curve, '1', '2')",
        "DELETE FROM docs",
    ],
)
def test_what_is_not_as_it_was_put_in_is_read_again(home: Home, harm: str) -> None:
    """SQLite takes a row for good whatever letters a failing disk has put into it."""
    for number in range(3):
        make_run(home, name=f"run-{number}")
    settle(home)
    with Index(home) as index:
        index.refresh()
        before = index.rows()
        assert index.path is not None
        with sqlite3.connect(index.path) as db:
            db.execute(harm)
    with Index(home) as index:
        index.refresh()
        assert index.rows() == before
