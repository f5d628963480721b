"""Runs as jobs of a Slurm cluster whose nodes share tlui's home; sbatch, squeue, scancel, scontrol.

A job runs the supervisor of its run on the node (`slurm_node`). The points of an experiment that
ask for the same resources are one array. The ids of its runs ride in the job's comment, in the
order of the array's tasks, and a job is only ever found by them: a Slurm that restarted may have
lost a job and given its number to another (seen on 22.05). A child waits for its parents with
`afterany`, and decides on the node, from their directories, whether it can start; so a parent
that failed fails it with the reason, and one that reached its time limit is still waited for.

Slurm gets every wish of a preset as one argument of sbatch; the script names nothing but tlui.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tlui.errors import TluiError
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.environment import source_tree
from tlui.runs.files import make_private
from tlui.runs.status import ENDED, read_status, write_status
from tlui.scheduler.backends.base import Hint, Mode, job_name
from tlui.scheduler.backends.handover import note_job, noted_job

if TYPE_CHECKING:
    from tlui.recipe.schema import Experiment

MOST_TASKS = 100
"""Runs in one array: their ids must fit into a comment of 1024 bytes."""
FRESH_SECONDS = 2.0
SECONDS = {"squeue": 10, "scancel": 20, "scontrol": 20, "sbatch": 60}
"""How long a command of Slurm may take; where its daemon is down it tries for a while."""
MUTE_SECONDS = 30.0
"""How long a Slurm that did not answer is not asked again what runs."""
WAITS = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"})
RUNS = frozenset(
    {"RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "SIGNALING", "STAGE_OUT", "STOPPED"}
)
NOT_OURS = re.compile(
    r"SLURM_(?!CONF$|CLUSTERS$)|SBATCH_ARRAY_INX$|CUDA_VISIBLE_DEVICES$|TLUI_DEVICE$"
    r"|ROCR_VISIBLE_DEVICES$|GPU_DEVICE_ORDINAL$|ZE_AFFINITY_MASK$"
)
"""Variables that would tell a job of devices or of another job that are not its own."""
SPEAKER = re.compile(r"^\w+: (error|fatal): ")


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str


Command = Callable[[Sequence[str], bytes], Answer]


def command(arguments: Sequence[str], given: bytes = b"") -> Answer:
    """Run one of Slurm's commands with `given` on its stdin. Raises TluiError if it cannot be."""
    env = {name: value for name, value in os.environ.items() if not NOT_OURS.match(name)}
    seconds = SECONDS[arguments[0]]
    try:
        done = subprocess.run(arguments, input=given, capture_output=True, env=env, timeout=seconds)
    except FileNotFoundError:
        raise TluiError(
            f"{arguments[0]}: not found; run tlui where Slurm's commands are (a login node), "
            "or with --on local"
        ) from None
    except subprocess.TimeoutExpired:
        raise TluiError(f"{arguments[0]}: no answer within {seconds} s") from None
    except OSError as error:
        raise TluiError(f"{arguments[0]}: {error}") from None
    out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    return Answer(done.returncode, out, err)


@dataclass(frozen=True)
class Job:
    """One job, or one task of an array, as squeue shows it."""

    id: str
    state: str
    reason: str
    run: str

    @property
    def hint(self) -> Hint:
        why = f" ({self.reason})" if self.reason not in ("", "None") else ""
        if self.state in WAITS:
            return Hint("waits", f"Slurm job {self.id} waits{why}", self.id)
        if self.state in RUNS:
            return Hint("runs", f"Slurm job {self.id} is {self.state.lower()}", self.id)
        return Hint("ended", f"Slurm job {self.id} ended: {self.state.lower()}{why}", self.id)


@dataclass
class Batch:
    """Runs that one sbatch submits."""

    experiment: Experiment
    runs: list[RunDirectory]
    parents: frozenset[str]


class SlurmBackend:
    """See `Backend`. `command` and `clock` are the edges at which tests put their own.

    `state` asks squeue at most every two seconds, however many ask it.
    """

    def __init__(
        self, command: Command = command, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._command = command
        self._clock = clock
        self._listed: tuple[float, dict[str, Job]] | None = None
        self._mute: tuple[float, str] | None = None

    def submit(
        self,
        home: Home,
        runs: Sequence[RunDirectory],
        dependencies: Mapping[str, Collection[str]],
    ) -> None:
        """Submit runs, parents first; see `Backend.submit`."""
        from tlui.recipe.toml import load_experiment

        jobs = self._live_jobs(home, dependencies) if any(dependencies.values()) else {}
        refused: dict[str, list[str]] = {}
        sound: list[tuple[RunDirectory, Experiment]] = []
        for run in runs:
            try:
                sound.append((run, load_experiment(run.preset)))
            except TluiError as error:
                refused.setdefault(str(error), []).extend(_refuse([run], str(error)))
        for batch in batches(sound, dependencies):
            problem = _unmet(home, batch, jobs)
            if not problem:
                answer = self._command(
                    ["sbatch", *flags(home, batch, jobs)], script(home, [r.id for r in batch.runs])
                )
                self._listed = None
                number = re.match(r"\d+", answer.out)
                if answer.code == 0 and number:
                    jobs.update(_record(batch.runs, number[0]))
                    continue
                problem = "Slurm refused it: " + " ".join(answer.err.split())
            refused.setdefault(problem, []).extend(_refuse(batch.runs, problem))
        if refused:
            lines = [f"{shortened(names)}: {problem}" for problem, names in refused.items()]
            raise TluiError("\n".join([*lines, "tlui resume submits such runs again"]))

    def state(self, runs: Sequence[RunDirectory]) -> dict[str, Hint]:
        """Run id -> what squeue says; never raises."""
        now = self._clock()
        if self._mute is None or now - self._mute[0] > MUTE_SECONDS:
            self._mute = None
            try:
                if self._listed is None or now - self._listed[0] > FRESH_SECONDS:
                    self._jobs()
            except TluiError as error:
                self._mute = self._clock(), f"Slurm does not answer ({error}); see sinfo"
        if self._mute is not None:
            return {run.id: Hint("unknown", self._mute[1]) for run in runs}
        jobs = self._listed[1] if self._listed else {}
        return {run.id: _hint(run, jobs.get(run.id)) for run in runs}

    def cancel(self, run: RunDirectory, mode: Mode) -> Hint:
        """Drop a waiting job, signal a running one; see `Backend.cancel`."""
        job = self._jobs().get(run.id)
        if job is not None and job.hint.state == "waits":
            self._ask("scancel", "--state=PENDING", job.id)
            job = self._jobs().get(run.id)  # it may have started in this very moment
        if job is not None and job.hint.state == "runs":
            # the request file says what; a signal that says it too would count as a second one
            nudge = [] if mode == "kill" else ["--batch", "--signal=USR2"]
            self._ask("scancel", *nudge, job.id)
        return _hint(run, job)

    def hold(self, run: RunDirectory, held: bool) -> Hint:
        """Hold a waiting job, or release one that is held; see `Backend.hold`."""
        job = self._jobs().get(run.id)
        waits = job is not None and job.hint.state == "waits"
        if job is not None and waits and held != job.reason.startswith("JobHeld"):
            self._ask("scontrol", "uhold" if held else "release", job.id)
            job = self._jobs().get(run.id)
        return _hint(run, job)

    def _jobs(self) -> dict[str, Job]:
        """Run id -> its live job, else the one Slurm lists last. Raises TluiError."""
        arguments = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.geteuid()}"]
        found: dict[str, Job] = {}
        for job in parse(self._ask(*arguments, "--format=%i|%T|%r|%k")):
            known = found.get(job.run)
            if known is None or known.hint.vanished:
                found[job.run] = job
        self._listed = self._clock(), found
        return found

    def _live_jobs(self, home: Home, wanted: Mapping[str, Collection[str]]) -> dict[str, str]:
        """Run id -> job, of the parents that Slurm will still bring forward."""
        parents = {parent for ids in wanted.values() for parent in ids}
        hints = self.state([home.run(parent) for parent in sorted(parents)])
        return {run: hint.job for run, hint in hints.items() if hint.state in ("waits", "runs")}

    def _ask(self, *arguments: str) -> str:
        answer = self._command(arguments, b"")
        if answer.code != 0:
            last = (answer.err.splitlines() or [""])[-1]  # what led to it comes before
            raise TluiError(f"{arguments[0]}: {SPEAKER.sub('', last)}")
        return answer.out


def parse(listing: str) -> Iterable[Job]:
    """Our jobs in a listing `%i|%T|%r|%k` with one line a task; other people's are passed over."""
    for line in listing.splitlines():
        number, _, rest = line.strip().partition("|")
        state, _, rest = rest.partition("|")
        reason, _, comment = rest.partition("|")
        words = comment.split()
        task = re.fullmatch(r"\d+(?:_(\d+))?", number)
        if not task or not words or words[0] != "tlui":
            continue
        index = int(task[1] or 0)
        if index + 1 < len(words):
            yield Job(number, state, reason, words[index + 1])


def batches(
    runs: Iterable[tuple[RunDirectory, Experiment]], dependencies: Mapping[str, Collection[str]]
) -> list[Batch]:
    """Runs that can share an array: of one experiment, with the same resources and parents."""
    found: dict[tuple[str, ...], Batch] = {}
    number = 0
    for run, experiment in runs:
        parents = frozenset(dependencies.get(run.id, ()))
        origin = experiment.origin
        kind = (
            origin.experiment if origin else "",
            repr(experiment.slurm),
            _gpus(experiment),
            *sorted(parents),
        )
        batch = found.get(kind)
        if batch is not None and len(batch.runs) == MOST_TASKS:
            number += 1
            found[(*kind, f"full {number}")] = found.pop(kind)
            batch = None
        if batch is None:
            batch = found[kind] = Batch(experiment, [], parents)
        batch.runs.append(run)
    return list(found.values())


def flags(home: Home, batch: Batch, jobs: Mapping[str, str]) -> list[str]:
    """The arguments of sbatch; `jobs` knows the jobs of parents that have not ended."""
    from tlui.recipe.placement import Slurm

    asked = batch.experiment.slurm or Slurm()
    single = len(batch.runs) == 1
    origin = batch.experiment.origin
    name = batch.experiment.name if single or origin is None else origin.experiment
    found = {
        "parsable": None,
        "job-name": job_name(name),
        "comment": " ".join(["tlui", *(run.id for run in batch.runs)]),
        "nodes": "1",
        "ntasks": "1",
        "requeue": None,
        "signal": f"B:USR1@{asked.signal}",
        "chdir": "/",
        "open-mode": "append",
        "output": output(home),
    }
    if waits := [jobs[parent] for parent in batch.parents if parent in jobs]:
        in_order = sorted(waits, key=lambda job: [int(part) for part in job.split("_")])
        found["dependency"] = "afterany:" + ":".join(in_order)
    if not single:
        most = f"%{asked.at_once}" if asked.at_once else ""
        found["array"] = f"0-{len(batch.runs) - 1}{most}"
    if asked.partition is not None:
        found["partition"] = asked.partition
    if (gpus := _gpus(batch.experiment)) not in ("0", ""):
        found["gres"] = f"gpu:{gpus}"
    if asked.cpus is not None:
        found["cpus-per-task"] = str(asked.cpus)
    if asked.mem is not None:
        found["mem"] = asked.mem
    if asked.time is not None:
        found["time"] = asked.time
    words = [f"--{k}" if v is None else f"--{k}={v}" for k, v in found.items()]
    return [*words, *asked.extra]


def script(home: Home, ids: Sequence[str]) -> bytes:
    """The job: one task for each run, in order, that hands over to `slurm_node`."""
    lines = [
        "#!/bin/sh",
        "# One task for each run of tlui, whose supervisor it starts on this node.",
        "trap '' USR1 USR2  # until somebody listens",
        "umask 077",
        f"set -- {' '.join(shlex.quote(run) for run in ids)}",
    ]
    if len(ids) > 1:
        lines.append('shift "$SLURM_ARRAY_TASK_ID"')
    if root := source_tree():
        path = shlex.quote(str(root))
        lines.append(f'export PYTHONPATH={path}"${{PYTHONPATH:+:$PYTHONPATH}}"')
    lines += [
        "# what Slurm did not give is not used",
        'export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES--1}"',
        f"exec {shlex.quote(sys.executable)} -P -m tlui.scheduler.backends.slurm_node "
        f'{shlex.quote(str(home.path))} "$1"',
    ]
    return os.fsencode("\n".join(lines) + "\n")


def output(home: Home) -> str:
    """Where a job says what goes wrong before it is in its run directory: `<home>/slurm/JOB.log`.

    Slurm expands `%` in the path and takes a backslash for a wish not to; such homes get none.
    """
    folder = home.path / "slurm"
    if re.search(r"[%\\\x00-\x1f]", str(folder)):
        return os.devnull
    try:
        make_private(folder)
    except OSError:
        return os.devnull
    return f"{folder}/%j.log"


def _gpus(experiment: Experiment) -> str:
    """GPUs of one job, `N` or `TYPE:N`; empty where `extra` says it in its own way."""
    asked = experiment.slurm
    if asked is not None and asked.gpus is not None:
        return asked.gpus
    if asked is not None and any(re.match(r"--(gres|gpus|tres)\b", flag) for flag in asked.extra):
        return ""
    return str(experiment.train.devices)


def _unmet(home: Home, batch: Batch, jobs: Mapping[str, str]) -> str:
    """Why a batch cannot be submitted yet: a parent that neither ended nor has a job."""
    for parent in sorted(batch.parents):
        run = home.run(parent)
        if parent not in jobs and run.observe().state not in ENDED - {"interrupted"}:
            name = run.read_meta().get("name") or parent
            return f"waits for {name} ({parent}), which is not in Slurm"
    return ""


def _record(runs: Sequence[RunDirectory], number: str) -> dict[str, str]:
    """Note in each run which job is its own; run id -> job."""
    jobs = {
        run.id: number if len(runs) == 1 else f"{number}_{task}" for task, run in enumerate(runs)
    }
    for run in runs:
        status = read_status(run.status)
        note_job(run, "slurm", jobs[run.id], status.attempt if status else 0)
    return jobs


def _refuse(runs: Sequence[RunDirectory], problem: str) -> list[str]:
    """Say in the status of queued runs why they have no job; their names."""
    for run in runs:
        status = read_status(run.status)
        if status is not None and status.state == "queued":
            note_job(run, "slurm", "", status.attempt)
            advice = f"tlui resume {run.id} submits it again"
            try:
                write_status(run.status, replace(status, reason=problem, advice=advice))
            except OSError:
                pass  # the person is told by the error as well
    return [str(run.read_meta().get("name") or run.id) for run in runs]


def shortened(names: Sequence[str]) -> str:
    """`a, b and 7 more`."""
    more = f" and {len(names) - 2} more" if len(names) > 3 else ""
    return ", ".join(names[:2] if more else names) + more


def _hint(run: RunDirectory, job: Job | None) -> Hint:
    if job is not None:
        return job.hint
    noted = noted_job(run)
    number = str(noted.get("job") or "")
    if not number:
        return Hint("gone", "Slurm refused it" if noted else "was never handed to Slurm")
    return Hint("gone", f"Slurm no longer knows job {number}", number)
