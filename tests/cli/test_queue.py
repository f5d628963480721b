"""`tlui queue` as a person types it, while the only device is taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.real import PRESET, tlui
from scheduler.bench import wait_for

from tlui.runs.directory import Home
from tlui.runs.status import ENDED
from tlui.scheduler import order
from tlui.scheduler.claims import CPU, Claims
from tlui.scheduler.order import Wishes

LAB = (
    PRESET
    + """
[[experiment]]
name = "first"
sweep = { "train.seed" = [1, 2] }
[[experiment]]
name = "second"
start_from = { experiment = "first", pick = "best" }
"""
)


@pytest.fixture
def lab(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A preset of three runs; this very process holds the CPU, so that they wait."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    path = tmp_path / "lab.toml"
    path.write_text(LAB)
    claims = Claims(home)
    assert claims.take("ffffffff", [CPU])
    yield path
    claims.release("ffffffff")


def names() -> list[str]:
    """What waits, in its order."""
    done = tlui("queue", "--json")
    assert done.returncode == 0, done.stderr
    places = [json.loads(line) for line in done.stdout.splitlines()]
    return [place["name"] for place in places if place["state"] in ("queued", "held")]


def test_adding_a_lab_queues_it_whole_with_its_wishes(home: Home, lab: Path) -> None:
    done = tlui("queue", "add", lab, "--per-device", "2", "--min-free-memory", "4000")
    assert done.returncode == 0, done.stderr
    line = order.entries(home)
    assert [entry.wishes() for entry in line] == [Wishes(per_device=2, min_free_memory=4000)] * 3
    waiting = names()
    assert waiting[-1] == "second" and len(waiting) == 3
    said = tlui("queue").stdout
    assert said.count("waits for the CPU, where ffffffff runs") == 2, said
    assert "waits for first" in said, "the child says for whom"


def test_detach_is_the_same_and_returns(home: Home, lab: Path) -> None:
    done = tlui("run", "--detach", lab, "--per-device", "3")
    assert done.returncode == 0, done.stderr
    assert [entry.wishes().per_device for entry in order.entries(home)] == [3] * 3
    assert all(run.observe().state == "queued" for run in home)


def test_rearranging(home: Home, lab: Path) -> None:
    assert tlui("queue", "add", lab).returncode == 0
    one, two, three = names()
    for verb, run, then in (
        ("top", three, [three, one, two]),
        ("down", three, [one, three, two]),
        ("up", two, [one, two, three]),
    ):
        done = tlui("queue", verb, run)
        assert done.returncode == 0 and names() == then, (verb, done.stderr)
    assert tlui("queue", "hold", two).returncode == 0
    assert "held back (tlui queue release" in tlui("queue").stdout
    assert tlui("queue", "release", two).returncode == 0
    assert "held back" not in tlui("queue").stdout
    assert tlui("queue", "drop", one).returncode == 0
    assert names() == [two, three]
    again = tlui("queue", "drop", one)
    assert again.returncode == 1 and "is not queued, it is stopped" in again.stderr
    unknown = tlui("queue", "top", "nobody")
    assert unknown.returncode != 0 and "nobody" in unknown.stderr


def test_a_number_is_a_place_unless_it_is_a_run_as_well(home: Home, lab: Path) -> None:
    assert tlui("queue", "add", lab).returncode == 0
    one, two, three = names()
    assert tlui("queue", "top", "2").returncode == 0 and names() == [two, one, three]
    (lab.parent / "one.toml").write_text(PRESET)
    assert tlui("queue", "add", lab.parent / "one.toml", "--name", "3").returncode == 0
    assert names() == [two, one, three, "3"]
    done = tlui("queue", "drop", "3")
    third = order.entries(home)[2].run
    assert done.returncode == 2 and f"3: may be place 3 in the queue ({third})" in done.stderr
    assert tlui("queue", "drop", "3-3").returncode == 0 and names() == [two, one, "3"]
    assert tlui("queue", "drop", "3").returncode == 0 and names() == [two, one]
    done = tlui("queue", "drop", "9")
    assert done.returncode == 2
    assert 'there are places 1 to 2 in the queue; there is no run "9"' in done.stderr


def test_rearranging_several_at_once(home: Home, lab: Path) -> None:
    """A sweep by a filter, a stretch of the queue by its places; they keep their order."""
    for name in ("a", "b"):
        assert tlui("queue", "add", lab, "--name", name).returncode == 0
    a1, a2, a3, b1, b2, b3 = line = names()
    for words, then in (
        (("top", "--filter", "preset:b"), [b1, b2, b3, a1, a2, a3]),
        (("up", "1-2"), [b1, b2, b3, a1, a2, a3]),
        (("up", "3-4"), [b1, b3, a1, b2, a2, a3]),
        (("down", "-f", "preset:b"), [a1, b1, b3, a2, b2, a3]),
        (("down", "5-6", "4-4"), [a1, b1, b3, a2, b2, a3]),
        (("top", "6", "1-1"), [a3, a1, b1, b3, a2, b2]),
    ):
        done = tlui("queue", *words)
        assert done.returncode == 0 and names() == then, (words, names(), done.stderr)
    assert tlui("queue", "hold", "--filter", "preset:b").returncode == 0
    assert tlui("queue").stdout.count("held back") == 3
    assert tlui("queue", "release", "1-6").returncode == 0
    assert "held back" not in tlui("queue").stdout
    assert tlui("queue", "drop", "--filter", "experiment:second").returncode == 0
    assert names() == [a1, b1, a2, b2] and len(line) == 6
    for wrong, says in (
        (("hold",), "or give --filter"),
        (("hold", "1-9"), "there are places 1 to 4"),
        (("drop", "--filter", "preset:c"), "nothing that waits matches"),
    ):
        done = tlui("queue", *wrong)
        assert done.returncode in (1, 2) and says in done.stderr, done


@pytest.mark.parametrize("words", [["queue"], ["queue", "--json"], ["queue", "hold", "1"]])
def test_a_link_for_claims_is_named_once(home: Home, tmp_path: Path, words: list[str]) -> None:
    (home.path / "claims").symlink_to(tmp_path)
    done = tlui(*words)
    assert (done.returncode, done.stdout) == (1, "")
    named = f"tlui: {home.path}/claims: is a symbolic link, not a folder of claims; remove it\n"
    assert done.stderr == named


def test_of_namesakes_the_one_that_waits_is_meant(home: Home, lab: Path) -> None:
    assert tlui("queue", "add", lab).returncode == 0
    assert tlui("queue", "drop", "second").returncode == 0
    assert tlui("queue", "add", lab).returncode == 0
    done = tlui("queue", "top", "second")
    assert done.returncode == 0, done.stderr
    assert names()[0] == "second" and names().count("second") == 1
    done = tlui("queue", "hold", "first-1")
    assert done.returncode == 2 and "may be any of these" in done.stderr, "two of them wait"


def test_what_was_done_is_said_in_a_line(home: Home, lab: Path) -> None:
    assert tlui("queue", "add", lab).returncode == 0
    line = [
        f"{name} #{entry.run}" for name, entry in zip(names(), order.entries(home), strict=True)
    ]
    one, two, three = line
    for words, said in (
        (("top", "2-3"), f"now at places 1-2: {two}, {three}"),
        (("up", "1"), f"now at place 1: {two}"),
        (("down", "1", "3"), f"now at places 2-3: {two}, {one}"),
        (("hold", "--filter", "preset:tiny"), f"held 3 runs: {three}, {two}, {one}"),
        (("release", "1"), f"released 1 run: {three}"),
        (("drop", "1-2"), f"dropped 2 runs: {two}, {three}"),
    ):
        done = tlui("queue", *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, said + "\n", ""), words


def test_a_look_says_what_it_starts(home: Home, lab: Path) -> None:
    assert tlui("queue", "add", lab).returncode == 0
    run = home.run(order.entries(home)[0].run)
    Claims(home).release("ffffffff")
    done = tlui("queue")
    try:
        name = run.read_meta()["name"]
        assert done.returncode == 0 and done.stderr == f"started {name} (#{run.id}) on cpu\n"
    finally:
        assert tlui("stop", "--now", "--all").returncode == 0
        wait_for(lambda: run.observe().state in ENDED, "the end")
    assert "started" not in tlui("queue").stderr
