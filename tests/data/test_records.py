"""TFRecords and prepared TFDS folders, read without TensorFlow."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlui.data.decode import decode
from tlui.data.items import BadImage
from tlui.data.sources.records import example
from tlui.data.table import Table, open_dataset
from tlui.data.target import datasets_of
from tlui.errors import DataError, TluiError

# Three records as TFRecordWriter of TensorFlow 2.21 wrote them: gray 2x2 PNGs of shade 0, 50
# and 100, labels -1, 0 and 1, and a float beside them.
BY_TENSORFLOW = """
    lgAAAAAAAABMCXZNCpMBCh0KC2ltYWdlL2xhYmVsEg4aDAoK////////////AQpZCg1pbWFnZS9lbmNvZGVkEkgKRgpE
    iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAC0lEQVQImWNgQAYAAA4AAbGa6gYAAAAASUVORK5CYIIK
    FwoLaW1hZ2Uvd2lkdGgSCBIGCgQAAOBAraznQJgAAAAAAAAAoOeD9QqVAQoUCgtpbWFnZS9sYWJlbBIFGgMKAQAKZAoN
    aW1hZ2UvZW5jb2RlZBJTClEKT4lQTkcNChoKAAAADUlIRFIAAAACAAAAAggCAAAA/dSacwAAABZJREFUCJljNDIyYmBg
    YGJgYGBgYAAABzIAmhE4jmoAAAAASUVORK5CYIIKFwoLaW1hZ2Uvd2lkdGgSCBIGCgQAAOBANR+kQ5gAAAAAAAAAoOeD
    9QqVAQoUCgtpbWFnZS9sYWJlbBIFGgMKAQEKZAoNaW1hZ2UvZW5jb2RlZBJTClEKT4lQTkcNChoKAAAADUlIRFIAAAAC
    AAAAAggCAAAA/dSacwAAABZJREFUCJljTElJYWBgYGJgYGBgYAAADjoBMPAd3uEAAAAASUVORK5CYIIKFwoLaW1hZ2Uv
    d2lkdGgSCBIGCgQAAOBADhv6Bg==
"""

Describe = Callable[..., Any]
WriteShard = Callable[..., Path]


@pytest.fixture
def shards(tmp_path: Path, write_shard: WriteShard, image: Callable[..., bytes]) -> Path:
    """Two train shards and one of test, labels from 1, shade 10 * n."""
    root = tmp_path / "records"
    for shard in range(2):
        rows = [
            {"image/encoded": image(shard * 60 + i * 10), "image/label": 1 + i % 3, "x": 0.5}
            for i in range(6)
        ]
        write_shard(root / f"train-0000{shard}-of-00002", rows, packed=shard == 0)
    rows = [{"image/encoded": image(200 + i), "image/label": 1 + i} for i in range(3)]
    write_shard(root / "validation-00000-of-00001", rows)
    (root / "labels.txt").write_text("cat\ndog\nélan\n")
    return root


def opened(describe: Describe, root: Path, **keys: Any) -> Table:
    return open_dataset(describe(source="tfrecord", path=str(root), **{"validation": 0, **keys}))


class TestTFRecord:
    def test_items_at_random(self, shards: Path, describe: Describe) -> None:
        table = opened(describe, shards, test_files="validation-*", labels_file="labels.txt")
        assert table.classes == ["cat", "dog", "élan"]
        train = table.splits["train"]
        assert train.labels.tolist() == [0, 1, 2] * 4
        assert train.names[7] == "train-00001-of-00002:1"
        for item in (11, 0, 7, 3):
            assert (decode(train.read(item)) == item * 10).all()
        assert table.splits["test"].labels.tolist() == [0, 1, 2]

    def test_usual_names_tell_the_split(self, shards: Path, describe: Describe) -> None:
        table = opened(describe, shards, validation=0.2)
        assert {name: len(split) for name, split in table.splits.items()} == {"train": 12, "val": 3}
        assert not table.notes
        (shards / "validation-00000-of-00001").rename(shards / "test-00000-of-00001")
        assert set(opened(describe, shards).splits) == {"train", "test"}
        assert set(opened(describe, shards, train_files="*-of-*").splits) == {"train"}
        (shards / "test-00000-of-00001").rename(shards / "birds-test-00000")
        table = opened(describe, shards)
        assert set(table.splits) == {"train"}
        assert table.notes == ["not used: birds-test-00000"]

    def test_numbers_name_classes_without_a_labels_file(
        self, shards: Path, describe: Describe
    ) -> None:
        table = opened(describe, shards)
        assert table.classes == ["1", "2", "3"]
        named = opened(describe, shards, classes=["x", "y", "z"])
        assert named.classes == ["x", "y", "z"]
        assert named.splits["train"].labels.tolist() == [0, 1, 2] * 4
        subset = opened(describe, shards, classes=["3", "1"])
        assert subset.splits["train"].labels.tolist() == [1, 0] * 4
        with pytest.raises(DataError, match=r"classes names labels 1 to 2 .* records have 3"):
            opened(describe, shards, classes=["x", "y"])

    def test_names_beside_the_numbers(
        self, tmp_path: Path, write_shard: WriteShard, describe: Describe
    ) -> None:
        rows = [
            {"image/encoded": b"x", "image/class/label": i, "image/class/text": f"n{i}".encode()}
            for i in (3, 1, 3, 1)
        ]
        write_shard(tmp_path / "train-0", rows)
        table = opened(describe, tmp_path, label_key="image/class/label")
        assert table.classes == ["n1", "n3"]
        assert table.splits["train"].labels.tolist() == [1, 0, 1, 0]

    def test_labels_may_be_text(
        self, tmp_path: Path, write_shard: WriteShard, describe: Describe
    ) -> None:
        rows = [{"image/encoded": b"x", "image/label": name} for name in (b"b", b"a", b"b")]
        write_shard(tmp_path / "train-0", rows)
        table = opened(describe, tmp_path)
        assert table.classes == ["a", "b"]
        assert table.splits["train"].labels.tolist() == [1, 0, 1]

    def test_offset_that_does_not_fit(self, shards: Path, describe: Describe) -> None:
        (shards / "two.txt").write_text("0:cat\n1:dog\n")
        with pytest.raises(DataError, match=r"names labels 1 to 2 .*, but records have 3"):
            opened(describe, shards, labels_file="two.txt")

    def test_torn_and_corrupt_shards_are_named_with_the_byte(
        self, shards: Path, describe: Describe
    ) -> None:
        first, second = sorted(shards.glob("train-*"))
        opened(describe, shards)  # the index kept of the good files must not hide the damage
        data = bytearray(first.read_bytes())
        lengths = []
        at = 0
        while at < len(data):
            lengths.append(at)
            at += 16 + int.from_bytes(data[at : at + 8], "little")
        data[lengths[4] + 40] ^= 1
        first.write_bytes(data)
        whole = second.read_bytes()
        second.write_bytes(whole[:-7])
        with pytest.raises(DataError) as caught:
            opened(describe, shards)
        text = str(caught.value)
        assert f"{first.name}: corrupt at byte {lengths[4]:,} (record 4): the checksum" in text
        assert f"{second.name}: truncated at byte" in text and "(record 5)" in text
        second.write_bytes(whole + b"12345")
        first.write_bytes(b"this is no record file at all")
        with pytest.raises(DataError, match="not a TFRecord file at byte 0") as caught:
            opened(describe, shards)
        assert "5 bytes of its header are left" in str(caught.value)

    def test_keys_that_are_not_there(self, shards: Path, describe: Describe) -> None:
        expected = 'no label in "label"; it has: image/encoded, image/la'
        with pytest.raises(DataError, match=expected) as caught:
            opened(describe, shards, label_key="label")
        assert str(caught.value).endswith("which feature is the label with dataset.label_key.")
        table = opened(describe, shards, image_key="picture")
        with pytest.raises(BadImage, match='no image in "picture"; it has: image/encoded'):
            table.splits["train"].read(0)

    def test_patterns(self, shards: Path, describe: Describe) -> None:
        with pytest.raises(DataError, match=r"matches 'nope-\*'. It holds:\n  labels.txt"):
            opened(describe, shards, train_files="nope-*")
        with pytest.raises(DataError, match="both match train-00000"):
            opened(describe, shards, test_files="*-of-00002")
        with pytest.raises(DataError, match="does not exist"):
            opened(describe, shards / "none")

    def test_the_index_is_kept_until_the_file_changes(
        self, shards: Path, describe: Describe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from tlui.data.sources import records

        read: list[Path] = []
        true = records.records
        monkeypatch.setattr(records, "records", lambda p, s: read.append(p) or true(p, s))
        first = opened(describe, shards)
        assert len(read) == 3
        assert opened(describe, shards).fingerprint == first.fingerprint
        assert len(read) == 3
        shard = shards / "train-00000-of-00002"
        state = shard.stat()
        os.utime(shard, ns=(state.st_atime_ns, state.st_mtime_ns + 1000))
        assert opened(describe, shards).fingerprint != first.fingerprint
        assert read[3:] == [shard]
        for kept in (Path(os.environ["TLUI_CACHE"]) / "index").iterdir():
            kept.write_bytes(b"spoiled")
        assert len(opened(describe, shards).splits["train"]) == 12

    def test_examples_that_are_none(self) -> None:
        rng = np.random.default_rng(0)
        for length in range(60):
            with_errors = rng.integers(0, 256, length).astype(np.uint8).tobytes()
            try:
                example(with_errors)
            except ValueError:
                pass

    def test_what_tensorflow_writes(self, tmp_path: Path, describe: Describe) -> None:
        (tmp_path / "train-0").write_bytes(base64.b64decode(BY_TENSORFLOW))
        table = opened(describe, tmp_path)
        assert table.classes == ["-1", "0", "1"]
        for i in range(3):
            assert (decode(table.splits["train"].read(i)) == i * 50).all()


@pytest.fixture
def prepared(tmp_path: Path, write_shard: WriteShard, image: Callable[..., bytes]) -> Path:
    """A data_dir as TFDS leaves it: two versions; 2.10.0 has train (3 + 2) and test (2)."""
    for version in ("2.9.0", "2.10.0"):
        root = tmp_path / "tfds" / "birds" / version
        shade = 0
        for split, lengths in (("train", [3, 2]), ("test", [2])):
            for i, length in enumerate(lengths):
                rows = []
                for _ in range(length):
                    rows.append({"image": image(shade), "label": shade % 2, "id": b"x"})
                    shade += 1
                count = len(lengths)
                write_shard(root / f"birds-{split}.tfrecord-{i:05}-of-{count:05}", rows)
        info = {
            "name": "birds",
            "version": version,
            "fileFormat": "tfrecord",
            "splits": [
                {
                    "name": "train",
                    "shardLengths": ["3", "2"],
                    "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                },
                {"name": "test", "shardLengths": ["2"]},
            ],
        }
        module = "tensorflow_datasets.core.features"
        features = {
            "pythonClassName": f"{module}.features_dict.FeaturesDict",
            "featuresDict": {
                "features": {
                    "id": {"pythonClassName": f"{module}.text_feature.Text"},
                    "image": {"pythonClassName": f"{module}.image_feature.Image"},
                    "label": {"pythonClassName": f"{module}.class_label_feature.ClassLabel"},
                }
            },
        }
        (root / "dataset_info.json").write_text(json.dumps(info))
        (root / "features.json").write_text(json.dumps(features))
        (root / "label.labels.txt").write_text("owl\nwren\n")
    return tmp_path / "tfds"


class TestTFDS:
    def open(self, describe: Describe, path: Path, name: str = "birds", **keys: Any) -> Table:
        keys = {"validation": 0, **keys}
        return open_dataset(describe(source="tfds", path=str(path), dataset=name, **keys))

    def test_newest_version(self, prepared: Path, describe: Describe) -> None:
        table = self.open(describe, prepared, test_split="test")
        assert table.root.endswith("2.10.0")
        assert table.classes == ["owl", "wren"]
        assert table.splits["train"].labels.tolist() == [0, 1, 0, 1, 0]
        assert table.splits["test"].labels.tolist() == [1, 0]
        assert table.splits["train"].names[4] == "birds-train.tfrecord-00001-of-00002:1"
        assert (decode(table.splits["test"].read(1)) == 6).all()

    @pytest.mark.parametrize("name", ["birds:2.9.0", "birds:2.9.*", "birds:2.*.*"])
    def test_versions(self, prepared: Path, describe: Describe, name: str) -> None:
        root = self.open(describe, prepared, name).root
        assert root.endswith("2.10.0" if name == "birds:2.*.*" else "2.9.0")

    def test_the_folder_itself(self, prepared: Path, describe: Describe) -> None:
        assert self.open(describe, prepared / "birds" / "2.9.0").classes == ["owl", "wren"]
        with pytest.raises(DataError, match=r"holds 'birds'. Received: dataset = 'fish'"):
            self.open(describe, prepared / "birds" / "2.9.0", "fish")

    def test_a_folder_below_or_above_the_data_dir(self, prepared: Path, describe: Describe) -> None:
        assert self.open(describe, prepared / "birds").root.endswith("2.10.0")
        assert self.open(describe, prepared / "birds", "birds:2.9.0").root.endswith("2.9.0")
        with pytest.raises(DataError, match=f"It is in '{prepared}': give that as path"):
            self.open(describe, prepared.parent)
        (prepared.parent / "photos" / "fish").mkdir(parents=True)
        with pytest.raises(DataError, match='It holds: "birds"'):
            self.open(describe, prepared.parent, "fish")
        with pytest.raises(DataError, match='It holds: "birds"'):
            self.open(describe, prepared, "fish")
        (prepared / "birds").rename(prepared / "small")
        (prepared / "birds").mkdir()
        (prepared / "small").rename(prepared / "birds" / "small")
        for folder in (prepared / "birds", prepared / "birds" / "small"):
            for name in ("birds", "birds/small"):
                assert "birds/small/2.10.0" in self.open(describe, folder, name).root
        with pytest.raises(DataError, match='It holds: "birds/small"'):
            self.open(describe, prepared, "birds/large")

    def test_which_it_is_by_its_folder(self, prepared: Path) -> None:
        for folder in (prepared, prepared / "birds", prepared / "birds" / "2.9.0"):
            (dataset,) = datasets_of(str(folder))
            table = open_dataset(dataset, check=False)
            assert (table.name, table.source, list(table.splits)) == (
                "birds", "tfds", ["train", "val", "test"],
            )  # fmt: skip
        shutil.copytree(prepared / "birds", prepared / "fish")
        with pytest.raises(TluiError, match="several datasets of TFDS"):
            datasets_of(str(prepared))

    def test_slices(self, prepared: Path, describe: Describe) -> None:
        table = self.open(
            describe, prepared, train_split="train[:60%]", validation_split="train[3:]+test"
        )
        assert [decode(table.splits["train"].read(i))[0, 0, 0] for i in range(3)] == [0, 1, 2]
        assert [decode(table.splits["val"].read(i))[0, 0, 0] for i in range(4)] == [3, 4, 5, 6]
        with pytest.raises(DataError, match="shares images with train"):
            self.open(describe, prepared, validation_split="train[-2:]")

    def test_what_is_not_there(self, prepared: Path, describe: Describe) -> None:
        with pytest.raises(DataError, match=r'tfds.load\("fish"'):
            self.open(describe, prepared.parent / "gone", "fish")
        with pytest.raises(DataError, match=r'version 9\.0\.0 .*"2\.9\.0", "2\.10\.0"'):
            self.open(describe, prepared, "birds:9.0.0")
        with pytest.raises(DataError, match=r'no split "valid" in birds. It has: "train", "test"'):
            self.open(describe, prepared, validation_split="valid")
        with pytest.raises(DataError, match="is no split"):
            self.open(describe, prepared, validation_split="train[:half]")
        shard = prepared / "birds" / "2.10.0" / "birds-train.tfrecord-00001-of-00002"
        data = shard.read_bytes()
        shard.write_bytes(data[:-3])
        with pytest.raises(DataError, match="truncated at byte"):
            self.open(describe, prepared)
        shard.write_bytes(b"")
        with pytest.raises(DataError, match=r"0 records, dataset_info.json says 2"):
            self.open(describe, prepared)
        shard.unlink()
        with pytest.raises(DataError, match="shards are missing"):
            self.open(describe, prepared)

    def test_configs(self, prepared: Path, describe: Describe) -> None:
        (prepared / "many" / "small").mkdir(parents=True)
        (prepared / "birds" / "2.9.0").rename(prepared / "many" / "small" / "1.0.0")
        assert "small" in self.open(describe, prepared, "many").root
        assert "small" in self.open(describe, prepared, "many/small:1.0.0").root
