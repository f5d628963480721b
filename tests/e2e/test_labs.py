"""The five labs end to end on real photos: every experiment trains, the export has every run.

Here each sweep is collapsed to one value, the backbones are small and the photos few; the whole
grids run with --slow.
"""

from __future__ import annotations

import csv
import io
import struct
from pathlib import Path

import pytest

SMALL = [
    "--set", "phase.*.epochs=1",
    "--set", "dataset.image_size=32",
    "--set", "backbone.name=MobileNetV2",
    "--set", "backbone.alpha=0.35",
    "--set", "train.batch_size=64",
]  # fmt: skip
ONE_RATE = ["--set", "phase.0.lr.initial=1e-4"]


def exported(tlui) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(tlui("export", "-o", "-").stdout, newline="")))


def check(rows: list[dict[str, str]], experiments: dict[str, int]) -> None:
    counts: dict[str, int] = {}
    for row in rows:
        assert row["state"] == "finished", row
        assert 0 <= float(row["test_accuracy"]) <= 1
        assert float(row["train_seconds"]) > 0
        assert 0 < int(row["trainable_parameters"]) <= int(row["total_parameters"])
        counts[row["experiment"]] = counts.get(row["experiment"], 0) + 1
    assert counts == experiments


def intel(realdata: Path) -> list[str]:
    return [
        "--set", f"dataset.path={realdata / 'datasets' / 'intel6'}",
        "--set", "dataset.train_folder=train",
        "--set", "dataset.test_folder=test",
    ]  # fmt: skip


def test_intel_regimes(tlui, realdata: Path, keras_home: Path) -> None:
    tlui(
        "run", "presets/intel-regimes.toml", *SMALL, *ONE_RATE, *intel(realdata),
        env={"KERAS_HOME": str(keras_home)},
    )  # fmt: skip
    check(exported(tlui), {"scratch": 1, "full": 1, "head": 1, "head-then-full": 1})


def test_intel_dropout(tlui, realdata: Path, keras_home: Path) -> None:
    tlui(
        "run", "presets/intel-dropout.toml", *SMALL, *ONE_RATE, *intel(realdata),
        "--only", "head-then-full",
        env={"KERAS_HOME": str(keras_home)},
    )  # fmt: skip
    check(exported(tlui), {"head": 1, "head-then-full": 1})


def pcam(realdata: Path) -> list[str]:
    return ["--set", f"dataset.path={realdata / 'datasets' / 'pcam_h5'}"]


def test_pcam_backbones(tlui, realdata: Path, keras_home: Path) -> None:
    names = ["mobilenet", "densenet-tuned", "densenet-scratch"]
    tlui(
        "run", "presets/pcam-backbones.toml", *SMALL, *(f"--only={name}" for name in names),
        *pcam(realdata),
        env={"KERAS_HOME": str(keras_home)},
    )  # fmt: skip
    rows = exported(tlui)
    check(rows, dict.fromkeys(names, 1))
    for split in ("train", "val", "test"):
        for metric in ("accuracy", "precision", "recall", "f1", "inference_seconds"):
            assert all(row[f"{split}_{metric}"] for row in rows)


def test_food101_finetune(tlui, realdata: Path, keras_home: Path) -> None:
    food = realdata / "datasets" / "food3"
    tlui(
        "run", "presets/food101-finetune.toml", *SMALL,
        "--set", "dataset.name=food3", "--set", "dataset.source=folder",
        "--set", f"dataset.path={food}",
        env={"KERAS_HOME": str(keras_home)},
    )  # fmt: skip
    rows = exported(tlui)
    check(rows, {"head": 1, "finetune": 2})
    learning = {row["experiment"]: int(row["trainable_parameters"]) for row in rows}
    assert learning["head"] < learning["finetune"]
    assert all(float(row["peak_memory_mb"]) > 100 for row in rows)


def write_tfrecords(photos: Path, target: Path, per_class: int) -> None:
    """Shards as build_image_data.py writes them: image/encoded, image/label from 1."""
    import google_crc32c

    def checked(data: bytes) -> bytes:
        crc = google_crc32c.value(data)
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        return struct.pack("<I", masked)

    def field(number: int, data: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(data)) + data

    def varint(value: int) -> bytes:
        out = b""
        while value > 127:
            out += bytes([value & 127 | 128])
            value >>= 7
        return out + bytes([value])

    def feature(key: str, value: bytes) -> bytes:
        return field(1, field(1, key.encode()) + field(2, value))

    classes = sorted(path.name for path in photos.iterdir())
    target.mkdir()
    (target / "labels.txt").write_text("\n".join(classes) + "\n")
    with (target / "train-00000-of-00001").open("wb") as shard:
        for label, name in enumerate(classes, start=1):
            for photo in sorted((photos / name).iterdir())[:per_class]:
                encoded = feature("image/encoded", field(1, field(1, photo.read_bytes())))
                wanted = feature("image/label", field(3, field(1, varint(label))))
                record = field(1, encoded + wanted)
                length = struct.pack("<Q", len(record))
                shard.write(length + checked(length) + record + checked(record))


def oregon(tmp_path: Path, realdata: Path) -> list[str]:
    write_tfrecords(realdata / "datasets" / "intel6" / "train", tmp_path / "records", 25)
    return [
        "--set", "dataset.name=scenes", "--set", "dataset.source=tfrecord",
        "--set", f"dataset.path={tmp_path / 'records'}",
        "--set", "dataset.labels_file=labels.txt",
        "--set", "augment.crop_from=40",
    ]  # fmt: skip


def test_oregon_lr_policies(tlui, tmp_path: Path, realdata: Path, keras_home: Path) -> None:
    tlui(
        "run", "presets/oregon-lr-policies.toml", *SMALL, *oregon(tmp_path, realdata),
        "--only", "static-1e-7", "--only", "exponential-0.3", "--only", "step-0.5-10",
        env={"KERAS_HOME": str(keras_home)},
    )  # fmt: skip
    check(exported(tlui), {"head": 1, "static": 1, "exponential": 1, "step": 1})


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_point_of_every_lab(tlui, tmp_path: Path, realdata: Path, keras_home: Path) -> None:
    env = {"KERAS_HOME": str(keras_home)}
    places = {
        "intel-regimes": intel(realdata),
        "intel-dropout": intel(realdata),
        "oregon-lr-policies": oregon(tmp_path, realdata),
        "pcam-backbones": pcam(realdata),
    }
    for lab, place in places.items():
        tlui("run", f"presets/{lab}.toml", *SMALL, *place, env=env, timeout=1800)
    rows = exported(tlui)
    assert all(row["state"] == "finished" for row in rows)
    assert {lab: sum(row["preset"] == lab for row in rows) for lab in places} == {
        "intel-regimes": 12,
        "intel-dropout": 11,
        "oregon-lr-policies": 12,
        "pcam-backbones": 5,
    }
