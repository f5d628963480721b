"""A trainer never runs unrecorded: it waits at its gate for its parent's word."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from faults.real import ROOT
from scheduler.bench import wait_for

from tlui.runs.line import SIGNALS
from tlui.runs.process import start_time
from tlui.scheduler.launch import spawn

PARENT = """
import os, sys
from pathlib import Path
from tlui.scheduler.launch import spawn
child = spawn(["/bin/sh", "-c", 'echo ran > "$0"', sys.argv[1]], os.environ, Path(sys.argv[2]))
print(child.pid, flush=True)
input()
if sys.argv[3] == "opens":
    child.go()
    print(os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]))
else:
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("gate", ["opens", "never opens"])
def test_only_an_open_gate_lets_it_run(tmp_path: Path, gate: str) -> None:
    mark = tmp_path / "mark"
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(mark), str(tmp_path / "log"), gate],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_for(lambda: os.getsid(pid) == pid, "a session of its own")
        assert start_time(pid) is not None and not mark.exists()
        said, _ = parent.communicate("\n", timeout=30)
    wait_for(lambda: start_time(pid) is None, "its end")
    assert mark.exists() == (gate == "opens")
    assert said == ("0\n" if gate == "opens" else "")


def test_signals_wait_until_the_trainer_listens(tmp_path: Path) -> None:
    """Python turns one that comes while it starts into any error, or none."""
    code = "import signal; print(*sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
    child = spawn([sys.executable, "-c", code], os.environ, tmp_path / "log")
    child.go()
    os.waitpid(child.pid, 0)
    assert (tmp_path / "log").read_text().split() == [str(int(n)) for n in sorted(SIGNALS)]
