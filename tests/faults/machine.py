"""Machines that share this one's disks: own host name, boot, process numbers; users of their own.

    with machine("alpha") as alpha, machine("beta") as beta:
        alpha.tlui("run", preset, "--detach", user=JANE)
        alpha.reboot()

Namespaces of Linux make them, so all that runs there is real, and turning one off kills all of it
at once, as a power cut does. Root only; tests that ask for one skip elsewhere.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults.real import ROOT, SLOW_SECONDS

JANE, JOHN = 47_001, 47_002
"""Two people, by user and group id."""
LAB = 47_100
"""A group both belong to."""

HOMELESS = Path("/proc/nobody")
"""A home folder that is not there and that nobody can make."""

INIT = """
set -e
umask 022  # whatever a test before has left
hostname "$1"
mount --bind "$2" /proc/sys/kernel/random/boot_id
shift 2
while [ $# -gt 0 ]; do  # closed folder, Python below it
    stash=$(mktemp -d)
    mount --bind "$2" "$stash"
    mount -t tmpfs -o mode=755 tmpfs "$1"
    mkdir -p "$2"
    mount --move "$stash" "$2"
    rmdir "$stash"
    shift 2
done
trap "" CHLD  # nobody stays a zombie
echo up
exec sleep infinity
"""


class Machine:
    """A host that is up; `run` and `start` give it commands."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._boot()

    def _boot(self) -> None:
        with tempfile.NamedTemporaryFile("w", delete=False) as file:
            file.write(f"{uuid.uuid4()}\n")
        Path(file.name).chmod(0o644)
        up = int(float(Path("/proc/uptime").read_text().split()[0]))
        self._init = subprocess.Popen(
            [
                *("unshare", "--mount", "--uts", "--pid", "--time", "--boottime", str(-up)),
                *("--fork", "--kill-child", "--mount-proc", "sh", "-c", INIT, "sh"),
                *(self.name, file.name, *_closed_above(Path(sys.base_prefix))),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._init.stdout is not None and self._init.stderr is not None
        if self._init.stdout.readline() != "up\n":
            pytest.skip(f"no second machine can be made here: {self._init.stderr.read().strip()}")
        Path(file.name).unlink()
        pid = self._init.pid
        self._pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())

    def power_off(self) -> None:
        """A power cut: everything on it is dead when this returns."""
        self._init.kill()
        self._init.communicate()

    def reboot(self) -> None:
        """A power cut, and up again under another boot id."""
        self.power_off()
        self._boot()

    def freeze(self) -> None:
        """All of it stands still, as a suspended machine does."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        namespace = Path(f"/proc/{self._pid}/ns/pid").readlink()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (folder / "ns/pid").readlink() == namespace and int(folder.name) != self._pid:
                    os.kill(int(folder.name), number)
            except OSError:
                pass  # it has just ended

    def command(self, *words: str | os.PathLike[str], user: int = 0) -> list[str]:
        """The command line that runs a command there as a user."""
        enter = ["nsenter", f"--target={self._pid}", "--mount", "--uts", "--pid", "--time"]
        if user:
            enter += ["setpriv", f"--reuid={user}", f"--regid={user}", f"--groups={LAB}"]
        return [*enter, *map(os.fspath, words)]

    def run(
        self, *words: str | os.PathLike[str], user: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """A command's outcome, stdout and stderr read as text."""
        return subprocess.run(
            self.command(*words, user=user),
            env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(HOMELESS), **environment},
            capture_output=True,
            text=True,
            timeout=SLOW_SECONDS,
            cwd="/",
        )

    def tlui(
        self, *words: str | os.PathLike[str], user: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """A `tlui` command's outcome."""
        tlui = (sys.executable, "-m", "tlui.cli.main")
        return self.run(*tlui, *words, user=user, **environment)


@contextmanager
def machine(name: str) -> Iterator[Machine]:
    """A machine for the length of a `with`; skips where none can be made."""
    if os.geteuid() != 0:
        pytest.skip("no second machine or user can be made here (needs root)")
    missing = [word for word in ("unshare", "nsenter", "setpriv") if shutil.which(word) is None]
    if missing:
        pytest.skip(f"no second machine can be made here (needs {', '.join(missing)})")
    made = Machine(name)
    try:
        yield made
    finally:
        made.power_off()


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder anybody can write to and that keeps each one's files, like /tmp."""
    with tempfile.TemporaryDirectory(prefix="tlui-test-") as name:
        folder = Path(name)
        folder.chmod(0o1777)
        yield folder


def _closed_above(python: Path) -> list[str]:
    """The outermost folder around this Python that only root can enter, and Python's own."""
    for folder in reversed(python.resolve().parents):
        if not folder.stat().st_mode & 0o001:
            return [str(folder), str(python.resolve())]
    return []
