"""The image cache: the same numbers with and without, built once, whole or absent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from tlui.data import cache
from tlui.data.store import Images, image_key, load, open_images
from tlui.data.table import Table, open_dataset
from tlui.errors import DataError, TluiError

Describe = Callable[..., Any]
Make = Callable[..., Path]


@pytest.fixture
def table(photos: Path, describe: Describe) -> Table:
    return open_dataset(describe(source="folder", path=str(photos), validation=0.25))


def images_in(root: Path) -> list[Path]:
    return [path for path in (root / "images").iterdir() if not path.name.startswith(".")]


def whole(images: Images) -> np.ndarray:
    return images.batch(np.arange(len(images)))


@pytest.mark.parametrize("method", ["stretch", "crop", "pad"])
def test_cached_streamed_and_loaded_are_the_same(table: Table, tmp_path: Path, method: Any) -> None:
    for split in ("train", "val", "test"):
        cached = open_images(table, split, 24, method, cache_dir=tmp_path / "c")
        streamed = open_images(table, split, 24, method, cache_dir=tmp_path / "c", limit=0)
        assert not cached.streamed and streamed.streamed
        assert len(cached) == len(streamed) == len(table.splits[split])
        order = np.random.default_rng(1).permutation(len(cached))
        batch = cached.batch(order)
        assert batch.dtype == np.uint8 and batch.shape == (len(order), 24, 24, 3)
        assert np.array_equal(batch, streamed.batch(order))
        assert np.array_equal(batch[3], load(table.splits[split], int(order[3]), 24, method))
        assert cached.key == streamed.key
        assert cached.labels.tolist() == table.splits[split].labels.tolist()
        assert list(cached.names) == list(table.splits[split].names)


def test_real_photos_are_the_same(realdata: Path, tmp_path: Path, describe: Describe) -> None:
    dataset = describe(source="folder", path=str(realdata / "datasets" / "food3"))
    table = open_dataset(dataset)
    cached = open_images(table, "test", 64, "crop", cache_dir=tmp_path)
    streamed = open_images(table, "test", 64, "crop", cache_dir=tmp_path, limit=0)
    assert np.array_equal(whole(cached), whole(streamed))


@pytest.mark.parametrize(("chunked", "size"), [(True, 16), (False, 16), (False, 8)])
def test_arrays(
    describe: Describe, write_pcam: Make, tmp_path: Path, chunked: bool, size: int
) -> None:
    table = open_dataset(describe(source="hdf5", path=str(write_pcam(chunked))))
    root = tmp_path / "c"
    images = open_images(table, "train", size, "stretch", cache_dir=root)
    streamed = open_images(table, "train", size, "stretch", cache_dir=root, limit=0)
    order = np.array([5, 19, 0, 6, 7])
    assert images.batch(order)[:, 0, 0, 0].tolist() == order.tolist()
    assert np.array_equal(streamed.batch(order), images.batch(order))
    # in one piece and of the right size: nothing is built
    mapped = not chunked and size == 16
    assert mapped == (not root.exists())
    assert whole(images)[:, 0, 0, 0].tolist() == list(range(20))


def test_one_entry_serves_the_splits_of_a_pool(table: Table, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    for split in ("train", "val"):
        open_images(
            table,
            split,
            24,
            "stretch",
            cache_dir=tmp_path / "c",
            progress=lambda done, total: calls.append((done, total)),
        )
    assert calls[-1] == (24, 24)
    assert len(images_in(tmp_path / "c")) == 1


def test_whatever_shapes_the_pixels_is_in_the_key(
    photos: Path, describe: Describe, tmp_path: Path
) -> None:
    def opened() -> Table:
        return open_dataset(describe(source="folder", path=str(photos)))

    root = tmp_path / "c"
    name = str(opened().splits["train"].names[0])
    first = open_images(opened(), "train", 24, "stretch", cache_dir=root)
    open_images(opened(), "train", 24, "crop", cache_dir=root)
    open_images(opened(), "train", 20, "stretch", cache_dir=root)
    assert len(images_in(root)) == 3
    changed = photos / name
    state = changed.stat()
    Image.new("RGB", (48, 40), (1, 2, 3)).save(changed)
    os.utime(changed, ns=(state.st_atime_ns, state.st_mtime_ns + 5))
    second = open_images(opened(), "train", 24, "stretch", cache_dir=root)
    assert len(images_in(root)) == 4 and second.key != first.key
    assert second.names[0] == name and (second.batch([0])[0] == [1, 2, 3]).all()


class TestBadImages:
    @pytest.fixture
    def spoiled(self, photos: Path, describe: Describe) -> Table:
        (photos / "train" / "red" / "00.png").write_bytes(b"")
        (photos / "train" / "red" / "05.png").write_text("<html>")
        (photos / "test" / "blue" / "01.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        return open_dataset(describe(source="folder", path=str(photos), validation=0))

    @pytest.mark.parametrize("limit", [None, 0])
    def test_fail_names_all_of_all_splits(
        self, spoiled: Table, tmp_path: Path, limit: int | None
    ) -> None:
        with pytest.raises(DataError) as caught:
            open_images(spoiled, "train", 16, "crop", "fail", cache_dir=tmp_path / "c", limit=limit)
        text = str(caught.value)
        assert "3 images cannot be used" in text and 'bad_images = "skip"' in text
        assert "train/red/00.png: 0 bytes" in text
        assert "train/red/05.png: not an image: starts with <html>" in text
        assert "test/blue/01.png: truncated after 8 bytes" in text

    @pytest.mark.parametrize("limit", [None, 0])
    def test_skip_drops_them_with_reasons(
        self, spoiled: Table, tmp_path: Path, limit: int | None
    ) -> None:
        images = open_images(
            spoiled, "train", 16, "crop", "skip", cache_dir=tmp_path / "c", limit=limit
        )
        assert images.skipped == [
            ("train/red/00.png", "0 bytes"),
            ("train/red/05.png", "not an image: starts with <html>"),
        ]
        assert len(images) == 22 and images.labels.tolist() == [0] * 12 + [1] * 10
        assert "train/red/00.png" not in list(images.names)
        assert images.indices.tolist() == [*range(12), 13, 14, 15, 16, *range(18, 24)]
        good = load(spoiled.splits["train"], 13, 16, "crop")
        assert np.array_equal(images.batch([12])[0], good)

    def test_the_outcome_is_kept_when_pixels_are_not(
        self, spoiled: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read: list[int] = []
        pool = spoiled.splits["train"].pool
        true = pool.read
        monkeypatch.setattr(pool, "read", lambda item: read.append(item) or true(item))
        for _ in range(2):
            open_images(spoiled, "train", 16, "crop", "skip", cache_dir=tmp_path / "c", limit=0)
        assert len(read) == 24

    def test_a_class_without_a_good_image_is_refused(
        self, photos: Path, describe: Describe, tmp_path: Path
    ) -> None:
        for path in (photos / "test" / "red").iterdir():
            path.write_bytes(b"x")
        table = open_dataset(describe(source="folder", path=str(photos)))
        with pytest.raises(DataError, match='no usable image is left in test for "red"'):
            open_images(table, "test", 16, "crop", "skip", cache_dir=tmp_path / "c")

    def test_a_photo_lost_in_the_middle_of_training(
        self, table: Table, photos: Path, tmp_path: Path
    ) -> None:
        lenient = open_images(table, "test", 16, "crop", "skip", cache_dir=tmp_path, limit=0)
        strict = open_images(table, "test", 16, "crop", "fail", cache_dir=tmp_path, limit=0)
        (photos / "test" / "blue" / "02.png").unlink()
        batch = lenient.batch([1, 2, 3])
        assert (batch[1] == 0).all() and batch[0].any()
        lenient.batch([2])
        gone = ("test/blue/02.png", "cannot be read: No such file or directory")
        assert lenient.lost == {gone: 2}
        with pytest.raises(DataError, match=r"test/blue/02\.png could be decoded before"):
            strict.batch([2])


@pytest.mark.parametrize("limit", [None, 0])
class TestWhatPasses:
    """What could not be read at one time is read again at the next."""

    PHOTO = "test/blue/02.png"
    GONE: ClassVar = [(PHOTO, "cannot be read: No such file or directory")]

    @staticmethod
    def opened(table: Table, root: Path, limit: int | None, bad: Any = "skip") -> Images:
        return open_images(table, "test", 16, "crop", bad, cache_dir=root, limit=limit)

    @pytest.mark.parametrize("old", [False, True])
    def test_a_photo(
        self, photos: Path, table: Table, tmp_path: Path, limit: int | None, old: bool
    ) -> None:
        (photos / "test" / "blue" / "01.png").write_bytes(b"")
        aside, root = tmp_path / "aside.png", tmp_path / "c"
        (photos / self.PHOTO).rename(aside)
        empty = ("test/blue/01.png", "0 bytes")
        for _ in range(2):
            assert self.opened(table, root, limit).skipped == [empty, *self.GONE]
        aside.rename(photos / self.PHOTO)
        if old:  # as entries were written that do not say what may pass
            (path,) = (root / "images").glob("*/meta.json")
            meta = json.loads(path.read_text())
            del meta["passing"]
            path.write_text(json.dumps(meta))
        for _ in range(2):
            again = self.opened(table, root, limit)
            assert again.skipped == [empty] and not again.lost
            new = self.opened(table, tmp_path / "new", limit)
            assert np.array_equal(whole(again), whole(new)) and again.key == new.key
        assert len(images_in(root)) == 1

    def test_a_refusal(self, photos: Path, table: Table, tmp_path: Path, limit: int | None) -> None:
        aside, root = tmp_path / "aside.png", tmp_path / "c"
        (photos / self.PHOTO).rename(aside)
        with pytest.raises(DataError, match=r"1 image cannot be used:\n.*No such file"):
            self.opened(table, root, limit, "fail")
        aside.rename(photos / self.PHOTO)
        assert not self.opened(table, root, limit, "fail").skipped

    def test_what_stays_bad_is_not_read_again(
        self,
        photos: Path,
        table: Table,
        tmp_path: Path,
        limit: int | None,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (photos / "test" / "blue" / "01.png").write_bytes(b"")
        (photos / self.PHOTO).unlink()
        read: list[int] = []
        pool = table.splits["test"].pool
        true = pool.read
        monkeypatch.setattr(pool, "read", lambda item: read.append(item) or true(item))
        for count in (len(pool) + 1, 1, 1):
            read.clear()
            assert len(self.opened(table, tmp_path / "c", limit).skipped) == 2
            assert len(read) == count

    def test_a_file_of_many(
        self,
        write_pcam: Make,
        write_shard: Make,
        image: Callable[..., bytes],
        describe: Describe,
        tmp_path: Path,
        limit: int | None,
    ) -> None:
        pcam, shard = write_pcam(), tmp_path / "records" / "train-0"
        for dataset, path in (
            ({"source": "hdf5", "path": str(pcam)}, next(pcam.glob("*_train_x.h5"))),
            ({"source": "tfrecord", "path": str(shard.parent), "validation": 0}, shard),
        ):
            rows = [{"image/encoded": image(i), "image/label": 1 + i % 2} for i in range(6)]
            write_shard(shard, rows)
            table = open_dataset(describe(**dataset))
            aside, root = tmp_path / "aside", tmp_path / "c"
            path.rename(aside)
            with pytest.raises(
                DataError, match=r"no usable image is left in train|_x\.h5 cannot be r"
            ):
                open_images(table, "train", 24, "crop", "skip", cache_dir=root, limit=limit)
            aside.rename(path)
            images = open_images(table, "train", 24, "crop", "skip", cache_dir=root, limit=limit)
            assert not images.skipped and len(images) == len(table.splits["train"])


@pytest.mark.parametrize(("limit", "size"), [(None, 16), (0, 16), (0, 24)])
class TestDamagedChunk:
    """Images that share a piece of an HDF5 file are bad together, and nothing else is."""

    def test_fail_names_its_images(
        self, pcam_with_damage: Path, describe: Describe, tmp_path: Path, limit: Any, size: int
    ) -> None:
        table = open_dataset(describe(source="hdf5", path=str(pcam_with_damage)))
        with pytest.raises(DataError) as caught:
            open_images(table, "train", size, "crop", cache_dir=tmp_path / "c", limit=limit)
        lines = str(caught.value).splitlines()
        assert "4 images cannot be used" in lines[0] and len(lines) == 6
        for i, line in enumerate(lines[1:5], 8):
            assert f"_train_x.h5:{i}: cannot be read: " in line

    def test_skip_leaves_them_out(
        self, pcam_with_damage: Path, describe: Describe, tmp_path: Path, limit: Any, size: int
    ) -> None:
        table = open_dataset(describe(source="hdf5", path=str(pcam_with_damage)))
        root = tmp_path / "c"
        images = open_images(table, "train", size, "crop", "skip", cache_dir=root, limit=limit)
        assert images.streamed == (limit == 0)
        assert len(images.skipped) == 4
        assert whole(images)[:, 0, 0, 0].tolist() == [*range(8), *range(12, 20)]
        assert not images.lost


def test_batches_from_many_threads(table: Table, tmp_path: Path) -> None:
    for limit in (None, 0):
        images = open_images(table, "train", 24, "crop", cache_dir=tmp_path / "c", limit=limit)
        expected = whole(images)
        wrong: list[int] = []

        def hammer(
            seed: int,
            images: Images = images,
            expected: np.ndarray = expected,
            wrong: list[int] = wrong,
        ) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(20):
                wanted = rng.integers(0, len(images), 7)
                if not np.array_equal(images.batch(wanted), expected[wanted]):
                    wrong.append(seed)

        threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_no_room_streams_and_says_so(table: Table, tmp_path: Path) -> None:
    images = open_images(table, "train", 24, "crop", cache_dir=tmp_path / "c", limit=1000)
    assert images.streamed and "do not fit" in images.note
    (tmp_path / "file").write_text("")
    images = open_images(table, "train", 24, "crop", cache_dir=tmp_path / "file" / "c")
    assert images.streamed and len(whole(images)) == len(images)


def test_an_interrupted_build_leaves_nothing(table: Table, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_images(table, "train", 24, "crop", cache_dir=tmp_path / "c", progress=stop)
    assert images_in(tmp_path / "c") == []
    assert not [p for p in (tmp_path / "c" / "images").iterdir() if p.is_dir()]
    assert not open_images(table, "train", 24, "crop", cache_dir=tmp_path / "c").streamed


BUILDER = """
import sys
from pathlib import Path
from pydantic import TypeAdapter
from tlui.data.store import open_images
from tlui.data.table import open_dataset
from tlui.recipe.sources import Dataset

photos, cache, mode = sys.argv[1:]
dataset = TypeAdapter(Dataset).validate_python({"source": "folder", "path": photos})
table = open_dataset(dataset)
pool = table.splits["train"].pool
true, count = pool.read, 0

def read(item):
    global count
    count += 1
    if mode == "hang" and count == 8:
        print("hanging", flush=True)
        sys.stdin.read()
    return true(item)

pool.read = read

def progress(done, total):
    global told
    if done == -1 and not told:
        told = True
        print("waiting", flush=True)

told = False
images = open_images(
    table, "train", 24, "stretch", cache_dir=Path(cache), workers=1, progress=progress
)
print("read", count, "sum", int(images.batch(range(len(images))).sum()), flush=True)
"""


def builder(photos: Path, root: Path, mode: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(photos), str(root), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_one_process_builds_while_the_other_waits(photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "c"
    first = builder(photos, root, "hang")
    assert first.stdout is not None and first.stdout.readline() == "hanging\n"
    second = builder(photos, root, "wait")
    assert second.stdout is not None and second.stdout.readline() == "waiting\n"
    first_out, _ = first.communicate("go")
    second_out, _ = second.communicate()
    assert first_out.startswith("read 24 sum") and second_out.startswith("read 0 sum")
    assert first_out.split()[-1] == second_out.split()[-1]
    assert len(images_in(root)) == 1


def test_a_builder_killed_half_way_is_taken_over(
    photos: Path, tmp_path: Path, describe: Describe
) -> None:
    root = tmp_path / "c"
    first = builder(photos, root, "hang")
    assert first.stdout is not None and first.stdout.readline() == "hanging\n"
    second = builder(photos, root, "wait")
    assert second.stdout is not None and second.stdout.readline() == "waiting\n"
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    out, _ = second.communicate()
    assert out.startswith("read 24 sum")
    table = open_dataset(describe(source="folder", path=str(photos)))
    images = open_images(table, "train", 24, "stretch", cache_dir=root)
    assert int(whole(images).astype(np.int64).sum()) == int(out.split()[-1])
    left = [path for path in (root / "images").iterdir() if path.is_dir()]
    assert left == images_in(root) and len(left) == 1


def test_what_a_dead_builder_left_is_swept(photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "c"
    first = builder(photos, root, "hang")
    assert first.stdout is not None and first.stdout.readline() == "hanging\n"
    assert cache.sweep(root) == 0  # it lives
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    cache.sweep(root)
    assert list((root / "images").iterdir()) == []


class TestEviction:
    @staticmethod
    def fill(root: Path, key: str, size: int, limit: int) -> cache.Lease:
        def build(folder: Path) -> dict[str, Any]:
            (folder / "data").write_bytes(b"x" * size)
            return {"dataset": key}

        return cache.obtain("images", key, build, size, root=root, limit=limit)

    @staticmethod
    def keys(root: Path) -> list[str]:
        return [entry.key for entry in cache.entries(root)]

    def test_the_least_recently_used_goes_first(self, tmp_path: Path) -> None:
        for i, key in enumerate(("a", "b", "c")):
            self.fill(tmp_path, key, 40_000, 150_000).close()
            os.utime(tmp_path / "images" / key / "meta.json", (i, i))
        os.utime(tmp_path / "images" / "a" / "meta.json", (9, 9))
        self.fill(tmp_path, "d", 40_000, 150_000).close()
        assert sorted(self.keys(tmp_path)) == ["a", "c", "d"]

    def test_what_is_in_use_stays(self, tmp_path: Path) -> None:
        held = self.fill(tmp_path, "a", 60_000, 100_000)
        with pytest.raises(cache.NoRoomError):
            self.fill(tmp_path, "b", 60_000, 100_000)
        assert self.keys(tmp_path) == ["a"]
        assert cache.entries(tmp_path)[0].in_use
        assert not cache.remove(cache.entries(tmp_path)[0])
        held.close()
        self.fill(tmp_path, "b", 60_000, 100_000).close()
        assert self.keys(tmp_path) == ["b"]

    def test_nothing_is_evicted_in_vain(self, tmp_path: Path) -> None:
        self.fill(tmp_path, "a", 40_000, 100_000).close()
        with pytest.raises(cache.NoRoomError):
            self.fill(tmp_path, "b", 200_000, 100_000)
        assert self.keys(tmp_path) == ["a"]

    def test_what_does_not_fit_is_told_why(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(cache.NoRoomError, match=r"200.0 kB do not .* limit is 100.0 kB: raise"):
            self.fill(tmp_path, "a", 200_000, 100_000)
        monkeypatch.setattr(cache, "SPARE", 10**15)
        with pytest.raises(cache.NoRoomError, match=r"GB left, of which 1000000.0 GB stay free: "):
            self.fill(tmp_path, "a", 200_000, 10**16)

    @pytest.mark.parametrize("error", [TluiError, DataError])
    def test_what_the_builder_says_is_not_about_room(
        self, tmp_path: Path, error: type[TluiError]
    ) -> None:
        def build(folder: Path) -> dict[str, Any]:
            raise error("photo 3 is gone")

        with pytest.raises(error, match="photo 3 is gone"):
            cache.obtain("images", "a", build, 10, root=tmp_path, limit=100)
        assert not [path for path in (tmp_path / "images").iterdir() if path.is_dir()]

    def test_damaged_entries_are_made_anew(self, tmp_path: Path) -> None:
        self.fill(tmp_path, "a", 4_000, 100_000).close()
        (tmp_path / "images" / "a" / "data").write_bytes(b"short")
        assert self.keys(tmp_path) == [] and cache.find("images", "a", tmp_path) is None
        self.fill(tmp_path, "a", 4_000, 100_000).close()
        assert (tmp_path / "images" / "a" / "data").stat().st_size == 4_000
        meta = tmp_path / "images" / "a" / "meta.json"
        meta.write_text(meta.read_text().replace('"version": 1', '"version": 99'))
        assert cache.find("images", "a", tmp_path) is None
        self.fill(tmp_path, "a", 4_000, 100_000).close()
        assert cache.find("images", "a", tmp_path) is not None

    def test_the_limit_of_the_config(self, tmp_path: Path) -> None:
        assert cache.cache_limit(tmp_path) > 1_000_000
        Path(os.environ["TLUI_CONFIG"]).write_text("[cache]\nlimit_gb = 0.25\n")
        assert cache.cache_limit(tmp_path) == 250_000_000


def test_another_jpeg_library_has_keys_of_its_own(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = table.splits["train"].pool
    before = image_key(pool, 24, "crop")
    monkeypatch.setattr(Image.core, "libjpeg_turbo_version", "1.0", raising=False)
    assert image_key(pool, 24, "crop") != before


def test_keys_are_fit_for_file_names(table: Table) -> None:
    key = image_key(table.splits["train"].pool, 24, "crop")
    assert key.isalnum() and len(key) == 40
