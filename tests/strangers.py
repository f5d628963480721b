"""A store in which every text is from somebody who means harm, and how to see that it did none."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from factory import CLASSES, age, make_run

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.events import EventWriter
from tlui.runs.files import write_json
from tlui.runs.marks import mark
from tlui.runs.process import identify
from tlui.runs.status import read_status, write_status
from tlui.scheduler import order
from tlui.scheduler.order import Wishes

EVIL = (
    "e\x1b]52;c;RVZJTA==\x07\x1b]0;owned\x07\x1b[2J\x1bc\x1bPq\x1b\\\x9b31m\x9d0;owned\x9c"
    "\x7f\u202e\u2066\r\nv[red]x"
)
"""The clipboard, the title, the screen, a reset, sixel; C1 as UTF-8, DEL, bidi, lines, markup."""
UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\r(?!\n)")
"""What no text may bring to a terminal: all that moves, reorders or tells it anything but lines."""
TRACES = (b"\x1b]52", b"\x1b]0;", b"\x1b[2J", b"\x1bc", b"\x1bP", b"\x7f", b"\xc2\x9b", b"\xc2\x9d")
"""What of `EVIL` no program of ours writes of its own accord."""


def evil_store(home: Home) -> dict[str, RunDirectory]:
    """One run of every kind, by what it is; three of them wait in the queue."""
    leaves = {"tags": [EVIL], "dataset.name": EVIL, "backbone.name": EVIL, f"x.{EVIL}": EVIL}
    leaves |= {"phase.0.freeze": EVIL, "phase.0.lr.policy": EVIL}
    texts = {"name": EVIL, "preset": EVIL, "experiment": EVIL, "device": EVIL, "config": leaves}
    states = ("finished", "failed", "running", "stale")
    runs: dict[str, RunDirectory] = {}
    for state in states:
        runs[state] = make_run(home, state="running" if state == "stale" else state, **texts)  # type: ignore[arg-type]
        _fill(runs[state])
    status = read_status(runs["stale"].status)
    assert status is not None
    write_status(runs["stale"].status, replace(status, owner=replace(identify(), host=EVIL)))
    age(runs["stale"].status, 9999)
    waiting = ("queued", "held", "child")
    for kind in waiting:
        runs[kind] = make_run(home, state="queued", **texts)  # type: ignore[arg-type]
    child = runs["child"]
    write_json(child.meta, {**child.read_meta(), "parents": [runs["running"].id]})
    order.append(home, [runs[kind].id for kind in waiting], Wishes(device="gpu"))
    order.hold(home, runs["held"].id)
    mark(home, [runs["finished"].id], note=EVIL)
    return runs


def _fill(run: RunDirectory) -> None:
    """Put the text wherever a run has room for one."""
    write_json(run.classes, {"version": 1, "classes": [EVIL, *CLASSES[1:]]})
    if result := run.read_result():
        for part in result["splits"].values():
            part["classes"][0]["name"] = part["device"] = EVIL
        result["metrics"] |= {EVIL: 0.5, f"val_{EVIL}": 0.5}
        result["phases"][0]["freeze"] = result["best"]["monitor"] = EVIL
        result["skipped_images"] = [{"split": EVIL, "name": EVIL, "reason": EVIL}]
        result |= {"versions": {EVIL: EVIL}, "device": EVIL, "evaluated": EVIL}
        write_json(run.result, result)
    writer = EventWriter(run.events)
    writer.write("alert", kind=EVIL, message=EVIL)
    writer.write("log", level=EVIL, message=EVIL)
    writer.write("phase", phase=1, freeze=EVIL, batchnorm=EVIL, epochs=1, first_epoch=2)
    writer.write("progress", what=EVIL, done=1, total=2)
    writer.close()
    run.log.write_text(EVIL)
    write_json(run.env, {"version": 1, "host": EVIL, "versions": {EVIL: EVIL}})
    status = read_status(run.status)
    assert status is not None
    progress = {**status.progress, "monitor": EVIL}
    write_status(run.status, replace(status, reason=EVIL, advice=EVIL, progress=progress))


def evil_configuration() -> None:
    """A configuration, where the environment says it is, with a dataset of that name and place."""
    text = "".join(f"\\u{ord(char):04x}" for char in EVIL)
    config = Path(os.environ["TLUI_CONFIG"])
    config.write_text(f'[datasets]\n"{text}" = "/no/{text}"\n')
