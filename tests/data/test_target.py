"""What a folder is taken for by the files in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tlui.data.table import open_dataset
from tlui.data.target import datasets_of


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
