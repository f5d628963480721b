"""What a run has said so far, folded from events.jsonl: epochs, steps, phases, alerts, log.

`History.feed` takes records as they come, in any portions, so a live view pays for what is new
only. A resume (`open` with `epoch` and `step`) voids what was trained past the point it continues
from: those epochs and steps are dropped, what was logged stays. Memory: steps are kept as columns
of doubles (48 bytes a step), log lines, alerts and system samples up to a bound, oldest dropped.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tlui.runs.directory import RunDirectory
from tlui.runs.events import Event, EventReader
from tlui.runs.number import is_number, numeric

FORMAT = 1
"""The events version this reads; newer ones are read as far as they are alike."""
KEPT = 10_000
"""How many log lines, alerts and system samples are kept."""
EPOCH_WORDS = frozenset({"type", "best"})
PHASE_WORDS = frozenset({"type", "freeze", "batchnorm"})
PROGRESS_WORDS = frozenset({"type", "what"})
"""What of these records is no number."""
TIMES_END = 1e11
"""No Unix time of an event is later."""
STEP_FIELDS = ("loss", "accuracy", "lr", "images_per_second")


class Steps:
    """The step records as columns, `nan` where a record held none.

    `x` is the global step, `epoch` the position in epochs as a real number (2.5 is the middle of
    the third), `seconds` the training time (pauses between attempts not counted).
    """

    def __init__(self) -> None:
        self.x = array("d")
        self.epoch = array("d")
        self.seconds = array("d")
        self.columns = {name: array("d") for name in STEP_FIELDS}

    def __len__(self) -> int:
        return len(self.x)

    def add(self, event: Event, seconds: float) -> None:
        at = as_float(event.get("global_step"))
        if math.isnan(at):
            return
        self.cut(at - 1)
        steps = as_float(event.get("steps"))
        within = as_float(event.get("step")) / steps if steps > 0 else math.nan
        self.x.append(at)
        self.epoch.append(as_float(event.get("epoch")) - 1 + within)
        self.seconds.append(seconds)
        for name, column in self.columns.items():
            column.append(as_float(event.get(name)))

    def cut(self, last: float) -> None:
        """Drop the steps past global step `last`."""
        if not self.x or self.x[-1] <= last:
            return
        keep = bisect_right(self.x, last)
        for column in (self.x, self.epoch, self.seconds, *self.columns.values()):
            del column[keep:]


@dataclass
class History:
    """A run as its events tell it. Fields are read by anyone, changed by `feed` only."""

    epochs: list[Event] = field(default_factory=list)
    """The epoch records that count, epoch 1 first, each with `elapsed` seconds of training."""
    phases: list[Event] = field(default_factory=list)
    steps: Steps = field(default_factory=Steps)
    logs: deque[Event] = field(default_factory=lambda: deque(maxlen=KEPT))
    alerts: deque[Event] = field(default_factory=lambda: deque(maxlen=KEPT))
    system: deque[Event] = field(default_factory=lambda: deque(maxlen=KEPT))
    states: list[Event] = field(default_factory=list)
    attempts: list[Event] = field(default_factory=list)
    """The `open` records: one for each start, resumes included."""
    last_step: Event | None = None
    """The newest step record: epoch, step, steps, img/s now."""
    progress: Event | None = None
    """The newest `progress` record since the last state or step: what is being done, how far."""
    version: int = FORMAT
    """The newest format version a writer declared."""
    count: int = 0
    """Records taken in; rises with every change."""
    _base: float = 0.0
    _began: float | None = None
    _latest: float = 0.0

    @property
    def newer(self) -> bool:
        """Whether a newer tlui wrote this, so that there may be records this one cannot show."""
        return self.version > FORMAT

    @property
    def elapsed(self) -> float:
        """Seconds of training at the last epoch or step that counts."""
        epoch = self.epochs[-1]["elapsed"] if self.epochs else 0.0
        return max(epoch, self.steps.seconds[-1]) if len(self.steps) else float(epoch)

    def feed(self, events: Iterable[Event]) -> History:
        """Take in further records, in the order they were written."""
        for event in events:
            self.count += 1
            if not 0 <= as_float(event.get("t")) < TIMES_END:
                event = {**event, "t": self._latest}  # damaged: as late as the one before it
            self._latest = event["t"]
            take = _TAKE.get(event["type"])
            if take is not None:
                take(self, event)
        return self

    def series(self, name: str) -> list[float]:
        """One value of each epoch (`val_accuracy`, `lr`, `elapsed` …), nan where it has none."""
        return [as_float(row.get(name)) for row in self.epochs]

    def best(self, monitor: str) -> Event | None:
        """The epoch record with the best `monitor` (least for losses); the first of equals."""
        rows = [row for row in self.epochs if math.isfinite(as_float(row.get(monitor)))]
        if not rows:
            return None
        pick = min if lower_is_better(monitor) else max
        return pick(rows, key=lambda row: float(row[monitor]))

    def metrics(self) -> list[str]:
        """Names of the numbers epochs hold, `SPLIT_METRIC` ones first."""
        found: dict[str, None] = {}
        for row in self.epochs:
            found |= dict.fromkeys(k for k, v in row.items() if is_number(v) and k not in _PLACE)
        return sorted(found, key=lambda name: (not name.startswith(("train_", "val_")), name))

    def _seconds(self, event: Event) -> float:
        now = float(event["t"])
        if self._began is None:
            self._began = now
        return max(self._base + now - self._began, 0.0)

    def _open(self, event: Event) -> None:
        self.attempts.append(event)
        self.version = max(self.version, _whole(event.get("version")) or FORMAT)
        epoch, step = _whole(event.get("epoch")), _whole(event.get("step"))
        if epoch is not None:
            self.epochs = [row for row in self.epochs if row["epoch"] <= epoch]
            self.phases = [p for p in self.phases if (_whole(p.get("first_epoch")) or 1) <= epoch]
        if step is not None:
            self.steps.cut(step)
        self.last_step = self.progress = None
        self._base = self.elapsed
        self._began = float(event["t"])

    def _epoch(self, event: Event) -> None:
        number = _whole(event.get("epoch"))
        if number is None:
            return
        while self.epochs and self.epochs[-1]["epoch"] >= number:
            self.epochs.pop()
        row = numeric(event, EPOCH_WORDS)
        self.epochs.append({**row, "epoch": number, "elapsed": self._seconds(event)})
        self.progress = None

    def _step(self, event: Event) -> None:
        self.steps.add(event, self._seconds(event))
        self.last_step = event
        self.progress = None

    def _phase(self, event: Event) -> None:
        number = _whole(event.get("phase")) or 0
        self.phases = [p for p in self.phases if p["phase"] != number]
        self.phases.append({**numeric(event, PHASE_WORDS), "phase": number})

    def _state(self, event: Event) -> None:
        self.states.append(event)
        self.progress = None

    def _progress(self, event: Event) -> None:
        self.progress = numeric(event, PROGRESS_WORDS)


_TAKE: dict[str, Callable[[History, Event], object]] = {
    "open": History._open,
    "epoch": History._epoch,
    "step": History._step,
    "phase": History._phase,
    "state": History._state,
    "progress": History._progress,
    "log": lambda history, event: history.logs.append(event),
    "alert": lambda history, event: history.alerts.append(event),
    "system": lambda history, event: history.system.append(event),
}
_PLACE = frozenset({"t", "epoch", "epochs", "phase", "global_step", "elapsed"})


class Tail:
    """A run's history kept up to date: `poll` reads what was appended since."""

    def __init__(self, run: RunDirectory) -> None:
        self.history = History()
        self._reader = EventReader(run.events)

    def poll(self, portions: int = 4) -> bool:
        """Take in what is new, a bounded amount (about `portions` MiB); True if there was any."""
        before = self._reader.offset
        for _ in range(portions):
            start = self._reader.offset
            self.history.feed(self._reader.read())
            if self._reader.offset == start:
                break
        return self._reader.offset != before


def load(run: RunDirectory) -> History:
    """The whole history of a run; empty where it has none."""
    return History().feed(EventReader(run.events).read_all())


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is better: losses, times, memory."""
    return metric.endswith(("loss", "seconds", "_mb"))


def decimate(
    xs: Iterable[float], ys: Iterable[float], buckets: int
) -> tuple[list[float], list[float]]:
    """A curve thinned for drawing: the least and greatest point of each of `buckets` columns.

    At most two points a bucket, in order of x, so no peak is lost. Points with a y that is not
    finite are left out. `xs` must not fall.
    """
    points = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(y) and math.isfinite(x)]
    if len(points) <= 2 * buckets or buckets < 1:
        return [x for x, _ in points], [y for _, y in points]
    low, span = points[0][0], points[-1][0] - points[0][0]
    least: dict[int, tuple[float, float]] = {}
    most: dict[int, tuple[float, float]] = {}
    for point in points:
        at = min(int((point[0] - low) / span * buckets), buckets - 1) if span > 0 else 0
        if at not in least or point[1] < least[at][1]:
            least[at] = point
        if at not in most or point[1] > most[at][1]:
            most[at] = point
    kept = sorted({point for at in least for point in (least[at], most[at])})
    return [x for x, _ in kept], [y for _, y in kept]


def smooth(ys: Iterable[float], weight: float) -> list[float]:
    """Exponential moving average with its start corrected, as TensorBoard draws it.

    `s_i = w * s_(i-1) + (1 - w) * y_i`, divided by `1 - w**i` (Kingma & Ba 2014, section 3);
    values that are not finite pass through. `weight` is in [0, 1).
    """
    found: list[float] = []
    last, seen = 0.0, 0
    for y in ys:
        if math.isfinite(y):
            last, seen = weight * last + (1 - weight) * y, seen + 1
            y = last / (1 - weight**seen)
        found.append(y)
    return found


def as_float(value: Any) -> float:
    """A number of an event as a float, nan for anything else."""
    return float(value) if is_number(value) else math.nan


def _whole(value: Any) -> int | None:
    return None if not math.isfinite(as_float(value)) else int(value)
