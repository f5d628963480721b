"""Data that cannot be trained on is named, file by file and with the reason, before training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from data.conftest import encoded, example_of, framed
from faults.real import FOLDER_PRESET, tlui
from scheduler.bench import Bench

from tlui.runs.directory import RunDirectory
from tlui.runs.history import load

TABLE_PRESET = """
version = 1
name = "%s"
dataset = { source = "%s", path = %s, image_size = 32%s }
backbone = { name = "SmallConvNet", weights = "none" }
[[phase]]
freeze = "none"
epochs = 1
lr = { policy = "constant", initial = 1e-3 }
"""
UNUSABLE = (
    *("html_saved_as.jpg", "jpeg_magic_only.jpg", "random_bytes.jpg", "text_saved_as.png"),
    *("truncated_half.jpg", "truncated_header.jpg", "zero_byte.jpg"),
)
"""Of the folder of damaged files: what no decoder can make a photo of."""


def quoted(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)


def the_run(bench: Bench) -> RunDirectory:
    (run,) = bench.home
    return run


@pytest.mark.parametrize(
    "bad", [pytest.param("fail"), pytest.param("skip", marks=pytest.mark.slow)]
)
def test_every_damaged_file_is_named(
    bench: Bench, tmp_path: Path, realdata: Path, bad: str
) -> None:
    classes = [tmp_path / "data" / split / name for split in ("train", "test") for name in "ab"]
    good = realdata / "dirty" / "good.jpg"
    for folder in classes:
        folder.mkdir(parents=True)
        for i in range(6):
            shutil.copy(good, folder / f"{i}.jpg")
    for path in sorted((realdata / "dirty").iterdir()):
        shutil.copy(path, classes[0])
    (tmp_path / "photos.toml").write_text(FOLDER_PRESET % quoted(tmp_path / "data"))

    done = tlui("run", tmp_path / "photos.toml", "--set", f'dataset.bad_images="{bad}"')
    run = the_run(bench)
    if bad == "fail":
        assert done.returncode == 1, done.stdout + done.stderr
        said = run.observe().reason
        assert run.observe().state == "failed" and "Traceback" not in said
        missing = [name for name in UNUSABLE if f"{name}: " not in said]
        assert missing == [], said
        assert "good.jpg" not in said and not load(run).steps.x
    else:
        assert done.returncode == 0, done.stdout + done.stderr
        result = run.read_result()
        assert result is not None
        skipped = {Path(item["name"]).name: item["reason"] for item in result["skipped_images"]}
        assert set(UNUSABLE) <= set(skipped) and all(skipped.values())
        print(f"\n{len(list((realdata / 'dirty').iterdir()))} odd files: {len(skipped)} named")


@pytest.mark.timeout(900)
def test_other_sources(bench: Bench, tmp_path: Path) -> None:
    """A truncated TFRecord, HDF5 of a wrong shape and of a wrong length, CSV with missing files."""
    records = tmp_path / "records"
    records.mkdir()
    whole = b"".join(
        framed(example_of({"image/encoded": encoded(i), "image/label": 1 + i % 2}))
        for i in range(8)
    )
    (records / "train-00000-of-00001").write_bytes(whole[:-7])
    (records / "labels.txt").write_text("a\nb\n")
    for name, x, y in (("shape", (6, 16, 16), (6, 1, 1, 1)), ("length", (6, 16, 16, 3), (5,))):
        (tmp_path / name).mkdir()
        with h5py.File(tmp_path / name / "train_x.h5", "w") as file:
            file["x"] = np.zeros(x, np.uint8)
        with h5py.File(tmp_path / name / "train_y.h5", "w") as file:
            file["y"] = np.resize(np.arange(2, dtype=np.uint8), y)
    (tmp_path / "there.png").write_bytes(encoded(1))
    table = tmp_path / "table.csv"
    table.write_text("path,label\nthere.png,a\nnot-there.png,b\n")
    expected = {
        "tfrecord": (records, "truncated at byte", "train-00000-of-00001"),
        "shape": (tmp_path / "shape", "x is uint8 (6, 16, 16)", "train_x.h5"),
        "length": (tmp_path / "length", "holds 6 images but", "train_x.h5"),
        "csv": (table, "not-there.png does not exist", "line 3"),
    }
    presets = []
    for name, (path, _, _) in expected.items():
        source = "hdf5" if name in ("shape", "length") else name
        more = ', labels_file = "labels.txt"' if name == "tfrecord" else ""
        presets.append(tmp_path / f"{name}.toml")
        presets[-1].write_text(TABLE_PRESET % (name, source, json.dumps(str(path)), more))
    done = tlui("run", *presets)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    by_name = {run.read_meta()["name"]: run for run in bench.home}
    for name, (_, reason, place) in expected.items():
        said = by_name[name].observe().reason if name in by_name else done.stderr
        assert reason in said and place in said, said
        assert "Traceback" not in said
    for run in by_name.values():
        assert run.observe().state == "failed" and not load(run).steps.x
    print(f"\n{len(expected)} broken sources named before training, exit code {done.returncode}")
