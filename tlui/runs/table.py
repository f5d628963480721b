"""The index's SQL: tables, what goes in, what comes out. Knows nothing of files.

`runs` holds what lists show and sort by; `settings` one column for every setting the store holds,
`results` one for every metric and measure (columns are added as names turn up); `docs` the row as
JSON, `curves` what was folded of the events. A filter scans the columns it names: no index could
serve them all, and a scan of 100,000 rows takes some 50 ms.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tlui.runs.curve import Curve
from tlui.runs.format import thin
from tlui.runs.marks import Mark
from tlui.runs.query import CONFIG, Fields, Where
from tlui.runs.row import Row, Summary

SCHEMA = 1
COLUMNS_MOST = 1500
"""Leaves with a column of their own; SQLite allows 2000. Others are looked up in the JSON."""
POINTS = 24
"""Points of a row's curve."""
STORED = (
    *("id", "name", "preset", "experiment", "state", "reason", "advice"),
    *("created", "started", "ended", "dataset", "backbone", "regime", "lr"),
    *("epoch", "epochs", "val", "test", "device", "attempt"),
)
_IN_DOC = ("config", "metrics", "measures", "progress", "versions", "parents", "newer")
_RESTLESS = "('queued', 'starting', 'running', 'evaluating')"

_TABLES = f"""
CREATE TABLE runs (num INTEGER PRIMARY KEY, {", ".join(STORED)},
  said, proven INTEGER, stamp, pinned INTEGER DEFAULT 0, hidden INTEGER DEFAULT 0,
  note DEFAULT '');
CREATE UNIQUE INDEX runs_id ON runs (id);
CREATE INDEX runs_created ON runs (created, num);
CREATE INDEX runs_name ON runs (name);
CREATE INDEX runs_restless ON runs (said) WHERE said IN {_RESTLESS};
CREATE TABLE settings (num INTEGER PRIMARY KEY);
CREATE TABLE results (num INTEGER PRIMARY KEY);
CREATE TABLE docs (num INTEGER PRIMARY KEY, doc);
CREATE TABLE curves (num INTEGER PRIMARY KEY, curve);
CREATE TABLE keys (key PRIMARY KEY, col);
CREATE TABLE meta (key PRIMARY KEY, value);
"""


@dataclass(frozen=True)
class Found:
    """A run as it was read."""

    summary: Summary
    curve: str | None
    stamp: str


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


def store(db: sqlite3.Connection, found: Sequence[Found]) -> int:
    """Put runs in, or in the place of what was known of them; how many."""
    if not found:
        return 0
    prepared = [(one, _leaves(one.summary.row)) for one in found]
    columns = _columns(db, {key for _, parts in prepared for part in parts for key in part})
    names = ", ".join(STORED)
    marks = ", ".join("?" * len(STORED))
    update = ", ".join(f"{c} = excluded.{c}" for c in (*STORED, "said", "proven", "stamp"))
    sql = (
        f"INSERT INTO runs ({names}, said, proven, stamp) VALUES ({marks}, ?, ?, ?) "
        f"ON CONFLICT (id) DO UPDATE SET {update} RETURNING num"
    )
    for one, parts in prepared:
        row = one.summary.row
        values = [_plain(getattr(row, c)) for c in STORED]
        tail = (one.summary.said, int(one.summary.proven), one.stamp)
        num = db.execute(sql, (*values, *tail)).fetchone()[0]
        for name, leaves in zip(("settings", "results"), parts, strict=True):
            kept = [(columns[key], value) for key, value in leaves.items() if key in columns]
            listed = "".join(f", {column}" for column, _ in kept)
            db.execute(
                f"INSERT OR REPLACE INTO {name} (num{listed}) VALUES (?{', ?' * len(kept)})",
                (num, *(value for _, value in kept)),
            )
        doc = {name: getattr(row, name) for name in _IN_DOC}
        text = json.dumps(doc, separators=(",", ":"))
        db.execute("INSERT OR REPLACE INTO docs VALUES (?, ?)", (num, text))
        if one.curve is None:
            db.execute("DELETE FROM curves WHERE num = ?", (num,))
        else:
            db.execute("INSERT OR REPLACE INTO curves VALUES (?, ?)", (num, one.curve))
    return len(found)


def _leaves(row: Row) -> tuple[dict[str, Any], dict[str, float]]:
    """Settings and results by their key."""
    found: dict[str, Any] = {
        _plain(CONFIG + key): _plain(v) for key, v in row.config.items() if v is not None
    }
    return found, row.metrics | row.measures


def _plain(value: Any) -> Any:
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
    db.executemany("INSERT OR REPLACE INTO curves VALUES (?, ?)", curves)


def store_marks(db: sqlite3.Connection, marks: dict[str, Mark]) -> None:
    """Make these the marks of all runs."""
    db.execute(
        "UPDATE runs SET pinned = 0, hidden = 0, note = '' WHERE pinned OR hidden OR note != ''"
    )
    db.executemany(
        "UPDATE runs SET pinned = ?, hidden = ?, note = ? WHERE id = ?",
        [(int(m.pinned), int(m.hidden), _plain(m.note), i) for i, m in marks.items()],
    )


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
    return _known(db.execute(f"{_KNOWN} WHERE num IN ({_list(nums)})"))


def curve(db: sqlite3.Connection, num: int) -> str | None:
    found = db.execute("SELECT curve FROM curves WHERE num = ?", (num,)).fetchone()
    return str(found[0]) if found else None


def without_curve(db: sqlite3.Connection, nums: Sequence[int]) -> list[tuple[int, str]]:
    """Started runs (number, id) among these whose events were never read."""
    sql = (
        f"SELECT num, id FROM runs WHERE num IN ({_list(nums)}) AND said != 'queued' "
        "AND num NOT IN (SELECT num FROM curves)"
    )
    return list(db.execute(sql))


def find_nums(db: sqlite3.Connection, ids: Iterable[str]) -> list[int]:
    found = (db.execute("SELECT num FROM runs WHERE id = ?", (i,)).fetchone() for i in ids)
    return [row[0] for row in found if row]


def _list(nums: Sequence[int]) -> str:
    return ", ".join(str(int(n)) for n in nums)


# -- out


def fields(db: sqlite3.Connection) -> Fields:
    """The leaves there are and how SQL gets at them."""
    found: dict[str, str] = {}
    for key, column in db.execute("SELECT key, col FROM keys"):
        name = "settings" if key.startswith(CONFIG) else "results"
        found[key] = f"{name}.{column}" if column else _in_json(key)
    return Fields(found)


def _in_json(key: str) -> str:
    part, name = ("config", key[len(CONFIG) :]) if key.startswith(CONFIG) else ("metrics", key)
    path = f'$.{part}."{name}"'.replace("'", "''")
    return f"json_extract((SELECT doc FROM docs WHERE docs.num = runs.num), '{path}')"


def _from(where: Where, order: str = "") -> str:
    used = where.condition + order
    join = "".join(
        f" JOIN {name} ON {name}.num = runs.num"
        for name in ("settings", "results")
        if f"{name}." in used
    )
    sql = f"FROM runs{join} WHERE {where.condition}"
    return f"{sql} ORDER BY {order}" if order else sql


def _parameters(where: Where) -> dict[str, Any]:
    import time

    return {**where.parameters, "now": time.time()}


def select(
    db: sqlite3.Connection, where: Where, order: str, offset: int, limit: int | None
) -> list[int]:
    """Numbers of a page of runs."""
    sql = f"SELECT runs.num {_from(where, order)} LIMIT :limit OFFSET :offset"
    page = {"limit": -1 if limit is None else limit, "offset": offset}
    return [num for (num,) in db.execute(sql, _parameters(where) | page)]


def select_ids(db: sqlite3.Connection, where: Where, order: str) -> list[str]:
    sql = f"SELECT runs.id {_from(where, order)}"
    return [i for (i,) in db.execute(sql, _parameters(where))]


def count(db: sqlite3.Connection, where: Where) -> int:
    found = db.execute(f"SELECT count(*) {_from(where)}", _parameters(where)).fetchone()
    return int(found[0])


def states(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute("SELECT state, count(*) FROM runs GROUP BY state"))


def names(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute("SELECT DISTINCT name FROM runs")]


def with_name(db: sqlite3.Connection, name: str, most: int) -> list[int]:
    sql = "SELECT num FROM runs WHERE name = ? ORDER BY created DESC LIMIT ?"
    return [num for (num,) in db.execute(sql, (_plain(name), most))]


def with_prefix(db: sqlite3.Connection, prefix: str, most: int) -> list[int]:
    sql = "SELECT num FROM runs WHERE id >= ? AND id < ? ORDER BY created DESC LIMIT ?"
    return [num for (num,) in db.execute(sql, (prefix, prefix + "\x7f", most))]


_ROW = f"""SELECT runs.num, {", ".join(f"runs.{c}" for c in STORED)}, pinned, hidden, note,
  doc, curve,
  (SELECT max(o.id) FROM runs o WHERE o.id < runs.id),
  (SELECT min(o.id) FROM runs o WHERE o.id > runs.id)
FROM runs JOIN docs ON docs.num = runs.num LEFT JOIN curves ON curves.num = runs.num"""


def load(db: sqlite3.Connection, nums: Sequence[int]) -> list[Row]:
    """Whole rows, in the order of `nums`."""
    found: dict[int, Row] = {}
    for start in range(0, len(nums), 500):
        part = nums[start : start + 500]
        for record in db.execute(f"{_ROW} WHERE runs.num IN ({_list(part)})"):
            found[record[0]] = _row(record)
    return [found[num] for num in nums if num in found]


def _row(record: Sequence[Any]) -> Row:
    stored = dict(zip(STORED, record[1:], strict=False))
    pinned, hidden, note, doc, folded, before, after = record[1 + len(STORED) :]
    points = thin(Curve.parse(folded).points, POINTS) if folded else []
    return Row(
        **stored,
        **json.loads(doc),
        points=points,
        pinned=bool(pinned),
        hidden=bool(hidden),
        note=note,
        short=stored["id"][: max(_shared(stored["id"], before), _shared(stored["id"], after)) + 1],
    )


def _shared(one: str, other: str | None) -> int:
    """How many characters at the start agree, one at least."""
    agree = 0
    for a, b in zip(one, other or "", strict=False):
        if a != b:
            break
        agree += 1
    return max(agree, 1)
