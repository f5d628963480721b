"""The light process that owns a trainer: `python -m tlui.scheduler.supervisor HOME RUN [JSON]`.

It runs in its own session, so an SSH hang-up or the death of every front end does not touch it.
It takes over the claims on the run and its devices from its starter, starts the trainer in a
session of its own with trainer.log as its output, passes SIGINT, SIGTERM and SIGUSR1 on, and when
the trainer ends: writes how, if the trainer did not, frees the claims, notifies, and starts what
fits next. It looks now and then for runs whose supervisor was killed.

While the trainer runs nothing but the standard library is imported; there may be many of these.
The optional JSON argument holds `Orders`; without it a run gets the CPU.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tlui.errors import TluiError
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.environment import importable, python
from tlui.runs.line import COMING, NextRun
from tlui.runs.process import Identity, identify, liveness
from tlui.runs.status import Status, read_status, write_status
from tlui.scheduler import order
from tlui.scheduler.claims import CPU, Claims
from tlui.scheduler.ending import mark, not_started, note, oom_kills, settle
from tlui.scheduler.launch import environment, shortage
from tlui.scheduler.signals import Signals
from tlui.scheduler.worker import Worker, alike, kill_group, may_go_on

if TYPE_CHECKING:
    from tlui.scheduler.notify import News
    from tlui.scheduler.start import Offer

TICK_SECONDS = 2.0
ADOPTED_TICK_SECONDS = 0.25
LOOK_AROUND_SECONDS = 10.0
MOST_COMING = 15
"""Runs that a trainer is told of."""
REQUESTS = ("interrupt", "stop")
"""What `requests/` may ask of whatever trains, the more urgent first; `kill-N` is beside them."""
MISFITS = (ImportError, AttributeError, TypeError)
"""What comes of modules of another version, where tlui was installed anew meanwhile."""
MINE, OTHERS, NO_PROCESS = b"1", b"0", b"!"
"""Whose a run is now; nobody's where no trainer can be started, and its status says why."""


@dataclass(frozen=True)
class Orders:
    """What a supervisor is told by who starts it."""

    devices: tuple[str, ...] = (CPU,)
    """Keys of the devices to claim. None of them: a cluster gave this job its own, as the
    environment says; then nothing else is started from here either."""
    label: str = CPU
    per_device: int = 1
    trainer: tuple[str, ...] = ()
    """The trainer's command, to which the run directory is added; tlui's own where empty. Only
    tests of the scheduler give one, through `start(..., trainer=…)`."""
    adopt: bool = False
    """Watch a trainer whose supervisor died, instead of starting one."""
    over: bool = False
    """The run is over and its claims are this process's, which has begun anew: see what follows."""
    giver: Identity | None = None
    """The starter that has claimed run and devices, to be taken over from it."""
    ready: int = -1
    """File descriptor that gets one byte: `MINE`, `OTHERS` or `NO_PROCESS`."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Orders:
        given = json.loads(text)
        given["devices"] = tuple(given.get("devices", (CPU,)))
        given["trainer"] = tuple(given.get("trainer", ()))
        given["giver"] = Identity.from_dict(given.get("giver"))
        return cls(**given)


def main(arguments: Sequence[str]) -> int:
    """Own one run from its start (or adoption) to its end."""
    if len(arguments) not in (2, 3):
        print("usage: python -m tlui.scheduler.supervisor HOME RUN [JSON]", file=sys.stderr)
        return 2
    home = Home(Path(arguments[0]))
    run = home.run(arguments[1])
    orders = Orders.from_json(arguments[2]) if len(arguments) == 3 else Orders()
    if orders.ready >= 0:
        os.set_inheritable(orders.ready, False)  # the trainer has no part in it
    signals = Signals()
    claims = Claims(home)
    if orders.over:
        final = read_status(run.status) or Status("interrupted")
    elif orders.adopt:
        claim = claims.adopt(run.id)
        trainer = claim.trainer if claim else None
        _answer(orders.ready, MINE if trainer is not None else OTHERS)
        if trainer is None:
            return 0
        attempt = _watch_adopted(run, trainer, signals)
        final = settle(run, None, trainer, asked=asked(run, attempt))
    else:
        if orders.giver is not None:
            taken = claims.receive(run.id, orders.giver)
        else:
            taken = claims.take(run.id, orders.devices, orders.per_device)
        if not taken:
            _answer(orders.ready, OTHERS)
            return 0
        entry = order.find(home, run.id)
        status = read_status(run.status)
        ours = status is not None and status.state == "queued" and entry and not entry.held
        if status is None or not ours:
            claims.release(run.id)
            _answer(orders.ready, OTHERS)
            return 0
        _own(home, run, status, orders, claims, signals)
        return 0
    try:
        (news := _news(home)).add(run, final)
        claims.release(run.id)
        if _goes_on(orders, signals):
            _start_next(home, orders, news)
        _tell(news, orders, signals)
    except MISFITS as error:
        if orders.over:
            raise
        _begin_anew(home, run, orders, signals, error)
    return 0


def _tell(news: News, orders: Orders, signals: Signals) -> None:
    """Word to whoever wants it; of a cluster's job that is shut down, the job itself speaks."""
    if orders.devices or not signals.shutting_down:
        news.send(here=not orders.devices)


def _goes_on(orders: Orders, signals: Signals) -> bool:
    """Whether this supervisor starts what follows."""
    return bool(orders.devices) and not signals.shutting_down


def _own(
    home: Home,
    run: RunDirectory,
    status: Status,
    orders: Orders,
    claims: Claims,
    signals: Signals,
) -> None:
    """Train a claimed run, and those of its kind that follow while its trainer is willing."""
    worker = Worker()
    following: tuple[RunDirectory, Status] | None = run, status
    while following is not None:
        run, status = following
        final = _train(home, run, status, orders, claims, signals, worker)
        following = None
        try:
            (news := _news(home)).add(run, final)
            if _goes_on(orders, signals) and final.state != "queued":
                following = _following(home, run, orders, worker, news)
            else:
                claims.release(run.id)
            _tell(news, orders, signals)
        except MISFITS as error:
            worker.close()
            if following is not None:
                claims.release(following[0].id)
            _begin_anew(home, run, orders, signals, error)
        orders = replace(orders, ready=-1)  # whoever started us has its answer
    worker.close()


def _begin_anew(
    home: Home, run: RunDirectory, orders: Orders, signals: Signals, error: Exception
) -> None:
    """Go on in this very process, which keeps its claims, with tlui as it is installed by now."""
    print(f"tlui: was changed while this run trained, and begins anew: {error}", file=sys.stderr)
    sys.stderr.flush()
    devices = () if signals.shutting_down else orders.devices
    again = Orders(devices=devices, trainer=orders.trainer, over=True).to_json()
    command = python("tlui.scheduler.supervisor", str(home.path), run.id, again)
    os.execve(command[0], command, importable(os.environ))


def _following(
    home: Home, run: RunDirectory, orders: Orders, worker: Worker, news: News
) -> tuple[RunDirectory, Status] | None:
    """Start what fits next, as which this supervisor gives up its claims on a run that is over;
    the run that it has claimed for its waiting trainer. `news` gets what cannot start."""
    taken: list[tuple[RunDirectory, Status]] = []

    def offer(other: RunDirectory, wanted: Orders) -> bool:
        if taken:
            return False
        status = read_status(other.status)
        same_place = (wanted.devices, wanted.label) == (orders.devices, orders.label)
        if status is None or status.state != "queued" or not same_place:
            worker.dismiss()  # makes room before another is started
            return False
        if not (worker.waits and not status.attempt and alike(run, other)):
            worker.dismiss()
            if not worker.forks:
                return False
        taken.append((other, status))
        return True

    _start_next(home, orders, news, offer, run.id, worker.pid if worker.waits else 0)
    if not taken and worker.waits:
        worker.dismiss()
        if orders.devices != (CPU,):  # what it held of a GPU is free only now
            _start_next(home, orders, news, offer)
    return taken[0] if taken else None


def _coming(home: Home, run: RunDirectory) -> tuple[list[str], int]:
    """Runs of its kind that wait, in their order: its trainer may be handed them next; and how
    many others wait."""
    found, others = [], 0
    for entry in order.entries(home)[: 4 * MOST_COMING]:
        if entry.run == run.id or entry.held or entry.wishes().on != "local":
            continue
        if alike(run, home.run(entry.run)):
            found.append(entry.run)
        else:
            others += 1
    return found[:MOST_COMING], others


def asked(run: RunDirectory, attempt: int) -> str:
    """What front ends have asked of a run: "kill", "interrupt", "stop" or ""."""
    if run.kill_request(attempt).exists():
        return "kill"
    return next((word for word in REQUESTS if (run.requests / word).exists()), "")


def _train(
    home: Home,
    run: RunDirectory,
    status: Status,
    orders: Orders,
    claims: Claims,
    signals: Signals,
    worker: Worker,
) -> Status:
    """Have a claimed run trained and stay until that ends; `queued` where it cannot begin."""
    me = identify()
    starting = Status(
        "starting",
        owner=me,
        supervisor=me,
        device=orders.label,
        attempt=status.attempt + 1,
        started=status.started or time.time(),
        progress=status.progress,
    )
    ready, before = orders.ready, oom_kills()
    env = environment(orders.devices, orders.label, os.environ)
    alikes, others = _coming(home, run)
    goes_on = may_go_on(run, orders.devices)
    if goes_on:
        env[COMING] = " ".join(alikes)
    else:
        others += len(alikes)  # each has a process of its own
    command = orders.trainer or python("tlui.trainer")
    arguments = [str(run.path)]
    try:
        for word in REQUESTS:
            (run.requests / word).unlink(missing_ok=True)
        mark(run, starting.attempt)
        worker.prepare(command, arguments, env, run.log, goes_on)  # trains after `go` only
        write_status(run.status, starting)
        ready = _answer(ready, MINE)
        while True:
            claims.name_trainer(run.id, worker.identity)
            write_status(run.status, replace(starting, owner=worker.identity))
            if worker.go(NextRun(run.path, alikes)):
                break
            worker.bury()  # died while it waited: this run gets a process of its own
            worker.prepare(command, arguments, env, run.log, goes_on)
    except OSError as error:
        worker.dismiss()
        if lacking := shortage(error):
            waiting = note(run, status, lacking)
            _answer(ready, NO_PROCESS)
            return waiting
        order.remove(home, run.id)
        return not_started(run, starting, error)
    order.remove(home, run.id)
    if orders.devices and not orders.trainer:
        worker.foresee(others, env, run.log)
    exit_code = _watch(home, run, starting.attempt, worker, orders, signals)
    return settle(
        run,
        exit_code,
        worker.identity,
        out_of_memory=oom_kills() > before,
        asked=asked(run, starting.attempt),
    )


def _watch(
    home: Home, run: RunDirectory, attempt: int, worker: Worker, orders: Orders, signals: Signals
) -> int:
    """Wait until a run's training is over; the exit code, or a signal's number negated."""
    looked = time.monotonic()
    while True:
        for number in signals.wait(TICK_SECONDS, worker.handle):
            os.kill(worker.pid, number)
        if (code := worker.ended()) is not None:
            return code
        if worker.listen():
            return 0
        _keep_fresh(run)
        if asked(run, attempt) == "kill":
            worker.kill()
        if orders.devices and time.monotonic() - looked > LOOK_AROUND_SECONDS:
            looked = time.monotonic()
            if any(claim.orphaned or claim.stale for claim in Claims(home).runs()):
                with suppress(*MISFITS):  # a newer one will see to them
                    news = _news(home)
                    _start_next(home, orders, news)
                    news.send()


def _watch_adopted(run: RunDirectory, trainer: Identity, signals: Signals) -> int:
    """Wait for a trainer that is not our child; which attempt it was."""
    status = read_status(run.status)
    attempt = status.attempt if status is not None else 0
    while liveness(trainer) == "alive":
        for number in signals.wait(ADOPTED_TICK_SECONDS):
            os.kill(trainer.pid, number)
        if asked(run, attempt) == "kill":
            kill_group(trainer.pid)
    return attempt


def _keep_fresh(run: RunDirectory) -> None:
    """Stand in for the heartbeat of a trainer that still imports TensorFlow, contents untouched."""
    status = read_status(run.status)
    if status is not None and status.state == "starting":
        try:
            os.utime(run.status)
        except OSError:
            pass


def _news(home: Home) -> News:
    """What word is to be sent of: nothing yet."""
    from tlui.scheduler.notify import News

    return News(home)


def _start_next(
    home: Home,
    orders: Orders,
    news: News,
    offer: Offer | None = None,
    left: str = "",
    idle: int = 0,
) -> None:
    """Start what fits next; `news` gets the runs that were found at their end on the way."""
    from tlui.scheduler.start import start_next

    try:
        if left:
            try:
                start_next(home, news, orders.trainer, offer=offer, leaving=left, idle=idle)
            finally:
                Claims(home).release(left)
        # Once more after that: what was queued meanwhile found the device taken.
        start_next(home, news, orders.trainer, offer=offer, idle=idle)
    except (TluiError, OSError) as error:
        print(f"tlui: the queue does not go on: {error}", file=sys.stderr, flush=True)


def _answer(handle: int, word: bytes) -> int:
    """Tell who started us; -1, for it is told once."""
    if handle >= 0:
        try:
            os.write(handle, word)
        except BrokenPipeError:
            pass  # who started us is gone; the run does not mind
        os.close(handle)
    return -1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except TluiError as error:
        sys.exit(f"tlui: {error}")
