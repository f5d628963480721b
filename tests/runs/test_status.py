import dataclasses
import json
import time
from pathlib import Path

import pytest
from factory import age, dead_identity, make_run

from tlui.runs.directory import Home
from tlui.runs.events import EventWriter
from tlui.runs.index import Index
from tlui.runs.process import identify
from tlui.runs.status import ENDED, LIVE, STATES, Status, observe, read_status, write_status


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "status.json"


def test_round_trip(path: Path) -> None:
    given = Status(
        "running", owner=identify(), supervisor=identify(), heartbeat=3, started=1.5, exit_code=7
    )
    write_status(path, given)
    assert read_status(path) == given


def test_every_half_of_a_status_is_survived(path: Path) -> None:
    write_status(path, Status("running", owner=identify()))
    whole = path.read_bytes()
    for cut in range(0, len(whole) - 2, 7):
        path.write_bytes(whole[:cut])
        assert observe(path).state == "interrupted"
        assert "unreadable" in observe(path).reason


@pytest.mark.parametrize("state", ["finished", "stopped", "failed", "diverged"])
@pytest.mark.parametrize("loss", [b"", b'{"version": 1, "st', None], ids=["empty", "half", "gone"])
def test_how_a_run_ended_is_known_without_its_status(
    home: Home, state: str, loss: bytes | None
) -> None:
    run = make_run(home, state=state)
    run.status.unlink()
    if loss is not None:
        run.status.write_bytes(loss)
    seen = run.observe()
    assert seen.state == state
    assert "missing or unreadable" in seen.reason and f"it was {state}" in seen.reason
    with Index(home) as index:
        index.refresh()
        (row,) = index.rows()
    assert (row.state, row.reason) == (state, seen.reason)


def test_a_lost_status_is_no_end_where_anything_denies_it(home: Home) -> None:
    whole = make_run(home)
    halved, went_on, killed = (make_run(home) for _ in range(3))
    halved.result.write_bytes(halved.result.read_bytes()[:99])
    writer = EventWriter(went_on.events)
    writer.write("open", version=1, attempt=2, epoch=5, step=20)
    writer.close()
    killed.events.write_bytes(killed.events.read_bytes()[:-9])
    for run in (whole, halved, went_on, killed):
        run.status.unlink()
    states = [run.observe().state for run in (whole, halved, went_on, killed)]
    assert states == ["finished", "interrupted", "interrupted", "interrupted"]


def test_no_status_at_all(path: Path) -> None:
    assert observe(path).state == "interrupted"


def test_fields_of_a_wrong_type_count_as_absent(path: Path) -> None:
    fields = ("heartbeat", "attempt", "started", "ended", "exit_code", "owner", "progress")
    for odd in ("many", [], {}, True, 1e300, -1):
        path.write_text(json.dumps({"state": "finished"} | dict.fromkeys(fields, odd)))
        assert observe(path).state == "finished"


def test_state_of_a_newer_version_is_named(path: Path) -> None:
    path.write_text('{"version": 2, "state": "hibernating"}')
    assert "hibernating" in observe(path).reason


@pytest.mark.parametrize("state", sorted(LIVE))
def test_live_states_need_a_live_process(path: Path, state: str) -> None:
    write_status(path, Status(state, owner=identify()))  # type: ignore[arg-type]
    assert (observe(path).state, observe(path).alive) == (state, True)
    write_status(path, Status(state, owner=dead_identity()))  # type: ignore[arg-type]
    assert (observe(path).state, observe(path).alive) == ("interrupted", False)
    write_status(path, Status(state))  # type: ignore[arg-type]
    assert observe(path).state == "interrupted"


@pytest.mark.parametrize("state", [s for s in STATES if s not in LIVE])
def test_other_states_are_what_they_say(path: Path, state: str) -> None:
    write_status(path, Status(state, owner=dead_identity(), reason="because"))  # type: ignore[arg-type]
    age(path, 1e6)
    assert (observe(path).state, observe(path).reason) == (state, "because")
    assert (state in ENDED) == (state != "queued")


def test_live_trainer_on_a_stalled_disk_is_stale_not_failed(path: Path) -> None:
    write_status(path, Status("running", owner=identify()))
    assert observe(path, now=time.time() + 29).state == "running"
    seen = observe(path, now=time.time() + 3600)
    assert (seen.state, seen.alive) == ("stale", True)


def test_another_host_is_never_more_than_stale(path: Path) -> None:
    elsewhere = dataclasses.replace(identify(), host="gpu7")
    write_status(path, Status("running", owner=elsewhere))
    assert observe(path, now=time.time() + 110).state == "running"
    seen = observe(path, now=time.time() + 1e7)
    assert (seen.state, seen.alive) == ("stale", False)
    assert "gpu7" in seen.reason


def test_clock_that_goes_back_makes_nothing_stale(path: Path) -> None:
    write_status(path, Status("running", owner=identify()))
    assert observe(path, now=time.time() - 1e6).state == "running"
