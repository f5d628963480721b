"""The few points of a run that lists draw, folded from the epoch records of events.jsonl.

Lists must not parse every step of every run: lines that are not epoch or open records are passed
over unparsed, and a `Curve` remembers how far it read, so a live run costs only what is new.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

from tlui.runs.directory import RunDirectory
from tlui.runs.events import begun_anew, head
from tlui.runs.files import open_regular
from tlui.runs.history import lower_is_better

POINTS = 256
"""Points kept at most; every second is dropped when there are more."""
SHOWN = "val_accuracy"
BESTS = 8
PORTION = 4 << 20


@dataclass
class Curve:
    """Folded so far; plain data that goes through JSON."""

    offset: int = 0
    head: str = ""
    """How what was read begins."""
    epoch: int = 0
    """The last finished epoch."""
    points: list[float | None] = field(default_factory=list)
    """`SHOWN`, oldest first, one for every `stride` epochs."""
    stride: int = 1
    bests: list[dict[str, Any]] = field(default_factory=list)
    """The newest epochs that improved the monitored metric, the best last."""
    last: dict[str, Any] = field(default_factory=dict)
    """The newest epoch's record."""

    @classmethod
    def parse(cls, text: str | None) -> Curve:
        """A curve from its JSON; a fresh one where that is none."""
        try:
            return cls(**json.loads(text)) if text else cls()
        except (ValueError, TypeError):
            return cls()

    def dump(self) -> str:
        return json.dumps(vars(self), separators=(",", ":"))

    def metrics(self) -> dict[str, float]:
        """`SPLIT_METRIC` numbers of the best epoch (of the last where none is best)."""
        row = self.bests[-1] if self.bests else self.last
        return {
            k: v
            for k, v in row.items()
            if k.startswith(("train_", "val_")) and _finite(v) is not None
        }

    def update(self, run: RunDirectory, monitor: str) -> bool:
        """Read what was appended since; True if there was anything."""
        try:
            with open_regular(f"{run.path}/events.jsonl") as file:
                before = self.offset
                if begun_anew(file, self.offset, self.head.encode("latin-1")):
                    self.offset = 0
                file.seek(self.offset)
                while data := file.read(PORTION):
                    end = data.rfind(b"\n") + 1
                    if not end:
                        break
                    self._fold(data[:end], monitor)
                    self.offset += end
                    file.seek(self.offset)
                self.head = head(file, self.offset).decode("latin-1")
        except OSError:
            return False
        return self.offset != before

    def _fold(self, data: bytes, monitor: str) -> None:
        for line in data.split(b"\n"):
            if line.startswith(b'{"type":"epoch"'):
                record = _parse(line)
                number = _finite(record.get("epoch"))
                if number is not None:
                    self._cut(int(number) - 1)
                    self._add(int(number), record, monitor)
            elif line.startswith(b'{"type":"open"'):
                kept = _finite(_parse(line).get("epoch"))
                if kept is not None:
                    self._cut(int(kept))

    def _add(self, number: int, record: dict[str, Any], monitor: str) -> None:
        self.epoch, self.last = number, record
        if (number - 1) % self.stride == 0:
            self.points.append(_finite(record.get(SHOWN)))
            if len(self.points) > POINTS:
                self.points = self.points[::2]
                self.stride *= 2
        value = _finite(record.get(monitor))
        if value is None:
            return
        before = self.bests[-1][monitor] if self.bests else None
        sign = -1 if lower_is_better(monitor) else 1
        if before is None or sign * value > sign * before:
            self.bests = [*self.bests[1 - BESTS :], record]

    def _cut(self, last: int) -> None:
        """Void the epochs past `last`: a resume trains them again."""
        if last >= self.epoch:
            return
        self.epoch = max(last, 0)
        del self.points[(self.epoch + self.stride - 1) // self.stride :]
        self.bests = [row for row in self.bests if row["epoch"] <= last]
        if self.last and self.last["epoch"] > last:
            self.last = self.bests[-1] if self.bests else {}


def _parse(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:
        return None
