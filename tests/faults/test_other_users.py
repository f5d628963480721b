"""Other people of a shared server, with user ids of their own: what they own is not used, what is
ours they cannot touch, and every refusal says whose it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults.machine import HOMELESS, JANE, JOHN, LAB, Machine, machine, shared_folder
from faults.real import PRESET
from scheduler.bench import wait_for
from scheduler.test_devices import Nvml, pick

from tlui.runs.directory import Home

TRY = """
import os, sys
from pathlib import Path
precious, *places = map(Path, sys.argv[1:])
done = []
for place in places:
    for what in (
        lambda: list(place.iterdir()),
        lambda: (place / "stop").touch(),
        lambda: (place / "status.json").symlink_to(precious),
        lambda: os.link(precious, place / "link"),
        lambda: open(place, "r+b"),
        lambda: os.link(place, precious.with_name("link")),
        lambda: place.rename(place.with_name("gone")),
        lambda: place.unlink(),
        lambda: place.chmod(0o777),
    ):
        try:
            what()
            done.append(str(place))
        except OSError:
            pass
print(*done, sep="\\n")
"""
"""Somebody who knows the names tries to read, forge, link and remove."""


@dataclass
class Place:
    """A machine, and a folder of it like /tmp."""

    host: Machine
    folder: Path
    preset: Path

    def tlui(
        self, who: int, home: Path, *words: str | Path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        places = {
            "TLUI_HOME": str(home),
            "TLUI_CACHE": str(self.folder / f"cache-{who}"),
            "TLUI_CONFIG": str(HOMELESS / "config.toml"),
        }
        done = self.host.tlui(*words, user=who, **{**places, **environment})
        assert "bug in tlui" not in done.stderr and "Traceback" not in done.stderr, done.stderr
        return done

    def sh(self, who: int, script: str, *words: Path) -> str:
        done = self.host.run("sh", "-ec", script, "sh", *words, user=who)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def metrics(self, home: Path) -> dict[str, float]:
        """Of the only run."""
        [result] = home.glob("runs/*/result.json")
        found = json.loads(result.read_text())["metrics"]
        assert found["test_loss"] > 0
        return found


@pytest.fixture
def place() -> Iterator[Place]:
    with machine("shared") as host, shared_folder() as folder:
        found = host.run(sys.executable, "-c", "import tlui, typer", user=JANE)
        if found.returncode:
            last = (found.stderr.splitlines() or ["?"])[-1]
            pytest.skip(f"other people cannot use this Python, {sys.prefix}: {last}")
        preset = folder / "tiny.toml"
        preset.write_text(PRESET.replace("epochs = 4", "epochs = 1"))
        preset.chmod(0o644)
        yield Place(host, folder, preset)


COMMANDS = (
    *(["ls"], ["queue"], ["run", "PRESET"], ["run", "PRESET", "--detach"], ["show", "@last"]),
    *(["stop", "--all"], ["rm", "@last"], ["resume", "@last"], ["export"], ["compare", "@last"]),
    *(["watch", "@last"], ["queue", "hold", "@last"], ["doctor"]),
)


def test_a_closed_home_says_whose_it_is(place: Place) -> None:
    home = place.folder / "home"
    assert place.tlui(JANE, home, "queue").returncode == 0
    assert home.stat().st_mode & 0o777 == 0o700 and home.stat().st_uid == JANE
    for command in COMMANDS:
        words = [str(place.preset) if word == "PRESET" else word for word in command]
        done = place.tlui(JOHN, home, *words)
        assert done.returncode == 1, (command, done)
        assert str(home) in done.stdout + done.stderr, (command, done)
        assert f"belongs to uid {JANE}" in done.stdout + done.stderr, (command, done)
    inside = place.tlui(JOHN, home / "of-john", "ls")
    assert inside.returncode == 1 and "Permission denied" in inside.stderr
    # one who lets others look in: they may read and no more
    place.sh(JANE, 'chmod -R go+rX "$1"', home)
    assert place.tlui(JOHN, home, "ls").returncode == 0
    done = place.tlui(JOHN, home, "run", place.preset, "--detach")
    assert done.returncode == 1 and f"belongs to uid {JANE}" in done.stderr


def test_nobody_can_forge_what_a_run_leaves(place: Place) -> None:
    """In a group's folder, under an umask that closes nothing."""
    group = place.folder / "lab"
    group.mkdir()
    group.chmod(0o2770)
    subprocess.run(["chgrp", str(LAB), str(group)], check=True)
    home = group / "jane"
    run = ("-m", "tlui.cli.main", "run", place.preset)
    done = place.host.run(
        *("sh", "-c", 'umask 0; exec "$@"', "sh", sys.executable, *run),
        user=JANE,
        TLUI_HOME=str(home),
        TLUI_CACHE=str(group / "cache"),
        TLUI_CONFIG=str(HOMELESS / "config.toml"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    wait_for(lambda: not list(home.glob("claims/*-*")), "nobody at work there")
    places = [path for path in [home, group / "cache", *home.rglob("*")] if path != group]
    assert len(places) > 20 and {path.name for path in places} >= {"claims", "queue", "requests"}
    inside = [path for path in places if path not in (home, group / "cache")]
    for path in places:
        assert path.stat().st_mode & 0o077 == 0, path
    place.sh(JOHN, 'touch "$1"', place.folder / "precious")
    tried = place.host.run(sys.executable, "-c", TRY, place.folder / "precious", *inside, user=JOHN)
    assert tried.returncode == 0 and tried.stdout.strip() == "", tried
    # the group's folder is John's, too: he can put a home of his own in the place of hers
    place.sh(JOHN, 'mv "$1" "$1-gone"; mkdir -m 777 "$1" "$1/runs" "$1/claims"', home)
    for command in ("queue", "run"):
        words = (command, place.preset) if command == "run" else (command,)
        done = place.tlui(JANE, home, *words)
        assert done.returncode == 1 and f"belongs to uid {JOHN}" in done.stderr
    assert place.sh(JOHN, 'find "$1" -user ' + str(JANE), home) == ""


def test_a_home_that_others_may_write_to_is_refused(place: Place) -> None:
    home = place.folder / "home"
    home.mkdir()
    for group, mode in ((JANE, 0o777), (LAB, 0o775), (1, 0o775), (LAB, 0o1777)):
        os.chown(home, JANE, group)
        home.chmod(mode)
        done = place.tlui(JANE, home, "run", place.preset, "--detach")
        assert done.returncode == 1, (group, oct(mode))
        assert "others may write to it" in done.stderr and f"chmod go-w {home}" in done.stderr
        assert list(home.iterdir()) == []
    place.sh(JANE, 'chgrp "$(id -g)" "$1"; chmod 775 "$1"', home)  # her group has no one else
    assert place.tlui(JANE, home, "queue").returncode == 0


def test_a_strangers_cache_is_not_used(place: Place) -> None:
    """John keeps one where Jane is told to look, with other pixels and features in it."""
    alone, home = place.folder / "alone", place.folder / "home"
    assert place.tlui(JANE, alone, "run", place.preset).returncode == 0
    cache = place.folder / "cache"
    trap = {"TLUI_CACHE": str(cache)}
    assert place.tlui(JOHN, place.folder / "john", "run", place.preset, **trap).returncode == 0
    [pixels] = cache.glob("images/*/images.u8")
    pixels.write_bytes(bytes(pixels.stat().st_size))
    place.sh(JOHN, 'chmod -R 777 "$1"', cache)

    done = place.tlui(JANE, home, "run", place.preset, **trap)
    assert done.returncode == 0, done.stderr
    assert place.metrics(home) == place.metrics(alone)
    shown = place.tlui(JANE, home, "show", "@last", "--json", **trap).stdout
    [log] = [path.read_text() for path in home.glob("runs/*/events.jsonl")]
    assert f"{cache}: belongs to uid {JOHN}, so nothing is cached" in log, shown
    for words in (("cache", "ls"), ("cache", "rm", "--all")):
        done = place.tlui(JANE, home, *words, **trap)
        assert done.returncode == 1 and f"belongs to uid {JOHN}" in done.stderr
    assert place.sh(JANE, f'find "$1" -user {JANE}', cache) == ""


def test_a_strangers_temporary_folder_holds_no_index(place: Place) -> None:
    """Without a cache the index lies in the temporary folder, under a name others can guess."""
    trap = place.folder / f"tlui-{JANE}"
    place.sh(JOHN, 'mkdir -m 777 "$1" "$2"', trap, place.folder / "cache")
    environment = {"TMPDIR": str(place.folder), "TLUI_CACHE": str(place.folder / "cache")}
    home = place.folder / "home"
    assert place.tlui(JANE, home, "queue", **environment).returncode == 0
    for _ in range(2):
        assert place.tlui(JANE, home, "ls", **environment).returncode == 0
        assert list(trap.iterdir()) == [] == list((place.folder / "cache").iterdir())
    place.sh(JOHN, 'rmdir "$1"', trap)
    assert place.tlui(JANE, home, "ls", **environment).returncode == 0
    assert [path.stat().st_uid for path in trap.iterdir()] == [JANE], "it is used when it is hers"


def test_what_others_have_closed_is_named(place: Place) -> None:
    shut = place.folder / "shut"
    (shut / "photos" / "train" / "a").mkdir(parents=True)
    (shut / "weights.h5").touch()
    shut.chmod(0o700)
    home = place.folder / "home"
    for words, at in (
        (["run", shut / "tiny.toml"], shut / "tiny.toml"),
        (["run", place.preset, "--set", f'backbone.weights="{shut}/weights.h5"'], "weights.h5"),
        (["run", place.preset, "--set", f'dataset={{source="folder",path="{shut}/photos"}}'], shut),
        (["dataset", "check", shut / "photos"], shut / "photos"),
        (["export", "-o", shut / "runs.csv"], shut / "runs.csv"),
    ):
        done = place.tlui(JOHN, home, *words)
        assert done.returncode in (1, 2) and "Permission denied" in done.stderr, (words, done)
        assert str(at) in done.stderr, (words, done)


def test_a_status_that_cannot_be_read_ends_nothing(place: Place) -> None:
    """As on a disk that refuses for a while: the run is not dead for that, and keeps its turn."""
    home = place.folder / "home"
    waits = place.tlui(JANE, home, "run", place.preset, "--detach", "--device", "gpu")
    assert waits.returncode == 0, waits.stderr
    [status] = home.glob("runs/*/status.json")

    def state() -> str:
        [row] = json.loads(place.tlui(JANE, home, "ls", "--json").stdout)
        return row["state"]

    assert state() == "queued"
    os.chown(status, 0, 0)
    os.utime(status)  # the index takes a file that did not change for what it was
    for _ in range(2):
        assert state() == "stale"
        place.tlui(JANE, home, "queue")  # starts what can be started, and tidies up
    assert "Permission denied" in place.tlui(JANE, home, "show", "@last").stdout
    os.chown(status, JANE, JANE)
    assert state() == "queued"
    assert "asks for a GPU" in place.tlui(JANE, home, "queue").stdout


def test_a_gpu_with_a_process_of_somebody_else_is_left_alone(home: Home, place: Place) -> None:
    """NVML names the process; whose it is the kernel says."""
    with subprocess.Popen(["sleep", "600"], user=JOHN, group=JOHN) as theirs:
        try:
            reason = pick(home, Nvml({"pids": [theirs.pid], "used": 9000}))
            assert f"GPU 0 is in use by uid {JOHN}" in reason
            assert pick(home, Nvml({"pids": [theirs.pid]}, {"used": 5})) == ["GPU-1"]
        finally:
            theirs.kill()
