"""What a backend is: something that trains queued runs elsewhere than this machine's own queue.

The run directory is the truth about a run; a backend hands it to a cluster, and what the cluster
says of it is a hint: it may lose a job, forget one that ended, or give its number to another.
Stdlib only at import time, for lists and supervisors look here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from tlui.runs.directory import Home, RunDirectory

Mode = Literal["stop", "interrupt", "kill"]


@dataclass(frozen=True)
class Hint:
    """What a cluster says of a run's job."""

    state: Literal["waits", "runs", "ended", "gone", "unknown"]
    """`gone`: it knows no such job; `unknown`: it does not answer."""
    reason: str
    """A sentence's worth, without the run: `job 17_3 waits (Resources)`."""
    job: str = ""

    @property
    def vanished(self) -> bool:
        """Whether nothing of the cluster will bring the run forward any more."""
        return self.state in ("ended", "gone")


class Backend(Protocol):
    """Four things are asked of a cluster."""

    def submit(
        self,
        home: Home,
        runs: Sequence[RunDirectory],
        dependencies: Mapping[str, Collection[str]],
    ) -> None:
        """Hand queued runs over.

        Args:
            home: The store; its path is the same on the cluster's nodes.
            runs: Parents before their children. Resources come from each one's preset.toml.
            dependencies: Run id -> ids of the runs it waits for, among `runs` or before them.

        Raises:
            TluiError: The cluster refused or is not there. Runs it did not take stay queued, and
                their status says why.
        """

    def state(self, runs: Sequence[RunDirectory]) -> dict[str, Hint]:
        """Run id -> hint, for every run given. Never raises."""

    def cancel(self, run: RunDirectory, mode: Mode) -> Hint:
        """Tell the job of a run to end; waiting ones are dropped, running ones are signalled.

        The request file is the caller's business; the cluster only makes it faster.

        Returns:
            What became of the job: `waits` never, for it is dropped by then.

        Raises:
            TluiError: The cluster does not answer.
        """

    def hold(self, run: RunDirectory, held: bool) -> Hint:
        """Keep the waiting job of a run from starting, with all that waits for it, or let it go.

        Raises:
            TluiError: The cluster refused, or does not answer.
        """


def job_name(text: str) -> str:
    """A name any scheduler takes: letters, digits and `._-`, at most 64, recognisably ours."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")
    return f"tlui-{plain or 'run'}"[:64]
