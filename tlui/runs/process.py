"""Who a process is, so that a reused pid or a reboot never passes for a live trainer.

An identity is (host, boot id, pid namespace, pid, start time in clock ticks since boot), all from
/proc; no other library, for the supervisor is meant to stay small.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

REFUSED = "disk errno "
"""How a process is called whose disk refuses to be written; the error's number follows."""


@dataclass(frozen=True)
class Identity:
    """One process on one boot of one host."""

    host: str
    boot_id: str
    namespace: str
    pid: int
    start_time: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, given: Any) -> Identity | None:
        """The identity in a JSON object, or None where it holds none."""
        try:
            return cls(
                str(given["host"]),
                str(given["boot_id"]),
                str(given.get("namespace", "")),
                int(given["pid"]),
                int(given["start_time"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


def boot_id() -> str:
    """The kernel's id of this boot, or an empty string where it has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def pid_namespace() -> str:
    """The pid namespace, so that containers on one host don't mistake each other's pids."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def start_time(pid: int) -> int | None:
    """Clock ticks since boot at which `pid` started, or None where it is not (or a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rfind(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def say_refused(code: int) -> None:
    """Put into the process table, which needs no disk, that ours refuses to be written; 0: it does
    not any more."""
    try:
        Path("/proc/self/comm").write_text(f"{REFUSED}{code}" if code else "tlui trainer")
    except OSError:
        pass


def refused(pid: int) -> int:
    """The error a process says its disk gives; 0 where it says none."""
    try:
        said = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return 0
    code = said.removeprefix(REFUSED)
    return int(code) if said != code and code.isdigit() else 0


def identify(pid: int | None = None) -> Identity:
    """The identity of a process of this host (this one by default)."""
    pid = pid or os.getpid()
    return Identity(os.uname().nodename, boot_id(), pid_namespace(), pid, start_time(pid) or 0)


def boot_time() -> float:
    """The Unix time at which this host booted, 0 where the kernel does not say."""
    try:
        return time.time() - float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0


def liveness(who: Identity, seen: float | None = None) -> Literal["alive", "dead", "unknown"]:
    """Whether that process still runs; `unknown` when it is on another host or namespace.

    Args:
        seen: Unix time of its last sign of life, if known. Two machines may bear one host name
            (containers, cloned nodes): a sign that is younger than our boot but of another boot
            came from the other machine, so its process is `unknown`, not `dead`.
    """
    if who.host != os.uname().nodename:
        return "unknown"
    here = boot_id()
    if not here:
        return "unknown"
    if who.boot_id != here:
        return "unknown" if seen is not None and seen > boot_time() + 1 else "dead"
    if who.namespace != pid_namespace():
        return "unknown"
    return "alive" if start_time(who.pid) == who.start_time else "dead"
