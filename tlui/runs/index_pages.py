"""The index's SQL, the other way: pages of rows that match a filter, in order."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from tlui.runs.curve import Curve
from tlui.runs.format import thin
from tlui.runs.index_tables import STORED, intact, listed, plain
from tlui.runs.query import CONFIG, Fields, Where
from tlui.runs.row import Row

POINTS = 24
"""Points of a row's curve."""


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
    # in the order of the file, unless the newest few are all that is wanted: an index would only
    # make SQLite hop between pages
    newest = where.condition == "1" and order.startswith("runs.created")
    sql = f"FROM runs{'' if newest else ' NOT INDEXED'}{join} WHERE {where.condition}"
    return f"{sql} ORDER BY {order}" if order else sql


def _parameters(where: Where) -> dict[str, Any]:
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


def best(db: sqlite3.Connection, where: Where) -> dict[str, dict[str, float]]:
    sums = "max(runs.val), count(runs.val), max(runs.test), count(runs.test)"
    sql = f"SELECT runs.dataset, {sums} {_from(where)} GROUP BY runs.dataset"
    found: dict[str, dict[str, float]] = {"val": {}, "test": {}}
    for dataset, val, vals, test, tests in db.execute(sql, _parameters(where)):
        for name, value, of in (("val", val, vals), ("test", test, tests)):
            if of > 1:
                found[name][dataset] = value
    return found


def states(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute("SELECT state, count(*) FROM runs GROUP BY state"))


def names(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute("SELECT DISTINCT name FROM runs")]


def with_name(db: sqlite3.Connection, name: str, most: int) -> list[int]:
    sql = "SELECT num FROM runs WHERE name = ? ORDER BY created DESC LIMIT ?"
    return [num for (num,) in db.execute(sql, (plain(name), most))]


def with_prefix(db: sqlite3.Connection, prefix: str, most: int) -> list[int]:
    sql = "SELECT num FROM runs WHERE id >= ? AND id < ? ORDER BY created DESC LIMIT ?"
    return [num for (num,) in db.execute(sql, (prefix, prefix + "\x7f", most))]


_ROW = f"""SELECT runs.num, {", ".join(f"runs.{c}" for c in STORED)}, pinned, hidden, note,
  runs.checksum, curves.checksum, doc, curve,
  (SELECT max(o.id) FROM runs o WHERE o.id < runs.id),
  (SELECT min(o.id) FROM runs o WHERE o.id > runs.id)
FROM runs LEFT JOIN docs ON docs.num = runs.num LEFT JOIN curves ON curves.num = runs.num"""


def load(db: sqlite3.Connection, nums: Sequence[int]) -> list[Row]:
    """Whole rows, in the order of `nums`.

    Raises:
        sqlite3.DatabaseError: One is not what was put in.
    """
    found: dict[int, Row] = {}
    for start in range(0, len(nums), 500):
        part = nums[start : start + 500]
        for record in db.execute(f"{_ROW} WHERE runs.num IN ({listed(part)})"):
            found[record[0]] = _row(record)
    return [found[num] for num in nums if num in found]


def _row(record: Sequence[Any]) -> Row:
    values = record[1 : 1 + len(STORED)]
    pinned, hidden, note, *sums, doc, folded, before, after = record[1 + len(STORED) :]
    intact(sums[0], *values, doc)
    if folded is not None:
        intact(sums[1], folded)
    stored = dict(zip(STORED, values, strict=True))
    points = thin(Curve.parse(folded).points, POINTS)
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
