"""Claims hold against many at once, against the dead, and against symlinks."""

from __future__ import annotations

import json
import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from factory import age
from scheduler.bench import wait_for, waits_for_lock

from tlui.errors import TluiError
from tlui.runs.directory import Home
from tlui.runs.process import Identity, boot_time, identify
from tlui.runs.status import Status, write_status
from tlui.scheduler.claims import CPU, Claims

RUN = "a1b2c3d4"
OTHER = "b1b2c3d4"


def gone(**change: object) -> Identity:
    """A process that has ended: this one's identity with another start time."""
    me = identify()
    fields = {**me.to_dict(), "start_time": me.start_time + 1, **change}
    found = Identity.from_dict(fields)
    assert found is not None
    return found


def forge(home: Home, name: str, run: str, *holders: Identity, **fields: object) -> Path:
    """A claim as its holders would have written it."""
    folder = home.path / "claims"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / name
    said = {"run": run, "devices": [], "host": identify().host, "per_device": 1, **fields}
    path.write_text(json.dumps({**said, "holders": [who.to_dict() for who in holders]}))
    return path


def test_a_run_has_one_holder(home: Home) -> None:
    assert Claims(home).take(RUN)
    assert not Claims(home).take(RUN)
    Claims(home).release(RUN)
    assert Claims(home).take(RUN)


def test_a_device_has_as_many_as_all_its_holders_allow(home: Home) -> None:
    claims = Claims(home)
    assert claims.take("aaaaaaaa", [CPU], per_device=2)
    assert not claims.take("bbbbbbbb", [CPU], per_device=1)
    assert claims.take("cccccccc", [CPU], per_device=2)
    assert not claims.take("dddddddd", [CPU], per_device=2)
    claims.release("aaaaaaaa")
    assert not claims.take("eeeeeeee", [CPU], per_device=1)
    assert claims.take("dddddddd", [CPU], per_device=2)


def test_several_devices_are_taken_together_or_not_at_all(home: Home) -> None:
    claims = Claims(home)
    assert claims.take("aaaaaaaa", ["GPU-1"])
    assert not claims.take("bbbbbbbb", ["GPU-0", "GPU-1"])
    assert not claims.occupants("GPU-0")
    assert claims.take("cccccccc", ["GPU-0"])


def _race(home: str, run_id: str, barrier: Barrier, found: multiprocessing.Queue[bool]) -> None:
    barrier.wait()
    found.put(Claims(Home(Path(home))).take(run_id, [CPU]))
    barrier.wait()  # nobody leaves before all have tried: a dead winner may be followed


@pytest.mark.parametrize("stale", [False, True], ids=["free", "stale"])
def test_of_many_processes_at_one_instant_one_wins(home: Home, stale: bool) -> None:
    context = multiprocessing.get_context("fork")
    for _ in range(10):
        if stale:
            forge(home, f"run-{RUN}", RUN, gone())
            forge(home, f"device-{identify().host}-cpu-0", RUN, gone(), devices=[CPU])
        barrier, found = context.Barrier(8), context.Queue()
        racers = [
            context.Process(target=_race, args=(str(home.path), RUN, barrier, found))
            for _ in range(8)
        ]
        for racer in racers:
            racer.start()
        assert sum(found.get(timeout=20) for _ in racers) == 1
        for racer in racers:
            racer.join()
        Claims(home).release(RUN)


@pytest.mark.parametrize(
    "change",
    [{}, {"boot_id": "another boot"}, {"pid": 2**22 + 1}],
    ids=["reused pid", "reboot", "no such pid"],
)
def test_the_claim_of_a_dead_process_is_broken(home: Home, change: dict[str, object]) -> None:
    age(forge(home, f"run-{RUN}", RUN, gone(**change)), time.time() - boot_time() + 60)
    assert Claims(home).take(RUN)


def test_the_claim_of_another_host_of_the_same_name_is_never_broken(home: Home) -> None:
    """Made after this one booted, by one of another boot: it is no trace of our own past."""
    path = forge(home, f"run-{RUN}", RUN, gone(boot_id="another boot"))
    assert not Claims(home).take(RUN)
    assert not Claims(home).inherit(RUN)
    age(path, time.time() - boot_time() + 60)
    home.run(RUN).path.mkdir()
    write_status(home.run(RUN).status, Status("running"))  # a heartbeat after we booted
    assert not Claims(home).take(RUN)
    age(home.run(RUN).status, time.time() - boot_time() + 60)
    assert Claims(home).take(RUN)


def test_the_claim_of_another_host_is_never_broken(home: Home) -> None:
    forge(home, f"run-{RUN}", RUN, gone(host="elsewhere"))
    assert not Claims(home).take(RUN)
    assert not Claims(home).inherit(RUN)


def test_a_claim_lives_as_long_as_its_trainer(home: Home) -> None:
    forge(home, f"run-{RUN}", RUN, gone(), identify())
    claim = Claims(home).of_run(RUN)
    assert claim is not None and claim.orphaned and not claim.stale
    assert not Claims(home).take(RUN)
    assert Claims(home).adopt(RUN) is not None
    assert Claims(home).adopt(RUN) is None, "it has a supervisor again"


def test_changes_wait_for_whoever_is_changing(home: Home) -> None:
    """A slow breaker of a stale claim must not remove the one a faster one has made meanwhile."""
    assert Claims(home).take(OTHER)
    taking = multiprocessing.get_context("spawn").Process(target=Claims(home).take, args=(RUN,))
    with Claims(home).still():
        taking.start()
        wait_for(lambda: waits_for_lock(taking.pid), "somebody who waits for the lock")
        assert Claims(home).of_run(RUN) is None
    taking.join(30)
    assert taking.exitcode == 0 and Claims(home).of_run(RUN) is not None


def test_a_half_written_claim_does_not_block_for_ever(home: Home) -> None:
    """On a network disk a host may see half of what another has just written; a crash stays so."""
    path = forge(home, f"run-{RUN}", RUN)
    path.write_text('{"run": "a1b')
    assert not Claims(home).take(RUN) and not Claims(home).inherit(RUN)
    assert not Claims(home).all()[0].stale
    age(path, 61)
    assert Claims(home).take(RUN)


def test_a_device_left_behind_by_a_crash_is_swept(home: Home) -> None:
    path = forge(home, f"device-{identify().host}-cpu-0", RUN, gone(), devices=[CPU])
    Claims(home).sweep()
    assert not path.exists()


def test_a_symlink_in_the_place_of_a_claim_is_refused_by_name(home: Home, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    (home.path / "claims").mkdir()
    (home.path / "claims" / f"run-{RUN}").symlink_to(target)
    with pytest.raises(TluiError, match=f"run-{RUN}: is a symbolic link"):
        Claims(home).take(RUN)
    assert target.read_text() == "mine"


def test_a_symlink_in_the_place_of_the_folder_is_refused(home: Home, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (home.path / "claims").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TluiError, match="symbolic link"):
        Claims(home).take(RUN)
    assert not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / "elsewhere" / "run-a1b2c3d4").write_text("{}")
    with pytest.raises(TluiError, match="claims: is a symbolic link"):
        Claims(home).all()


def test_claims_are_private(home: Home) -> None:
    Claims(home).take(RUN, [CPU])
    for path in (home.path / "claims").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert (home.path / "claims").stat().st_mode & 0o777 == 0o700


def test_foreign_files_are_left_alone(home: Home) -> None:
    (home.path / "claims").mkdir()
    foreign = home.path / "claims" / "notes.txt"
    foreign.write_text("hello")
    with Claims(home).holding(OTHER) as held:
        assert held
    assert foreign.read_text() == "hello"


def test_what_is_no_file_is_named(home: Home) -> None:
    claims = Claims(home)
    assert claims.take(RUN)
    path = claims.folder / "device-x-cpu-0"
    path.mkdir()
    with pytest.raises(TluiError, match="device-x-cpu-0: is not a file"):
        claims.all()
    path.rmdir()
    claims.release(RUN)
