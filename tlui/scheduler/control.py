"""What a person can do to a run: stop, interrupt, kill, resume; hold, release, drop and move it.

Every front end calls these; each is one small step that holds whoever else is at work.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from tlui.errors import TluiError
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.files import write_text
from tlui.runs.process import Identity, liveness
from tlui.runs.remove import remove
from tlui.runs.status import (
    HEARTBEAT_SECONDS,
    LIVE,
    RESUMABLE,
    Observed,
    Status,
    read_status,
    write_status,
)
from tlui.scheduler import order
from tlui.scheduler.backends import placed_on
from tlui.scheduler.backends.handover import (
    await_end,
    forget_job,
    hold_job,
    lost,
    release_job,
    submit_again,
    submit_children_again,
    withdraw,
)
from tlui.scheduler.claims import Claims
from tlui.scheduler.ending import RESUME_ADVICE, give_up
from tlui.scheduler.order import Move, Wishes

Mode = Literal["stop", "interrupt", "kill"]
PATIENCE_SECONDS = 5.0
MOVING_SECONDS = 2.5 * HEARTBEAT_SECONDS
DROPPED = "dropped from the queue before it {}"


def stop(home: Home, run: RunDirectory, mode: Mode = "stop") -> str:
    """Ask a run to end; a queued one is dropped from the queue.

    Args:
        home: The store.
        run: The run.
        mode: `stop` at the next step, checkpoint and evaluate; `interrupt`: checkpoint and end,
            to be resumed; `kill` at once.

    Returns:
        What was done, in a few words. Killing one that another host has been silent about gives it
        up: it is `interrupted` from then on, whatever becomes of that host.

    Raises:
        TluiError: The run has ended, or its requests cannot be written.
    """
    seen = run.observe()
    if seen.state == "queued":
        try:
            return drop(home, run)
        except TluiError:
            seen = run.observe()
            if seen.state not in LIVE:
                raise
            # it has started meanwhile: stop it as one that runs
    if seen.state not in LIVE and seen.state != "stale":
        raise TluiError(f"{_named(run)}: nothing to stop, it is {seen.state}")
    trainer = _trainer_of(home, run)
    here = trainer is not None and liveness(trainer) == "alive"
    away = seen.state == "stale" and not seen.alive
    if away and mode == "kill" and not _moves(run):
        return _give_up(home, run, seen)
    begins = mode != "kill" and seen.status.state == "starting"
    left = False
    if mode == "kill" or not here or begins:
        left = _leave_word(run, seen.status.attempt, mode, heard=here)
    withdraw(run, mode)
    if not (begins and left):
        with Claims(home).still():  # a trainer may go on to another run: this is not meant for it
            trainer = _trainer_of(home, run)
            if trainer is not None:
                _signal(trainer, mode)
    if away and mode != "kill":
        return f"will end when it is heard of again: {seen.reason}"
    return {
        "stop": "will stop at its next step, checkpoint and evaluate",
        "interrupt": "will checkpoint and end, to be resumed",
        "kill": "was killed; its last checkpoint stays",
    }[mode]


def resume(home: Home, run: RunDirectory, wishes: Wishes | None = None) -> None:
    """Put a run that ended early back into the queue, to go on from its last checkpoint.

    Raises:
        TluiError: It is alive, finished or diverged, or the home cannot be written.
    """
    if _resumed_elsewhere(home, run):
        return
    with _alone(home, run) as held:
        seen = run.observe()
        if not held or seen.state in LIVE or seen.state == "stale":
            why = f": {seen.reason}. {seen.status.advice}" if seen.state == "stale" else ""
            raise TluiError(f"{_named(run)}: cannot be resumed while it is {seen.state}{why}")
        waits = seen.state == "queued"  # be it in a queue that was lost
        if waits and order.find(home, run.id) is not None:
            raise TluiError(f"{_named(run)}: is queued already (tlui queue shows where)")
        if not waits and seen.state not in RESUMABLE:
            why = {
                "finished": "it has finished; tlui run of its preset.toml repeats it",
                "diverged": "its loss was no longer finite; lower the learning rate in a new run",
            }.get(seen.state, f"it is {seen.state}")
            raise TluiError(f"{_named(run)}: cannot be resumed: {why}")
        order.append(home, [run.id], replace(wishes or Wishes(), on=placed_on(run)))
        forget_job(run)
        _write(
            run,
            replace(
                seen.status,
                state="queued",
                reason="",
                advice="",
                owner=None,
                supervisor=None,
                ended=None,
                exit_code=None,
            ),
        )


def resumable(home: Home, run: RunDirectory) -> bool:
    """Whether `resume` would take a run, by what is seen of it now."""
    state = run.observe().state
    return state in RESUMABLE or (state == "queued" and order.find(home, run.id) is None)


def drop(home: Home, run: RunDirectory) -> str:
    """Take a queued run out of the queue; it stays as `stopped` and can be resumed.

    Raises:
        TluiError: It is not queued any more.
    """
    withdraw(run, "stop")
    with _alone(home, run) as held:
        seen = run.observe()
        if not held or seen.state != "queued":
            raise _not_queued(run)
        reason = DROPPED.format("went on" if seen.status.attempt else "started")
        _write(run, replace(seen.status, state="stopped", reason=reason, ended=time.time()))
        order.remove(home, run.id)
    return reason


def delete(home: Home, run: RunDirectory) -> None:
    """Delete a run for good; a queued one leaves the queue, or its cluster's, first.

    Raises:
        TluiError: It is live, or cannot be deleted.
    """
    if run.observe().state == "queued":
        drop(home, run)
    remove(home, run)


def hold(home: Home, run: RunDirectory) -> None:
    """Keep a queued run from starting until it is released. Raises TluiError if not queued."""
    if not order.hold(home, run.id):
        raise _not_queued(run)
    hold_job(run)


def release(home: Home, run: RunDirectory) -> None:
    """Let a held run start.

    Raises:
        TluiError: It is not queued, or its cluster does not let it go.
    """
    if not order.hold(home, run.id, held=False):
        raise _not_queued(run)
    release_job(run)


def move(home: Home, run: RunDirectory, how: Move) -> None:
    """Change a queued run's place. Raises TluiError if it is not queued."""
    if not order.move(home, run.id, how):
        raise _not_queued(run)


def move_all(home: Home, runs: Sequence[RunDirectory], how: Move) -> None:
    """Change the places of several runs, which keep their order among themselves: that of the
    queue, or for `top` the one given. Raises TluiError at one that is not queued.
    """
    line = [entry.run for entry in order.entries(home)]
    place = {run_id: number for number, run_id in enumerate(line)}
    block = list(runs) if how == "top" else sorted(runs, key=lambda r: place.get(r.id, -1))
    if how in ("top", "down"):
        block.reverse()
    ends = line if how == "up" else line[::-1]
    for number, run in enumerate(block):
        if how in ("up", "down") and ends[number : number + 1] == [run.id]:
            continue  # at the end already, as those of the block before it
        move(home, run, how)


def _resumed_elsewhere(home: Home, run: RunDirectory) -> bool:
    """Do what a cluster's run needs first; True where that is all it needs."""
    if placed_on(run) == "local":
        return False
    seen = run.observe()
    if seen.state == "queued":
        submit_again(run)
        order.append(home, [run.id], Wishes(on=placed_on(run)))
        return True
    if seen.state == "stale" and lost(run):
        _give_up(home, run, seen)  # its node died, and its cluster knows
    elif seen.state in RESUMABLE:
        await_end(run)
    submit_children_again(home, run)
    return False


def _leave_word(run: RunDirectory, attempt: int, mode: Mode, heard: bool) -> bool:
    """Write down what is asked of a run, for those that no signal of ours reaches: a trainer
    elsewhere, or one that begins, for until it says that it runs it may listen for the run it had
    before. One that a signal reaches as well could take it for a second request, which ends
    evaluation, too.

    Args:
        heard: Whether its trainer hears of it all the same, be the disk full.

    Returns:
        Whether it is written down.
    """
    word = run.kill_request(attempt) if mode == "kill" else run.requests / mode
    try:
        write_text(word, f"{time.time():.0f}\n", sync=False)
    except OSError as error:
        if not heard:
            raise TluiError(
                f"{run.requests}: cannot be written ({error.strerror}); free some space "
                "or mend its permissions"
            ) from error
        return False
    return True


def _give_up(home: Home, run: RunDirectory, seen: Observed) -> str:
    """End a silent run of another host in the store, where that host cannot."""
    withdraw(run, "kill")
    try:
        give_up(home, run, seen.status.attempt)
    except OSError as error:
        raise TluiError(f"{run.requests}: cannot be written ({error.strerror})") from error
    reason = f"given up: {seen.reason}"
    advice = RESUME_ADVICE.format(id=run.id)
    ended = replace(seen.status, state="interrupted", reason=reason, advice=advice)
    _write(run, replace(ended, ended=time.time()))
    return f"was given up, its last checkpoint stays: {seen.reason}"


def _moves(run: RunDirectory) -> bool:
    """Whether the heartbeat of a run rises after all: its host's clock may differ from ours."""
    first = read_status(run.status)
    until = time.monotonic() + MOVING_SECONDS
    while time.monotonic() < until:
        time.sleep(0.1)
        now = read_status(run.status)
        if first is not None and now is not None and now.heartbeat != first.heartbeat:
            return True
    return False


@contextmanager
def _alone(home: Home, run: RunDirectory) -> Iterator[bool]:
    """Hold a run; waits for a supervisor that is just leaving, or somebody's short look."""
    claims = Claims(home)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (taken := claims.take(run.id)):
        if run.observe().state in (LIVE | {"stale"}) or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    try:
        yield taken
    finally:
        if taken:
            claims.release(run.id)


def _trainer_of(home: Home, run: RunDirectory) -> Identity | None:
    """The trainer that is at work on a run now."""
    claim = Claims(home).of_run(run.id)
    if claim is not None and claim.trainer is not None:
        return claim.trainer
    status = read_status(run.status)
    if status is None or status.state not in LIVE or status.owner == status.supervisor:
        return None
    return status.owner


def _signal(who: Identity, mode: Mode) -> None:
    """Signal a trainer of this host, and nobody who only has its number."""
    try:
        handle = os.pidfd_open(who.pid)
    except (OSError, AttributeError):
        handle = -1
    try:
        if liveness(who) != "alive":
            return  # another host's trainer, or its supervisor, reads the request
        if mode == "kill":
            os.killpg(who.pid, signal.SIGKILL)
            return
        number = {"stop": signal.SIGINT, "interrupt": signal.SIGTERM}[mode]
        if handle >= 0:
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(who.pid, number)
    except (ProcessLookupError, PermissionError):
        pass
    finally:
        if handle >= 0:
            os.close(handle)


def _write(run: RunDirectory, status: Status) -> None:
    try:
        write_status(run.status, status)
    except OSError as error:
        raise TluiError(f"{run.status}: cannot be written ({error.strerror})") from error


def _not_queued(run: RunDirectory) -> TluiError:
    return TluiError(f"{_named(run)}: is not queued, it is {run.observe().state}")


def _named(run: RunDirectory) -> str:
    name = run.read_meta().get("name")
    return f"{name} ({run.id})" if name else run.id
