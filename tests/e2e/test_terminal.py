"""The app in a real terminal, by the keyboard alone: here, and over a real SSH connection."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from e2e.ssh import Server
from e2e.terminal import Terminal, until

ROOT = Path(__file__).parents[2]
EPOCHS = 20
Open = Callable[..., Terminal]


class Store:
    """A private store, and what its files say without asking tlui."""

    def __init__(self, folder: Path, keras_home: Path | None) -> None:
        self.home = folder / "home"
        self.env = {
            "TLUI_HOME": str(self.home),
            "TLUI_CACHE": str(folder / "cache"),
            "TLUI_CONFIG": str(folder / "config.toml"),
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **({"KERAS_HOME": str(keras_home)} if keras_home else {}),
        }

    def run(self, name: str) -> Path:
        """The directory of the run of that name."""

        def look() -> Path | None:
            for meta in self.home.glob("runs/*/run.json"):
                if json.loads(meta.read_text())["name"] == name:
                    return meta.parent
            return None

        return until(look, f"run named {name}")

    def epochs(self, run: Path) -> list[int]:
        """The epochs its events tell of, whole lines only."""
        try:
            lines = (run / "events.jsonl").read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        events = [json.loads(line) for line in lines]
        return [event["epoch"] for event in events if event["type"] == "epoch"]

    def apps(self) -> list[psutil.Process]:
        """The processes of open apps."""
        found = []
        for process in psutil.process_iter(["cmdline", "environ"]):
            mine = (process.info["environ"] or {}).get("TLUI_HOME") == str(self.home)
            if mine and (process.info["cmdline"] or [])[1:] == list(APP[1:]):
                found.append(process)
        return found

    def state(self, run: Path) -> str:
        """What its status says."""
        return str(json.loads((run / "status.json").read_text())["state"])


@pytest.fixture
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty store; whatever still works in it is ended with the test."""
    photos = request.node.get_closest_marker("parametrize") is None
    made = Store(tmp_path, request.getfixturevalue("keras_home") if photos else None)
    yield made
    for process in psutil.process_iter(["cmdline"]):
        if any(str(made.home) in word for word in process.info["cmdline"] or ()):
            process.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A real sshd on loopback."""
    made = Server(tmp_path / "ssh")
    yield made
    made.close()


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens terminals that are closed with the test."""
    terminals: list[Terminal] = []

    def open_one(*arguments: Any, **named: Any) -> Terminal:
        terminals.append(Terminal(*arguments, **named))
        return terminals[-1]

    yield open_one
    for terminal in terminals:
        terminal.close()


APP = (sys.executable, "-m", "tlui.cli.main")


# -- typing into the form


def under_cursor(screen: str) -> str:
    """The form's line with the cursor: marked by a bar, or `!` where its field is wrong."""
    lines = screen.splitlines()
    bar = [line for line in lines if line.startswith("▌ ")]
    return (bar or [line for line in lines if line.startswith("! ")] or [""])[0]


def label_under_cursor(screen: str) -> str:
    """The label of the field with the cursor; empty while there is none."""
    found = re.match(r"[▌!] (.{1,12})", under_cursor(screen))
    return found[1].strip() if found else ""


def go_to(terminal: Terminal, label: str, key: str = "Down") -> None:
    """Move by that key until the cursor is on a field."""
    for _ in range(60):
        here = terminal.wait_for(label_under_cursor, "cursor in the form")
        if here == label:
            return
        terminal.press(key)
        terminal.wait_for(lambda s, was=here: label_under_cursor(s) not in ("", was), "step")  # type: ignore[misc]
    raise AssertionError(f"no field {label}\n{terminal.screen()}")


def fill(terminal: Terminal, label: str, text: str, key: str = "Down") -> None:
    """Go to a field and replace what is in it."""
    go_to(terminal, label, key)
    terminal.press("C-u")
    terminal.type(text)
    end = text[-12:]  # the beginning of a long path is out of sight

    def typed(screen: str) -> bool:
        return label_under_cursor(screen) == label and end in under_cursor(screen)

    terminal.wait_for(typed, f"{text} in {label}")


def build_scenes(terminal: Terminal, realdata: Path, epochs: str, image: int = 64) -> None:
    """From the runs screen: build an experiment on real photos in the form."""
    terminal.wait("runs", "? help")
    terminal.press("n")
    terminal.wait("new run", "launch")
    fill(terminal, "name", "scenes")
    fill(terminal, "path", str(realdata / "datasets" / "intel6"))
    fill(terminal, "image", str(image))
    fill(terminal, "batch", "16")
    fill(terminal, "backbone", "MobileNetV2")
    fill(terminal, "alpha", "0.35")
    fill(terminal, "epochs", epochs)
    # Flipped photos cannot be cached as features: the run lives long enough to be watched.
    fill(terminal, "flip", "horizontal", key="Tab")
    runs = 1 + epochs.count(",")
    word = "1 run will be made" if runs == 1 else f"{runs} runs will be made"
    terminal.wait(word, "no errors", "buildings")


def epochs_shown(screen: str, of: int = EPOCHS) -> int:
    """The n of `epoch n/N`; 0 where it does not show."""
    found = re.search(rf"epoch (\d+)/{of}\b", screen)
    return int(found[1]) if found else 0


# -- the tests


@pytest.mark.slow
def test_from_an_empty_store_to_two_epochs_and_a_stop(
    store: Store, opened: Open, realdata: Path
) -> None:
    terminal = opened(APP, store.env)
    build_scenes(terminal, realdata, str(EPOCHS))
    terminal.press("C-r")
    terminal.wait("scenes #", "charts", "MobileNetV2")
    terminal.wait_for(lambda screen: epochs_shown(screen) >= 2, "second epoch")
    run = store.run("scenes")
    assert store.epochs(run)[:2] == [1, 2]
    terminal.press("x")
    terminal.wait("Stop", "scenes", "y ")
    terminal.press("y")
    terminal.wait("stopped")
    until(lambda: store.state(run) == "stopped", "state stopped")
    terminal.press("3")
    terminal.wait("tables", "confusion")
    assert (run / "result.json").exists()
    terminal.press("q")
    until(lambda: terminal.dead, "end of the app", seen=terminal.screen)
    assert "Traceback" not in terminal.screen()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60)])
def test_opens_and_survives_any_size(store: Store, opened: Open, width: int, height: int) -> None:
    terminal = opened(APP, store.env, width, height)
    lines = terminal.wait("tlui", "runs", "? help").splitlines()
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    terminal.resize(50, 12)

    def only_status(screen: str) -> bool:
        shown = [line for line in screen.splitlines() if line.strip()]
        return len(shown) == 1 and "needs 60×15" in shown[0]

    terminal.wait_for(only_status, "one status line")
    terminal.resize(80, 24)
    terminal.wait("runs", "n new", "? help")
    terminal.press("n")
    terminal.wait("new run", "1 to mend")
    terminal.press("Escape")
    terminal.wait("? help", "0 runs")
    terminal.press("q")
    until(lambda: terminal.dead, "end of the app", seen=terminal.screen)
    assert "Traceback" not in terminal.screen()


LONG, SHORT = 12, 2
"""Epochs of the two runs of the SSH test: one to lose the connection in, one to compare with."""


def test_a_lost_connection_costs_nothing(
    store: Store, server: Server, opened: Open, realdata: Path, tmp_path: Path
) -> None:
    """Build on real photos, launch, lose the line, come back, read, compare, export."""

    def connect() -> Terminal:
        return opened(server.command(APP, store.env))

    terminal = connect()
    build_scenes(terminal, realdata, f"{LONG}, {SHORT}", image=128)  # epochs of a second
    terminal.press("C-r")
    terminal.wait("2 runs", "1 running", "1 queued")
    long, short = store.run(f"scenes-{LONG}"), store.run(f"scenes-{SHORT}")
    terminal.press("G")  # the older one
    terminal.press("Enter")
    terminal.wait(f"scenes-{LONG} #", "charts", "MobileNetV2")
    terminal.wait_for(lambda screen: epochs_shown(screen, LONG) >= 2, "second epoch")

    assert store.state(long) == "running"
    psutil.Process(terminal.pid).kill()  # the client: to the other end, the line is dead
    until(lambda: not store.apps(), "end of the app whose terminal is gone")
    assert store.state(long) == "running"
    lost = len(store.epochs(long))
    until(lambda: len(store.epochs(long)) > lost, "epoch while nobody looks")

    terminal = connect()
    terminal.wait("runs", f"scenes-{LONG}", f"scenes-{SHORT}")
    terminal.press("G", "Enter")
    terminal.wait(f"scenes-{LONG} #")
    terminal.wait("finished", f"epoch {LONG}/{LONG}")
    terminal.press("2")
    log = terminal.wait("[2 log]", f"epoch {LONG} in")
    assert [int(n) for n in re.findall(r" epoch (\d+) in ", log)] == list(range(1, LONG + 1))
    assert store.epochs(long) == list(range(1, LONG + 1))

    terminal.press("3")
    table = terminal.wait("[3 tables]", "confusion (test)", "precision", "recall")
    result = json.loads((long / "result.json").read_text())
    accuracy = result["metrics"]["test_accuracy"]
    row = re.search(r"^.* accuracy +\.\d{4} +\.\d{4} +(\.\d{4})", table, re.MULTILINE)
    assert row is not None and float(row[1]) == pytest.approx(accuracy, abs=1e-4), table

    until(lambda: store.state(short) == "finished", "end of the second run")
    terminal.press("Escape")
    terminal.wait("? help", "2 runs")
    terminal.press("Home", "Space", "Space")
    terminal.wait("2 marked")
    terminal.press("=")
    both = terminal.wait("compare", "val_accuracy", "phase.0.epochs", "test_accuracy")
    differs = re.search(r"phase\.0\.epochs +(\d+)[ │]+(\d+)", both)
    assert differs is not None and {int(n) for n in differs.groups()} == {LONG, SHORT}

    terminal.press("e")
    terminal.wait("Export CSV", "2 runs")
    terminal.press("C-u")
    terminal.type(str(tmp_path / "both.csv"))
    terminal.wait("both.csv")
    terminal.press("Enter")
    terminal.wait("wrote 2 runs")
    read = pd.read_csv(tmp_path / "both.csv").set_index("name")
    assert set(read["phase.0.epochs"]) == {LONG, SHORT}
    assert read.loc[f"scenes-{LONG}", "test_accuracy"] == pytest.approx(accuracy)
    assert set(read["state"]) == {"finished"}
    terminal.press("q")
    until(lambda: not store.apps(), "end of the app")
