"""The filter language of lists, and sort keys: from text to SQL over the index.

    cfg.lr>=1e-5 dataset:intel,food status:finished -note:x val_accuracy>.9 free words

    filter := term*                       every term must hold
    term   := ["-"] (FIELD OP VALUE | WORD)       "-" negates; a run without the field matches
    OP     := ":" | "=" | "!=" | ">" | ">=" | "<" | "<="
    VALUE  := anything without spaces, or "quoted"; after : = != alternatives apart by commas

`:` finds text anywhere in the field, whatever the case, and numbers that are equal; `*` stands
for any text, alone for any value at all. `=` wants the whole text. A bare word is looked for in
name, id, preset, experiment, dataset, backbone, regime, tags and note. Fields are the columns of
`COLUMNS`, metrics (`val_accuracy`), measures (`train_seconds`) and settings by their dotted path,
with or without `cfg.`; `cfg.dropout` is enough where one path ends so, and `cfg.lr` is
`phase.0.lr.initial`; where paths differ in the phase only, the first phase is meant. Times take
dates (`created>=2026-03-01`) and `age<2d`; seconds take `90s 5m 2h 1d`, shares `91%`. `status:live`
is starting, running, evaluating or stale.

A sort key is any field, `-field` for descending; runs without a value come last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tlui.errors import TluiError
from tlui.runs.format import rate
from tlui.runs.row import MEASURES, SPLITS
from tlui.runs.status import STATES

TEXT_COLUMNS = (
    *("id", "name", "preset", "experiment", "state", "reason"),
    *("dataset", "backbone", "regime", "lr", "device", "note"),
)
NUMBER_COLUMNS = ("epoch", "epochs", "attempt", "val", "test")
TIME_COLUMNS = ("created", "started", "ended")
BOOL_COLUMNS = ("pinned", "hidden")
COLUMNS = (*TEXT_COLUMNS, *NUMBER_COLUMNS, *TIME_COLUMNS, *BOOL_COLUMNS, "age", "seconds", "tag")
ALIASES = {"status": "state", "run": "id", "run_id": "id", "tags": "tag", "best": "val"}
SPLIT_METRICS = (
    "loss",
    "accuracy",
    "top5_accuracy",
    "precision",
    "recall",
    "f1",
    "weighted_precision",
    "weighted_recall",
    "weighted_f1",
    "roc_auc",
)
METRICS = tuple(f"{split}_{metric}" for split in SPLITS for metric in SPLIT_METRICS)
LIVE_STATES = "('starting','running','evaluating','stale')"
WORD_COLUMNS = ("name", "id", "preset", "experiment", "dataset", "backbone", "regime", "note")
CONFIG = "cfg."

_TERM = re.compile(r"([A-Za-z_][\w.-]*?)(!=|>=|<=|==|=|>|<|:)")
_SPAN = re.compile(r"(\d*\.?\d+)(ms|s|m|h|d|w)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DATE = re.compile(r"\d{4}-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d)?)?)?")


class FilterError(TluiError):
    """A filter or sort key that cannot be used; `position` is where, from 0."""

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message, code=2)
        self.position = position


@dataclass(frozen=True)
class Fields:
    """What there is to filter and sort by: SQL expressions for the leaves the store holds."""

    leaves: dict[str, str] = field(default_factory=dict)
    """Metric or measure name, or `cfg.` and a dotted path -> SQL expression."""

    def names(self) -> list[str]:
        """Every field by the name one would type."""
        return list(dict.fromkeys([*COLUMNS, *METRICS, *MEASURES, *self.leaves]))

    def find(self, name: str, position: int | None = None) -> str:
        """The name of a column or leaf that `name` stands for.

        Args:
            name: As a person writes it.
            position: Where in a filter it stands, 0 the first; None outside of one.

        Raises:
            FilterError: Nothing, or several settings, answer to it.
        """
        where = "" if position is None else f"filter: column {position + 1}: "
        name = ALIASES.get(name, name)
        if name in COLUMNS or name in self.leaves or name in METRICS or name in MEASURES:
            return name
        path = re.sub(r"^(cfg|config)\.", "", name)
        settings = [key for key in self.leaves if key.startswith(CONFIG)]
        if CONFIG + path in self.leaves:
            return CONFIG + path
        if path == "lr":
            return CONFIG + "phase.0.lr.initial"
        if not settings and path != name:
            return name
        ends = [key for key in settings if key.endswith("." + path)]
        if ends:
            first = _first_phase(ends)
            if first:
                return first
            listed = ", ".join(sorted(ends)[:6])
            raise FilterError(f'{where}"{name}" may be {listed}; say which', position or 0)
        from tlui.recipe.catalogue import unknown

        known = self.names()
        shown = [key for key in known if key.startswith(CONFIG)] if path != name else known
        prefix = name.removesuffix(path)
        short = [prefix + key.rpartition(".")[2] for key in settings]
        words = dict.fromkeys([*shown, f"{prefix}lr", *short])
        raise FilterError(f"{where}{unknown('field', name, words)}"[:400], position or 0)

    def sql(self, name: str) -> str:
        """The SQL expression of a name `find` gave; NULL where no run has it yet."""
        if name == "age":
            return "(:now - runs.created)"
        if name == "seconds":
            trained = self.leaves.get("train_seconds", "NULL")
            return f"COALESCE({trained}, COALESCE(runs.ended, :now) - runs.started)"
        if name == "tag":
            return self.leaves.get(CONFIG + "tags", "NULL")
        if name in COLUMNS:
            return f"runs.{name}"
        return self.leaves.get(name, "NULL")


def _first_phase(keys: list[str]) -> str:
    """The first of keys that differ in the phase's number only; "" where they differ in more."""
    if len({re.sub(r"phase\.\d+\.", "phase.*.", key) for key in keys}) > 1:
        return ""
    return min(keys, key=lambda key: [int(n) for n in re.findall(r"phase\.(\d+)\.", key)])


@dataclass(frozen=True)
class Where:
    """A filter as SQL: a condition and its named parameters (`now` is given by the index)."""

    condition: str = "1"
    parameters: dict[str, Any] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    """The fields it looks at."""


@dataclass(frozen=True)
class _Term:
    negated: bool
    name: str
    op: str
    values: tuple[str, ...]
    position: int


def parse_filter(text: str, fields: Fields | None = None) -> Where:
    """Compile a filter.

    Raises:
        FilterError: Text that is no filter, a field nobody has, a value that does not fit;
            says the column and the nearest field.
    """
    fields = fields or Fields()
    parameters: dict[str, Any] = {}

    def bind(value: Any) -> str:
        key = f"p{len(parameters)}"
        parameters[key] = value
        return f":{key}"

    conditions, used = [], []
    for term in _terms(text):
        if term.name:
            name = fields.find(term.name, term.position)
            if name == "lr" and term.op in (">", ">=", "<", "<="):
                name = fields.find("cfg.lr")
            used.append(name)
            condition = _condition(name, fields.sql(name), term, bind)
        else:
            tags = fields.sql("tag")
            place = [f"runs.{c}" for c in WORD_COLUMNS] + ([] if tags == "NULL" else [tags])
            pattern = bind(_like(term.values[0]))
            condition = " OR ".join(f"{p} LIKE {pattern} ESCAPE '\\'" for p in place)
        conditions.append(f"NOT COALESCE(({condition}), 0)" if term.negated else f"({condition})")
    return Where(" AND ".join(conditions) or "1", parameters, tuple(used))


def parse_sort(keys: str | Iterable[str], fields: Fields | None = None) -> str:
    """An ORDER BY list for sort keys such as `-val_accuracy,name`; newest first among equals.

    Raises:
        FilterError: A field nobody has.
    """
    fields = fields or Fields()
    words = keys.split(",") if isinstance(keys, str) else list(keys)
    parts = []
    for word in (w.strip() for w in words):
        if not word:
            continue
        name = fields.find(word.lstrip("-+"))
        if name == "lr":
            name = fields.find("cfg.lr")
        expression, way = fields.sql(name), "DESC" if word.startswith("-") else "ASC"
        if name == "created":
            parts.append(f"runs.created {way}")
            parts.append(f"runs.num {way}")
            return ", ".join(parts)
        parts.append(f"{expression} IS NULL")
        collate = " COLLATE NOCASE" if name in TEXT_COLUMNS else ""
        parts.append(f"{expression}{collate} {way}")
    return ", ".join([*parts, "runs.created DESC", "runs.num DESC"])


def _terms(text: str) -> list[_Term]:
    """Cut a filter into terms."""
    found: list[_Term] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        start = at
        negated = text[at] == "-" and at + 1 < len(text) and not text[at + 1].isspace()
        at += negated
        match = _TERM.match(text, at)
        name, op = (match[1], match[2]) if match else ("", "")
        at = match.end() if match else at
        values, at = _values(text, at, op in (":", "=", "==", "!="))
        if name and not any(values):
            raise FilterError(
                f'filter: column {at + 1}: "{name}{op}" lacks a value; * finds any', at
            )
        found.append(_Term(negated, name, "=" if op == "==" else op, tuple(values), start))
    return found


def _values(text: str, at: int, several: bool) -> tuple[list[str], int]:
    """The value at a position, its alternatives, and where the text goes on."""
    values = [""]
    while at < len(text) and not text[at].isspace():
        if text[at] == '"':
            end = text.find('"', at + 1)
            if end < 0:
                raise FilterError(f'filter: column {at + 1}: the quote " is never closed', at)
            values[-1] += text[at + 1 : end]
            at = end + 1
            continue
        if text[at] == "," and several:
            values.append("")
        else:
            values[-1] += text[at]
        at += 1
    return [v for v in values if v] or [""], at


def _condition(name: str, column: str, term: _Term, bind: Callable[[Any], str]) -> str:
    if term.op in (">", ">=", "<", "<="):
        number = _number(name, term.values[0])
        if number is None:
            what = "a date or a time" if name in TIME_COLUMNS else "a number"
            raise FilterError(
                f"filter: column {term.position + 1}: {term.name}{term.op} wants {what}. "
                f'Received: "{term.values[0]}"',
                term.position,
            )
        return f"typeof({column}) IN ('integer', 'real') AND {column} {term.op} {bind(number)}"
    if name == "state":
        for value in term.values:
            _require_state(value, term.position)
    values = tuple(map(_as_listed, term.values)) if name == "lr" else term.values
    one = _same if term.op in ("=", "!=") else _like_one
    condition = " OR ".join(f"({one(name, column, value, bind)})" for value in values)
    return f"NOT COALESCE(({condition}), 0)" if term.op == "!=" else condition


def _as_listed(value: str) -> str:
    """A learning rate as lists write it; what is no number stays as it is."""
    number = _number("lr", value)
    return value if number is None else rate(number)


def _require_state(value: str, position: int) -> None:
    """Refuse a value that no run's state can be, whatever there is in the store."""
    words = (*STATES, "stale", "live", "ended")
    pattern = ".*".join(map(re.escape, value.lower().split("*")))
    if not any(re.search(pattern, word) for word in words):
        from tlui.recipe.catalogue import unknown

        raise FilterError(
            f"filter: column {position + 1}: {unknown('state', value, words)}", position
        )


def _same(name: str, column: str, value: str, bind: Callable[[Any], str]) -> str:
    if name in (*BOOL_COLUMNS, *TIME_COLUMNS, "state"):
        return _like_one(name, column, value, bind)
    number = _number(name, value)
    text = f"{column} = {bind(value)} COLLATE NOCASE"
    return text if number is None else f"{text} OR {column} = {bind(number)}"


def _like_one(name: str, column: str, value: str, bind: Callable[[Any], str]) -> str:
    if value == "*":
        return f"{column} IS NOT NULL AND {column} != ''"
    if name in BOOL_COLUMNS:
        return f"{column} = {bind(int(value.lower() in ('true', 'yes', '1', 'on')))}"
    if name == "state" and value.lower() in ("live", "ended"):
        return f"{column} {'' if value.lower() == 'live' else 'NOT '}IN {LIVE_STATES}" + (
            "" if value.lower() == "live" else f" AND {column} != 'queued'"
        )
    if name in TIME_COLUMNS:
        return _in_time(column, value, bind)
    number = _number(name, value)
    if name == "id":
        return f"{column} LIKE {bind(_like(value.lstrip('#'))[1:])} ESCAPE '\\'"
    text = f"typeof({column}) = 'text' AND {column} LIKE {bind(_like(value))} ESCAPE '\\'"
    return text if number is None else f"{text} OR {column} = {bind(number)}"


def _like(value: str) -> str:
    r"""A LIKE pattern that finds `value` anywhere; `*` is any text, the rest is literal."""
    literal = re.sub(r"([\\%_])", r"\\\1", value).replace("*", "%")
    return f"%{literal}%"


def _in_time(column: str, value: str, bind: Callable[[Any], str]) -> str:
    """Within the day, month or minute that a date names."""
    from datetime import datetime, timedelta

    start = _date(value)
    if start is None:
        raise FilterError(f'filter: "{value}" is not a date such as 2026-03-01')
    begin = datetime.fromtimestamp(start)
    if len(value) == 7:
        end = (begin.replace(day=1) + timedelta(days=32)).replace(day=1)
    else:
        step = {10: timedelta(days=1), 16: timedelta(minutes=1)}
        end = begin + step.get(len(value), timedelta(seconds=1))
    return f"{column} >= {bind(start)} AND {column} < {bind(end.timestamp())}"


def _date(value: str) -> float | None:
    from datetime import datetime

    if not _DATE.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value + "-01" if len(value) == 7 else value).timestamp()
    except (ValueError, OverflowError):
        return None


def _number(name: str, value: str) -> float | None:
    """A value as a number: plain, a percentage, a date or a span of time where that fits."""
    if name in TIME_COLUMNS:
        found = _date(value)
        if found is not None:
            return found
    if (name in ("age", "seconds") or name.endswith("_seconds")) and (m := _SPAN.fullmatch(value)):
        return float(m[1]) * _SECONDS[m[2]]
    try:
        if value.endswith("%"):
            return float(value[:-1]) / 100
        return float(value) if "_" not in value else None
    except ValueError:
        return None
