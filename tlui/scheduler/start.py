"""Starting what fits next: called by whoever is alive, as often as they like.

`start` settles what dead processes left (a run whose supervisor and trainer are gone gets its
final state, one whose trainer lives gets a new supervisor), fails runs whose parents failed, and
starts a supervisor for every queued run that has a device. It claims before it starts, and the
supervisor takes the claims over, so any number of callers may do this at the same instant.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from tlui.errors import TluiError
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.environment import anywhere, python
from tlui.runs.files import fresh, withheld
from tlui.runs.process import identify
from tlui.runs.status import Status, read_status, write_status
from tlui.scheduler import order
from tlui.scheduler.claims import Claims
from tlui.scheduler.devices import Device, choose, label, list_devices
from tlui.scheduler.ending import log_tail, not_started, note, settle
from tlui.scheduler.launch import open_log, shortage
from tlui.scheduler.notify import News
from tlui.scheduler.parents import DAMAGED, fail, readiness, take_parent
from tlui.scheduler.supervisor import MINE, NO_PROCESS, Orders

LEAST_BYTES = 64 * 1024
"""Less free than this is a full disk: a run could not even say that it runs."""

_children: list[subprocess.Popen[bytes]] = []
"""Supervisors this process started, kept to be reaped."""


Offer = Callable[[RunDirectory, Orders], bool]
"""Called with a run that this process has claimed and how it is to be run; True takes it."""


def start(home: Home, trainer: Sequence[str] = (), nvml: Any = None) -> list[str]:
    """Start every queued run that fits now, in the queue's order; hand over a cluster's.

    Args:
        home: The store.
        trainer: The trainer's command in place of tlui's own; for tests of the scheduler.
        nvml: A module with pynvml's functions; pynvml itself by default.

    Returns:
        Ids of the runs this call started.

    Raises:
        TluiError: The store's queue or claims are not usable, no process can be started here, or a
            cluster refused a run; what fits here was started.
    """
    news = News(home)
    try:
        return start_next(home, news, trainer, nvml)
    finally:
        news.send()


def start_next(
    home: Home,
    news: News,
    trainer: Sequence[str] = (),
    nvml: Any = None,
    offer: Offer | None = None,
    leaving: str = "",
    idle: int = 0,
) -> list[str]:
    """`start` for a supervisor.

    Args:
        home: The store.
        news: Gets the runs that this call found at their end, of which nobody knows as yet.
        trainer: As for `start`.
        nvml: As for `start`.
        offer: Asked of each run before a supervisor is started for it, by one whose trainer can
            go on to another.
        leaving: The run that supervisor is done with, and still holds: its devices go to what
            starts first, and nobody else gets them in between.
        idle: The pid of its trainer, where that waits for what `offer` takes: its part of a GPU
            is as good as free.
    """
    _reap()
    require_room(home)
    claims = Claims(home, leaving)
    _settle(home, claims, trainer, news)
    devices: list[Device] | None = None
    full: set[tuple[order.Wishes, int]] = set()
    started: list[str] = []
    elsewhere: list[RunDirectory] = []
    trouble: TluiError | None = None
    for entry in order.entries(home):
        if entry.held:
            continue
        run = home.run(entry.run)
        wishes = entry.wishes()
        if wishes.on != "local":
            elsewhere.append(run)
            continue
        if trouble is not None or (wishes, 1) in full:
            continue
        if devices is None:
            devices = [device.without(idle) for device in list_devices(nvml)]
        if not choose(wishes, 1, devices, claims).devices:
            full.add((wishes, 1))
            continue
        status = read_status(run.status)
        if status is None or status.state != "queued":
            if not _may_wait(run):
                _forget(home, run, claims)
            continue
        ready = readiness(home, run)
        if ready.failed:
            if any(claims.seen_to(parent) for parent in ready.lost):
                continue  # who has that parent tells of its end first, and then looks here
            news.take_turn()
            if failed := fail(home, run, ready.reason):
                news.add(run, failed)
            continue
        count = devices_wanted(run)
        choice = choose(wishes, count, devices, claims)
        if not ready.ready or not choice.devices:
            continue
        if ready.parent and (problem := take_parent(run, ready.parent)):
            if failed := fail(home, run, problem, DAMAGED):
                news.add(run, failed)
            continue
        orders = Orders(
            devices=tuple(device.key for device in choice.devices),
            label=label(choice.devices, count),
            per_device=wishes.per_device,
            trainer=tuple(trainer),
        )
        if not claims.take(run.id, orders.devices, orders.per_device):
            continue  # somebody else is starting it, or took the device meanwhile
        try:
            if (offer is not None and offer(run, orders)) or spawn(
                home, run, replace(orders, giver=identify())
            ):
                started.append(run.id)
                continue
        except TluiError as error:
            trouble = error  # of the host: the others would have it, too
            note(run, status, str(error))
        except OSError as error:
            news.add(run, not_started(run, status, error))
            order.remove(home, run.id)
        claims.release(run.id)
    if elsewhere:
        from tlui.scheduler.backends.handover import hand_over

        hand_over(home, elsewhere)
    if trouble is not None:
        raise trouble
    return started


def devices_wanted(run: RunDirectory) -> int:
    """How many GPUs a run trains on at once."""
    config = run.read_meta().get("config")
    wanted = config.get("train.devices", 1) if isinstance(config, dict) else 1
    return wanted if isinstance(wanted, int) and wanted > 0 else 1


def spawn(home: Home, run: RunDirectory, orders: Orders) -> bool:
    """Start a supervisor and wait for its word; whether the run is now its own.

    Raises:
        TluiError: No process can be started here now; the run stays as it is.
        OSError: This run's log cannot be written.
    """
    wait_here, tell = os.pipe()
    with os.fdopen(wait_here, "rb") as answer:
        try:
            _children.append(_supervisor(home, run, replace(orders, ready=tell)))
        except OSError as error:
            if lacking := shortage(error):
                raise TluiError(lacking) from error
            raise
        finally:
            os.close(tell)
        word = answer.read(1)
    status = read_status(run.status)
    if word == NO_PROCESS and status is not None:
        raise TluiError(status.reason)
    if not word and status is not None and status.state == "queued":
        last = log_tail(run).rpartition("\n")[2]
        raise TluiError(f"{run.log}: a supervisor died before it took the run: {last}")
    return word == MINE


def _supervisor(home: Home, run: RunDirectory, orders: Orders) -> subprocess.Popen[bytes]:
    with os.fdopen(open_log(run.log), "ab") as log:
        return subprocess.Popen(
            python("tlui.scheduler.supervisor", str(home.path), run.id, orders.to_json()),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=anywhere(os.environ),
            cwd="/",  # it outlives whoever starts it, and so may the folder
            pass_fds=(orders.ready,),
            start_new_session=True,
        )


def require_room(home: Home, least: int = LEAST_BYTES) -> None:
    """Refuse to make or start anything on a full disk.

    Raises:
        TluiError: Fewer than `least` bytes are free there (`no_space` knows it), or nobody knows.
    """
    try:
        found = os.statvfs(home.path)
    except OSError as error:
        raise TluiError(f"{home.path}: cannot be read ({error.strerror})") from error
    if found.f_bavail * found.f_frsize < least:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        text = f"{home.path}: the disk is full; free some space, nothing starts before"
        raise TluiError(text) from full


def _settle(home: Home, claims: Claims, trainer: Sequence[str], news: News) -> None:
    """Put right what processes that died without a word have left."""
    for claim in claims.runs():
        run = home.run(claim.run)
        if claim.stale:
            if claims.inherit(run.id):
                if final := _end_of_lost(home, run):
                    news.add(run, final)
                claims.release(run.id)
        elif claim.orphaned:
            with suppress(TluiError, OSError):  # it trains on, and the next to look tries again
                spawn(home, run, Orders(adopt=True, trainer=tuple(trainer)))
    claims.sweep()


def _end_of_lost(home: Home, run: RunDirectory) -> Status | None:
    """The final status of a run whose supervisor and trainer are gone."""
    status = read_status(run.status)
    if status is None:
        return None
    if status.state == "starting" and status.owner == status.supervisor:
        # The gate never opened: nothing has trained, and the run keeps its place.
        write_status(run.status, replace(status, state="queued", owner=None, supervisor=None))
        order.append(home, [run.id], order.Wishes())
        return None
    return settle(run, None)


def _forget(home: Home, run: RunDirectory, claims: Claims) -> None:
    """Remove the place of a run that is not queued, if nobody is just putting it back."""
    with claims.holding(run.id) as held:
        if held and not _may_wait(run):
            order.remove(home, run.id)


def _may_wait(run: RunDirectory) -> bool:
    """Whether a run is queued, or could be for all that can be read of it now."""
    status = read_status(run.status)
    if status is None:
        return bool(withheld(run.status)) or fresh(run.status)
    return status.state == "queued"


def _reap() -> None:
    _children[:] = [child for child in _children if child.poll() is None]
