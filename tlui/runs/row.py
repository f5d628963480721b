"""One run as lists show it: what run.json, status.json and result.json say, in one `Row`.

`summarise` reads those files (and the epochs in events.jsonl where there is no result yet) and
derives the words people look for: dataset, regime, learning rate. It never fails on a damaged
run: the row then says in `reason` what is wrong. Files of a newer version are read as far as they
are alike and marked `newer`.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any

from tlui.runs.curve import Curve
from tlui.runs.directory import RunDirectory
from tlui.runs.files import read_json, read_regular, withheld
from tlui.runs.format import rate
from tlui.runs.status import LIVE, Observed, judge

FORMAT = 1
SPLITS = ("train", "val", "test")
MEASURES = (
    "train_seconds",
    "test_inference_seconds",
    "images_per_second",
    "trainable_parameters",
    "total_parameters",
    "peak_memory_mb",
    "peak_gpu_memory_mb",
)
"""Numbers of result.json beside the metrics."""


@dataclass(frozen=True)
class Row:
    """A run in a list. Times are Unix times; metrics are shares of one unless losses."""

    id: str
    name: str
    preset: str = ""
    experiment: str = ""
    state: str = "queued"
    """The observed state: a dead run is `interrupted`, a silent one `stale`."""
    reason: str = ""
    advice: str = ""
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    """Of a killed run: when it was last heard of."""
    dataset: str = ""
    backbone: str = ""
    regime: str = ""
    """`scratch`, `head`, `all`, `all but BN`, `top 20`, `from LAYER`; phases joined by ` then `."""
    lr: str = ""
    """`1e-4`, `exp 0.01`; phases joined by ` then `."""
    epoch: int = 0
    """See `shown_epoch`."""
    epochs: int = 0
    """Epochs asked for, all phases."""
    val: float | None = None
    """Best val_accuracy."""
    test: float | None = None
    """test_accuracy."""
    device: str = ""
    attempt: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    """Dotted leaf -> value."""
    metrics: dict[str, float] = field(default_factory=dict)
    """`SPLIT_METRIC` -> value: of result.json, else of the best epoch so far."""
    measures: dict[str, float] = field(default_factory=dict)
    """`MEASURES` and further numbers of result.json -> value."""
    progress: dict[str, Any] = field(default_factory=dict)
    """status.json's progress: phase, epoch, step, steps, images_per_second, eta_seconds …"""
    points: list[float | None] = field(default_factory=list)
    """val_accuracy over the epochs, thinned, for a sparkline; empty where not read yet."""
    versions: dict[str, str] = field(default_factory=dict)
    parents: list[str] = field(default_factory=list)
    pinned: bool = False
    hidden: bool = False
    note: str = ""
    short: str = ""
    """The shortest prefix of the id, two characters or more, that no other run shares."""
    newer: bool = False
    """Whether a newer tlui wrote it, so that something may be missing here."""

    @property
    def title(self) -> str:
        """`head-1e-4 #2f`: the name and the shortest id that tells it from others."""
        return f"{self.name} #{self.short or self.id}"

    @property
    def monitor(self) -> str:
        """The metric that picks its best epoch."""
        return str(self.config.get("train.monitor") or "val_accuracy")

    def seconds(self, now: float) -> float | None:
        """How long it trained, or has been running."""
        if "train_seconds" in self.measures:
            return self.measures["train_seconds"]
        return None if self.started is None else max((self.ended or now) - self.started, 0.0)

    def value(self, name: str) -> Any:
        """A metric, measure or config leaf by its name, or None."""
        for found in (self.metrics, self.measures, self.config):
            if name in found:
                return found[name]
        return None


@dataclass(frozen=True)
class Summary:
    """A row fresh from the files, with what the index keeps to know when to look again."""

    row: Row
    said: str
    """The state status.json names, whatever is observed."""
    proven: bool
    """Whether no more can be learnt without a new status.json."""


def summarise(run: RunDirectory, curve: Curve, now: float | None = None) -> Summary | None:
    """Read one run.

    Args:
        run: The run.
        curve: What was folded of its events before; brought up to date where there is no result.
        now: Unix time to judge heartbeats by; the clock by default.

    Returns:
        None where the directory holds no run at all.
    """
    meta, meta_reason = _meta(run)
    status = f"{run.path}/status.json"  # strings: a Path for each of 100,000 runs takes its time
    given = read_json(status)
    if meta is None and given is None and not os.path.exists(status):  # noqa: PTH110
        return None
    try:
        seen: float | None = os.stat(status).st_mtime  # noqa: PTH116
    except OSError:
        seen = None
    trouble = "" if given is not None else withheld(status)
    observed = judge(given, seen, now, trouble, folder=run.path)
    result = read_json(f"{run.path}/result.json") or {}
    meta = meta or {}
    config = meta.get("config")
    config = {str(k): v for k, v in config.items()} if isinstance(config, dict) else {}
    if isinstance(meta.get("tags"), list):
        config.setdefault("tags", meta["tags"])  # no setting, but filtered and shown like one
    metrics = numbers(result.get("metrics"))
    began = observed.status.state != "queued" or observed.status.attempt
    if began and (not metrics or curve.epoch):
        # what was folded while it trained is brought to its end, result or not
        curve.update(run, str(config.get("train.monitor") or "val_accuracy"))
        metrics = metrics or curve.metrics()
    stages = phases(config)
    row = Row(
        id=run.id,
        name=str(meta.get("name") or run.id),
        preset=str(meta.get("preset") or ""),
        experiment=str(meta.get("experiment") or ""),
        state=observed.state,
        reason=observed.reason or meta_reason,
        advice=observed.status.advice,
        created=_created(run, meta),
        started=observed.status.started,
        ended=_ended(observed, seen),
        dataset=dataset_word(config),
        backbone=str(config.get("backbone.name") or ""),
        regime=regime_word(config, stages),
        lr=lr_word(config, stages),
        epoch=_epoch(observed, curve, result),
        epochs=sum(int(_finite(p.get("epochs")) or 0) for p in stages),
        val=metrics.get("val_accuracy"),
        test=metrics.get("test_accuracy"),
        device=observed.status.device or str(result.get("device") or ""),
        attempt=observed.status.attempt,
        config=config,
        metrics=metrics,
        measures=_measures(result),
        progress=observed.status.progress,
        points=list(curve.points),
        versions=_strings(result.get("versions")),
        parents=_words(meta.get("parents")),
        newer=any(_version(part) > FORMAT for part in (meta, given, result)),
    )
    dead = observed.state == "interrupted" and observed.status.state != "interrupted"
    live = observed.status.state in LIVE
    proven = (dead or not live) and observed.state != "stale"
    return Summary(row, observed.status.state, proven)


def _meta(run: RunDirectory) -> tuple[dict[str, Any] | None, str]:
    """run.json, or what can be told from preset.toml where it is damaged; and what is wrong."""
    meta = read_json(f"{run.path}/run.json")
    if meta is not None:
        return meta, ""
    import tomllib

    reason = "run.json is missing or unreadable"
    try:
        given = tomllib.loads(read_regular(run.preset).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        there = run.exists() or withheld(run.meta)  # or in a folder that is closed to us
        return ({} if there else None), reason
    origin = given.pop("origin", None)
    origin = origin if isinstance(origin, dict) else {}
    name = given.pop("name", run.id)
    for key in ("version", "description"):
        given.pop(key, None)
    return {
        "name": name,
        "preset": origin.get("preset", ""),
        "experiment": origin.get("experiment", ""),
        "config": leaves(given),
    }, reason


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Dotted leaves of nested tables; a list of scalars is one leaf."""
    if isinstance(value, dict) and value:
        inner = value.items()
    elif isinstance(value, list) and any(isinstance(v, dict | list) for v in value):
        inner = ((str(i), v) for i, v in enumerate(value))  # type: ignore[assignment]
    else:
        return {path: value}
    found: dict[str, Any] = {}
    for key, part in inner:
        found |= leaves(part, f"{path}.{key}" if path else str(key))
    return found


def phases(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The phases of a flattened configuration, each with its own dotted leaves."""
    found: dict[int, dict[str, Any]] = {}
    for key, value in config.items():
        if key.startswith("phase."):
            number, _, leaf = key[6:].partition(".")
            if number.isdecimal() and leaf:
                found.setdefault(int(number), {})[leaf] = value
    return [found[i] for i in sorted(found)]


def dataset_word(config: dict[str, Any]) -> str:
    """The dataset's name, or TFDS's; else the last part of its path, else its source."""
    path = str(config.get("dataset.path") or "").rstrip("/")
    last = path.rpartition("/")[2]
    named = config.get("dataset.name") or config.get("dataset.dataset")
    return str(named or last or config.get("dataset.source") or "")


def regime_word(config: dict[str, Any], stages: list[dict[str, Any]] | None = None) -> str:
    """What learns, in the words of the lists: see `Row.regime`; `stages` are its `phases`."""
    started = any(v is not None for k, v in config.items() if k.startswith("start_from."))
    random = config.get("backbone.weights") == "none" and not started
    words: list[str] = []
    for phase in phases(config) if stages is None else stages:
        freeze = str(phase.get("freeze") or "")
        kind, _, argument = freeze.partition(":")
        if freeze == "none":
            word = "scratch" if random and not words else "all"
        elif argument:
            word = f"{kind} {argument}"
        else:
            word = {"backbone": "head", "batchnorm": "all but BN"}.get(freeze, freeze)
        words.append(word)
    return " then ".join(dict.fromkeys(words))


_POLICIES = {
    "constant": "",
    "exponential": "exp ",
    "polynomial": "poly ",
    "cosine-restarts": "cos-restarts ",
    "cosine": "cos ",
    "inverse-time": "inv ",
}


def lr_word(config: dict[str, Any], stages: list[dict[str, Any]] | None = None) -> str:
    """Policy and initial rate of each phase: see `Row.lr`; `stages` are its `phases`."""
    words = []
    for phase in phases(config) if stages is None else stages:
        policy = str(phase.get("lr.policy") or "constant")
        initial = _finite(phase.get("lr.initial"))
        if initial is not None:
            words.append(_POLICIES.get(policy, f"{policy} ") + rate(initial))
    return " then ".join(dict.fromkeys(words))


def numbers(given: Any) -> dict[str, float]:
    """The finite numbers of a JSON object."""
    if not isinstance(given, dict):
        return {}
    found: dict[str, float] = {}
    for key, value in given.items():
        number = value if type(value) is float and -9e18 < value < 9e18 else _finite(value)
        if number is not None:
            found[key] = number
    return found


def _measures(result: dict[str, Any]) -> dict[str, float]:
    found = {name: _finite(result.get(name)) for name in MEASURES}
    best = result.get("best")
    if isinstance(best, dict):
        found["best_epoch"] = _finite(best.get("epoch"))
    splits = result.get("splits")
    splits = splits if isinstance(splits, dict) else {}
    for split in SPLITS:
        part = splits.get(split)
        if isinstance(part, dict):
            found[f"{split}_inference_seconds"] = _finite(part.get("inference_seconds"))
            found[f"{split}_images"] = _finite(part.get("images"))
    skipped = result.get("skipped_images")
    if isinstance(skipped, list):
        found["skipped_images"] = len(skipped)
    return {k: v for k, v in found.items() if v is not None}


def _ended(observed: Observed, seen: float | None) -> float | None:
    """When it ended; of a killed run when it was last heard of."""
    if observed.status.ended is None and observed.state == "interrupted":
        return seen
    return observed.status.ended


def shown_epoch(state: str, progress: dict[str, Any], finished: int) -> int:
    """The epoch that every view shows: while a run trains the one under way (from 1), in one that
    waits or has ended, however it did, how many were finished."""
    if state not in LIVE and state != "stale":
        return finished
    return max(int(_finite(progress.get("epoch")) or 0), finished)


def _epoch(observed: Observed, curve: Curve, result: dict[str, Any]) -> int:
    progress = observed.status.progress
    finished = int(_finite(result.get("epochs")) or 0) or curve.epoch
    if not finished and result:
        finished = int(_finite(progress.get("epoch")) or 0)
    return shown_epoch(observed.state, progress, finished)


def _created(run: RunDirectory, meta: dict[str, Any]) -> float:
    given = _finite(meta.get("created"))
    if given is not None:
        return given
    try:
        return run.path.stat().st_mtime
    except OSError:
        return 0.0


def _words(given: Any) -> list[str]:
    return [word for word in given if isinstance(word, str)] if isinstance(given, list) else []


def _strings(given: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in given.items()} if isinstance(given, dict) else {}


def _version(given: dict[str, Any] | None) -> int:
    return int(_finite((given or {}).get("version")) or 0)


def _finite(value: Any) -> float | None:
    """A number as it is (whole ones stay whole), None for anything else or not finite."""
    if type(value) is float:
        return value if -9e18 < value < 9e18 else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) and abs(value) < 2**63 else None
    except OverflowError:
        return None
