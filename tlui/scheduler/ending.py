"""How a trainer ended that did not say so itself, in words a person can act on.

Written by whoever finds it dead: its supervisor, which knows the exit code, or anybody alive when
both are gone.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.files import write_text
from tlui.runs.lacking import (
    HOST_ADVICE,
    MEMORY_ADVICE,
    MEMORY_FULL,
    NO_SPACE,
    NO_THREADS,
    THREADS_ADVICE,
)
from tlui.runs.process import Identity
from tlui.runs.status import ENDED, State, Status, read_status, write_status
from tlui.scheduler.claims import Claims
from tlui.scheduler.launch import open_log

CHATTER = re.compile(r"\s*@ +0x|\*\*\* |info: |I\d{4} \d\d:|WARNING: All log messages before absl")
"""How a line of a trainer's log begins that is of a stack, or for information only."""
ATTEMPT = "tlui: attempt "
"""How the line of a log begins after which all is of another start; its number follows."""
RESUME_ADVICE = "tlui resume {id} continues it"
CRASHES = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS}
)
LOG_LINES = 5
LOG_BYTES = 16_384


def oom_kills() -> int:
    """How often the kernel has killed for want of memory: in our cgroup, else on this host."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            file = Path("/sys/fs/cgroup", group.lstrip("/"), "memory.events")
        elif "memory" in controllers.split(","):
            file = Path("/sys/fs/cgroup/memory", group.lstrip("/"), "memory.oom_control")
        else:
            continue
        count = _counter(file, "oom_kill")
        if count is not None:
            return count
    return _counter(Path("/proc/vmstat"), "oom_kill") or 0


def settle(
    run: RunDirectory,
    exit_code: int | None,
    trainer: Identity | None = None,
    *,
    out_of_memory: bool = False,
    asked: str = "",
) -> Status:
    """Write how a run ended, if its trainer did not; its processes must all be dead.

    Nothing is written where the status names another trainer by now: the run was given up here
    (`control.stop`) and goes on elsewhere.

    Args:
        run: The run.
        exit_code: As os.waitstatus_to_exitcode gives it: negative for a signal; None if unknown.
        trainer: Whose end this is; whoever the status names by default.
        out_of_memory: Whether the kernel killed for want of memory meanwhile.
        asked: What it had been asked to do: "", "stop", "interrupt" or "kill".

    Returns:
        The final status. A full disk keeps it from being written, never from being returned.
    """
    status = read_status(run.status) or Status("interrupted")
    if status.state in ENDED or status.state == "queued":
        return status
    if trainer is not None and status.owner != trainer:
        return status
    state, reason, advice = judge(run, exit_code, out_of_memory=out_of_memory, asked=asked)
    status = replace(
        status, state=state, reason=reason, advice=advice, exit_code=exit_code, ended=time.time()
    )
    try:
        write_status(run.status, status)
    except OSError:
        pass  # observe() still tells the truth: the owner is dead
    return status


def give_up(home: Home, run: RunDirectory, attempt: int) -> None:
    """Declare an attempt over whose processes cannot be reached: nobody holds the run any more,
    and should they come back, they end before they have written more than what hangs.

    Raises:
        OSError: The run directory cannot be written; nothing was done.
        TluiError: The claims are not usable.
    """
    write_text(run.kill_request(attempt), f"{time.time():.0f}\n")
    Claims(home).evict(run.id)


def judge(
    run: RunDirectory, exit_code: int | None, *, out_of_memory: bool, asked: str
) -> tuple[State, str, str]:
    """State, reason and advice for a trainer that ended without a word."""
    resume = RESUME_ADVICE.format(id=run.id)
    if exit_code is None:
        return "interrupted", "trainer and supervisor are gone (killed, or a reboot)", resume
    if exit_code < 0:
        name = _signal_name(-exit_code)
        if -exit_code == signal.SIGKILL and asked == "kill":
            return "interrupted", "killed on request", resume
        if -exit_code == signal.SIGKILL and out_of_memory:
            reason = "the kernel killed the trainer: the host was out of memory"
            return "failed", reason, HOST_ADVICE
        if -exit_code == signal.SIGINT or asked == "stop":
            return "stopped", "stopped before there was anything to evaluate", resume
        if -exit_code in CRASHES:
            reason = f"the trainer crashed ({name}): {log_tail(run)}".rstrip(": ")
            return "failed", reason, _crash_advice(reason)
        return "interrupted", f"the trainer was killed by {name}", resume
    told: dict[int, State] = {0: "failed", 3: "diverged", 75: "interrupted", 130: "stopped"}
    state = told.get(exit_code, "failed")
    if state != "failed":
        return state, f"the trainer ended with exit code {exit_code}", resume
    tail = log_tail(run)
    advice = ""
    if NO_THREADS.search(tail):
        advice = THREADS_ADVICE
    elif MEMORY_FULL.search(tail):
        advice = MEMORY_ADVICE
    elif NO_SPACE.search(tail):
        advice = f"Free some space; then {resume}"
    if exit_code == 0:
        return "failed", "the trainer ended without saying how: " + tail, advice
    return "failed", tail or f"the trainer ended with exit code {exit_code}", advice


def not_started(run: RunDirectory, status: Status, error: OSError) -> Status:
    """Fail a claimed run that no process can be started for, whatever else the host can do."""
    where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
    failed = replace(
        status,
        state="failed",
        reason=f"the trainer could not be started: {where}{error.strerror or error}",
        advice=f"Free some space or mend permissions; then tlui resume {run.id} tries again",
        ended=time.time(),
    )
    with suppress(OSError):
        write_status(run.status, failed)
    return failed


def note(run: RunDirectory, status: Status, reason: str) -> Status:
    """Say in the status of a claimed run why it stays queued."""
    waiting = replace(status, reason=reason)
    with suppress(OSError):
        write_status(run.status, waiting)
    return waiting


def _crash_advice(reason: str) -> str:
    """TensorFlow rarely survives a refused allocation long enough to say so."""
    if NO_THREADS.search(reason):
        return THREADS_ADVICE
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        most = f"{limit / 2**30:.1f} GB of address space (ulimit -v)"
        return f"It may be out of memory: it was limited to {most}. {MEMORY_ADVICE}"
    return MEMORY_ADVICE if MEMORY_FULL.search(reason) else ""


def mark(run: RunDirectory, attempt: int) -> None:
    """Begin another start's part of the log, where it has a part already."""
    if attempt > 1:
        with suppress(OSError), os.fdopen(open_log(run.log), "ab") as file:
            file.write(f"{ATTEMPT}{attempt}\n".encode())


def log_tail(run: RunDirectory) -> str:
    """The last lines of trainer.log that say something of the latest start."""
    try:
        with open(run.log, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - LOG_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    starts = [number for number, line in enumerate(lines, 1) if line.startswith(ATTEMPT)]
    lines = lines[starts[-1] if starts else 0 :]
    said = [line.rstrip() for line in lines if line.strip() and not CHATTER.match(line)]
    return "\n".join(said[-LOG_LINES:])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _counter(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(name + " ")), None)
