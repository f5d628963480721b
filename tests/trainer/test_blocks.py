"""Images that are read in blocks: chunked HDF5 that no cache has room for."""

import h5py
import numpy as np
import pytest
from training import assert_same_arrays, digits_experiment, last_weights, make_run, train

from tlui.data.items import WINDOW
from tlui.data.sources.hdf5 import HDF5Images
from tlui.trainer import augment as change
from tlui.trainer.dataset import reading

SIDE = 16
CHUNK = 4
COUNT = 3 * WINDOW * CHUNK + 6
"""Three windows of the order and a part of one."""


class TestOrder:
    BLOCKS = np.arange(1000) // 10

    def test_every_image_once(self):
        order = change.order(3, 1, 1000, self.BLOCKS)
        assert sorted(order.tolist()) == list(range(1000))

    def test_windows_of_whole_blocks_in_chance_order(self):
        order = change.order(3, 1, 1000, self.BLOCKS)
        windows = [order[i : i + 10 * WINDOW] for i in range(0, 1000, 10 * WINDOW)]
        blocks = [set(self.BLOCKS[window]) for window in windows]
        assert [len(b) for b in blocks] == [WINDOW] * 6 + [4]
        assert sum(map(len, blocks)) == len(set().union(*blocks))
        assert max(blocks[0]) - min(blocks[0]) > 2 * WINDOW  # not neighbours
        assert (np.abs(np.diff(windows[0])) > 1).mean() > 0.95  # nor in their order inside

    def test_another_one_each_epoch(self):
        one, other = (change.order(3, epoch, 1000, self.BLOCKS) for epoch in (1, 2))
        assert set(self.BLOCKS[one[: 10 * WINDOW]]) != set(self.BLOCKS[other[: 10 * WINDOW]])
        assert one.tolist() == change.order(3, 1, 1000, self.BLOCKS).tolist()

    def test_one_window_is_the_order_without_blocks(self):
        blocks = np.arange(100) // 10 * 7  # whatever their numbers
        assert change.order(3, 1, 100, blocks).tolist() == change.order(3, 1, 100).tolist()

    def test_nothing_to_order(self):
        assert change.order(3, 1, 0, np.zeros(0, np.int64)).tolist() == []


@pytest.fixture
def pcam(tmp_path, monkeypatch):
    monkeypatch.setattr("tlui.data.sources.hdf5.BLOCK_BYTES", CHUNK * SIDE * SIDE * 3)
    root = tmp_path / "pcam"
    root.mkdir()
    rng = np.random.default_rng(0)
    for split, count in (("train", COUNT), ("valid", 20), ("test", 20)):
        y = rng.integers(0, 2, count)
        x = rng.integers(0, 200, (count, SIDE, SIDE, 3)) + 50 * y[:, None, None, None]
        with h5py.File(root / f"{split}_x.h5", "w") as file:
            chunks = (CHUNK, SIDE, SIDE, 3)
            file.create_dataset("x", data=x.astype(np.uint8), chunks=chunks, compression="gzip")
        with h5py.File(root / f"{split}_y.h5", "w") as file:
            file.create_dataset("y", data=y.reshape(-1, 1, 1, 1))
    return root


def experiment(root, **tables):
    given = {"source": "hdf5", "path": str(root), "image_size": SIDE}
    return digits_experiment(dataset=given, **tables)


@pytest.mark.parametrize("freeze", ["none", "backbone"])
def test_the_same_numbers_streamed_and_cached(home, pcam, monkeypatch, freeze):
    phase = [{"freeze": freeze, "epochs": 2, "lr": {"policy": "constant", "initial": 1e-3}}]
    made = [make_run(home, experiment(pcam, phase=phase)) for _ in range(2)]
    with monkeypatch.context() as streaming:
        streaming.setattr("tlui.data.cache.cache_limit", lambda root=None: 0)
        streaming.setenv("TLUI_FEATURES", "off")
        assert train(made[0]).state == "finished"
    assert train(made[1]).state == "finished"
    logs = [run.events.read_text() for run in made]
    assert ["decoded anew for every batch" in log for log in logs] == [True, False]
    assert_same_arrays(*map(last_weights, made))
    assert made[0].read_result()["metrics"] == made[1].read_result()["metrics"]


def test_a_block_is_read_once_an_epoch(home, pcam, monkeypatch):
    read = []
    blocks = {(at, at + CHUNK) for at in range(0, COUNT, CHUNK)}
    plainly = HDF5Images._read

    def counted(self, start, stop):
        if "train" in self._path.name:
            read.append((start, stop))
        return plainly(self, start, stop)

    def looked_through(*given):
        found = reading(*given)
        found.result()
        assert set(read) == blocks, "looked through for bad ones"
        read.clear()
        return found

    monkeypatch.setattr(HDF5Images, "_read", counted)
    monkeypatch.setattr("tlui.trainer.__main__.reading", looked_through)
    monkeypatch.setattr("tlui.data.cache.cache_limit", lambda root=None: 0)
    run = make_run(home, experiment(pcam, epochs=1, evaluate={"splits": ["test"]}))
    assert train(run).state == "finished"
    assert len(read) == len(set(read)) and set(read) <= blocks
    assert len(blocks) - len(read) <= 2 * WINDOW, "what was just looked at may be in memory still"
