"""Images in one file are read as they lie, and what is wrong with it is said."""

import os
from pathlib import Path

import numpy as np
import pytest

from tlui.data.block import Block
from tlui.errors import DataError


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


IMAGES = np.random.default_rng(0).integers(0, 256, (20, 5, 4, 3), np.uint8)


@pytest.fixture(params=[0, 7])
def block(request: pytest.FixtureRequest, tmp_path: Path) -> Block:
    path = tmp_path / "images"
    path.write_bytes(b"x" * request.param + IMAGES.tobytes() + b"more")
    return Block(path, IMAGES.shape, request.param)


@pytest.mark.parametrize("rows", [[], [3], [19, 0, 1, 2, 2, 3, 7, 6], list(range(20))])
def test_gives_the_rows_asked_for(block: Block, rows: list[int]) -> None:
    found = block.take(np.array(rows, np.int64))
    assert found.dtype == np.uint8
    assert np.array_equal(found, IMAGES[rows])


def test_goes_on_when_the_file_is_removed(block: Block) -> None:
    block.path.unlink()
    assert np.array_equal(block.take(np.arange(20)), IMAGES)


def test_a_file_that_was_cut_short_is_named(block: Block) -> None:
    os.truncate(block.path, 300)
    assert np.array_equal(block.take(np.arange(3)), IMAGES[:3])
    with pytest.raises(DataError, match=r"images: it is shorter than when it was opened"):
        block.take(np.array([1, 19]))


def test_closes_its_file(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(IMAGES.tobytes())
    before = open_files()
    block = Block(tmp_path / "images", IMAGES.shape)
    assert open_files() == before + 1
    del block
    assert open_files() == before
