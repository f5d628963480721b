"""What a folder is taken for by the files in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tlui.data.table import open_dataset
from tlui.data.target import datasets_of
from tlui.errors import TluiError


def test_shards_as_the_usual_script_names_them(
    tmp_path: Path, image: Callable[..., bytes], write_shard: Callable[..., Path]
) -> None:
    for split, count in (("train", 6), ("validation", 4)):
        for shard in range(2):
            rows = [
                {"image/encoded": image(10 * i + shard), "image/label": 1 + i % 2}
                for i in range(count)
            ]
            write_shard(tmp_path / f"{split}-{shard:05}-of-00002", rows)
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    (dataset,) = datasets_of(str(tmp_path))
    table = open_dataset(dataset)
    assert (table.source, table.classes) == ("tfrecord", ["cat", "dog"])
    counts = {split: list(numbers) for split, numbers in table.counts().items()}
    assert counts == {"train": [6, 6], "val": [4, 4]}


def test_the_files_of_patchcamelyon(write_pcam: Callable[..., Path]) -> None:
    (dataset,) = datasets_of(str(write_pcam(train=8, valid=4, test=4)))
    assert open_dataset(dataset).source == "hdf5"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("", "name a preset, a folder, a CSV or a dataset"),
        (" ", "name a preset, a folder, a CSV or a dataset"),
        ("notes.txt", "notes.txt is neither a preset (.toml), a CSV nor a folder"),
        ("/dev/null", "/dev/null is neither a preset (.toml), a CSV nor a folder"),
        ("dangling", "dangling is a link to nothing"),
        ("nope.toml", "nope.toml: no such file or folder"),
        ("~/nope", "~/nope: no such file or folder"),
        ("~no-such-user", "no home folder ~no-such-user"),
        ("food-10", 'did you mean "food-101"?'),
    ],
)
def test_what_is_no_dataset(
    target: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("no photo")
    Path("dangling").symlink_to("nowhere")
    with pytest.raises(TluiError, match=re.escape(said)) as error:
        datasets_of(target)
    assert error.value.code == 2


def test_the_folder_above_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos" / "train").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "photos" / "train")
    (dataset,) = datasets_of("..")
    assert getattr(dataset, "path", None) == str(tmp_path / "photos")
