"""The right side of the New form: how much data, what learns, how fast, does it fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tlui.runs import format
from tlui.runs.text import printable
from tlui.tui import describe, forecast
from tlui.tui.chart.plot import Curve, Plot
from tlui.tui.choices import Offer, offer_lines
from tlui.tui.forecast import Checked, Seen
from tlui.tui.lines import Line, pad, shorten, width_of, wrap
from tlui.tui.pictures import half_blocks
from tlui.tui.report import learning_bar
from tlui.tui.widgets.sheet import Sheet

SMALL, LARGE = 8, 16
"""Cells across a thumbnail; half as many lines. Large ones where all of them fit."""


class ForecastSheet(Sheet):
    """Answers as they come; each part stays until the next answer replaces it."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.plot = Plot("learning rate", write=format.rate)
        self.rate_problem = ""
        self.checked: Checked | None = None
        self.rest: Sequence[str] = ()
        self.in_form = 0
        self.changes: Sequence[tuple[str, str, str]] = ()
        self.seen: Seen | None = None
        self.waiting = False
        self.counted: list[tuple[int, int]] = []
        self.counting = False
        self.refusal = ""
        self.offer: Offer | None = None
        """The choices of the field under the cursor."""

    # -- answers

    def offered(self, offer: Offer | None) -> None:
        """The choices of the field that is edited now; None for one without a list."""
        self.offer = offer
        self.redraw()

    def rate(self, curves: list[Curve], problem: str) -> None:
        """The learning rate as it is typed."""
        self.plot.curves, self.rate_problem = curves, problem
        values = [float(v) for c in curves for v in c.series.values if v > 0]
        self.plot.log_y = bool(values) and max(values) / min(values) > 30
        self.refusal = ""
        self.redraw()

    def check(
        self,
        checked: Checked,
        rest: Sequence[str],
        in_form: int,
        changes: Sequence[tuple[str, str, str]],
    ) -> None:
        """What validation says; `rest` are problems that belong to no field."""
        self.checked, self.rest, self.in_form, self.changes = checked, rest, in_form, changes
        self.redraw()

    def looking(self) -> None:
        """The data is being looked at."""
        self.waiting = True
        self.redraw()

    def see(self, seen: Seen) -> None:
        """What the data holds."""
        self.seen, self.waiting = seen, False
        self.redraw()

    def count(self, counted: list[tuple[int, int]], counting: bool = False) -> None:
        """Exact parameters of every phase; none yet while they are counted."""
        self.counted, self.counting = counted, counting
        self.redraw()

    def refused(self, text: str) -> None:
        """Launching or loading was refused."""
        self.refusal = text
        self.redraw()

    # -- painting

    def build(self, width: int, height: int) -> list[Line]:
        narrow = width < 50
        tail = self._verdict(width)
        offer = self._choices(width, height)
        pictures = height >= 34 + (len(offer) if offer else 0)
        data = self._data(width, 4 if height < 30 or offer else 8, height if pictures else 0)
        if offer and height < 30:
            data = []  # one question at a time where there is little room
        learns = self._learns(width)
        data = [*offer, [], *data] if offer and data else offer or data
        room = height - len(data) - len(learns) - len(tail) - 3
        chart = self._rate(width, max(min(room, 10 if narrow else 14), 0))
        lines = [*data, [], *learns, [], *chart]
        spare = height - len(lines) - len(tail) - 1
        if spare > 3:
            lines += [[], *self._diff(width, spare - 1)]
        lines = lines[: max(height - len(tail), 0)]
        lines += [[]] * (height - len(tail) - len(lines))
        return lines + tail

    @property
    def to_mend(self) -> int:
        """How many fields, and things that belong to none, are wrong."""
        return self.in_form + len(self.rest)

    @property
    def unreadable(self) -> bool:
        """Whether the data was looked at and cannot be used."""
        return self.seen is not None and bool(self.seen.error) and not self.seen.classes

    def _choices(self, width: int, height: int) -> list[Line]:
        return offer_lines(self.offer, width - 1, max(height // 2 - 2, 4)) if self.offer else []

    def _data(self, width: int, most: int, height: int) -> list[Line]:
        seen = self.seen
        if seen is None:
            text = "looking at the data …" if self.waiting else "no data yet"
            return [[("data ", "title"), (text, "dim")]]
        if self.unreadable:
            parts = wrap(printable(seen.error), width - 1)[:4]
            return [[("data", "title")], *([(part, "error")] for part in parts)]
        totals = [
            f"{format.count(sum(seen.counts[s]))} {s}"
            for s in ("train", "val", "test")
            if s in seen.counts
        ]
        head = " · ".join([*totals, f"{len(seen.classes)} classes"])
        lines: list[Line] = [[(part, "")] for part in wrap(head, width - 1)]
        train = seen.counts.get("train", ())
        largest = max(train, default=1) or 1
        label = min(max((len(c) for c in seen.classes), default=5), 12)
        columns = 2 if width >= 2 * (label + 18) else 1
        cell = width // columns - 1
        if len(seen.classes) <= (most + 1) * columns:
            most += 1  # the line that says how many more there are holds them
        shown = seen.classes[: most * columns]
        rows = -(-len(shown) // columns)
        for row in range(rows):
            line: Line = []
            for at in range(row, len(shown), rows):
                size = max(cell - label - 9, 3)
                name = shorten(printable(shown[at]), label)
                line += [(pad(name, label) + " ", "dim")]
                line += describe.bar(train[at] / largest, size)
                line += [(pad(format.count(train[at]), 6, True) + "  ", "")]
            lines.append(line)
        least = min(train, default=0)
        more = len(seen.classes) - len(shown)
        words = []
        if more > 0:
            words.append(f"{more} more classes")
        if least and largest / least >= 1.5:
            words.append(f"largest class {largest / least:.1f} times the smallest")
        if words:
            lines.append([(", ".join(words), "warn" if largest > 3 * least else "dim")])
        if height and seen.pictures and self.look.colour and not self.look.ascii:
            large = height >= 45 and len(seen.pictures) * (LARGE + 1) <= width
            lines += half_blocks(list(seen.pictures.items()), width, LARGE if large else SMALL)
        return lines

    def _learns(self, width: int) -> list[Line]:
        one = self.checked.shown if self.checked else None
        if one is None:
            return [[("learning ", "title"), ("once the form is right", "dim")]]
        ascii = self.look.ascii
        from tlui.recipe.catalogue import BACKBONES

        guess = BACKBONES[one.backbone.name].parameters_at(one.backbone.alpha) or 0
        lines: list[Line] = []
        for i, phase in enumerate(one.phase):
            if i < len(self.counted):
                learn, total = self.counted[i]
                words = f" {format.exact(learn)} of {format.count(total, ascii)} learn"
            else:
                learn, total = (0 if phase.freeze == "backbone" else guess), guess
                words = {
                    "backbone": " the head learns",
                    "none": " everything learns",
                    "batchnorm": " all but BatchNorm",
                }.get(phase.freeze, f" {printable(phase.freeze)}")
                words += " …" if self.counting else ""
            size = min(width - 10 - width_of(words), 40)  # the words count more than the bar
            bar = learning_bar(max(learn, 1), max(total, 1), size) if size >= 4 else []
            lines.append([(pad(f"phase {i + 1}", 9 if bar else 7), "dim"), *bar, (words, "")])
        total = self.counted[-1][1] if self.counted else guess
        memory = format.memory(forecast.rough_memory_mb(one, total), ascii)
        facts, steps = f"roughly {memory} of memory", self._steps(one)
        if steps and len(facts) + len(steps) + 5 <= width:
            return [*lines, [(f"{facts}  ·  {steps}", "dim")]]
        return [
            *lines,
            [(facts, "dim")],
            *([(part, "dim")] for part in wrap(steps, width - 1) if part),
        ]

    def _steps(self, one: Any) -> str:
        train = sum(self.seen.counts.get("train", ())) if self.seen else 0
        if not train:
            return ""
        steps = -(-train // one.train.batch_size)
        return f"{steps:,} steps an epoch, {steps * one.epochs:,} in all"

    def _rate(self, width: int, height: int) -> list[Line]:
        if self.rate_problem and not self.plot.curves:
            return [[("learning rate ", "title"), (self.rate_problem, "dim")]]
        if height < 4:
            return []
        look = self.look
        self.plot.kind = "ascii" if look.ascii else "braille"
        self.plot.colour = look.colour
        return self.plot.draw(width - 1, height)

    def _diff(self, width: int, most: int) -> list[Line]:
        if not self.changes:
            return []
        lines: list[Line] = [[("changed from the preset", "title")]]
        for path, before, after in self.changes[: most - 1]:
            arrow = "->" if self.look.ascii else "→"
            text = f" {path}  {before or 'not set'} {arrow} {after or 'not set'}"
            lines.append([(shorten(printable(text), width - 1), "")])
        return lines

    def _verdict(self, width: int) -> list[Line]:
        if self.refusal:
            parts = [p for t in self.refusal.splitlines() for p in wrap(printable(t), width - 1)]
            return [[(part, "error")] for part in parts[:6]]
        if self.checked is None:
            return [[("checking …", "dim")]]
        if self.checked.preset is None:
            lines: list[Line] = []
            if self.in_form:
                word = "1 field" if self.in_form == 1 else f"{self.in_form} fields"
                lines.append([(f"{word} to mend, marked !", "error")])
            for text in self.rest[:4]:
                lines += [[(part, "error")] for part in wrap(printable(text), width - 1)[:3]]
            return lines
        notes = [(part, "warn") for n in self.checked.preset.notes for part in wrap(n, width - 1)]
        if self.unreadable:
            text = "no errors in the form, but the data cannot be used"
            return [[(part, "error")] for part in wrap(text, width - 1)]
        names = ", ".join(point.name for point in self.checked.preset.points)
        ready: Line = [("no errors  ", "good"), (shorten(printable(names), width - 13), "dim")]
        return [*[[note] for note in notes[:3]], ready]
