"""A store with fixed ids and times, the app on it, and a way to wait for what threads bring."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factory import make_run
from tui.driving import HOSTILE, NOW, Make, Open

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.files import to_json
from tlui.runs.status import read_status, write_status
from tlui.tui import watch
from tlui.tui.app import TluiApp
from tlui.tui.keys import KeyTable
from tlui.tui.theme import Theme


@pytest.fixture(autouse=True)
def _frozen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Ids, the host's devices and the time zone are the same on every machine."""
    import tlui.runs.directory as directory

    counter = iter(range(0x2A000001, 0x7FFFFFFF, 0x00100101))

    class Os:
        """`os` with run ids that count up."""

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def urandom(self, size: int) -> bytes:
            return next(n for n in counter if set(f"{n:08x}") & set("abcdf")).to_bytes(size, "big")

    monkeypatch.setattr(directory, "os", Os())
    monkeypatch.setattr(watch, "device_words", lambda live: "cpu 82% 3.1G" if live else "cpu")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    time.tzset()
    yield
    time.tzset()


@pytest.fixture
def make(home: Home) -> Make:
    """`make_run` in the test's home, its events at fixed times."""
    made = 0

    def build(**given: Any) -> RunDirectory:
        nonlocal made
        created = given.pop("created", NOW - 3600 * made)
        progress = given.pop("progress", {})
        made += 1
        run: RunDirectory = make_run(home, created=created, **given)
        settle(run, created)
        if progress:
            status = read_status(run.status)
            assert status is not None
            from dataclasses import replace

            write_status(run.status, replace(status, progress={**status.progress, **progress}))
        return run

    return build


def settle(run: RunDirectory, created: float) -> None:
    """Give the events of a run fixed times, two seconds apart."""
    if not run.events.exists():
        return
    lines = [json.loads(line) for line in run.events.read_text().splitlines()]
    for i, event in enumerate(lines):
        event["t"] = created + 2.0 * i
    run.events.write_text("".join(to_json(event) + "\n" for event in lines))
    os.utime(run.path)


@pytest.fixture
def store(make: Make) -> list[RunDirectory]:
    """One run of every kind, newest first."""
    live = {"step": 14, "steps": 24, "eta_seconds": 72}
    rows: list[dict[str, Any]] = [
        {"name": "head-1e-4", "state": "running", "epochs": 10, "done": 6, "top": 0.8611,
         "progress": live},
        {"name": "head-5e-7", "state": "queued", "config": {"phase.0.lr.initial": 5e-7}},
        {"name": "then-full-1e-6", "state": "queued",
         "config": {"phase.0.freeze": "none", "phase.0.lr.initial": 1e-6}},
        {"name": "head-1e-6", "state": "finished", "epochs": 10, "top": 0.4126,
         "config": {"phase.0.lr.initial": 1e-6}},
        {"name": "full-1e-4", "state": "finished", "epochs": 10, "top": 0.9037,
         "config": {"phase.0.freeze": "none"}},
        {"name": "scratch-1e-4", "state": "failed", "epochs": 10, "done": 4, "top": 0.521,
         "reason": "CUDA ran out of memory", "config": {"phase.0.freeze": "none",
         "backbone.weights": "none"}},
        {"name": "scratch-1e-7", "state": "interrupted", "epochs": 10, "done": 5, "top": 0.2,
         "config": {"phase.0.freeze": "none", "backbone.weights": "none",
                    "phase.0.lr.initial": 1e-7}},
        {"name": HOSTILE, "state": "stopped", "epochs": 10, "done": 7, "top": 0.7,
         "config": {"phase.0.freeze": "batchnorm", "phase.0.lr.initial": 1e-3,
                    "dataset.name": "[b]bold[/b]"}},
        {"name": "diverging", "state": "diverged", "epochs": 4, "done": 1,
         "config": {"phase.0.lr.initial": 1.0}},
    ]  # fmt: skip
    return [make(**row) for row in rows]


@pytest.fixture
def open_app(home: Home) -> Open:
    """The app on the test's home; `look` and `keys` as given."""

    def build(look: Theme | None = None, keys: KeyTable | None = None) -> TluiApp:
        return TluiApp(
            home,
            look=look or Theme("dark"),
            keys=keys or KeyTable(),
            clock=lambda: NOW + 100,
            count_parameters=False,
        )

    return build
