"""Printing to a disk that is full."""

import subprocess
import sys
from pathlib import Path

from tlui.trainer.output import Lossy

ROOT = Path(__file__).resolve().parent.parent.parent


FULL = """
import sys
from tlui.trainer.output import make_lossy
make_lossy()
make_lossy()
for _ in range(3):
    print("a line of the log", file=sys.stderr, flush=True)
    print("a line of the log")
sys.stdout.flush()
sys.exit(7 if sys.stderr.fileno() == 2 else 1)
"""


def test_what_cannot_be_written_is_dropped():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-u", "-c", FULL], stdout=full, stderr=full, cwd=ROOT, check=False
        )
    assert done.returncode == 7


def test_what_can_be_written_is(tmp_path):
    with open(tmp_path / "log", "w", encoding="utf-8") as file:
        print("a line", file=Lossy(file), flush=True)
        assert (tmp_path / "log").read_text() == "a line\n"


HUSHED = """
import os, sys
from tlui.trainer.output import hushed
os.write(2, b"before\\n")
try:
    with hushed():
        os.write(2, b"a native library\\n")
        raise ValueError
except ValueError:
    os.write(2, b"after\\n")
"""


def test_native_libraries_are_hushed_and_stderr_comes_back():
    done = subprocess.run(
        [sys.executable, "-c", HUSHED], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stderr == "before\nafter\n"
