"""A real sshd on loopback, with keys and settings of its own, for one test."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from e2e.terminal import until

PRIVILEGE_FOLDER = Path("/run/sshd")


class Server:
    """sshd on a free port of 127.0.0.1 that lets in whoever runs the test, by key."""

    def __init__(self, folder: Path) -> None:
        """Make keys in `folder` and start it; skips the test where OpenSSH is missing."""
        daemon = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        client, keygen = shutil.which("ssh"), shutil.which("ssh-keygen")
        if daemon is None or client is None or keygen is None:
            pytest.skip("OpenSSH (sshd, ssh, ssh-keygen) is not installed")
        if os.getuid() == 0:  # started as root it wants this folder, which boot scripts make
            PRIVILEGE_FOLDER.mkdir(mode=0o755, exist_ok=True)
        folder.mkdir(mode=0o700)
        for name in ("host", "mine"):
            subprocess.run(
                [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
            )
        shutil.copy(folder / "mine.pub", folder / "authorized")
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        settings = {
            "ListenAddress": "127.0.0.1", "Port": self.port, "HostKey": folder / "host",
            "AuthorizedKeysFile": folder / "authorized", "PidFile": "none", "UsePAM": "no",
            "StrictModes": "no", "PermitRootLogin": "yes", "PasswordAuthentication": "no",
        }  # fmt: skip
        (folder / "sshd_config").write_text("".join(f"{k} {v}\n" for k, v in settings.items()))
        self._client, self._folder = client, folder
        self._log = folder / "sshd.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [daemon, "-D", "-e", "-f", str(folder / "sshd_config")], stdout=log, stderr=log
            )
        until(self._listens, "sshd", 30, self._log.read_text)

    def _listens(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self.port)) == 0

    def command(self, command: Sequence[str], env: Mapping[str, str]) -> list[str]:
        """The command line that runs a command at the other end, on a terminal of its own."""
        given = [f"{key}={value}" for key, value in env.items()]
        options = {
            "IdentityFile": self._folder / "mine", "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "no", "UserKnownHostsFile": self._folder / "known",
            "LogLevel": "ERROR",
        }  # fmt: skip
        words = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        line = "exec " + shlex.join(["env", *given, *command])
        there = [f"{getpass.getuser()}@127.0.0.1", line]
        return [self._client, "-F", "none", "-tt", "-p", str(self.port), *words, *there]

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)
