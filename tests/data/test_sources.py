"""Folders, CSVs, HDF5 and digits: layouts found, damage and gaps named."""

from __future__ import annotations

import errno
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlui.data.items import BadImage
from tlui.data.sources.tfrecord import read_labels
from tlui.data.table import Table, open_dataset
from tlui.errors import DataError

Make = Callable[..., Path]
Describe = Callable[..., Any]


def folder(describe: Describe, root: Path, **keys: Any) -> Table:
    return open_dataset(describe(source="folder", path=str(root), **keys))


class TestFolder:
    @pytest.mark.parametrize("val", ["val", "valid", "Validation"])
    def test_split_folders(self, classes_of: Make, describe: Describe, val: str) -> None:
        root = classes_of(
            {
                "train/b": 3,
                "train/a": 2,
                f"{val}/a": 1,
                f"{val}/b": 1,
                "Test/a": 1,
                "Test/b": 2,
                "extra": 0,
            }
        )
        table = folder(describe, root)
        assert table.classes == ["a", "b"]
        assert {s: table.counts()[s].tolist() for s in table.splits} == {
            "train": [2, 3],
            "val": [1, 1],
            "test": [1, 2],
        }
        assert list(table.splits["train"].names)[:3] == [
            "train/a/000.png",
            "train/a/001.png",
            "train/b/000.png",
        ]
        assert "extra" in " ".join(table.notes)

    @pytest.mark.parametrize("wrap", ["inner", "a/b"])
    def test_wrapped_archives(self, classes_of: Make, describe: Describe, wrap: str) -> None:
        root = classes_of(
            {
                f"{wrap}/train/train/a": 3,
                f"{wrap}/train/train/b": 3,
                f"{wrap}/test/test/a": 1,
                f"{wrap}/test/test/b": 1,
            }
        )
        assert list(folder(describe, root).splits) == ["train", "val", "test"]

    def test_intel_layout_by_shortcut_and_without(
        self, classes_of: Make, describe: Describe
    ) -> None:
        from tlui.recipe.catalogue import DATASETS

        keys = dict(DATASETS["intel"].dataset)
        counts = {}
        for name in keys["classes"]:
            counts[f"seg_train/seg_train/{name}"] = 3
            counts[f"seg_test/seg_test/{name}"] = 1
        root = classes_of({**counts, "seg_pred/seg_pred": 1})
        named = open_dataset(describe(**keys, path=str(root)))
        assert named.counts()["test"].tolist() == [1] * 6
        plain = folder(describe, root)
        assert plain.classes == named.classes
        assert list(plain.splits["val"].names) == list(named.splits["val"].names)

    def test_a_shortcut_unpacked_in_another_way(self, classes_of: Make, describe: Describe) -> None:
        root = classes_of({"train/a": 3, "train/b": 3, "test/a": 1, "test/b": 1})
        table = folder(describe, root, train_folder="seg_train/seg_train", test_folder="x")
        assert len(table.splits["test"]) == 2
        assert any("seg_train/seg_train" in note for note in table.notes)

    def test_food_101_lists(self, classes_of: Make, describe: Describe) -> None:
        root = classes_of({"images/pie": 5, "images/soup": 5})
        (root / "meta").mkdir()
        (root / "meta" / "train.txt").write_text(
            "pie/000\npie/001\npie/003.png\nsoup/000\nsoup/1\n"
        )
        (root / "meta" / "test.txt").write_text("soup/004\npie/004\n\n")
        keys = {
            "train_folder": "images",
            "train_list": "meta/train.txt",
            "test_list": "meta/test.txt",
        }
        with pytest.raises(DataError, match="line 5: soup/1"):
            folder(describe, root, **keys)
        lines = "pie/000\npie/001\npie/003.png\nsoup/000\nsoup/001\n"
        (root / "meta" / "train.txt").write_text(lines)
        table = folder(describe, root, validation=0, **keys)
        assert list(table.splits["train"].names) == [
            "images/pie/000.png",
            "images/pie/001.png",
            "images/pie/003.png",
            "images/soup/000.png",
            "images/soup/001.png",
        ]
        assert list(table.splits["test"].names) == ["images/pie/004.png", "images/soup/004.png"]
        assert any("3 images are in no list" in note for note in table.notes)

    def test_images_are_told_by_content(
        self, classes_of: Make, describe: Describe, image: Callable[..., bytes]
    ) -> None:
        root = classes_of({"a": 3, "b": 3})
        (root / "a" / "no_suffix").write_bytes(image(200))
        (root / "a" / "photo.dat").write_bytes(image(201, "JPEG"))
        (root / "a" / "PHOTO.JPG").write_bytes(image(202))
        (root / "a" / "broken.jpg").write_text("<html>")  # decoding will tell
        (root / "a" / "notes.txt").write_text("hello")
        (root / "a" / "Thumbs.db").write_bytes(b"\xd0\xcf")
        (root / "a" / ".DS_Store").write_bytes(b"\0")
        (root / "a" / ".hidden.jpg").write_bytes(image(203))
        (root / "__MACOSX").mkdir()
        (root / ".ipynb_checkpoints").mkdir()
        os.mkfifo(root / "a" / "pipe.jpg")
        (root / "readme.md").write_text("hi")
        table = folder(describe, root, validation=0)
        assert table.classes == ["a", "b"]
        names = [n for n in table.splits["train"].names if n.startswith("a/")]
        assert [name[2:] for name in names] == [
            "000.png",
            "001.png",
            "002.png",
            "PHOTO.JPG",
            "broken.jpg",
            "no_suffix",
            "photo.dat",
        ]
        reasons = {skipped.name: skipped.reason for skipped in table.skipped}
        assert reasons["a/notes.txt"] == "not an image"
        assert reasons["a/Thumbs.db"] == reasons["a/.hidden.jpg"] == "hidden or system file"
        assert reasons["a/pipe.jpg"] == "not a regular file"
        assert reasons["readme.md"] == "not in a class folder"

    def test_names_that_a_disk_can_hold(
        self, tmp_path: Path, describe: Describe, image: Callable[..., bytes]
    ) -> None:
        root = os.fsencode(tmp_path / "odd")
        long = b"x" * 196 + b".png"
        names = [
            b"\xff\xfe.png",
            b"two\nlines.png",
            long,
            "ünï (1).JPG".encode(),
            b"[red]x.png",
            b"\x1b[31m.png",
        ]
        for class_name in (b"caf\xe9", "日本".encode()):
            os.makedirs(root + b"/" + class_name)  # noqa: PTH103 - bytes
            for i, name in enumerate(names):
                with open(root + b"/" + class_name + b"/" + name, "wb") as file:
                    file.write(image(i))
        table = folder(describe, tmp_path / "odd", validation=0)
        assert table.classes == ["caf\udce9", "日本"]
        split = table.splits["train"]
        shown = [name.encode("utf-8", "surrogateescape") for name in split.names]
        assert shown == sorted(shown) and len(shown) == 12
        assert {name.split(b"/")[1] for name in shown} == set(names)
        assert all(isinstance(split.read(i), bytes) for i in range(12))

    def test_links(self, classes_of: Make, describe: Describe) -> None:
        root = classes_of({"a": 2, "b": 2, "elsewhere/deep": 2}, "data")
        (root / "elsewhere").rename(root.parent / "elsewhere")
        (root / "a" / "loop").symlink_to(root)
        (root / "a" / "self").symlink_to(root / "a")
        (root / "b" / "more").symlink_to(root.parent / "elsewhere")
        (root / "b" / "gone.jpg").symlink_to("/nowhere")
        table = folder(describe, root, validation=0)
        names = list(table.splits["train"].names)
        assert "b/more/deep/000.png" in names
        assert sum("/self/" in name for name in names) == 0
        split = table.splits["train"]
        with pytest.raises(BadImage, match="cannot be read: No such file"):
            split.read(names.index("b/gone.jpg"))

    def test_what_cannot_be_looked_at_is_passed_over_with_the_reason(
        self, classes_of: Make, describe: Describe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = classes_of({"a": 2, "b": 2})
        (root / "cats").symlink_to("/nowhere")  # a class on a disk that is away
        (root / "a" / "gone").symlink_to("/nowhere")
        (root / "a" / "long").symlink_to("x" * 300)
        (root / "b" / "closed").write_bytes(b"")

        def refuse(path: bytes, _: str) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", path)

        monkeypatch.setattr("tlui.data.sources.files.open", refuse, raising=False)
        table = folder(describe, root, validation=0)
        assert {skipped.name: skipped.reason for skipped in table.skipped} == {
            "cats": "link to nothing",
            "a/gone": "link to nothing",
            "a/long": "cannot be looked at: File name too long",
            "b/closed": "cannot be read: Permission denied",
        }

    def test_a_split_on_a_disk_that_is_away(self, classes_of: Make, describe: Describe) -> None:
        """No share of train is taken for it in silence."""
        root = classes_of({"train/a": 2, "train/b": 2})
        (root / "Val").symlink_to("/nowhere")
        with pytest.raises(DataError, match="Val: link to nothing"):
            folder(describe, root)

    def test_what_is_not_there_is_said(
        self, tmp_path: Path, classes_of: Make, describe: Describe
    ) -> None:
        with pytest.raises(DataError, match=r"no-such.*does not exist"):
            folder(describe, tmp_path / "no-such")
        (tmp_path / "file").write_text("x")
        with pytest.raises(DataError, match="is a file"):
            folder(describe, tmp_path / "file")
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match="no class folders"):
            folder(describe, tmp_path / "empty")
        root = classes_of({"test/a": 1, "test/b": 1})
        with pytest.raises(DataError, match="no train folder"):
            folder(describe, root)
        root = classes_of({"train/a": 1, "train/b": 1, "val/a": 1, "valid/a": 1}, "two")
        with pytest.raises(DataError, match="val and valid"):
            folder(describe, root)
        with pytest.raises(DataError, match="test_folder: 'nope' is no folder"):
            folder(describe, root, train_folder="train", test_folder="nope")

    def test_the_fingerprint_sees_every_change(
        self, classes_of: Make, describe: Describe, image: Callable[..., bytes]
    ) -> None:
        root = classes_of({"a": 4, "b": 4})
        before = folder(describe, root).fingerprint
        assert folder(describe, root).fingerprint == before
        first = root / "a" / "000.png"
        state = first.stat()
        os.utime(first, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
        touched = folder(describe, root).fingerprint
        (root / "b" / "new.png").write_bytes(image(99))
        assert len({before, touched, folder(describe, root).fingerprint}) == 3


class TestCSV:
    def open(self, describe: Describe, path: Path, **keys: Any) -> Table:
        return open_dataset(describe(source="csv", path=str(path), **keys))

    def test_splits_and_order(self, classes_of: Make, describe: Describe) -> None:
        root = classes_of({"img": 8})
        lines = ["\ufeffSplit,Label,path"]
        for i, (split, label) in enumerate(
            [
                ("train", "10"),
                ("train", "9"),
                ("training", "10"),
                ("TRAIN", "9"),
                ("valid", "9"),
                ("val", "10"),
                ("test", "9"),
                ("test", "10"),
            ]
        ):
            lines.append(f"{split},{label},img/{i:03}.png")
        path = root / "list.csv"
        path.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n\n", "utf-8")
        table = self.open(describe, path)
        assert table.classes == ["9", "10"]
        assert list(table.splits["train"].names) == [f"img/{i:03}.png" for i in range(4)]
        assert table.splits["train"].labels.tolist() == [1, 0, 1, 0]
        assert len(table.splits["val"]) == len(table.splits["test"]) == 2
        assert isinstance(table.splits["val"].read(0), bytes)

    def test_every_bad_row_with_its_line(self, classes_of: Make, describe: Describe) -> None:
        root = classes_of({"img": 3})
        rows = [
            "path,label,split",
            "img/000.png,a,train",
            "img/nope.png,a,train",
            "img/001.png,a,dev",
            "img/002.png,,train",
            "img/000.png,b,test",
            "img,a,train",
            "long,a,train",
        ]
        (root / "long").symlink_to("x" * 300)
        rows += [f"missing{i}.png,a,train" for i in range(30)]
        path = root / "list.csv"
        path.write_text("\n".join(rows))
        with pytest.raises(DataError) as caught:
            self.open(describe, path)
        text = str(caught.value)
        assert "36 rows" in text
        assert "line 3: img/nope.png does not exist" in text
        assert 'line 4: split "dev" is not train, val or test' in text
        assert "line 5: no label" in text
        assert "line 6: img/000.png is on line 2 already" in text
        assert "line 7: img is not a regular file" in text
        assert "line 8: long cannot be looked at: File name too long" in text
        assert "… and 16 more" in text

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("file,label\na,b\n", "no column path"),
            ("", "no column path and label. .* an empty file"),
            ("path,label\n", "no rows to train on"),
            ("path,label\n\0.png,a\n", "line 2"),
        ],
    )
    def test_files_that_are_none(
        self, tmp_path: Path, describe: Describe, text: str, message: str
    ) -> None:
        path = tmp_path / "x.csv"
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            self.open(describe, path)

    def test_missing_file(self, tmp_path: Path, describe: Describe) -> None:
        with pytest.raises(DataError, match="No such file"):
            self.open(describe, tmp_path / "none.csv")


@pytest.mark.parametrize("name", ["pipe", "/dev/zero"])
def test_lists_that_have_no_end(
    classes_of: Make, describe: Describe, tmp_path: Path, name: str
) -> None:
    root, path = classes_of({"a": 2, "b": 2}), tmp_path / name
    os.mkfifo(tmp_path / "pipe")
    what = "(named pipe|device); give a file"
    with pytest.raises(DataError, match=rf"dataset.path: CSV '{path}' is a .*{what}"):
        open_dataset(describe(source="csv", path=str(path)))
    with pytest.raises(DataError, match=rf"list '{path}' is a .*{what}"):
        folder(describe, root, train_list=str(path))
    with pytest.raises(DataError, match=rf"labels file '{path}' is a .*{what}"):
        read_labels(path)


class TestHDF5:
    def open(self, describe: Describe, path: Path, **keys: Any) -> Table:
        return open_dataset(describe(source="hdf5", path=str(path), **keys))

    @pytest.mark.parametrize("chunked", [True, False])
    def test_six_files(self, write_pcam: Make, describe: Describe, chunked: bool) -> None:
        table = self.open(describe, write_pcam(chunked))
        assert table.classes == ["normal", "tumor"]
        assert {s: len(split) for s, split in table.splits.items()} == {
            "train": 20,
            "val": 6,
            "test": 6,
        }
        split = table.splits["train"]
        assert split.names[17] == "camelyonpatch_level_2_split_train_x.h5:17"
        assert split.labels.tolist() == [0, 1] * 10
        pixels = split.read(17)
        assert isinstance(pixels, np.ndarray) and (pixels == 17).all()
        wanted = np.array([3, 19, 4, 5, 0, 3])
        block = split.pool.read_many(wanted)
        assert block is not None and block[:, 0, 0, 0].tolist() == wanted.tolist()
        in_one_piece = split.pool.block()
        assert (in_one_piece is None) == chunked
        if in_one_piece is not None:
            assert in_one_piece.take(np.arange(20))[:, 1, 2, 0].tolist() == list(range(20))

    def test_names_of_classes(self, write_pcam: Make, describe: Describe) -> None:
        root = write_pcam()
        assert self.open(describe, root, classes=["healthy", "sick"]).classes == ["healthy", "sick"]
        swapped = self.open(describe, root, classes=["tumor", "normal"])
        assert swapped.splits["train"].labels.tolist() == [1, 0] * 10

    def test_damage_is_named(self, write_pcam: Make, describe: Describe) -> None:
        import h5py

        root = write_pcam()
        prefix = root / "camelyonpatch_level_2_split_"
        with h5py.File(f"{prefix}valid_y.h5", "w") as file:
            file.create_dataset("y", data=np.zeros((5, 1, 1, 1), np.uint8))
        with h5py.File(f"{prefix}test_x.h5", "w") as file:
            file.create_dataset("x", data=np.zeros((6, 96, 96), np.float32))
        with pytest.raises(DataError) as caught:
            self.open(describe, root)
        assert "valid_x.h5 holds 6 images but" in str(caught.value)
        assert "test_x.h5: x is float32 (6, 96, 96)" in str(caught.value)
        train = Path(f"{prefix}train_x.h5")
        train.write_bytes(train.read_bytes()[:-300])
        with pytest.raises(DataError, match=r"train_x\.h5: not readable as HDF5, damaged or trunc"):
            self.open(describe, root)
        train.unlink()
        train.symlink_to("/nowhere")
        with pytest.raises(DataError, match=r"train_x\.h5: cannot be read: No such file"):
            self.open(describe, root)
        train.unlink()
        with pytest.raises(DataError, match=r"train_y\.h5 is there but its x file is missing"):
            self.open(describe, root)

    def test_damaged_labels_are_named(self, write_pcam: Make, describe: Describe) -> None:
        import h5py

        path = next((root := write_pcam()).glob("*_train_y.h5"))
        with h5py.File(path, "w") as file:
            file.create_dataset("y", data=np.arange(20) % 2, chunks=(20,), compression="gzip")
            chunk = file["y"].id.get_chunk_info(0)
        with open(path, "r+b") as file:
            file.seek(chunk.byte_offset)
            file.write(b"\xff" * chunk.size)
        with pytest.raises(DataError, match=r"train_y\.h5: not readable as HDF5, damaged"):
            self.open(describe, root)

    def test_packed_or_absent(self, tmp_path: Path, describe: Describe) -> None:
        with pytest.raises(DataError, match="not a folder"):
            self.open(describe, tmp_path / "none")
        (tmp_path / "camelyonpatch_level_2_split_train_x.h5.gz").write_bytes(gzip.compress(b"x"))
        with pytest.raises(DataError, match=r"unpack the \.gz"):
            self.open(describe, tmp_path)

    def test_real_pcam(self, realdata: Path, describe: Describe) -> None:
        table = self.open(describe, realdata / "datasets" / "pcam_h5")
        assert table.counts()["train"].tolist() == [101, 99]
        assert np.asarray(table.splits["test"].read(0)).shape == (96, 96, 3)


class TestDigits:
    def test_all(self, describe: Describe) -> None:
        table = open_dataset(describe(source="digits"))
        assert table.classes == [str(n) for n in range(10)]
        pixels = table.splits["train"].read(0)
        assert isinstance(pixels, np.ndarray) and pixels.shape == (8, 8, 3)
        assert pixels.max() >= 200 and pixels.min() == 0

    def test_as_scikit_learn_has_them(self, describe: Describe) -> None:
        from sklearn.datasets import load_digits

        table = open_dataset(describe(source="digits", test=0, validation=0))
        bunch = load_digits()
        split = table.splits["train"]
        assert split.labels.tolist() == bunch.target.tolist()
        expected = np.round(bunch.images[42] * 255 / 16)
        assert np.array_equal(np.asarray(split.read(42))[:, :, 0], expected)
