"""One run on the node Slurm chose: `python -m tlui.scheduler.backends.slurm_node HOME RUN`.

The job's script becomes this process. It looks whether the run may start (its parents' directories
decide, not Slurm's idea of them), puts a run that Slurm brings back in the queue's first state,
runs its supervisor, and passes signals on. After USR1, which comes ahead of the time limit, an
interrupted run is queued again: its directory says so and Slurm requeues the job, as long as it
gets forward between two limits. USR2 says that a front end left a request: the node looks, for
its view of the shared filesystem may be a minute old. Stdlib only. Exit codes are those of
`tlui run`, 75 interrupted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.environment import importable, python
from tlui.runs.files import FILE_MODE
from tlui.runs.status import (
    ENDED,
    LIVE,
    STALE_ELSEWHERE_SECONDS,
    Status,
    read_status,
    write_status,
)
from tlui.scheduler import devices, order
from tlui.scheduler.backends.handover import note_job
from tlui.scheduler.claims import Claims
from tlui.scheduler.ending import give_up
from tlui.scheduler.notify import News
from tlui.scheduler.order import Wishes
from tlui.scheduler.parents import DAMAGED, LOST, fail, readiness, take_parent
from tlui.scheduler.start import devices_wanted
from tlui.scheduler.supervisor import Orders

CODES = {"finished": 0, "diverged": 3, "interrupted": 75, "stopped": 130}
PARENT_SECONDS = 90.0
"""How long a parent's end may take to show on a shared filesystem that caches."""
POLL_SECONDS = 0.5
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Node:
    """One job's work; clock, supervisor and Slurm are edges that tests replace.

    Args:
        home: The store.
        run: The run.
        given: The environment Slurm made.
        trainer: The trainer's command in place of tlui's own; for tests.
    """

    def __init__(
        self,
        home: Home,
        run: RunDirectory,
        given: Mapping[str, str],
        trainer: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.home = home
        self.run = run
        self.given = given
        self.trainer = tuple(trainer)
        self.came: set[int] = set()
        """The signals that came."""
        self._clock = clock
        self._sleep = sleep
        self._child: subprocess.Popen[bytes] | None = None

    def work(self) -> int:
        """Bring the run as far as this job can; the job's exit code."""
        if not self.run.exists():
            self.say(f"{self.run.path}: no run there; is tlui's home shared with this node?")
            return 1
        if not self._put_back() or not self._may_start():
            return self._code()
        before = self._position()
        self.supervise()
        status = read_status(self.run.status)
        if status is None or status.state != "interrupted" or signal.SIGUSR1 not in self.came:
            code = self._code()
        else:
            self._again(status, before)
            code = CODES["interrupted"]
        if self.came & {signal.SIGTERM, signal.SIGUSR1}:
            self._tell()
        return code

    def pass_on(self, number: int) -> None:
        """Remember a signal and hand it to the supervisor."""
        self.came.add(number)
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)

    def look(self) -> None:
        """Have the filesystem client ask its server what is in the requests' folder."""
        with contextlib.suppress(OSError):
            list(self.run.requests.iterdir())

    def supervise(self) -> None:
        """Run the supervisor to its end; one that was killed gets a successor."""
        adopt = False
        on = label(self.given, devices_wanted(self.run))
        self.say(f"Slurm job {job_id(self.given)}: {self.run.id} on {on}")
        while True:
            orders = Orders(devices=(), label=on, trainer=self.trainer, adopt=adopt).to_json()
            self._child = subprocess.Popen(
                python("tlui.scheduler.supervisor", str(self.home.path), self.run.id, orders),
                stdin=subprocess.DEVNULL,
                env=importable(os.environ),
            )
            for number in self.came:
                self._child.send_signal(number)  # came before there was anyone to hand it to
            if self._child.wait() >= 0:
                return
            claim = Claims(self.home).of_run(self.run.id)
            if claim is None or not claim.orphaned:
                return
            adopt = True

    def requeue(self) -> str:
        """Ask Slurm to run this job again; why it would not, or an empty string."""
        try:
            done = subprocess.run(
                ["scontrol", "requeue", job_id(self.given)], capture_output=True, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return (
            "" if done.returncode == 0 else " ".join(done.stderr.decode(errors="replace").split())
        )

    def say(self, text: str) -> None:
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)

    def _put_back(self) -> bool:
        """Make a run that Slurm brings (back) queued and ours to start; False when it is over.

        A run whose node died still says it runs, and holds its claim: it is believed until
        nothing of it has moved for as long as a run elsewhere may be silent.
        """
        status = read_status(self.run.status)
        if status is None or (status.state in ENDED and status.state != "interrupted"):
            self.say(f"nothing to do: {self._said(status)}")
            return False
        if not self._outlive_claim():
            self.say("another process has this run and is alive")
            return False
        status = read_status(self.run.status) or status
        if status.state not in {"queued", "interrupted", *LIVE}:
            return False
        note_job(self.run, "slurm", job_id(self.given), status.attempt)
        if status.state != "queued":
            self._queue(status)
        order.append(self.home, [self.run.id], Wishes(on="slurm"))
        return True

    def _outlive_claim(self) -> bool:
        """Wait until nobody else holds the run; False when its holder goes on working."""
        claims = Claims(self.home)
        seen: tuple[object, ...] = ()
        since = first = self._clock()
        while (claim := claims.of_run(self.run.id)) is not None:
            if claim.stale:
                return True
            status = read_status(self.run.status)
            now = (claim, status.heartbeat, status.state) if status else (claim,)
            if seen != now:
                if seen and self._clock() - first > PARENT_SECONDS:
                    return False
                seen, since = now, self._clock()
            elif self._clock() - since > STALE_ELSEWHERE_SECONDS:
                self.say(f"its holder on {claim.host} has been silent too long: taken over")
                with contextlib.suppress(OSError):
                    give_up(self.home, self.run, status.attempt if status else 0)
                return True
            self._sleep(POLL_SECONDS)
        return True

    def _may_start(self) -> bool:
        """Whether its parents let it start; says and writes why not."""
        until = self._clock() + PARENT_SECONDS
        while True:
            ready = readiness(self.home, self.run)
            if ready.ready or ready.failed or self._clock() > until or self.came:
                break
            self._sleep(POLL_SECONDS)
        reason, first = ready.reason, LOST
        if ready.ready:
            reason, first = take_parent(self.run, ready.parent) if ready.parent else "", DAMAGED
            if not reason:
                return True
        self.say(reason)
        if ready.ready or ready.failed:
            fail(self.home, self.run, reason, first)
            self._tell()
        elif (status := read_status(self.run.status)) and status.state == "queued":
            advice = f"Once the other has ended, tlui resume {self.run.id} submits this one again"
            write_status(self.run.status, replace(status, reason=ready.reason, advice=advice))
        return False

    def _again(self, status: Status, before: tuple[int, ...]) -> None:
        """Queue an interrupted run again, unless that leads nowhere."""
        if int(self.given.get("SLURM_RESTART_COUNT") or 0) and self._position() <= before:
            reason = "two time limits in a row passed without a step of progress"
            advice = f"Raise slurm.time or slurm.signal; then tlui resume {self.run.id}"
            write_status(self.run.status, replace(status, reason=reason, advice=advice))
            self.say(reason)
            return
        note_job(self.run, "slurm", job_id(self.given), status.attempt)
        order.append(self.home, [self.run.id], Wishes(on="slurm"))
        self._queue(status, "reached its time limit; Slurm continues it")
        self.say("reached the time limit: queued again")
        if problem := self.requeue():
            reason = f"reached its time limit, and Slurm would not requeue the job: {problem}"
            order.remove(self.home, self.run.id)
            write_status(self.run.status, replace(status, reason=reason))
            self.say(reason)

    def _tell(self) -> None:
        """Word to whoever wants it of a run that no supervisor spoke of, if it is over."""
        if status := read_status(self.run.status):
            news = News(self.home)
            news.add(self.run, status)
            news.send(here=True)

    def _queue(self, status: Status, reason: str = "") -> None:
        again = replace(
            status,
            state="queued",
            reason=reason,
            advice="",
            owner=None,
            supervisor=None,
            ended=None,
            exit_code=None,
        )
        write_status(self.run.status, again)

    def _position(self) -> tuple[int, ...]:
        """How far training has come: (finished epochs and running one, step in it)."""
        status = read_status(self.run.status)
        known = status.progress if status else {}
        return tuple(int(known.get(name) or 0) for name in ("epoch", "step"))

    def _code(self) -> int:
        status = read_status(self.run.status)
        if status is None or status.state == "queued":
            return 1
        return CODES.get(status.state, 1)

    def _said(self, status: Status | None) -> str:
        return f"the run is {status.state}" if status else "its status.json is unreadable"


def job_id(given: Mapping[str, str]) -> str:
    """This job's number, `JOB` or `JOB_TASK`.

    Never the bare number of an array: one of its tasks has that as its own SLURM_JOB_ID, and
    `scontrol requeue` of it would requeue them all.
    """
    array, task = given.get("SLURM_ARRAY_JOB_ID"), given.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else given.get("SLURM_JOB_ID", "")


def label(given: Mapping[str, str], count: int) -> str:
    """What status.json says of the devices: `cpu on node7`, `gpu 0,1 on node7`.

    Args:
        given: The job's environment.
        count: How many devices the run trains on at once.
    """
    gpus = given.get("CUDA_VISIBLE_DEVICES", "-1")
    host = given.get("SLURMD_NODENAME") or socket.gethostname()
    none = gpus in ("", "-1", "NoDevFiles")
    return f"{devices.label([devices.THE_CPU], count) if none else f'gpu {gpus}'} on {host}"


def main(arguments: Sequence[str]) -> int:
    """The job's process; see the module."""
    if len(arguments) != 2:
        print("usage: python -m tlui.scheduler.backends.slurm_node HOME RUN", file=sys.stderr)
        return 2
    home = Home(Path(arguments[0]))
    node = Node(home, home.run(arguments[1]), os.environ)
    for number in SIGNALS:
        signal.signal(number, lambda number, _: node.pass_on(number))
    signal.signal(signal.SIGUSR2, lambda *_: node.look())
    _speak_in(node.run, home)
    return node.work()


def _speak_in(run: RunDirectory, home: Home) -> None:
    """Send this process's words to the run's job.log, and remove Slurm's log if it is empty."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        handle = os.open(run.path / "job.log", flags, FILE_MODE)
    except OSError:
        return  # Slurm's log is where the reason will be read
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    empty = home.path / "slurm" / f"{os.environ.get('SLURM_JOB_ID', '')}.log"
    with contextlib.suppress(OSError):
        if empty.stat().st_size == 0:
            empty.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
