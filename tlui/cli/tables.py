"""The tables at the end of a run and of a lab, as lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tlui.cli.follow import Watched
from tlui.runs import format
from tlui.runs.text import printable

SPLITS = ("train", "val", "test")
METRICS = (
    "loss",
    "accuracy",
    "top5_accuracy",
    "precision",
    "recall",
    "f1",
    "weighted_f1",
    "roc_auc",
)
COMPARED = ("accuracy", "precision", "recall", "f1", "roc_auc", "loss")
"""What a lab's table shows of every split."""
BRIEF = {"accuracy": "acc", "precision": "prec", "roc auc": "auc", "inference": "infer"}
"""Titles of columns where there is little room."""
LEAST = ("memory", "id", "params", "train", "test f1", "infer", "auc", "recall", "prec")
"""Columns of a lab's tables that go where there is no room, in this order."""
NARROWEST = 8
"""A column that gives way to others keeps so many characters."""


def conclusion(one: Watched, ascii: bool = False, width: int | None = None) -> list[str]:
    """How a run ended: its state, why, what to do, and its metrics, a column a split."""
    status = one.seen.status
    name = f"{printable(one.name)} #{one.run.id}"
    lines = [f"{name}  {format.state_word(one.state, ascii)}"]
    lines += [f"  {printable(line)}" for line in one.seen.reason.splitlines()]
    if status.advice:
        lines.append(f"  {printable(status.advice)}")
    result = one.run.read_result() or {}
    metrics = result.get("metrics")
    if isinstance(metrics, dict) and metrics:
        lines += ["", *_metric_table(metrics, ascii), "", *_facts(result, ascii, width)]
    return [*lines, ""]


def comparison(
    all_runs: Sequence[Watched], ascii: bool = False, width: int | None = None
) -> list[str]:
    """The runs of a lab side by side, then split by split; nothing for a single one."""
    if len(all_runs) < 2:
        return []
    rows = [["run", "id", "state", "val acc", "test acc", "test f1", "params", "memory", "train"]]
    results = [one.run.read_result() or {} for one in all_runs]
    for one, result in zip(all_runs, results, strict=True):
        given = result.get("metrics")
        metrics: dict[str, Any] = given if isinstance(given, dict) else {}
        rows.append(
            [
                printable(one.name),
                one.run.id,
                format.state_word(one.state, ascii),
                format.metric(metrics.get("val_accuracy"), ascii),
                format.metric(metrics.get("test_accuracy"), ascii),
                format.metric(metrics.get("test_f1"), ascii),
                format.count(result.get("trainable_parameters"), ascii),
                format.memory(_peak(result), ascii),
                format.duration(result.get("train_seconds"), ascii),
            ]
        )
    names = [printable(one.name) for one in all_runs]
    table = fitted(rows, width, left=3, drop=LEAST, ascii=ascii)
    return [*table, "", *_by_split(names, results, ascii, width)]


def _peak(result: dict[str, Any]) -> float | None:
    """Peak memory in MiB: the GPU's where training ran on one."""
    gpu: float | None = result.get("peak_gpu_memory_mb")
    return gpu if gpu is not None else result.get("peak_memory_mb")


def _by_split(
    names: Sequence[str], results: Sequence[dict[str, Any]], ascii: bool, width: int | None
) -> list[str]:
    """Every run's metrics, a line a split."""
    rows = [["run", "split", *(word(name) for name in COMPARED), "inference"]]
    for name, result in zip(names, results, strict=True):
        metrics, parts = result.get("metrics"), result.get("splits")
        if not isinstance(metrics, dict) or not isinstance(parts, dict):
            continue
        found = [split for split in SPLITS if split in parts]
        for split in found:
            values = [(one, metrics.get(f"{split}_{one}")) for one in COMPARED]
            cells = [format.named(one, value, ascii) for one, value in values]
            seconds = format.duration(parts[split].get("inference_seconds"), ascii)
            rows.append([name if split == found[0] else "", split, *cells, seconds])
    table = fitted(rows, width, left=2, drop=LEAST, ascii=ascii)
    return [*table, ""] if len(rows) > 1 else []


def word(metric: str) -> str:
    """A metric's name in a table: `top-5 accuracy`."""
    return metric.replace("_", " ").replace("top5", "top-5")


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Rows as lines, columns padded; the first `left` to the left, the others to the right."""
    from rich.cells import cell_len

    widths = [max(cell_len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = []
        for i, cell in enumerate(row):
            pad = " " * (widths[i] - cell_len(cell))
            cells.append(cell + pad if i < left else pad + cell)
        lines.append("  " + "  ".join(cells).rstrip())
    return lines


def fitted(
    rows: Sequence[Sequence[str]],
    width: int | None,
    left: int = 1,
    drop: Sequence[str] = (),
    yields: int = 0,
    ascii: bool = False,
) -> list[str]:
    """`aligned` in so many characters: titles become brief, columns go, then one is shortened.

    Args:
        rows: The titles first.
        width: Characters of a line; None for any number.
        left: As for `aligned`.
        drop: Titles of columns that may go, the first of them first.
        yields: The column whose cells are shortened at last.
        ascii: Whether a cell is shortened in ASCII.
    """
    from rich.cells import cell_len

    from tlui.runs.text import shorten

    def over() -> int:
        """How many characters too long the lines are."""
        widths = [max(cell_len(row[i]) for row in table) for i in range(len(table[0]))]
        return sum(widths) + 2 * len(widths) - width if width is not None else 0

    table = [list(row) for row in rows]
    if over() > 0:
        table[0] = [BRIEF.get(title, title) for title in table[0]]
    for title in drop:
        if over() > 0 and title in table[0]:
            at = table[0].index(title)
            left -= at < left
            yields -= at < yields
            table = [row[:at] + row[at + 1 :] for row in table]
    if (much := over()) > 0:
        room = max(max(cell_len(row[yields]) for row in table) - much, NARROWEST)
        for row in table:
            row[yields] = shorten(row[yields], room, "~" if ascii else "…")
    return aligned(table, left)


def _metric_table(metrics: dict[str, Any], ascii: bool) -> list[str]:
    splits = [s for s in SPLITS if any(name.startswith(f"{s}_") for name in metrics)]
    rows = [["", *splits]]
    for name in METRICS:
        values = [metrics.get(f"{split}_{name}") for split in splits]
        if any(value is not None for value in values):
            rows.append([word(name), *(format.named(name, value, ascii) for value in values)])
    return aligned(rows)


def timed(result: dict[str, Any]) -> str:
    """How inference was timed: ` (batch 32, cpu)`; "" where the result does not say."""
    splits = result.get("splits")
    parts = splits if isinstance(splits, dict) else {}
    timed = parts.get("test") or next(iter(parts.values()), None)
    if not isinstance(timed, dict) or not timed.get("batch_size"):
        return ""
    return f" (batch {printable(timed['batch_size'])}, {printable(timed.get('device', ''))})"


def _facts(result: dict[str, Any], ascii: bool, width: int | None) -> list[str]:
    best = result.get("best") if isinstance(result.get("best"), dict) else {}
    assert isinstance(best, dict)
    facts = []
    if best.get("epoch"):
        monitor = str(best.get("monitor", ""))
        value = format.named(monitor, best.get("value"), ascii)
        facts.append(f"best epoch {best['epoch']} ({printable(monitor)} {value})")
    if result.get("train_seconds") is not None:
        facts.append(f"trained {format.duration(result['train_seconds'], ascii)}")
    if result.get("images_per_second") is not None:
        facts.append(f"inference {format.speed(result['images_per_second'], ascii)}{timed(result)}")
    if result.get("trainable_parameters") is not None:
        trained = format.count(result["trainable_parameters"], ascii)
        facts.append(f"{trained} of {format.count(result.get('total_parameters'), ascii)} params")
    skipped = result.get("skipped_images")
    if skipped:
        facts.append(format.skipped(len(skipped), ascii))
    lines: list[str] = []
    for fact in facts:
        if lines and (width is None or len(lines[-1]) + len(fact) + 3 <= width):
            lines[-1] += f", {fact}"
        else:
            lines.append(f"  {fact}")
    return [f"{line}," for line in lines[:-1]] + lines[-1:]
