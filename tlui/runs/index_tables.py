"""The index's SQL: tables, what goes in, what is known. Knows nothing of files.

`runs` holds what lists show and sort by; `settings` one column for every setting the store holds,
`results` one for every metric and measure (columns are added as names turn up); `docs` the row as
JSON, `curves` what was folded of the events. A filter scans the columns it names: no index could
serve them all, and a scan of 100,000 rows takes some 50 ms.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any

from tlui.runs.marks import Mark
from tlui.runs.query import CONFIG
from tlui.runs.row import Summary

SCHEMA = 5
COLUMNS_MOST = 1500
"""Leaves with a column of their own; SQLite allows 2000. Others are looked up in the JSON."""
STORED = (
    *("id", "name", "preset", "experiment", "state", "reason", "advice"),
    *("created", "started", "ended", "dataset", "backbone", "regime", "lr"),
    *("epoch", "epochs", "val", "test", "device", "attempt"),
)
_IN_DOC = ("config", "metrics", "measures", "progress", "versions", "parents", "newer")
_stored, _documented = attrgetter(*STORED), attrgetter(*_IN_DOC)
_RESTLESS = "('queued', 'starting', 'running', 'evaluating')"

_TABLES = f"""
CREATE TABLE runs (num INTEGER PRIMARY KEY, {", ".join(STORED)},
  said, proven INTEGER, stamp, checksum, pinned INTEGER DEFAULT 0, hidden INTEGER DEFAULT 0,
  note DEFAULT '');
CREATE UNIQUE INDEX runs_id ON runs (id);
CREATE INDEX runs_created ON runs (created, num);
CREATE INDEX runs_name ON runs (name);
CREATE INDEX runs_restless ON runs (said) WHERE said IN {_RESTLESS};
CREATE TABLE settings (num INTEGER PRIMARY KEY);
CREATE TABLE results (num INTEGER PRIMARY KEY);
CREATE TABLE docs (num INTEGER PRIMARY KEY, doc);
CREATE TABLE curves (num INTEGER PRIMARY KEY, curve, checksum);
CREATE TABLE keys (key PRIMARY KEY, col);
CREATE TABLE meta (key PRIMARY KEY, value);
"""


Leaves = tuple[tuple[str, ...], tuple[Any, ...]]
"""Names and values. Runs with the same names share one tuple of them, which is pickled once."""


@dataclass(frozen=True)
class Found:
    """A run as it was read, in the shape it goes in: plain data, quickly handed on by a process."""

    values: tuple[Any, ...]
    """Of `runs`: its stored columns, `said`, `proven`, `stamp` and `checksum`."""
    doc: str
    settings: Leaves
    results: Leaves
    curve: str | None


@dataclass(frozen=True)
class Known:
    """What the index remembers of a run to tell whether it changed."""

    num: int
    id: str
    stamp: str
    proven: bool
    state: str


def connect(path: str) -> sqlite3.Connection:
    """Open an index and see that it has our tables.

    Raises:
        sqlite3.DatabaseError: It cannot be opened or written, or is damaged.
    """
    import os

    if path != ":memory:":
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    db = sqlite3.connect(
        path, timeout=10, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=OFF")  # it can be rebuilt
        db.execute("PRAGMA mmap_size=1073741824")
        db.execute("PRAGMA cache_size=-65536")
        db.execute("PRAGMA temp_store=MEMORY")
        if _version(db) != SCHEMA:
            _create(db)
    except BaseException:
        db.close()
        raise
    return db


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _create(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        if _version(db) != SCHEMA:  # another process may have been first
            for (name,) in db.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            ).fetchall():
                db.execute(f'DROP TABLE "{name}"')
            for statement in _TABLES.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


# -- in


def flat(summary: Summary, curve: str | None, stamp: str) -> Found:
    """A summary in the shape it goes in, with its folded curve (JSON) and its stamp."""
    row = summary.row
    settings = {key: value for key, value in row.config.items() if value is not None}
    results = row.metrics | row.measures
    stored = tuple(map(plain, _stored(row)))
    doc = json.dumps(dict(zip(_IN_DOC, _documented(row), strict=True)))
    return Found(
        (*stored, summary.said, int(summary.proven), stamp, checksum(*stored, doc)),
        doc,
        (_settings(tuple(settings)), tuple(map(plain, settings.values()))),
        (_shared(tuple(results)), tuple(results.values())),
        curve,
    )


def checksum(*values: Any) -> int:
    """Tells what is read from what was put in: SQLite does not notice a changed letter."""
    return zlib.crc32(repr(values).encode("utf-8", "backslashreplace"))


def intact(known: int, *values: Any) -> None:
    """Raise sqlite3.DatabaseError where values are not those that were put in."""
    if checksum(*values) != known:
        raise sqlite3.DatabaseError("malformed: what is read is not what was put in")


def store(db: sqlite3.Connection, found: Sequence[Found]) -> int:
    """Put runs in, or in the place of what was known of them; how many."""
    if not found:
        return 0
    shapes = {part[0] for one in found for part in (one.settings, one.results)}
    columns = _columns(db, {key for shape in shapes for key in shape})
    nums = [int(db.execute(_STORE_RUN, one.values).fetchone()[0]) for one in found]
    docs = zip(nums, (one.doc for one in found), strict=True)
    db.executemany("INSERT OR REPLACE INTO docs VALUES (?, ?)", docs)
    _store_leaves(db, "settings", nums, [one.settings for one in found], columns)
    _store_leaves(db, "results", nums, [one.results for one in found], columns)
    db.executemany("DELETE FROM curves WHERE num = ?", [(num,) for num in nums])
    store_curves(
        db,
        [(num, one.curve) for num, one in zip(nums, found, strict=True) if one.curve is not None],
    )
    return len(found)


_OF_RUN = (*STORED, "said", "proven", "stamp", "checksum")
_VALUES = ", ".join(_OF_RUN)
_STORE_RUN = f"""
INSERT INTO runs ({_VALUES}) VALUES ({", ".join("?" * len(_OF_RUN))})
ON CONFLICT (id) DO UPDATE SET ({_VALUES}) =
  ({", ".join(f"excluded.{c}" for c in _OF_RUN)})
RETURNING num"""


def _store_leaves(
    db: sqlite3.Connection,
    name: str,
    nums: list[int],
    leaves: Sequence[Leaves],
    columns: dict[str, str],
) -> None:
    """Runs with the same leaves go in with one statement."""
    alike: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    for num, (keys, found) in zip(nums, leaves, strict=True):
        alike.setdefault(keys, []).append((num, *found))
    for keys, values in alike.items():
        if not columns.keys() >= set(keys):
            places = [0, *(i + 1 for i, key in enumerate(keys) if key in columns)]
            values = [tuple(each[i] for i in places) for each in values]
        listed = ["num", *(columns[key] for key in keys if key in columns)]
        marks = ", ".join("?" * len(listed))
        db.executemany(
            f"INSERT OR REPLACE INTO {name} ({', '.join(listed)}) VALUES ({marks})", values
        )


@lru_cache(maxsize=4096)
def _settings(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(plain(CONFIG + key)) for key in keys)


@lru_cache(maxsize=4096)
def _shared(keys: tuple[str, ...]) -> tuple[str, ...]:
    return keys


def plain(value: Any) -> Any:
    """A value as SQLite holds it: booleans as TOML spells them, lists as their elements."""
    if type(value) is float or value is None or (type(value) is str and value.isascii()):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return value if abs(value) < 2**63 else float(value)
    if isinstance(value, list):
        value = ", ".join(str(v) for v in value)
    elif not isinstance(value, str):
        value = json.dumps(value)
    try:
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace").decode()


def _columns(db: sqlite3.Connection, keys: set[str]) -> dict[str, str]:
    """Leaf -> its column, made where there is none yet and room for one."""
    known = dict(db.execute("SELECT key, col FROM keys").fetchall())
    for key in sorted(keys - known.keys()):
        if len(known) >= COLUMNS_MOST:
            db.execute("INSERT OR IGNORE INTO keys VALUES (?, NULL)", (key,))
            continue
        column = f"v{len(known)}"
        name = "settings" if key.startswith(CONFIG) else "results"
        db.execute(f"ALTER TABLE {name} ADD COLUMN {column}")
        db.execute("INSERT INTO keys VALUES (?, ?)", (key, column))
        known[key] = column
    return {key: column for key, column in known.items() if column}


def remove(db: sqlite3.Connection, ids: Iterable[str]) -> None:
    """Take runs out."""
    for run_id in ids:
        found = db.execute("DELETE FROM runs WHERE id = ? RETURNING num", (run_id,)).fetchone()
        if found:
            for name in ("settings", "results", "docs", "curves"):
                db.execute(f"DELETE FROM {name} WHERE num = ?", found)


def store_curves(db: sqlite3.Connection, curves: Iterable[tuple[int, str]]) -> None:
    rows = ((num, text, checksum(text)) for num, text in curves)
    db.executemany("INSERT OR REPLACE INTO curves VALUES (?, ?, ?)", rows)


def store_marks(db: sqlite3.Connection, marks: dict[str, Mark]) -> int:
    """Make these the marks of all runs; how many changed."""
    sql = "SELECT id, pinned, hidden, note FROM runs WHERE pinned OR hidden OR note != ''"
    before = {i: (pinned, hidden, note) for i, pinned, hidden, note in db.execute(sql)}
    after = {i: (int(m.pinned), int(m.hidden), plain(m.note)) for i, m in marks.items()}
    none = (0, 0, "")
    changed = [i for i in before.keys() | after.keys() if before.get(i, none) != after.get(i, none)]
    if not changed:
        return 0
    sql = "UPDATE runs SET pinned = ?, hidden = ?, note = ? WHERE id = ?"
    return db.executemany(sql, [(*after.get(i, none), i) for i in changed]).rowcount


def get_meta(db: sqlite3.Connection, key: str) -> str:
    found = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(found[0]) if found else ""


def set_meta(db: sqlite3.Connection, key: str, value: str) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


# -- what is known


_KNOWN = "SELECT num, id, stamp, proven, state FROM runs"


def _known(rows: Iterable[Any]) -> list[Known]:
    return [Known(num, i, stamp, bool(proven), state) for num, i, stamp, proven, state in rows]


def all_ids(db: sqlite3.Connection) -> set[str]:
    return {i for (i,) in db.execute("SELECT id FROM runs")}


def restless(db: sqlite3.Connection) -> list[Known]:
    """Runs that are live or queued."""
    sql = f"{_KNOWN} WHERE said IN {_RESTLESS}"
    return _known(db.execute(sql))


def newest(db: sqlite3.Connection, most: int) -> list[Known]:
    """The last made of the others."""
    sql = f"{_KNOWN} WHERE said NOT IN {_RESTLESS} ORDER BY created DESC LIMIT ?"
    return _known(db.execute(sql, (most,)))


def settled(db: sqlite3.Connection, after: int | None, to: int | None, most: int) -> list[Known]:
    """Runs past `after` and up to `to`, in the order they were taken in."""
    sql = f"{_KNOWN} WHERE num > ? AND num <= ? ORDER BY num LIMIT ?"
    last = 2**62 if to is None else to
    return _known(db.execute(sql, (-1 if after is None else after, last, most)))


def somewhere(db: sqlite3.Connection) -> int:
    """A number at random below the greatest one, so that every process begins elsewhere."""
    found = db.execute("SELECT abs(random() % (max(num) + 1)) FROM runs").fetchone()
    return int(found[0] or 0)


def known(db: sqlite3.Connection, nums: Sequence[int]) -> list[Known]:
    return _known(db.execute(f"{_KNOWN} WHERE num IN ({listed(nums)})"))


def curve(db: sqlite3.Connection, num: int) -> str | None:
    found = db.execute("SELECT curve, checksum FROM curves WHERE num = ?", (num,)).fetchone()
    if not found:
        return None
    intact(found[1], found[0])
    return str(found[0])


def without_curve(db: sqlite3.Connection, nums: Sequence[int]) -> list[tuple[int, str]]:
    """Started runs (number, id) among these whose events were never read."""
    sql = (
        f"SELECT num, id FROM runs WHERE num IN ({listed(nums)}) "
        "AND (said != 'queued' OR attempt) AND num NOT IN (SELECT num FROM curves)"
    )
    return list(db.execute(sql))


def find_nums(db: sqlite3.Connection, ids: Iterable[str]) -> list[int]:
    found = (db.execute("SELECT num FROM runs WHERE id = ?", (i,)).fetchone() for i in ids)
    return [row[0] for row in found if row]


def listed(nums: Sequence[int]) -> str:
    """Numbers for an SQL IN ()."""
    return ", ".join(str(int(n)) for n in nums)
