"""The trainer's voice."""

import threading

import pytest
from training import digits_run

from tlui.runs.events import EventReader
from tlui.runs.process import identify
from tlui.runs.status import read_status
from tlui.trainer.reporter import Reporter


@pytest.fixture
def run(home):
    return digits_run(home)


def records(run):
    return list(EventReader(run.events).read_all())


def test_it_owns_the_status_from_the_start(run):
    reporter = Reporter(run)
    status = read_status(run.status)
    assert (status.state, status.owner, status.attempt) == ("running", identify(), 1)
    reporter.end("interrupted", 75, "asked", "resume it")
    again = Reporter(run)
    status = read_status(run.status)
    assert (status.attempt, status.reason, status.exit_code) == (2, "", None)
    assert status.started == reporter.status.started
    again.end("finished", 0)
    status = read_status(run.status)
    assert (status.state, status.exit_code) == ("finished", 0)
    assert status.ended >= status.started


def test_the_heart_beats_while_the_trainer_is_busy(run, monkeypatch):
    monkeypatch.setattr("tlui.trainer.reporter.HEARTBEAT_SECONDS", 0.01)
    beaten = threading.Event()
    reporter = Reporter(run)
    reporter.progress(epoch=3)
    before = read_status(run.status).heartbeat

    def look():
        while read_status(run.status).heartbeat < before + 3:
            pass
        beaten.set()

    threading.Thread(target=look, daemon=True).start()
    assert beaten.wait(30)
    assert read_status(run.status).progress == {"epoch": 3}
    reporter.end("finished", 0)


def test_an_alert_is_said_once(run):
    reporter = Reporter(run)
    for phase in (0, 0, 1):
        reporter.alert("lr_too_small", "hardly moves", once=phase)
    reporter.end("finished", 0)
    assert [r["type"] for r in records(run)].count("alert") == 2


def test_a_status_that_cannot_be_written_is_an_alert_not_the_end(run):
    reporter = Reporter(run)
    run.status.unlink()
    run.status.mkdir()  # cannot be replaced by a file
    (run.status / "x").touch()
    reporter.state("evaluating")
    reporter.state("evaluating")
    (run.status / "x").unlink()
    run.status.rmdir()
    reporter.end("finished", 0)
    alerts = [r for r in records(run) if r["type"] == "alert"]
    assert [a["kind"] for a in alerts] == ["disk"]
    assert read_status(run.status).state == "finished"


def test_a_full_disk_is_shown_in_the_status_and_ends_nothing(tmp_path, monkeypatch):
    import time

    from faults.real import fill, small_disk
    from scheduler.bench import wait_for

    from tlui.runs.directory import Home

    monkeypatch.setattr("tlui.trainer.reporter.HEARTBEAT_SECONDS", 0.02)
    with small_disk(tmp_path / "disk", 1) as disk:
        run = digits_run(Home.at(disk / "home"))
        reporter = Reporter(run)
        filler = fill(disk)
        wait_for(lambda: "No space left" in run.observe().reason, "a word of it")
        before = run.status.stat().st_mtime
        wait_for(lambda: run.status.stat().st_mtime > before, "a sign of life")
        assert run.observe(now=time.time()).state == "running"
        filler.unlink()
        wait_for(lambda: run.observe().reason == "", "the all-clear")
        fill(disk)
        reporter.end("failed", 1, "the disk is full", "Free some space")
        status = read_status(run.status)
        assert (status.state, status.reason) == ("failed", "the disk is full")


def test_a_deleted_log_is_begun_anew_and_says_so(run):
    reporter = Reporter(run)
    reporter.event("log", level="info", message="before")
    run.events.unlink()
    reporter.event("log", level="info", message="after")
    reporter.event("log", level="info", message="later")
    reporter.end("finished", 0)
    said = [(record["type"], record.get("message")) for record in records(run)]
    gone = f"{run.events} was deleted: what it said so far is lost"
    assert said[:3] == [("log", "after"), ("alert", gone), ("log", "later")]
