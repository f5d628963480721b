"""Where a run is trained: on this machine, or as a job of a cluster, with what resources.

The backends with the names of `BACKENDS` live in `tlui.scheduler.backends`. Everything here is
handed to the cluster as single words, never as lines of a script: a preset from a stranger may
ask for resources, and for nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt

from tlui.recipe import catalogue
from tlui.recipe.strict import Refused, Table, rule

BACKENDS: dict[str, str] = {
    "local": "tlui's own queue on this machine",
    "slurm": "jobs of a Slurm cluster that shares tlui's home",
}

_FLAGS = """
account begin cluster-constraint constraint contiguous core-spec cores-per-socket cpu-freq
cpus-per-gpu deadline delay-boot distribution exclude exclusive gpu-bind gpu-freq gpus-per-node
gpus-per-socket gpus-per-task gres gres-flags hint licenses mail-type mem-bind mem-per-cpu
mem-per-gpu mincpus nice nodelist ntasks-per-core oversubscribe power prefer priority
profile qos reservation sockets-per-node spread-job switches thread-spec
threads-per-core time-min tmp tres-per-task use-min-nodes wckey"""
EXTRA_FLAGS = frozenset(_FLAGS.split())
"""What `slurm.extra` may hold: flags of sbatch that choose or limit resources. Not those that
name files, programs or variables (--wrap, --output, --export, --chdir …), nor those tlui sets
itself; a person's own wishes of that kind go into sbatch's SBATCH_* variables."""

TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


def _backend(given: Any) -> Any:
    if isinstance(given, str) and given not in BACKENDS:
        raise ValueError(catalogue.unknown("backend", given, BACKENDS))
    return given


def _as_text(given: Any) -> Any:
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def seconds(time: str) -> int:
    """A time limit of Slurm in seconds: `M`, `M:S`, `H:M:S`, `D-H`, `D-H:M` or `D-H:M:S`.

    Raises:
        ValueError: It is none of these, or nothing at all.
    """
    match = TIME.fullmatch(time)
    if match is None:
        raise ValueError(
            f'must be minutes, or written like "1:30:00" or "2-12" (days-hours). Received: {time!r}'
        )
    days, *rest = match.groups()
    given = [int(part) for part in rest if part is not None]
    if days is None:
        # one part is minutes, two are minutes:seconds, three are hours:minutes:seconds
        hours, minutes, secs = ([0, *given, 0], [0, *given], given)[len(given) - 1]
    else:
        hours, minutes, secs = (*given, 0, 0)[:3]
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + secs
    if total == 0:
        raise ValueError(f"must be longer than nothing. Received: {time!r}")
    return total


def _time(given: str) -> str:
    seconds(given)
    return given


def _extra(given: str) -> str:
    name = given[2:].partition("=")[0]
    if not re.fullmatch(r"--[a-z][a-z-]*(=[^\s\x00-\x1f\x7f]+)?", given):
        raise ValueError(f"must be one word like --flag=value. Received: {given!r}")
    if name not in EXTRA_FLAGS:
        flags = sorted(f"--{flag}" for flag in EXTRA_FLAGS)
        raise ValueError(
            catalogue.unknown("flag of sbatch that a preset may set", f"--{name}", flags)
        )
    return given


WORD = r"^[A-Za-z0-9_.,+-]*[A-Za-z0-9_]$"


class RunPlacement(Table):
    """What trains the run."""

    on: Annotated[str, BeforeValidator(_backend)] = "local"
    """`local`: tlui's own queue on this machine; `slurm`: a job of the cluster."""


class Slurm(Table):
    """What each run's job asks of Slurm; what is not given is the cluster's default."""

    partition: Annotated[str, Field(pattern=WORD, max_length=200)] | None = None
    gpus: (
        Annotated[str, BeforeValidator(_as_text), Field(pattern=r"^([A-Za-z0-9_.-]+:)?\d{1,3}$")]
        | None
    ) = None
    """How many GPUs, or `TYPE:N`; 0 trains on the CPU. Default: `train.devices`."""
    cpus: Annotated[int, Field(ge=1, le=4096)] | None = None
    """CPU cores: for decoding and augmenting images even where a GPU trains."""
    mem: (
        Annotated[str, BeforeValidator(_as_text), Field(pattern=r"^\d{1,12}[KMGTkmgt]?$")] | None
    ) = None
    """Host memory, such as `16G`; in MB without a unit."""
    time: Annotated[str, BeforeValidator(_as_text), AfterValidator(_time)] | None = None
    """Time limit of one job: minutes, `H:M:S` or `D-H:M:S`. A run that reaches it checkpoints,
    queues itself again and goes on, as often as it takes."""
    signal: Annotated[int, Field(ge=1, le=65535)] = 120
    """How long before the time limit the run is told to checkpoint, in seconds. Slurm may be up
    to a minute early."""
    at_once: PositiveInt | None = None
    """How many points of one sweep may run at the same time; all that fit by default."""
    extra: list[Annotated[str, AfterValidator(_extra)]] = []
    """More flags for sbatch, such as `--account=vision` or `--constraint=a100`."""

    @staticmethod
    @rule("time", "signal")
    def _room_before_the_limit(time: str | int | None, signal: int) -> Iterator[Refused]:
        if time is not None and signal >= seconds(str(time)):
            yield Refused(
                "signal comes before the job begins: it must be less than the time limit. "
                f"Received: signal={signal} s, time={seconds(str(time))} s"
            )
