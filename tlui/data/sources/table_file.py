"""A CSV with the columns `path,label[,split]`; paths start at the CSV's own folder."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import numpy as np

from tlui.data.items import Found, Group, capped
from tlui.data.sources.files import Files, FoundFile, look, read_list
from tlui.errors import DataError
from tlui.recipe.sources import SPLITS, CSVSource, SplitName

WORDS: dict[str, SplitName] = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


def find_csv(dataset: CSVSource) -> Found:
    """Rows of a CSV as items.

    Raises:
        DataError: The file or a column is missing; or rows name files that are not there, bad
            split words, no label, or a file that another row has: all with their line numbers.
    """
    path = Path(dataset.path).expanduser()
    rows = _rows(path)
    root = os.fsencode(path.parent.absolute())
    problems: list[str] = []
    seen: dict[bytes, int] = {}
    held: dict[SplitName, list[tuple[FoundFile, str]]] = {}
    for line, name, label, word in rows:
        split = WORDS.get(word.lower()) if word is not None else "train"
        file_name = name.encode("utf-8", "surrogateescape")
        if not name or not label:
            problems.append(f"line {line}: no {'path' if not name else 'label'}")
        elif split is None:
            problems.append(f'line {line}: split "{word}" is not train, val or test')
        elif file_name in seen:
            problems.append(f"line {line}: {name} is on line {seen[file_name]} already")
        elif "\0" in name:
            problems.append(f"line {line}: {name} does not exist")
        elif isinstance(file := look(root, file_name), str):
            problems.append(f"line {line}: {name} {file}")
        else:
            held.setdefault(split, []).append((file, label))
        seen.setdefault(file_name, line)
    if problems:
        what = "row" if len(problems) == 1 else "rows"
        raise DataError(f"{path}: {len(problems):,} {what} cannot be used:\n{capped(problems)}")
    if "train" not in held:
        raise DataError(f"{path}: no rows to train on")
    classes = _sorted({label for items in held.values() for _, label in items})
    index = {name: i for i, name in enumerate(classes)}
    groups: dict[SplitName, Group] = {}
    for split in SPLITS:
        if split in held:
            items = sorted(held[split], key=lambda item: item[0].path)
            labels = np.array([index[label] for _, label in items], np.int64)
            groups[split] = Group(Files(root, [file for file, _ in items]), labels)
    return Found(classes, groups, str(path.parent))


def _rows(path: Path) -> list[tuple[int, str, str, str | None]]:
    text = read_list(path, "dataset.path: CSV").decode("utf-8-sig", "surrogateescape")
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header = [column.strip().lower() for column in next(reader, [])]
        missing = [column for column in ("path", "label") if column not in header]
        if missing:
            raise DataError(
                f"{path}: line 1: no column {' and '.join(missing)}. Expected path,label[,split]. "
                f"Received: {','.join(header[:8]) or 'an empty file'}"
            )
        at = [header.index(column) for column in ("path", "label")]
        split = header.index("split") if "split" in header else None
        rows: list[tuple[int, str, str, str | None]] = []
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            cells = row + [""] * (len(header) - len(row))
            word = None if split is None else cells[split].strip()
            rows.append((reader.line_num, cells[at[0]], cells[at[1]].strip(), word))
        return rows
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: not CSV: {error}") from None


def _sorted(labels: set[str]) -> list[str]:
    if all(label.isdecimal() for label in labels):
        return sorted(labels, key=lambda label: (int(label), label))
    return sorted(labels, key=lambda label: label.encode("utf-8", "surrogateescape"))
