"""What a run's panes say, in lines: its log, its tables, its settings. Nothing here is a widget."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlui.runs import format
from tlui.runs.history import as_float
from tlui.runs.text import printable
from tlui.tui import describe
from tlui.tui.lines import Line, cells, clip, pad, shorten, side_by_side, wrap
from tlui.tui.live import LiveRun
from tlui.tui.theme import Theme
from tlui.tui.wrong import Wrong, wrong_lines

SPLITS = ("test", "val", "train")
WARN_LEVELS = frozenset({"warning", "error", "critical"})


# -- log


def log_lines(live: LiveRun, width: int, look: Theme) -> list[Line]:
    """What happened, oldest first, then the trainer's own output where it failed."""
    history, ascii = live.history, look.ascii
    found: list[tuple[float, str, str]] = []
    for event in history.logs:
        style = "warn" if str(event.get("level")) in WARN_LEVELS else ""
        found.append((event["t"], printable(event.get("message", "")), style))
    for event in history.alerts:
        found.append((event["t"], "! " + printable(event.get("message", "")), "warn"))
    for event in history.states:
        found.append((event["t"], printable(event.get("state", "")), "dim"))
    for event in history.phases:
        learn = format.count(event.get("trainable_parameters"), ascii)
        total = format.count(event.get("total_parameters"), ascii)
        text = f"phase {event['phase'] + 1}: freeze {printable(event.get('freeze'))}"
        found.append((event["t"], f"{text}, {learn} of {total} parameters learn", ""))
    best: float | None = None
    for row in history.epochs:
        value = row.get(live.monitor)
        text = f"epoch {row['epoch']}"
        if row.get("seconds") is not None:
            text += f" in {format.duration(row['seconds'], ascii)}"
        if isinstance(value, int | float):
            text += f"  {live.monitor} {format.named(live.monitor, value, ascii)}"
            if row.get("best"):
                arrow = "" if best is None else f", was {format.named(live.monitor, best, ascii)}"
                text += f" (best{arrow})"
                best = value
        found.append((row["t"], text, ""))
    found.sort(key=lambda item: item[0])
    lines: list[Line] = []
    for t, text, style in found:
        stamp = time.strftime("%H:%M:%S", time.localtime(t)) if isinstance(t, int | float) else ""
        for i, part in enumerate(wrap(text, max(width - 10, 10))):
            lines.append([(" " + pad(stamp if i == 0 else "", 9), "dim"), (part, style)])
    if live.trainer_log and live.state in ("failed", "interrupted", "diverged"):
        lines += [[], [(" trainer.log", "title")]]
        for text in live.trainer_log:
            lines += [[(" " + part, "dim")] for part in _cut(printable(text), width - 1)]
    if not lines:
        lines = (
            [[(" nothing yet: " + printable(live.observed.reason), "dim")]]
            if (live.observed and live.observed.reason)
            else [[(" nothing yet", "dim")]]
        )
    return lines


def _cut(text: str, width: int) -> list[str]:
    return [text[i : i + width] for i in range(0, len(text), max(width, 1))] or [""]


# -- tables


def table_lines(
    live: LiveRun, wrong: Sequence[Wrong] | None, width: int, look: Theme
) -> list[Line]:
    """Metrics of every split, confusion matrices, per class, the most confidently wrong."""
    ascii = look.ascii
    result = live.result
    if result is None:
        rows = live.history.epochs
        if not rows:
            return [[(" no epoch has finished yet", "dim")]]
        best = live.history.best(live.monitor)
        metrics = {k: v for k, v in (best or rows[-1]).items() if isinstance(v, int | float)}
        note = f" best epoch so far ({(best or rows[-1])['epoch']}), by {live.monitor}"
        lines: list[Line] = [[(note, "dim")], *describe.metric_lines(metrics, width, ascii), []]
        return lines + epoch_table(live, width, ascii)
    metrics = {k: v for k, v in result.get("metrics", {}).items() if isinstance(v, int | float)}
    splits = result.get("splits") or {}
    left = describe.metric_lines(metrics, width, ascii)
    left += _timings(splits, ascii)
    chosen = [s for s in SPLITS if isinstance(splits.get(s), dict)]
    confusions = [
        confusion_lines(splits[s], s, width, look) for s in chosen if splits[s].get("confusion")
    ]
    if confusions:
        first = confusions[0]
        size = max(cells(line) for line in first)
        if 42 + size <= width:
            lines = side_by_side([(left, 40), (first, size)])
        else:
            lines = [*left, [], *first]
    else:
        lines = left
    if chosen:
        lines += [[], *class_lines(splits[chosen[0]], chosen[0], width, ascii)]
    if wrong:
        lines += [[], *wrong_lines(wrong, chosen[0] if chosen else "", width, look)]
    for more in confusions[1:]:
        lines += [[], *more]
    skipped = result.get("skipped_images") or []
    if skipped:
        lines += [[], [(f" {format.skipped(len(skipped), ascii)}", "warn")]]
        for item in skipped[:20]:
            if isinstance(item, dict):
                text = f" {printable(item.get('name'))}  {printable(item.get('reason'))}"
                lines.append([(shorten(text, width), "dim")])
    return [*lines, [], *epoch_table(live, width, ascii)]


def _timings(splits: dict[str, Any], ascii: bool) -> list[Line]:
    shown = [s for s in ("train", "val", "test") if isinstance(splits.get(s), dict)]
    if not shown:
        return []
    lines: list[Line] = []
    for label, key, write in (
        ("inference", "inference_seconds", format.duration),
        ("images", "images", format.count),
    ):
        line: Line = [(" " + pad(label, 14), "dim")]
        line += [(pad(write(splits[s].get(key), ascii), 8, True), "") for s in shown]
        lines.append(line)
    return lines


def confusion_lines(split: dict[str, Any], name: str, width: int, look: Theme) -> list[Line]:
    """A confusion matrix as a heat map of row shares with the counts in it."""
    matrix = split["confusion"]
    classes = [printable(c.get("name", i)) for i, c in enumerate(split.get("classes") or [])]
    classes += [str(i) for i in range(len(classes), len(matrix))]
    digits = max((len(str(v)) for row in matrix for v in row), default=1)
    label = min(max((cells([(c, "")]) for c in classes), default=4), 16)
    cell = max(digits + 2, 4)
    most = max((width - label - 3) // cell, 1)
    shown = min(len(matrix), most)
    head: Line = [(pad(f" confusion ({name})", label + 2), "title")]
    if cells(head) > label + 2:
        head = [(f" confusion ({name})", "title")]
    heads: Line = [(" " + pad("is \\ said", label + 1), "dim")]
    heads += [(pad(shorten(c, cell - 1, ""), cell, True), "dim") for c in classes[:shown]]
    lines = [[(f" confusion ({name})", "title")], heads]
    for i, row in enumerate(matrix):
        total = sum(row) or 1
        line: Line = [(" " + pad(classes[i], label + 1), "")]
        for j, count in enumerate(row[:shown]):
            line.append((pad(str(count), cell - 1, True) + " ", heat(count / total, i == j, look)))
        recall = row[i] / total if i < len(row) else 0.0
        if cells(line) + 5 <= width:
            line.append((f"{recall * 100:4.0f}%", "dim"))
        lines.append(clip(line, width))
    if shown < len(matrix):
        lines.append([(f" {len(matrix) - shown} more columns need a wider terminal", "dim")])
    return lines


def heat(share: float, diagonal: bool, look: Theme) -> str:
    """The style of a cell: blue for right, orange for wrong; bold and dim where colour is not."""
    if look.ansi:
        return "best" if diagonal else ("warn" if share >= 0.1 else "" if share > 0 else "dim")
    dark = look.look == "dark"
    base, full = ((18, 21, 26), (46, 98, 160)) if dark else ((251, 251, 250), (138, 182, 232))
    if not diagonal:
        full = (176, 92, 24) if dark else (244, 176, 112)
        share = min(share * 1.6, 1.0)
    tint = tuple(round(b + (f - b) * share) for b, f in zip(base, full, strict=True))
    ink = "#f2f4f8" if dark else "#0b0d10"
    if share == 0:
        ink = "#5b6472" if dark else "#9aa2ad"
    return f"{ink} on #{tint[0]:02x}{tint[1]:02x}{tint[2]:02x}"


def class_lines(split: dict[str, Any], name: str, width: int, ascii: bool) -> list[Line]:
    """Precision, recall, F1 and images of each class."""
    classes = split.get("classes") or []
    label = min(max((cells([(printable(c.get("name")), "")]) for c in classes), default=5), 28)
    title = f" by class ({name})"
    first, cell = max(label, 16), 10
    if 1 + first + 4 * cell > width:  # little room: the title above, the columns close together
        first = min(label, max(width - 1 - 4 * 7, 4))
        cell = max((width - 1 - first) // 4, 7)
    apart = len(title) > 1 + first
    head: Line = [(pad("" if apart else title, 1 + first), "title")]
    names = ("precision" if cell > 9 else "prec", "recall", "f1", "images")
    head += [(pad(t, cell, True), "dim") for t in names]
    lines = [[(title, "title")], head] if apart else [head]
    for row in classes:
        line: Line = [(" " + pad(printable(row.get("name")), first), "")]
        for key in ("precision", "recall", "f1"):
            line.append((pad(format.metric(row.get(key), ascii), cell, True), "value"))
        line.append((pad(format.count(row.get("support"), ascii), cell, True), "dim"))
        lines.append(line)
    return lines


def epoch_table(live: LiveRun, width: int, ascii: bool) -> list[Line]:
    """Every epoch's losses and accuracies, the best epoch marked."""
    columns = [
        (key, title)
        for key, title in (
            ("train_loss", "loss"),
            ("val_loss", "val loss"),
            ("train_accuracy", "acc"),
            ("val_accuracy", "val acc"),
            ("val_f1", "val f1"),
            ("lr", "lr"),
            ("seconds", "took"),
        )
        if any(key in row for row in live.history.epochs)
    ]
    columns = columns[: max((width - 8) // 9, 1)]
    best = live.history.best(live.monitor)
    lines: list[Line] = [
        [(" " + pad("epoch", 7), "title"), *((pad(t, 9, True), "dim") for _, t in columns)]
    ]
    for row in live.history.epochs:
        mine = row is best
        line: Line = [
            (" " + pad(f"{row['epoch']}{'*' if mine else ''}", 7), "best" if mine else "")
        ]
        for key, _ in columns:
            value = row.get(key)
            number = value if isinstance(value, int | float) else None
            style = "best" if mine and key == live.monitor else "dim" if key == "lr" else ""
            line.append((pad(format.named(key, number, ascii), 9, True), style))
        lines.append(line)
    return lines


# -- settings


def config_lines(live: LiveRun, width: int, look: Theme) -> list[Line]:
    """Where it came from, phases, machine, then every setting; what the sweep chose is bold."""
    ascii = look.ascii
    meta, result = live.meta, live.result or {}
    facts = [
        ("run", live.run.id, ""),
        ("preset", printable(meta.get("preset") or ""), ""),
        ("experiment", printable(meta.get("experiment") or ""), ""),
        ("created", format.moment(as_float(meta.get("created")), ascii), ""),
        ("folder", printable(tilde(live.run.path)), ""),
    ]
    if live.observed is not None:
        facts.append(("device", printable(live.observed.status.device), ""))
        if live.observed.reason:
            facts.append(("reason", printable(live.observed.reason), "warn"))
        if live.observed.status.advice:
            facts.append(("advice", printable(live.observed.status.advice), "warn"))
    for label, key, write in (
        ("trained", "train_seconds", format.duration),
        ("memory", "peak_memory_mb", format.memory),
        ("gpu memory", "peak_gpu_memory_mb", format.memory),
        ("speed", "images_per_second", format.speed),
    ):
        if result.get(key) is not None:
            facts.append((label, write(result[key], ascii), ""))
    best = result.get("best")
    if isinstance(best, dict):
        value = format.named(str(best.get("monitor")), best.get("value"), ascii)
        monitor = printable(best.get("monitor"))
        facts.append(("best epoch", f"{best.get('epoch')}  {monitor} {value}", "best"))
    lines = describe.pairs([f for f in facts if f[1]], width)
    if live.history.phases:
        lines += [[], [(" phases", "title")]]
        for phase in live.history.phases:
            learn = phase.get("trainable_parameters") or 0
            total = phase.get("total_parameters") or 0
            text = f" {phase['phase'] + 1} freeze {printable(phase.get('freeze'))}"
            lines.append([(text, ""), (f"  {phase.get('epochs')} epochs", "dim")])
            lines.append([(" ", ""), *learning_bar(learn, total, min(width - 2, 40))])
            words = f" {format.exact(learn, ascii)} of {format.exact(total, ascii)} learn"
            lines.append([(words, "dim")])
    lines += [[], [(" settings", "title")]]
    chosen = set(live.sweep())
    settings = [
        (printable(k), describe.setting(v), "best" if k in chosen else "")
        for k, v in sorted(live.config.items())
    ]
    return lines + describe.pairs(settings, width)


def tilde(path: Path) -> str:
    """A path with the person's home as `~`."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return str(path)


def learning_bar(learn: int, total: int, width: int) -> Line:
    """Frozen parameters as a thin bar, learning ones as its bright end (at least one cell)."""
    share = learn / total if total else 0.0
    lit = min(max(round(share * width), 1 if learn else 0), width)
    return [("─" * (width - lit), "rest"), ("━" * lit, "bar")]
