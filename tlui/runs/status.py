"""What state a run is in, and how sure we are.

Problem: trackers show runs as running for ever after a crash, or live runs as crashed.
Promise: `observe` never says running of a dead process on this host, and never failed of a live
one. status.json says what its writer last knew; `observe` sets that against the process table
and the heartbeat. A live trainer whose heartbeat stands still is `stale`.
Format: one JSON object, replaced whole. One writer at a time, in this order: whoever creates the
run (queued), its supervisor (starting), its trainer (running to its end), its supervisor again
once the trainer is dead without having said how it ended.
Clocks: ages use the file's mtime against this host's clock; between hosts the clocks may differ,
so another host's silence makes a run stale after two minutes, never more than stale.
A disk that takes no word at all: the trainer tells the process table what it gets instead.
"""

from __future__ import annotations

import errno
import os
import re
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tlui.runs.events import last_state
from tlui.runs.files import overwrite, read_json, to_json, withheld, write_json
from tlui.runs.number import numeric
from tlui.runs.process import Identity, liveness, refused

State = Literal[
    "queued",
    "starting",
    "running",
    "evaluating",
    "finished",
    "stopped",
    "interrupted",
    "failed",
    "diverged",
    "stale",
]

STATES: tuple[State, ...] = (
    "queued",
    "starting",
    "running",
    "evaluating",
    "finished",
    "stopped",
    "interrupted",
    "failed",
    "diverged",
)
"""What status.json may say; `stale` is only ever observed."""
LIVE: frozenset[str] = frozenset({"starting", "running", "evaluating"})
ENDED: frozenset[str] = frozenset({"finished", "stopped", "interrupted", "failed", "diverged"})
RESUMABLE: frozenset[str] = frozenset({"interrupted", "failed", "stopped"})

HEARTBEAT_SECONDS = 2.0
STALE_HERE_SECONDS = 30.0
STALE_ELSEWHERE_SECONDS = 120.0

GONE = (
    "If {host} comes back, tlui there says how it ended. If it is gone for good, tlui stop --now "
    "gives the run up, and tlui resume continues it"
)

COPY_ADVICE = "tlui resume {id} goes on with it as a run of its own"

REFUSED_REASON = "nothing can be written ({}): free some space, or results are lost; it trains on"

PROGRESS_WORDS = frozenset({"monitor"})
"""What of `Status.progress` is no number."""

RUN_ID = re.compile(r"[0-9a-f]{8}")
"""What a run, and so the directory of its status, is called."""
NEW = ".new-"
"""How the name of that directory begins while it is made."""

GLYPHS: dict[str, tuple[str, str]] = {
    "running": ("●", "*"),
    "starting": ("◐", ">"),
    "queued": ("○", "."),
    "evaluating": ("◎", "="),
    "finished": ("✓", "+"),
    "stopped": ("■", "#"),
    "interrupted": ("⏸", "!"),
    "failed": ("✗", "x"),
    "diverged": ("∞", "%"),
    "stale": ("?", "?"),
}
"""State -> (Unicode, ASCII) sign; always shown beside the word."""


@dataclass(frozen=True)
class Status:
    """The contents of status.json."""

    state: State
    reason: str = ""
    """Why it ended or waits, in a sentence; empty where the state says all."""
    advice: str = ""
    """What to do about it."""
    owner: Identity | None = None
    """The trainer (the supervisor while starting); None while queued."""
    supervisor: Identity | None = None
    heartbeat: int = 0
    """Rises while the owner is at work."""
    device: str = ""
    """`cpu`, or the GPUs' names and UUIDs."""
    attempt: int = 0
    """How often training was started, resumes included."""
    started: float | None = None
    """Unix time of the first start."""
    ended: float | None = None
    exit_code: int | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    """phase, epoch, epochs, step, steps, images_per_second, eta_seconds and the last and best
    monitored metric, for lists that don't read events."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": 1,
            "state": self.state,
            "reason": self.reason,
            "advice": self.advice,
            "owner": self.owner.to_dict() if self.owner else None,
            "supervisor": self.supervisor.to_dict() if self.supervisor else None,
            "heartbeat": self.heartbeat,
            "device": self.device,
            "attempt": self.attempt,
            "started": self.started,
            "ended": self.ended,
            "exit_code": self.exit_code,
            "progress": self.progress,
        }


@dataclass(frozen=True)
class Observed:
    """A status set against the world: what front ends show."""

    state: State
    reason: str
    status: Status
    alive: bool
    """Whether its process is known to run on this host."""


def read_status(path: Path) -> Status | None:
    """The status in a file, or None where it is absent, half there or of no known state."""
    return parse_status(read_json(path))


def parse_status(given: dict[str, Any] | None) -> Status | None:
    """The status in a JSON object; fields of a wrong type count as absent."""
    if given is None or given.get("state") not in STATES:
        return None
    progress = given.get("progress")
    exit_code = given.get("exit_code")
    return Status(
        state=given["state"],
        reason=str(given.get("reason") or ""),
        advice=str(given.get("advice") or ""),
        owner=Identity.from_dict(given.get("owner")),
        supervisor=Identity.from_dict(given.get("supervisor")),
        heartbeat=int(_number(given.get("heartbeat")) or 0),
        device=str(given.get("device") or ""),
        attempt=int(_number(given.get("attempt")) or 0),
        started=_number(given.get("started")),
        ended=_number(given.get("ended")),
        exit_code=exit_code if isinstance(exit_code, int) else None,
        progress=numeric(progress, PROGRESS_WORDS) if isinstance(progress, dict) else {},
    )


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if abs(value) < 1e18 else None


def write_status(path: Path, status: Status, sync: bool = True) -> None:
    """Replace status.json; `sync=False` for heartbeats.

    A change of state must be known even where the disk is full: it is then written over the old
    status, in one write to blocks the file has already. A heartbeat is not worth that.

    Raises:
        OSError: The disk is full or gone; the old status is untouched.
    """
    given = {**status.to_dict(), "run": path.parent.name.removeprefix(NEW)}
    try:
        write_json(path, given, sync)
    except OSError as error:
        if not sync or error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        text = to_json(given, indent=1).encode("utf-8", "surrogateescape")
        if not overwrite(path, text):
            raise


def observe(path: Path, now: float | None = None) -> Observed:
    """What can truly be said of a run now, from its status.json.

    Args:
        path: The status.json.
        now: Unix time to measure the heartbeat's age against; the clock by default.
    """
    given = read_json(path)
    try:
        seen = path.stat().st_mtime
    except OSError:
        seen = None
    trouble = "" if given is not None else withheld(path)
    return judge(given, seen, now, trouble, folder=path.parent)


def judge(
    given: dict[str, Any] | None,
    seen: float | None,
    now: float | None = None,
    trouble: str = "",
    folder: str | os.PathLike[str] = "",
) -> Observed:
    """`observe` for who has read the file already.

    Args:
        given: The object in status.json, None where there is none.
        seen: The file's mtime.
        now: Unix time to measure the heartbeat's age against; the clock by default.
        trouble: What `withheld` says of the file, where no object was read.
        folder: The run's directory. Where the file names another run, somebody has copied that
            one's, and its processes and its queue know nothing of the copy. Where there is no
            status, its event log may end with how the run did.
    """
    status = parse_status(given)
    if trouble:
        return Observed("stale", f"status.json cannot be read: {trouble}", _LOST, False)
    if status is None and given is not None and isinstance(given.get("state"), str):
        reason = f'status.json names a state this tlui does not know: "{given["state"]}"'
        return Observed("interrupted", reason, _LOST, False)
    if status is None:
        status = _last_known(Path(folder)) if folder else _LOST
        return Observed(status.state, status.reason, status, False)
    if status.state in ENDED:
        return Observed(status.state, status.reason, status, False)
    run = os.path.basename(folder)  # noqa: PTH119 - no Path for each of 100,000
    if original := _copied_from(given, run):
        reason = f"a copy of {original}, made while that was {status.state}"
        status = replace(status, owner=None, advice=COPY_ADVICE.format(id=run))
        return Observed("interrupted", reason, status, False)
    if status.state == "queued":
        return Observed(status.state, status.reason, status, False)
    if status.owner is None:
        return Observed("interrupted", "no process is named in status.json", status, False)
    life = liveness(status.owner, seen)
    if life == "dead":
        return Observed("interrupted", "its process is gone (killed, or a reboot)", status, False)
    code = refused(status.owner.pid) if life == "alive" else 0
    told = REFUSED_REASON.format(os.strerror(code)) if code else ""
    age = (time.time() if now is None else now) - seen if seen is not None else 0.0
    limit = STALE_HERE_SECONDS if life == "alive" else STALE_ELSEWHERE_SECONDS
    if age > limit:
        since = _spoken(age)
        if life == "alive":
            reason = told or f"no heartbeat for {since}: its disk may hang"
        else:
            reason = f"no heartbeat from {status.owner.host} for {since}"
            status = replace(status, advice=GONE.format(host=status.owner.host))
        return Observed("stale", reason, status, life == "alive")
    return Observed(status.state, status.reason or told, status, life == "alive")


def _copied_from(given: dict[str, Any] | None, run: str) -> str:
    """The run that wrote a status, where that is another than whose it is now."""
    original = str((given or {}).get("run")).removeprefix(NEW)  # which some files still have
    return original if run and RUN_ID.fullmatch(original) and original != run else ""


def _last_known(folder: Path) -> Status:
    """How a run ended whose status is lost, where its event log says so and nothing denies it."""
    said = last_state(folder / "events.jsonl") or {}
    state = said.get("state")
    whole = state != "finished" or read_json(folder / "result.json") is not None
    if state not in ENDED or not whole:
        return _LOST
    reason = f"{_LOST.reason}; that it was {state} is what its events say"
    return Status(state, reason, ended=_number(said.get("t")))


def _spoken(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h`, `2 days`."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds // 86_400:.0f} days"


_LOST = Status("interrupted", reason="status.json is missing or unreadable")
