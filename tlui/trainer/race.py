"""Whether XLA makes a training step faster, measured on the device in training's first steps.

XLA compiles for every shape of a batch, which takes up to a minute, and is sometimes slower. So
the plain graph goes first; where so much training is left that it could pay, as many steps
follow compiled, and the faster graph trains on. The numbers of both agree to rounding.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Literal

WARM = 3
"""Steps of a graph that are not timed: tracing, compiling, memory."""
TIMED = 7
WORTH_SECONDS = 300.0
"""Less training than this is left as it is."""
GAIN = 0.95
"""Share of the plain step's time below which the compiled one is taken."""

Graph = Literal["plain", "compiled"]


class Race:
    """Picks the graph of each step; settled once `winner` is one.

    Args:
        steps: Steps of training that are left.
        say: Told of the outcome, where both have run.
        clock: Seconds; for tests.
    """

    def __init__(
        self, steps: int, say: Callable[[str], None], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.winner: Graph | None = None
        self._left = steps
        self._say = say
        self._clock = clock
        self._settled = False
        self._seconds: dict[Graph, list[float]] = {"plain": [], "compiled": []}

    def go_on(self, steps: int, say: Callable[[str], None]) -> None:
        """Take up the training of another run, whose `steps` are left: what was measured holds,
        and whether so much training is worth more is judged anew."""
        self._left, self._say = steps, say
        if not self._settled:
            self.winner = None
            if len(self._seconds["plain"]) == WARM + TIMED and not self._seconds["compiled"]:
                self._judge("plain")

    def step(self, graphs: dict[Graph, Callable[[], None]], wait: Callable[[], object]) -> None:
        """Take one step with whichever graph is due.

        Args:
            graphs: Each takes the step.
            wait: Returns when the device has taken it.

        Raises:
            Exception: What the plain graph raised; where the compiled one raises, the plain one
                takes the step and all that follow.
        """
        if self.winner is not None:
            graphs[self.winner]()
            return
        due: Graph = "plain" if len(self._seconds["plain"]) < WARM + TIMED else "compiled"
        began = self._clock()
        try:
            graphs[due]()
            wait()
        except Exception as error:
            if due == "plain":
                raise
            first = str(error).partition("\n")[0]
            self._settle("plain", f"XLA cannot compile the training step: {first}")
            graphs["plain"]()
            return
        self._left -= 1
        self._seconds[due].append(self._clock() - began)
        if len(self._seconds[due]) == WARM + TIMED:
            self._judge(due)

    def _judge(self, ran: Graph) -> None:
        plain, compiled = (
            statistics.median(self._seconds[graph][WARM:] or [0.0]) for graph in self._seconds
        )
        if ran == "plain":
            if plain * self._left < WORTH_SECONDS:
                self.winner = "plain"
            return
        better = compiled < GAIN * plain
        self._settle(
            "compiled" if better else "plain",
            f"a training step takes {1000 * plain:.1f} ms, compiled by XLA "
            f"{1000 * compiled:.1f} ms: it is {'used' if better else 'not used'}",
        )

    def _settle(self, winner: Graph, why: str) -> None:
        self.winner = winner
        self._settled = True
        self._say(why)
