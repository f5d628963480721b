"""What a run says of itself in lines: the strip under the list, the card beside it."""

from __future__ import annotations

from typing import Any

from tlui.runs import format
from tlui.runs.row import Row
from tlui.runs.status import LIVE
from tlui.runs.text import printable
from tlui.tui.lines import Line, cells, ends, pad, wrap
from tlui.tui.widgets.run_table import STATE_STYLE

BAR, REST = "━", "─"


def state_span(state: str, ascii: bool) -> tuple[str, str]:
    """`● running` in its colour."""
    return format.state_word(state, ascii), STATE_STYLE.get(state, "")


def progress_words(progress: dict[str, Any], ascii: bool) -> list[str]:
    """`step 14/24`, `148 img/s`, `ETA 1m12`, as far as they are known."""
    words = []
    if progress.get("steps"):
        words.append(f"step {progress.get('step') or 0}/{progress['steps']}")
    speed = progress.get("images_per_second")
    if isinstance(speed, int | float):
        words.append(format.speed(speed, ascii))
    eta = progress.get("eta_seconds")
    if isinstance(eta, int | float):
        words.append(f"ETA {format.duration(eta, ascii)}")
    return [printable(word) for word in words]


def _how_far(row: Row, ascii: bool) -> list[str]:
    """`epoch 6/10`, and of a run that trains its `progress_words`."""
    words = [f"epoch {row.epoch}/{row.epochs}"] if row.progress.get("epochs") else []
    return words + (progress_words(row.progress, ascii) if row.state in LIVE else [])


def done_share(state: str, progress: dict[str, Any], epoch: int, epochs: int) -> float:
    """How much of a run is done (0..1), by the epoch that is shown of it."""
    if state not in LIVE:
        return epoch / max(epochs, 1)
    steps = progress.get("steps") or 0
    part = min((progress.get("step") or 0) / steps, 0.999) if steps else 0.0
    return (max(epoch - 1, 0) + part) / max(epochs, 1)


def machine_words(sample: dict[str, Any], ascii: bool) -> str:
    """`gpu 93% 11G 71°C  cpu 182% 1.3G`, as far as a `system` event tells."""
    words = []
    for name, memory in (("gpu", "gpu_mb"), ("cpu", "ram_mb")):
        share = sample.get(f"{name}_percent")
        if isinstance(share, int | float):
            text = f"{name} {share:.0f}%"
            if sample.get(memory) is not None:
                text += f" {format.memory(sample[memory], ascii)}"
            if name == "gpu" and isinstance(sample.get("gpu_celsius"), int | float):
                text += f" {sample['gpu_celsius']:.0f}{'C' if ascii else '°C'}"
            words.append(text)
    return "  ".join(words)


def what_it_is(row: Row) -> str:
    """`intel · MobileNetV2 · head · 1e-4`."""
    parts = [row.dataset, row.backbone, row.regime, row.lr]
    return " · ".join(printable(part) for part in parts if part)


def strip(row: Row, width: int, ascii: bool) -> list[Line]:
    """Three lines under the list: how it stands, its numbers, what it is."""
    live = row.state in LIVE
    name = shortened(row, max(width // 3, 16), ascii)
    first: Line = [(" " + name, "title"), ("  ", ""), state_span(row.state, ascii)]
    if live:
        first += [(f"  {word}", "") for word in _how_far(row, ascii)]
    elif row.reason:
        first.append((f"  {printable(row.reason)}", "warn"))
    else:
        took = row.seconds(row.ended or row.created)
        if row.ended and took is not None:
            first.append((f"  in {format.duration(took, ascii)}", "dim"))
    second: Line = [(" ", "")]
    for label, name in (("loss", "val_loss"), ("acc", "val_accuracy"), ("f1", "val_f1")):
        if name in row.metrics:
            if name == "val_accuracy":
                second.append((format.sparkline(row.points, 8, ascii) + " ", "s0"))
            second.append((f"val {label} ", "dim"))
            second.append((format.named(name, row.metrics[name], ascii) + "   ", "value"))
    if row.test is not None:
        second += [("test acc ", "dim"), (format.metric(row.test, ascii) + "   ", "value")]
    learn = row.measures.get("trainable_parameters")
    if learn is not None:
        total = format.count(row.measures.get("total_parameters"), ascii)
        second += [(format.count(learn, ascii), "value"), (f" of {total} params learn", "dim")]
    third: Line = [(" " + what_it_is(row), "dim")]
    if row.advice:
        third = [(" " + printable(row.advice), "warn")]
    return [first, second, third]


def shortened(row: Row, width: int, ascii: bool) -> str:
    """`head-1e-4 #2f` in at most `width` cells; the id stays."""
    from tlui.runs.text import shorten

    sign = f" #{row.short or row.id[:4]}"
    return shorten(printable(row.name), width - len(sign), "~" if ascii else "…") + sign


def bar(done: float, width: int) -> Line:
    """A bar of `width` cells, `done` of it (0..1) full."""
    full = round(min(max(done, 0.0), 1.0) * width)
    return [(BAR * full, "bar"), (REST * (width - full), "rest")]


def heading(text: str, width: int, focused: bool = False, note: str = "") -> Line:
    """A pane's title: bold, in the accent with `▌` before it when it has the keyboard."""
    left: Line = [("▌" if focused else " ", "accent"), (text, "accent" if focused else "title")]
    return ends(left, [(note, "dim")], width) if note else left


def pairs(found: list[tuple[str, str, str]], width: int, label: int = 0) -> list[Line]:
    """Aligned `label value` lines; the third item is the value's style."""
    most = max(width // 2, min(width - 17, 24))
    label = label or min(max((cells([(k, "")]) for k, _, _ in found), default=0), most)
    out: list[Line] = []
    for key, value, style in found:
        room = max(width - label - 3, 8)
        parts = wrap(value, room)
        for i, part in enumerate(parts):
            out.append([(" " + pad(key if i == 0 else "", label) + "  ", "dim"), (part, style)])
    return out


def card(row: Row, width: int, height: int, ascii: bool) -> list[Line]:
    """The preview beside the list: state, progress, metrics per split, then the settings."""
    lines: list[Line] = [
        [(" " + shortened(row, width - 2, ascii), "title")],
        [(" ", ""), state_span(row.state, ascii)],
    ]
    if row.reason:
        lines += [[(" " + part, "warn")] for part in wrap(printable(row.reason), width - 2)]
    if row.advice:
        lines += [[(" " + part, "dim")] for part in wrap(printable(row.advice), width - 2)]
    if row.state in LIVE or row.state == "interrupted":
        progress = row.progress
        if progress.get("epochs"):
            share = done_share(row.state, progress, row.epoch, row.epochs)
            lines.append([(" ", ""), *bar(share, width - 2)])
        line: Line = []
        for word in _how_far(row, ascii):
            if line and cells(line) + len(word) + 2 > width:
                lines.append(line)
                line = []
            line.append(((" " if not line else "  ") + word, ""))
        lines.append(line)
    lines.append([])
    lines += metric_lines(row.metrics, width, ascii)
    lines.append([])
    facts = [
        ("dataset", printable(row.dataset), ""),
        ("backbone", printable(row.backbone), ""),
        ("learns", printable(row.regime), ""),
        ("lr", printable(row.lr), ""),
        ("device", printable(row.device) or format.missing(ascii), ""),
        ("created", format.moment(row.created, ascii), ""),
    ]
    took = row.seconds(row.ended) if row.ended else None
    if took is not None:
        facts.append(("took", format.duration(took, ascii), ""))
    learn = row.measures.get("trainable_parameters")
    if learn is not None:
        total = format.count(row.measures.get("total_parameters"), ascii)
        facts.append(("params", f"{format.count(learn, ascii)} of {total} learn", ""))
    if row.measures.get("peak_memory_mb"):
        facts.append(("memory", format.memory(row.measures["peak_memory_mb"], ascii), ""))
    facts.append(("preset", printable(row.preset), ""))
    lines += pairs(facts, width)
    spare = height - len(lines) - 2
    shown = {"dataset.name", "dataset.path", "backbone.name"}
    if spare > 3:
        lines += [[], heading("settings", width)]
        settings = [
            (printable(k), setting(v), "") for k, v in sorted(row.config.items()) if k not in shown
        ]
        lines += pairs(settings, width)
    return lines[:height]


def setting(value: Any) -> str:
    """A setting as a person would type it."""
    if isinstance(value, float):
        return format.rate(value) if 0 < abs(value) < 1e-2 else f"{value:g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(setting(v) for v in value) or "none"
    return printable(value)


SHOWN_METRICS = ("accuracy", "top5_accuracy", "precision", "recall", "f1", "weighted_f1", "roc_auc",
                 "loss")  # fmt: skip
METRIC_WORDS = {
    "f1": "f1 (macro)",
    "weighted_f1": "f1 (weighted)",
    "roc_auc": "roc auc",
    "top5_accuracy": "top-5",
}


def metric_lines(metrics: dict[str, float], width: int, ascii: bool) -> list[Line]:
    """A table of metrics, splits as columns."""
    splits = [s for s in ("train", "val", "test") if any(k.startswith(f"{s}_") for k in metrics)]
    if not splits:
        return [[(" no metrics yet", "dim")]]
    label = 14
    head: Line = [(pad("", label + 1), "")] + [(pad(s, 8, True), "dim") for s in splits]
    lines = [head]
    for name in SHOWN_METRICS:
        values = [metrics.get(f"{s}_{name}") for s in splits]
        if all(v is None for v in values):
            continue
        line: Line = [(" " + pad(METRIC_WORDS.get(name, name), label), "dim")]
        for split, value in zip(splits, values, strict=True):
            text = format.named(f"{split}_{name}", value, ascii)
            line.append((pad(text, 8, True), "value"))
        lines.append(line)
    return lines
