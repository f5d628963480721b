"""Damaged, old and foreign things in a store: read on, repair or say so; nothing is deleted."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from pathlib import Path

import pytest
from factory import age, make_run
from faults.real import tlui
from scheduler.bench import Bench

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.place import index_path

FIXTURES = Path(__file__).parents[1] / "runs" / "fixtures"


def rows() -> dict[str, dict[str, object]]:
    done = tlui("ls", "--json", "--all")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return {row["run_id"]: row for row in json.loads(done.stdout)}


def everything(folder: Path) -> dict[str, bytes | str]:
    """Every file below a folder with its content, links with where they lead."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = os.fsdecode(path.relative_to(folder))
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file():
            found[name] = path.read_bytes()
        elif path.is_dir():
            found[name] = "folder"
    return found


def test_files_torn_and_halved(home: Home) -> None:
    run = make_run(home, epochs=4)
    with open(run.events, "ab") as file:
        file.write(b'{"type":"epoch","t":17')
    halved = make_run(home, name="halved")
    halved.status.write_bytes(halved.status.read_bytes()[:40])
    blank = make_run(home, name="blank")
    for path in (blank.status, blank.result, blank.events, blank.preset):
        path.write_bytes(b"\0" * 512)  # what some filesystems leave after a power cut
    before = everything(home.runs)
    found = rows()
    assert found[run.id]["state"] == found[halved.id]["state"] == "finished"
    assert found[blank.id]["state"] == "interrupted"
    for one in (run, halved, blank):
        done = tlui("show", one.id)
        assert done.returncode == 0 and one.id in done.stdout, done.stderr
    assert "status.json is missing or unreadable" in tlui("show", halved.id).stdout
    assert len(json.loads(tlui("show", run.id, "--json", "--epochs").stdout)["epochs"]) == 4
    assert everything(home.runs) == before, "reading changes nothing"


def without_privileges() -> None:
    """Root, too, needs permissions then: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH are dropped."""
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


def test_a_run_that_is_closed_hides_no_other(home: Home) -> None:
    run, closed = make_run(home), make_run(home, name="closed")
    closed.path.chmod(0)
    try:
        listed = tlui("ls", "--json", before=without_privileges)
        shown = tlui("show", closed.id, before=without_privileges)
    finally:
        closed.path.chmod(0o700)
    assert listed.returncode == shown.returncode == 0, listed.stderr + shown.stderr
    found = {row["run_id"]: row for row in json.loads(listed.stdout)}
    assert found[run.id]["state"] == "finished"
    assert found[closed.id]["state"] == "stale"
    assert "status.json cannot be read: Permission denied" in shown.stdout
    assert rows()[closed.id]["state"] == "finished"


@pytest.mark.parametrize("damage", ["deleted", "cut", "noise", "a folder", "a link"])
def test_the_index_is_made_anew(home: Home, tmp_path: Path, damage: str) -> None:
    made = {make_run(home, name=f"run-{i}").id for i in range(3)}
    assert set(rows()) == made
    path = index_path(home.path)
    assert path is not None and path.exists()
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "noise":
        path.write_bytes(os.urandom(50_000))
    else:
        for ending in ("", "-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        if damage == "a folder":
            path.mkdir()
        elif damage == "a link":
            path.symlink_to(precious)
    assert set(rows()) == made
    assert precious.read_bytes() == b"precious"


def test_foreign_things_are_left_alone(home: Home, tmp_path: Path) -> None:
    run = make_run(home)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    (home.path / "notes.txt").write_text("mine")
    (home.runs / "README").write_text("mine")
    (home.runs / "0badcafe").symlink_to(outside)
    (home.runs / "deadbeef").write_text("a file with a run's name")
    (home.runs / "feedface").mkdir()
    (home.runs / "new\nline \x1b[2J").mkdir()
    os.mkfifo(home.runs / "a-pipe")
    os.mkfifo(run.path / "unknown-pipe")
    (run.path / "mine.ipynb").write_text("{}")
    for folder in ("queue", "claims"):
        (home.path / folder).mkdir(mode=0o700, exist_ok=True)
        (home.path / folder / "mine").write_text("mine")
    before = everything(home.path)
    found = rows()
    assert run.id in found and "0badcafe" not in found and "deadbeef" not in found
    for arguments in (["ls"], ["queue"], ["export"], ["doctor"], ["show", run.id]):
        done = tlui(*arguments)
        assert "Traceback" not in done.stderr and "bug in tlui" not in done.stderr, done.stderr
        assert "\x1b[2J" not in done.stdout
    after = everything(home.path)
    assert {name: after.get(name) for name in before} == before
    assert tlui("rm", "--yes", run.id).returncode == 0
    assert not run.path.exists() and (outside / "precious").exists()
    assert (home.runs / "README").exists() and (home.path / "claims" / "mine").exists()


def test_formats_of_yesterday(home: Home) -> None:
    """Run directories kept from older formats open, and are left as they are."""
    old = [path.parent for path in sorted(FIXTURES.glob("v*/*/run.json"))]
    assert old, f"no run directory of an older format in {FIXTURES}"
    for path in old:
        meta = json.loads((path / "run.json").read_text())
        shutil.copytree(path, home.runs / meta["id"])
    before = everything(home.runs)
    found = rows()
    for path in old:
        run_id = json.loads((path / "run.json").read_text())["id"]
        assert found[run_id]["name"] and found[run_id]["state"] != "interrupted"
        assert tlui("show", run_id).returncode == 0
    assert tlui("export").returncode == 0
    assert everything(home.runs) == before


def test_a_run_of_tomorrow_says_so(home: Home) -> None:
    run = make_run(home)
    meta = run.read_meta()
    run.meta.write_text(json.dumps({**meta, "version": 99, "shape": {"unheard": "of"}}))
    done = tlui("show", run.id)
    assert done.returncode == 0 and "newer" in done.stdout + done.stderr
    assert run.id in rows()


def test_a_damaged_queue_and_claims_do_not_stop_it(bench: Bench) -> None:
    runs: list[RunDirectory] = [bench.add(f"finish-{i}") for i in range(3)]
    claims = bench.home.path / "claims"
    claims.mkdir(mode=0o700, exist_ok=True)
    damaged = (claims / f"run-{runs[0].id}", claims / "device-nowhere-cpu-0", runs[1].status)
    for path, left in zip(damaged, (b'{"half": ', b"\0" * 100, b""), strict=True):
        path.write_bytes(left)
        age(path, 61)  # a crash has left them so
    bench.start()
    bench.ended(runs[0], runs[2])
    assert [bench.state(runs[0]), bench.state(runs[2])] == ["finished", "finished"]
    assert bench.state(runs[1]) == "interrupted" and runs[1].path.exists()
    bench.quiet()
