"""One run as a screen watches it: files read in a thread, curves folded as points arrive.

`poll` reads a bounded amount and may block: threads call it. `fold` is cheap and is called where
the widgets live; what it returns is drawn. The lock is held only while records are taken over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from textual.message import Message

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.events import EventReader
from tlui.runs.files import read_json
from tlui.runs.history import History, as_float
from tlui.runs.number import is_number
from tlui.runs.status import Observed
from tlui.tui.chart.data import Timeline
from tlui.tui.messages import RunChanged

POLL_SECONDS = 1.0
"""One look a second: what a chart costs on a slow line is paid this often, not more."""
PORTION = 512 * 1024
LOG_BYTES, LOG_LINES = 32 * 1024, 200


@dataclass
class LiveRun:
    """What is known of one run by now."""

    run: RunDirectory
    history: History = field(default_factory=History)
    epochs: Timeline = field(default_factory=Timeline)
    steps: Timeline = field(default_factory=Timeline)
    system: Timeline = field(default_factory=Timeline)
    meta: dict[str, Any] = field(default_factory=dict)
    observed: Observed | None = None
    result: dict[str, Any] | None = None
    complete: bool = False
    """Whether every record there was has been read once."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._reader = EventReader(self.run.events)
        self._epoch_rows = 0
        self._last_epoch: Any = None
        self._result_stamp: int | None = None
        self._seen: tuple[Any, ...] = ()
        self._system_count = 0
        self._log_size = -1
        self._sweep: list[str] | None = None
        self.trainer_log: list[str] = []
        """The last lines of the trainer's own output, once it has ended badly."""

    def poll(self) -> bool:
        """Read what is new; True where the screen has something to show for it."""
        if not self.meta:
            self.meta = self.run.read_meta()
        before = self._reader.offset
        events = self._reader.read(PORTION)
        self.complete = self.complete or not events
        try:
            stamp: int | None = self.run.result.stat().st_mtime_ns
        except OSError:
            stamp = None
        if stamp != self._result_stamp:
            self._result_stamp = stamp
            self.result = self.run.read_result()
        observed = self.run.observe()
        if observed.state in ("failed", "interrupted", "diverged"):
            self._read_trainer_log()
        seen = (observed.state, observed.reason, observed.status.progress, stamp, self.complete)
        with self._lock:
            self.history.feed(events)
            self.observed = observed
        changed = self._reader.offset != before or seen != self._seen
        self._seen = seen
        return changed

    def _read_trainer_log(self) -> None:
        """The end of trainer.log, a bounded part of it."""
        try:
            with open(self.run.log, "rb") as file:
                size = file.seek(0, 2)
                if size == self._log_size:
                    return
                self._log_size = size
                file.seek(max(size - LOG_BYTES, 0))
                text = file.read(LOG_BYTES).decode("utf-8", "replace")
        except OSError:
            return
        self.trainer_log = [line.rpartition("\r")[2] for line in text.splitlines()][-LOG_LINES:]

    def class_names(self) -> list[str]:
        """Class names by index, from classes.json; empty where there is none."""
        given = read_json(self.run.classes) or {}
        found = given.get("classes")
        return [str(name) for name in found] if isinstance(found, list) else []

    def sweep(self) -> list[str]:
        """Dotted paths of the settings its preset's sweep chose, as its own preset.toml says."""
        if self._sweep is None:
            import tomllib

            try:
                given = tomllib.loads(self.run.preset.read_text("utf-8"))
                self._sweep = list((given.get("origin") or {}).get("sweep") or {})
            except (OSError, ValueError, AttributeError):
                self._sweep = []
        return self._sweep

    @property
    def reading(self) -> bool:
        """Whether there is more to read at once."""
        return not self.complete

    def fold(self) -> None:
        """Bring the curves up to the history."""
        with self._lock:
            self._fold_steps()
            self._fold_epochs()
            self._fold_system()

    def _fold_steps(self) -> None:
        steps, line = self.history.steps, self.steps
        known = len(line)
        if known and (known > len(steps) or steps.x[known - 1] != line.x("step")[-1]):
            self.steps = line = Timeline()
            known = 0
        if known == len(steps):
            return
        columns = {name: np.array(col[known:]) for name, col in steps.columns.items()}
        line.extend(
            np.array(steps.x[known:]),
            _rising(np.array(steps.epoch[known:]), line.x("epoch")),
            _rising(np.array(steps.seconds[known:]), line.x("time")),
            columns,
        )

    def _fold_epochs(self) -> None:
        rows = self.history.epochs
        if self._epoch_rows > len(rows) or (
            self._epoch_rows and rows[self._epoch_rows - 1] is not self._last_epoch
        ):
            self.epochs = Timeline()
            self._epoch_rows = 0
        for row in rows[self._epoch_rows :]:
            self.epochs.append(
                as_float(row.get("global_step") or row["epoch"]),
                float(row["epoch"]),
                float(row["elapsed"]),
                {k: as_float(v) for k, v in row.items() if is_number(v)},
            )
        self._epoch_rows = len(rows)
        self._last_epoch = rows[-1] if rows else None

    def _fold_system(self) -> None:
        samples = list(self.history.system)
        if len(samples) < self._system_count:
            self.system, self._system_count = Timeline(), 0
        start = float(samples[0]["t"]) if samples else 0.0
        for sample in samples[self._system_count :]:
            at = float(sample["t"]) - start
            values = {k: as_float(v) for k, v in sample.items() if k != "t" and is_number(v)}
            self.system.append(at, at, at, values)
        self._system_count = len(samples)

    @property
    def state(self) -> str:
        """The observed state; `queued` until it was read."""
        return self.observed.state if self.observed else "queued"

    @property
    def name(self) -> str:
        return str(self.meta.get("name") or self.run.id)

    @property
    def config(self) -> dict[str, Any]:
        found = self.meta.get("config")
        return found if isinstance(found, dict) else {}

    @property
    def monitor(self) -> str:
        return str(self.config.get("train.monitor") or "val_accuracy")


def _rising(values: Any, before: Any) -> Any:
    """Values made never to fall, nor below the last one before them; gaps take their neighbour."""
    first = before[-1] if len(before) else 0.0
    filled = np.where(np.isfinite(values), values, first)
    return np.maximum.accumulate(np.maximum(filled, first))


class RunWatch:
    """A thread that polls some runs and says `RunChanged` of each that has said more."""

    def __init__(self, home: Home, ids: Iterable[str], post: Callable[[Message], object]) -> None:
        self.runs = {run_id: LiveRun(home.run(run_id)) for run_id in ids}
        self._post = post
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="run-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; it is not waited for."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            reading = False
            for run_id, live in self.runs.items():
                if self._ended.is_set():
                    return
                if live.poll() and not self._ended.is_set():
                    self._post(RunChanged(run_id))
                reading = reading or live.reading
            if not reading:
                self._ended.wait(POLL_SECONDS)
