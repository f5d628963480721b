"""Every file of a run and the index, damaged at any place: read on, and nothing is changed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from factory import age, make_run
from faults.test_damage import everything

from tlui.cli.main import run as tlui
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.index import Index
from tlui.runs.place import index_path
from tlui.runs.text import printable
from tlui.scheduler.order import Wishes, append, hold
from tlui.tui.live import LiveRun
from tlui.tui.report import config_lines, log_lines, table_lines
from tlui.tui.theme import Theme
from tlui.tui.watch import Query, answer
from tlui.tui.widgets.run_lines import alert_text, progress_line

Capture = pytest.CaptureFixture[str]
FILES = (
    *("events.jsonl", "status.json", "result.json", "run.json"),
    *("classes.json", "env.json", "preset.toml"),
)
ODD = (None, True, -1, 0, 1e308, 10**400, "", "x\x1b[2J", [], {}, [None, [1]], {"a": {"b": []}})
"""Values that stand where others are expected."""


def said(capfd: Capture, *words: str, unless: Path | None = None) -> str:
    """What a command prints that must succeed, whatever it reads (unless it names a path)."""
    capfd.readouterr()
    code = tlui(list(words))
    out, err = capfd.readouterr()
    assert "bug in tlui" not in err and "Traceback" not in out + err, (words, err)
    if code == 1 and unless is not None and f"{printable(unless)}: " in out + err:
        return out + err
    assert code == 0, (words, err)
    return out


def damages(whole: bytes, chance: random.Random, most: int) -> Iterator[tuple[str, bytes]]:
    """Ways to spoil a file: so many cuts (every length there is, if that many), and others."""
    lengths = range(len(whole)) if len(whole) <= most else chance.sample(range(len(whole)), most)
    yield from (("cut", whole[:length]) for length in lengths)
    for _ in range(most // 4):
        at = chance.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[at] ^= 1 << chance.randrange(8)
        yield "flip", bytes(flipped)
        yield "zeros", whole[:at] + bytes(len(whole) - at)
        yield "noise", whole[:at] + chance.randbytes(min(512, len(whole) - at)) + whole[at + 512 :]
        yield "odd value", odd_value(whole, chance)


def odd_value(whole: bytes, chance: random.Random) -> bytes:
    """JSON, or lines of JSON, with another value somewhere; noise where it is neither."""
    lines = whole.splitlines() if b"\n{" in whole else [whole]
    at = chance.randrange(len(lines))
    try:
        given = json.loads(lines[at])
    except ValueError:
        return chance.randbytes(100)
    places: list[tuple[Any, Any]] = []

    def visit(value: Any) -> None:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in pairs:
            places.append((value, key))
            if isinstance(part, dict | list):
                visit(part)

    visit(given)
    holder, key = chance.choice(places)
    holder[key] = chance.choice(ODD)
    lines[at] = json.dumps(given).encode()
    return b"\n".join(lines) + b"\n"


def whole_epochs(events: bytes) -> int:
    return sum(b'"type":"epoch"' in line for line in events.split(b"\n")[:-1])


def shown_everywhere(home: Home, run: RunDirectory, capfd: Capture) -> dict[str, Any]:
    """What every reader makes of a run: commands, the app's table and its screen of the run."""
    listed = {row["run_id"]: row for row in json.loads(said(capfd, "ls", "--json"))}
    said(capfd, "show", run.id)
    shown = json.loads(said(capfd, "show", run.id, "--json", "--epochs"))
    assert run.id in said(capfd, "export")
    said(capfd, "export", "--epochs", run.id)
    said(capfd, "compare", run.id, run.id)
    with Index(home) as index:
        index.refresh()
        page = answer(index, Query())
    assert page.error == "" and {row.id for row in page.rows} == listed.keys()
    assert {row.id: row.state for row in page.rows}[run.id] == listed[run.id]["state"]
    live = LiveRun(run)
    while not live.complete:
        live.poll()
    live.fold()
    for pane in (log_lines(live, 90, Theme()), config_lines(live, 90, Theme())):
        assert pane
    assert table_lines(live, None, 90, Theme()) and progress_line(live, 90, False)
    alert_text(live)
    live.class_names()
    return {"listed": listed, "epochs": shown["epochs"], "state": shown["state"]}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("most", [4, pytest.param(600, marks=pytest.mark.slow)])
def test_files_of_a_run(home: Home, capfd: Capture, most: int) -> None:
    chance = random.Random(most)
    intact, run = make_run(home, name="intact"), make_run(home, epochs=3, steps=2)
    tried: Counter[str] = Counter()
    for name in FILES:
        path = run.path / name
        whole = path.read_bytes()
        for kind, spoilt in damages(whole, chance, most):
            path.write_bytes(spoilt)
            age(path, 61)  # it is nobody's half-read new file
            before = everything(home.runs)
            seen = shown_everywhere(home, run, capfd)
            place = (name, kind, spoilt)
            assert seen["listed"][intact.id]["state"] == "finished", place
            assert seen["listed"].keys() == {intact.id, run.id}, place
            if name != "status.json" or kind in ("cut", "zeros"):
                assert seen["state"] == "finished", place
            if name != "events.jsonl":
                assert len(seen["epochs"]) == 3, place
            elif kind == "cut":
                assert len(seen["epochs"]) == whole_epochs(spoilt), place
            elif kind == "flip":
                assert len(seen["epochs"]) >= 2, place
            assert everything(home.runs) == before, place
            tried[kind] += 1
        path.write_bytes(whole)
    print(f"\n{tried.total()} damaged files ({dict(tried)}): all read on, nothing changed")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("most", [8, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_index(home: Home, capfd: Capture, most: int) -> None:
    """The same runs are listed, and what is listed of them is what their files say."""
    chance = random.Random(most)
    for number in range(40):
        make_run(home, name=f"run-{number}", top=0.5 + number / 100)
    commands = (["ls", "--json", "--limit", "60"], ["export"])

    def answers() -> list[Any]:
        rows, table = (said(capfd, *words) for words in commands)
        return [[{**row, "points": []} for row in json.loads(rows)], table]

    expected = answers()
    path = index_path(home.path)
    assert path is not None
    whole = path.read_bytes()
    tried: Counter[str] = Counter()
    for kind, spoilt in damages(whole, chance, most):
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        path.write_bytes(spoilt)
        assert answers() == expected, (kind, spoilt)
        said(capfd, "ls", "--filter", "val_accuracy>0.1 cfg.lr>=1e-9 run", "--sort", "-val_loss")
        tried[kind] += 1
    print(
        f"\n{sum(tried.values())} damaged indexes ({dict(tried)}): the same runs, and as they are"
    )


KINDS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("mine"),
    "empty": Path.touch,
    "noise": lambda path: path.write_bytes(random.Random(1).randbytes(5000)),
    "folder": Path.mkdir,
    "full folder": lambda path: shutil.copytree(Path(__file__).parent, path),
    "link to a file": lambda path: path.symlink_to(Path(__file__)),
    "link to a folder": lambda path: path.symlink_to(Path(__file__).parent),
    "link to nothing": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "pipe": os.mkfifo,
    "socket": lambda path: bound(path),
    "closed file": lambda path: (path.write_text("mine"), path.chmod(0)),
}
NAMES = (
    *("README", ".hidden", "status.json", "0badcafe", "run-0badcafe", "device-x-cpu-0", "000001"),
    *("new\nline", "\x1b[2J", os.fsdecode(b"caf\xe9"), "n" * 255, "run.json.tmp", "-rf", "~"),
)


def bound(path: Path) -> None:
    """A socket, whose own path would be too long to bind."""
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as one:
        one.bind("s")
    path.with_name("s").rename(path)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("most", [20, pytest.param(2000, marks=pytest.mark.slow)])
def test_foreign_things(home: Home, capfd: Capture, most: int) -> None:
    """Each kind of thing under each name in each folder of a store: passed over and left alone."""
    run, queued = make_run(home), make_run(home, name="waits", state="queued")
    append(home, [queued.id], Wishes())
    assert hold(home, queued.id) and tlui(["queue"]) == 0
    folders = (
        *(home.path, home.runs, run.path, run.checkpoints, queued.path, queued.requests),
        *(home.path / "queue", home.path / "claims", index_path(home.path).parent),
    )
    every = list(itertools.product(folders, NAMES, KINDS))
    tried = 0
    for folder, name, kind in random.Random(7).sample(every, min(most, len(every))):
        path = folder / name
        if os.path.lexists(path):
            continue
        KINDS[kind](path)
        place = (folder, name, kind)
        before, about = everything(home.path), path.lstat()
        for words in (["ls", "--json"], ["show", run.id], ["queue"], ["export"], ["doctor"]):
            out = said(capfd, *words, unless=path)
            assert "\x1b[2J" not in out, place
            shown = {"queue": (queued.id, printable(path)), "doctor": ("",)}
            assert any(text in out for text in shown.get(words[0], (run.id,))), (place, words)
        with Index(home) as index:
            index.refresh()
            assert {row.id for row in answer(index, Query()).rows} == {run.id, queued.id}, place
        LiveRun(run).poll()
        after = everything(home.path)
        assert {known: after.get(known) for known in before} == before, place
        assert path.lstat() == about, place
        remove(path)
        tried += 1
    print(f"\n{tried} foreign things: all passed over, none touched")


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
