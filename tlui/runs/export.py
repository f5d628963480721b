"""Runs as records for other programs: JSON objects and CSV, one a run or one an epoch.

Columns of the run CSV, in this order: `RUN_COLUMNS`, every `SPLIT_METRIC` of `METRICS`, metrics
beyond those (sorted), `MEASURE_COLUMNS`, measures beyond those (sorted), `device`, `versions.*`
(sorted), then every configuration leaf any of the runs has, under its dotted path (sorted). The
epoch CSV has `EPOCH_COLUMNS`. A column of the first groups is there even if no run fills it.

RFC 4180, UTF-8: lines end in CRLF, cells are quoted where they must be. A value that is missing
or not finite is an empty cell; times are ISO 8601 in UTC, booleans `true` and `false`, lists
JSON. Text that a spreadsheet would take for a formula (beginning with = + - @ or a tab) gets an
apostrophe in front; numbers never do. Control characters in text become visible escapes, as
everywhere: a CSV is also read with cat. All of this goes for the names of columns, too.
"""

from __future__ import annotations

import csv
import json
import math
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from tlui.errors import TluiError
from tlui.recipe.place import expanded
from tlui.runs import history
from tlui.runs.directory import Home
from tlui.runs.files import FILE_MODE
from tlui.runs.index import Index
from tlui.runs.query import METRICS
from tlui.runs.row import MEASURES, Row
from tlui.runs.text import printable

RUN_COLUMNS = (
    *("run_id", "name", "preset", "experiment", "state", "reason"),
    *("created", "started", "ended", "attempt", "epochs_done", "best_epoch", "regime"),
)
MEASURE_COLUMNS = (
    *MEASURES,
    *("train_inference_seconds", "val_inference_seconds"),
    *("train_images", "val_images", "test_images", "skipped_images"),
)
EPOCH_METRICS = tuple(
    f"{split}_{name}"
    for split in ("train", "val")
    for name in ("loss", "accuracy", "precision", "recall", "f1")
)
EPOCH_COLUMNS = (
    *("run_id", "name", "preset", "experiment", "phase", "epoch", "global_step"),
    *("elapsed", "seconds", "lr", "images_per_second", "best", *EPOCH_METRICS),
)
PAGE = 500
FORMULA = ("=", "+", "-", "@", "\t")


def record(row: Row) -> dict[str, Any]:
    """A run as one flat object: the CSV's columns with values, metrics at the top level.

    Where a setting bears the name of a fixed column, the column wins.
    """
    fixed: dict[str, Any] = {
        "run_id": row.id,
        "name": row.name,
        "preset": row.preset,
        "experiment": row.experiment,
        "state": row.state,
        "reason": row.reason or None,
        "created": timestamp(row.created),
        "started": timestamp(row.started),
        "ended": timestamp(row.ended),
        "attempt": row.attempt,
        "epochs_done": row.epoch,
        "regime": row.regime,
        "device": row.device or None,
    }
    versions = {f"versions.{name}": value for name, value in row.versions.items()}
    return {**fixed, **row.metrics, **row.measures, **versions, **row.config, **fixed}


def run_columns(keys: Iterable[Row]) -> list[str]:
    """The columns of the run CSV for these runs."""
    config: set[str] = set()
    metrics: set[str] = set()
    measures: set[str] = set()
    versions: set[str] = set()
    for row in keys:
        config.update(row.config)
        metrics.update(row.metrics)
        measures.update(row.measures)
        versions.update(f"versions.{name}" for name in row.versions)
    groups = (
        RUN_COLUMNS,
        METRICS,
        sorted(metrics),
        MEASURE_COLUMNS,
        sorted(measures),
        ("device",),
        sorted(versions),
        sorted(config),
    )
    return list(dict.fromkeys(name for group in groups for name in group))


def write_runs(out: IO[str], rows: Callable[[], Iterable[Row]]) -> int:
    """Write the run CSV; how many runs.

    Args:
        out: A text file opened with newline="".
        rows: Gives the runs from the start each time: once for the columns, once for the cells.
    """
    columns = run_columns(rows())
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(map(cell, columns))
    written = 0
    for row in rows():
        found = record(row)
        writer.writerow([cell(found.get(column)) for column in columns])
        written += 1
    return written


def write_epochs(out: IO[str], home: Home, rows: Iterable[Row]) -> int:
    """Write the epoch CSV, runs in the order given; how many epochs."""
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(EPOCH_COLUMNS)
    written = 0
    for row in rows:
        for epoch in epoch_records(home, row):
            writer.writerow([cell(epoch.get(column)) for column in EPOCH_COLUMNS])
            written += 1
    return written


def epoch_records(home: Home, row: Row) -> list[dict[str, Any]]:
    """A run's epochs as flat objects with the epoch CSV's columns."""
    about = {"run_id": row.id, "name": row.name, "preset": row.preset}
    about["experiment"] = row.experiment
    found = []
    for epoch in history.load(home.run(row.id)).epochs:
        values = {name: epoch.get(name) for name in EPOCH_COLUMNS if name not in about}
        values["elapsed"] = round(epoch["elapsed"], 3)
        found.append({**about, **values})
    return found


def pages(index: Index, ids: list[str]) -> Iterator[Row]:
    """The rows of many runs without holding them all."""
    for start in range(0, len(ids), PAGE):
        yield from index.get(ids[start : start + PAGE], fresh=False)


def cell(value: Any) -> str:
    """One CSV cell: see the module's head."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    text = printable(value, keep="\t\n")
    return "'" + text if text.startswith(FORMULA) else text


def timestamp(time: float | None) -> str | None:
    """A Unix time as ISO 8601 in UTC, to the second."""
    if time is None:
        return None
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None


def save(target: str, force: bool, write: Callable[[IO[str]], int]) -> int:
    """Write text to a file that appears whole, or to stdout where `target` is `-`.

    Returns:
        What `write` returns.

    Raises:
        TluiError: The file exists and `force` is off, or it cannot be written.
    """
    if target == "-":
        sys.stdout.flush()
        with open(sys.stdout.fileno(), "w", encoding="utf-8", newline="", closefd=False) as out:
            return write(out)
    path = expanded(target)
    exists = TluiError(f"{printable(path)}: already exists; --force replaces it", 2)
    if path.is_dir():
        raise TluiError(f"{printable(path)}: is a folder; name a file in it", 2)
    if not force and (path.exists() or path.is_symlink()):
        raise exists
    aside = path.with_name(f".tlui-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with open(aside, "x", encoding="utf-8", newline="", opener=_as_private) as out:
            written = write(out)
        if not force:
            path.touch(exist_ok=False)  # ours now: a rename would replace what came meanwhile
        aside.replace(path)
        return written
    except FileExistsError as error:
        raise exists from error
    except OSError as error:
        raise TluiError(f"{printable(path)}: cannot be written ({error.strerror})") from error
    finally:
        aside.unlink(missing_ok=True)


def _as_private(path: str, flags: int) -> int:
    """Open a new file, which in a folder of its owner alone is of its owner alone."""
    shared = os.stat(os.path.dirname(path) or ".").st_mode & 0o077  # noqa: PTH116,PTH120
    return os.open(path, flags | os.O_CLOEXEC, 0o666 if shared else FILE_MODE)
