"""Checkpoints survive kills and damage."""

import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tlui.trainer.checkpoint import (
    Checkpoint,
    Checkpoints,
    DamagedCheckpointError,
    read_whole_checkpoint,
    write_checkpoint,
)
from tlui.trainer.model.variables import read_checkpoint

ROOT = Path(__file__).resolve().parent.parent.parent

WRITER = """
import sys
from pathlib import Path
import numpy as np
from tlui.trainer.checkpoint import Checkpoint, Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]))
checkpoints.sweep()
found, notes = checkpoints.load()
number = found.state["number"] if found else 0
while True:
    number += 1
    arrays = {f"head/{i}": np.full(40_000, number, np.float32) for i in range(8)}
    checkpoints.remember_best(Checkpoint(arrays, {"number": number}))
    checkpoints.write(Checkpoint(arrays, {"number": number}))
    print(number, flush=True)
"""


def made(number=1):
    arrays = {"head/logits/kernel": np.full((4, 3), number, np.float32), "file": np.array(["é"])}
    return Checkpoint(arrays, {"number": number})


class TestKilledWhileWriting:
    def test_one_always_loads_and_none_goes_back(self, tmp_path):
        chance = random.Random(7)
        reported = 0
        for _ in range(12):
            writer = subprocess.Popen(
                [sys.executable, "-c", WRITER, str(tmp_path)],
                stdout=subprocess.PIPE,
                cwd=ROOT,
                text=True,
            )
            lines = [writer.stdout.readline()]
            time.sleep(chance.uniform(0, 0.08))
            writer.kill()
            lines += writer.stdout.read().splitlines()
            writer.wait()
            said = [int(line) for line in lines if line.strip().isdecimal()]
            reported = max([reported, *said])
            found, _ = Checkpoints(tmp_path).load()
            assert found is not None
            assert found.state["number"] >= reported
            for array in found.arrays.values():
                assert (array == found.state["number"]).all()
            best = Checkpoints(tmp_path).load_best()
            assert best.state["number"] >= found.state["number"]
        assert reported > 12
        Checkpoints(tmp_path).sweep()
        names = {path.name for path in tmp_path.iterdir()}
        assert names <= {"best.npz", "last-previous.npz", "last.npz"}, "nothing half written"
        assert "best.npz" in names and len(names) > 1  # killed between two renames: one `last`


REST = {"backbone/kernel": np.arange(40, dtype=np.float32)}


def moving(number, seed=0):
    """A network most of which rests."""
    arrays = {
        "head/logits/kernel": np.full(3, number, np.float32),
        "head/dropout/seed_generator_state": np.full(2, seed, np.uint32),
        "optimizer/000": np.full(3, number, np.float32),
    }
    return Checkpoint({**REST, **arrays}, {"number": number})


def best_of(number):
    arrays = {**REST, "head/logits/kernel": np.full(3, number, np.float32)}
    return Checkpoint(arrays, {"number": number})


def behind(checkpoints, *numbers, still=REST):
    for number in numbers:
        checkpoints.write_behind(moving(number, seed=number), still.keys())
    checkpoints.settle()


def two_bests(folder):
    """Three epochs: the first is whole, the second is the best and its file does not have it."""
    checkpoints = Checkpoints(folder)
    checkpoints.remember_best(best_of(1))
    behind(checkpoints, 1)
    checkpoints.remember_best(best_of(2))
    behind(checkpoints, 2, 3)
    return checkpoints


class TestWhatMoves:
    def test_only_the_first_is_whole_and_all_of_the_latest_comes_back(self, tmp_path):
        checkpoints = Checkpoints(tmp_path)
        behind(checkpoints, 1)
        whole = (tmp_path / "last.npz").read_bytes()
        behind(checkpoints, 2, 3)
        assert (tmp_path / "last.npz").read_bytes() == whole
        found, notes = Checkpoints(tmp_path).load()
        assert notes == [] and found.state["number"] == 3
        want = moving(3, seed=3).arrays
        assert found.arrays.keys() == want.keys()
        assert all((found.arrays[key] == array).all() for key, array in want.items())

    def test_the_best_epoch_is_kept_until_its_own_file_has_it(self, tmp_path):
        two_bests(tmp_path)
        again = Checkpoints(tmp_path)
        assert (again.load_best().arrays["head/logits/kernel"] == 1).all()
        again.load()
        best = again.load_best().arrays
        assert best.keys() == best_of(2).arrays.keys()
        assert (best["head/logits/kernel"] == 2).all()
        assert (best["backbone/kernel"] == REST["backbone/kernel"]).all()
        again.write(moving(4))
        assert (Checkpoints(tmp_path).load_best().arrays["head/logits/kernel"] == 2).all()

    def test_others_who_want_its_weights_get_the_newest(self, tmp_path):
        checkpoints = two_bests(tmp_path)
        best, last = (read_checkpoint(tmp_path / f"{name}.npz") for name in ("best", "last"))
        assert best.keys() == best_of(2).arrays.keys() and "optimizer/000" not in last
        assert (best["head/logits/kernel"] == 2).all() and (last["head/logits/kernel"] == 3).all()
        checkpoints.write(moving(4))
        best, last = (read_checkpoint(tmp_path / f"{name}.npz") for name in ("best", "last"))
        assert (best["head/logits/kernel"] == 2).all() and (last["head/logits/kernel"] == 4).all()

    def test_a_later_whole_one_counts_for_more(self, tmp_path):
        checkpoints = Checkpoints(tmp_path)
        behind(checkpoints, 1, 2)
        checkpoints.write(moving(3))
        assert (tmp_path / "moved.npz").exists()
        assert Checkpoints(tmp_path).load()[0].state["number"] == 3

    def test_with_its_base_moved_aside_by_one_that_is_damaged(self, tmp_path):
        checkpoints = Checkpoints(tmp_path)
        behind(checkpoints, 1, 2)
        checkpoints.write(moving(3))
        (tmp_path / "last.npz").write_bytes(b"PK")
        found, notes = Checkpoints(tmp_path).load()
        assert found.state["number"] == 2 and "last.npz" in notes[0]

    def test_what_rests_otherwise_begins_with_a_whole_one(self, tmp_path):
        checkpoints = Checkpoints(tmp_path)
        behind(checkpoints, 1, 2)
        behind(checkpoints, 3, still={})
        otherwise = {"backbone/kernel": np.full(40, 7, np.float32)}
        last = Checkpoint({**moving(4).arrays, **otherwise}, {"number": 4})
        checkpoints.write_behind(last, REST.keys())
        checkpoints.settle()
        found = Checkpoints(tmp_path).load()[0]
        assert found.state["number"] == 4 and (found.arrays["backbone/kernel"] == 7).all()

    def test_damage_goes_back_to_the_whole_one_and_is_said(self, tmp_path):
        checkpoints = Checkpoints(tmp_path)
        behind(checkpoints, 1, 2)
        (tmp_path / "moved.npz").write_bytes((tmp_path / "moved.npz").read_bytes()[:-9])
        found, notes = Checkpoints(tmp_path).load()
        assert found.state["number"] == 1 and "moved.npz" in notes[0]

    def test_where_most_moves_every_one_is_whole(self, tmp_path):
        checkpoints = Checkpoints(tmp_path)
        behind(checkpoints, 1, 2, still={})
        assert not (tmp_path / "moved.npz").exists()
        assert Checkpoints(tmp_path).load()[0].state["number"] == 2

    def test_a_failure_is_told_when_asked_and_the_next_one_is_written(self, tmp_path):
        checkpoints = Checkpoints(tmp_path)
        behind(checkpoints, 1)
        (tmp_path / "moved.npz").mkdir()
        checkpoints.write_behind(moving(2), REST.keys())
        with pytest.raises(OSError):
            checkpoints.settle()
        checkpoints.settle()  # told once
        assert Checkpoints(tmp_path).load()[0].state["number"] == 1
        (tmp_path / "moved.npz").rmdir()
        behind(checkpoints, 3)
        assert Checkpoints(tmp_path).load()[0].state["number"] == 3

    def test_where_no_thread_can_be_had_it_is_written_at_once(self, tmp_path, monkeypatch):
        def refuse(self):
            raise RuntimeError("can't start new thread")

        checkpoints = Checkpoints(tmp_path)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        checkpoints.write_behind(moving(1), REST.keys())
        assert Checkpoints(tmp_path).load()[0].state["number"] == 1
        monkeypatch.undo()
        behind(checkpoints, 2)
        assert Checkpoints(tmp_path).load()[0].state["number"] == 2
        monkeypatch.setattr(threading.Thread, "start", refuse)
        behind(checkpoints, 3)  # by the thread there is
        assert Checkpoints(tmp_path).load()[0].state["number"] == 3


class TestDamage:
    def test_any_flipped_byte_of_an_array_is_found(self, tmp_path):
        path = tmp_path / "last.npz"
        write_checkpoint(path, made())
        whole = path.read_bytes()
        at = whole.index(np.float32(1).tobytes() * 3)
        path.write_bytes(whole[:at] + b"\x01" + whole[at + 1 :])
        with pytest.raises(DamagedCheckpointError):
            read_whole_checkpoint(path)

    @pytest.mark.parametrize("keep", [0, 10, 200, -1])
    def test_a_cut_file_falls_back_to_the_one_before(self, tmp_path, keep):
        checkpoints = Checkpoints(tmp_path)
        checkpoints.write(made(1))
        checkpoints.write(made(2))
        path = tmp_path / "last.npz"
        path.write_bytes(path.read_bytes()[:keep])
        found, notes = checkpoints.load()
        assert found.state["number"] == 1
        assert "last.npz" in notes[0]

    def test_pickles_are_refused(self, tmp_path):
        path = tmp_path / "last.npz"
        np.savez(path, **{"head/x": np.array([{"a": 1}], dtype=object)})
        with pytest.raises(DamagedCheckpointError):
            read_whole_checkpoint(path)

    def test_nothing_there(self, tmp_path):
        assert Checkpoints(tmp_path).load() == (None, [])


class TestContents:
    def test_arrays_of_any_name_and_the_state_come_back(self, tmp_path):
        write_checkpoint(tmp_path / "x.npz", made(3))
        found = read_whole_checkpoint(tmp_path / "x.npz")
        assert found.arrays["file"][0] == "é"
        assert found.network().keys() == {"head/logits/kernel"}
        assert found.state == {"number": 3}

    def test_numbers_of_the_state_are_exact_even_where_not_finite(self, tmp_path):
        values = [0.1 + 0.2, float("nan"), 1e-320]
        write_checkpoint(tmp_path / "x.npz", Checkpoint({}, {"v": values}))
        assert json.dumps(read_whole_checkpoint(tmp_path / "x.npz").state["v"]) == json.dumps(
            values
        )

    def test_a_failed_write_leaves_the_last_one_and_the_best_in_memory(self, tmp_path):
        checkpoints = Checkpoints(tmp_path)
        checkpoints.write(made(1))
        checkpoints.remember_best(made(2))
        (tmp_path / "best.npz").mkdir()  # cannot be replaced by a file
        with pytest.raises(OSError):
            checkpoints.write(made(2))
        assert checkpoints.load()[0].state["number"] == 1
        assert checkpoints.load_best().state["number"] == 2
