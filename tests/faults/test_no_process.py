"""A host that lets no process be started: runs keep their turn, and everybody is told why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from faults.machine import JANE
from faults.real import PRESET, ROOT, SLOW_SECONDS
from faults.test_other_users import Place
from faults.test_other_users import place as place
from scheduler.bench import Bench, wait_for

from tlui.errors import TluiError
from tlui.runs.status import read_status
from tlui.scheduler import control, order
from tlui.scheduler.claims import Claims
from tlui.tui.screens.new import make_runs

NO_MORE = "no process can be started: you may have no more processes (ulimit -u); end some"


def test_a_limit_of_processes_is_said_and_outlived(place: Place) -> None:
    """Jane may have one process, and that is tlui; then more again."""
    home = place.folder / "home"
    places = {name: str(place.folder / name) for name in ("TLUI_HOME", "TLUI_CACHE", "TLUI_CONFIG")}
    places |= {"TLUI_HOME": str(home), "PYTHONPATH": str(ROOT), "HOME": str(place.folder)}

    def given(*words: str | Path) -> subprocess.Popen[str]:
        limited = ("prlimit", "--nproc=1:400", sys.executable, "-m", "tlui.cli.main", *words)
        command = place.host.command(*limited, user=JANE)
        env = {**os.environ, **places}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True, cwd="/")

    out, err = given("run", "--detach", place.preset).communicate(timeout=SLOW_SECONDS)
    assert f"tlui: {NO_MORE}" in err and "queued" in out and "by themselves" not in out
    assert list((home / "claims").glob("*-*")) == [], "it has let go of run and device"
    out, err = given("queue").communicate(timeout=SLOW_SECONDS)
    assert f"tlui: {NO_MORE}" in err and out.count(NO_MORE) == 1 and "starts next" not in out
    front = given("run", place.preset)
    assert front.stdout is not None
    wait_for(lambda: NO_MORE in front.stdout.readline(), "its word")
    place.sh(JANE, "prlimit --pid=$(pgrep -f '[t]lui.cli.main run') --nproc=400")
    out, err = front.communicate(timeout=SLOW_SECONDS)
    assert front.returncode == 0 and "finished" in out, (out, err)
    states = place.tlui(JANE, home, "ls", **places).stdout
    assert states.count("finished") == 2, states


def test_the_form_says_that_nothing_starts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python that started the app is not there any more."""
    monkeypatch.setattr(sys, "executable", "/gone/python")
    ids, said = make_runs(bench.home, PRESET, (), "cpu", start=True)
    assert said.startswith("queued 1 run: no process can be started: /gone/python: No such file")
    assert "install tlui again" in said
    assert [entry.run for entry in order.entries(bench.home)] == ids
    assert Claims(bench.home).all() == []
    assert "/gone/python" in bench.home.run(ids[0]).observe().reason


def test_a_supervisor_that_dies_at_once_is_told(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no module named tlui >&2\nexit 1\n")
    broken.chmod(0o700)
    run, second = bench.add("finish"), bench.add("finish")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(broken))
        with pytest.raises(TluiError, match=r"trainer.log: .* died .*: no module named tlui"):
            bench.start()
    assert not second.log.exists(), "it would fare no better"
    assert Claims(bench.home).all() == []
    assert bench.start() == [run.id]
    bench.ended(run, second)
    assert read_status(run.status).reason == ""  # type: ignore[union-attr]


def test_a_log_that_cannot_be_written_fails_its_run_alone(bench: Bench) -> None:
    run, second = bench.add("finish"), bench.add("finish")
    run.log.mkdir()
    assert bench.start() == [second.id]
    status = read_status(run.status)
    assert status is not None and status.state == "failed"
    assert status.reason == f"the trainer could not be started: {run.log}: Is a directory"
    assert f"tlui resume {run.id}" in status.advice
    bench.ended(second)
    bench.quiet()
    run.log.rmdir()
    control.resume(bench.home, run)
    assert bench.start() == [run.id]
    bench.ended(run)
