"""The queue's order survives crashes and two writers."""

from __future__ import annotations

import multiprocessing
import random

import pytest

from tlui.errors import TluiError
from tlui.runs.directory import Home
from tlui.runs.files import write_json
from tlui.runs.process import identify
from tlui.scheduler import order
from tlui.scheduler.order import Wishes

IDS = ["aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"]


def line(home: Home) -> list[str]:
    return [entry.run[0] for entry in order.entries(home)]


@pytest.fixture
def queued(home: Home) -> Home:
    order.append(home, IDS, Wishes())
    return home


@pytest.mark.parametrize(
    ("run", "how", "then"),
    [
        ("c", "top", "cabd"),
        ("a", "top", "abcd"),
        ("c", "up", "acbd"),
        ("b", "up", "bacd"),
        ("a", "up", "abcd"),
        ("a", "down", "bacd"),
        ("c", "down", "abdc"),
        ("d", "down", "abcd"),
        ("a", "bottom", "bcda"),
    ],
)
def test_moves(queued: Home, run: str, how: order.Move, then: str) -> None:
    assert order.move(queued, run * 8, how)
    assert "".join(line(queued)) == then


def test_many_moves_never_run_out_of_room(queued: Home) -> None:
    chance = random.Random(1)
    model = list("abcd")
    for _ in range(300):
        run = chance.choice(model)
        at = model.index(run)
        how = chance.choice(["up", "down"])
        to = max(at - 1, 0) if how == "up" else min(at + 1, 3)
        model.insert(to, model.pop(at))
        order.move(queued, run * 8, how)  # type: ignore[arg-type]
        assert line(queued) == model


def test_wishes_and_holding_are_kept_through_moves(home: Home) -> None:
    wishes = Wishes(device="gpu:1", per_device=3, min_free_memory=4000)
    order.append(home, IDS[:1], wishes)
    order.append(home, IDS[1:], Wishes())
    assert order.hold(home, IDS[0])
    order.move(home, IDS[0], "down")
    entry = order.find(home, IDS[0])
    assert entry is not None and entry.held and entry.wishes() == wishes
    assert order.hold(home, IDS[0], held=False)
    entry = order.find(home, IDS[0])
    assert entry is not None and not entry.held


def test_what_is_not_there_is_said(queued: Home) -> None:
    assert not order.move(queued, "eeeeeeee", "top")
    assert not order.hold(queued, "eeeeeeee")
    order.remove(queued, "aaaaaaaa")
    assert line(queued) == ["b", "c", "d"]


def test_a_run_queued_twice_stands_once(queued: Home) -> None:
    order.append(queued, ["bbbbbbbb"], Wishes())
    assert line(queued) == ["a", "b", "c", "d"]


def _shuffle(home: Home, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(100):
        order.move(home, chance.choice(IDS), chance.choice(["top", "up", "down", "bottom"]))
        order.hold(home, chance.choice(IDS), chance.random() < 0.5)


def test_two_writers_lose_and_double_nothing(queued: Home) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_shuffle, args=(queued, seed)) for seed in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert sorted(line(queued)) == ["a", "b", "c", "d"]


def test_runs_made_by_a_process_that_died_before_queueing_them_are_found(home: Home) -> None:
    first, second = (home.create("", {"name": n, "preset": "p", "config": {}}) for n in "ab")
    order.append(home, [IDS[0]], Wishes())
    write_json(home.path / "queue" / ".adding-1234", {**identify().to_dict(), "start_time": 1})
    found = [entry.run for entry in order.entries(home)]
    assert found == [IDS[0], first.id, second.id]
    assert not list((home.path / "queue").glob(".adding-*"))


def test_runs_being_made_right_now_are_left_to_their_maker(home: Home) -> None:
    with order.adding(home):
        home.create("", {"name": "a", "preset": "p", "config": {}})
        assert order.entries(home) == []


def test_foreign_files_in_the_queue_are_passed_over(queued: Home) -> None:
    (queued.path / "queue" / "README").write_text("hello")
    assert line(queued) == ["a", "b", "c", "d"]


def test_wishes_for_devices_are_those_of_runs_that_are_here() -> None:
    wishes = Wishes(device="gpu:0", per_device=2)
    found = order.placed(wishes, ["local", "slurm"])
    assert found == {"local": wishes, "slurm": Wishes(on="slurm")}
    assert order.placed(Wishes(), ["slurm"]) == {"slurm": Wishes(on="slurm")}
    with pytest.raises(TluiError, match="this machine's devices"):
        order.placed(wishes, ["slurm"])
