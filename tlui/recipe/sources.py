"""What a preset may say of its data: one model a source.

The readers with the same names live in `tlui.data.sources`. A new source is one model here
(added to `Dataset`) and one reader there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal, Union

from pydantic import Field, PositiveInt

from tlui.recipe.strict import Refused, Table, rule

Location = Annotated[str, Field(min_length=1, description="where the dataset lies")]
"""A file or folder: `~` and the current directory are resolved when a preset is read."""
Inside = Annotated[str, Field(min_length=1)]
"""A file, folder or pattern inside the dataset's path."""
Share = Annotated[float, Field(ge=0, lt=1)]


class Source(Table):
    """What all sources share."""

    name: str | None = None
    """The shortcut it came from (intel, food-101 …), or a name of your own; shown and filtered by
    `dataset:`. Where not given, the last part of the path."""
    image_size: Annotated[int, Field(ge=8, le=2048)] = 224
    """Side of the square image the network sees, in pixels."""
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    """How a photo becomes square: stretched, centre-cropped, or padded with black."""
    validation: Share = 0.15
    """Fraction of train held out, stratified, where the source has no validation split."""
    test: Share = 0.0
    """Fraction held out as test, stratified, where the source has no test split."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of those stratified splits; the same on every machine."""
    classes: Annotated[list[str], Field(min_length=2)] | None = None
    """Class names in order of their index; a subset uses only these. Default: sorted names."""
    bad_images: Literal["skip", "fail"] = "fail"
    """What happens to images that cannot be decoded: skipped and counted, or refused up front."""

    @staticmethod
    @rule("validation", "test")
    def _room_for_train(validation: float, test: float) -> Iterator[Refused]:
        if validation + test >= 1:
            yield Refused(
                "validation and test together must leave something to train on. "
                f"Received: {validation} + {test}"
            )

    @staticmethod
    @rule("classes")
    def _each_once(classes: list[str] | None) -> Iterator[Refused]:
        for name, times in Counter(classes).items():
            if times > 1:
                yield Refused(
                    f'names "{name}" {"twice" if times == 2 else f"{times} times"}', "classes"
                )


class FolderSource(Source):
    """A folder of photos: `train/CLASS`, `val/CLASS`, `test/CLASS`, or `CLASS` folders alone.

    `train_folder`, `validation_folder` and `test_folder` say where class folders are when they are
    elsewhere; lists pick the photos of a split by name (Food-101's `meta/train.txt`).
    """

    source: Literal["folder"]
    path: Location
    train_folder: Inside | None = None
    """Folder inside `path` with the class folders of train, where the usual names (train, val,
    valid, validation, test) do not find it: `seg_train/seg_train`, `images`, `.`."""
    validation_folder: Inside | None = None
    """Likewise for validation."""
    test_folder: Inside | None = None
    """Likewise for test."""
    train_list: Inside | None = None
    """Text file inside `path`, one photo a line as `CLASS/NAME` with or without its suffix:
    only these photos of `train_folder` are train."""
    validation_list: Inside | None = None
    """Likewise for validation, photos from `validation_folder` or else `train_folder`."""
    test_list: Inside | None = None
    """Likewise for test, photos from `test_folder` or else `train_folder`."""


class TFRecordSource(Source):
    """TFRecords as the usual `build_image_data.py` writes them."""

    source: Literal["tfrecord"]
    path: Location
    """The folder the patterns below start from."""
    train_files: str = "train-*"
    validation_files: str | None = None
    """`validation-*` where there are such files."""
    test_files: str | None = None
    """`test-*` where there are such files."""
    image_key: str = "image/encoded"
    label_key: str = "image/label"
    labels_file: str | None = None
    """Text file with one class name a line, in order of the label."""
    label_offset: int = 1
    """The label of the first class: 1 where the scripts keep 0 for background."""


class HDF5Source(Source):
    """PatchCamelyon's layout: `*train_x.h5`/`*train_y.h5`, valid and test likewise."""

    source: Literal["hdf5"]
    path: Location
    image_size: Annotated[int, Field(ge=8, le=2048)] = 96


class CSVSource(Source):
    """A CSV with the columns `path,label[,split]`; paths start at the CSV's own folder."""

    source: Literal["csv"]
    path: Location


class TFDSSource(Source):
    """A prepared TensorFlow Datasets folder, read offline and without TensorFlow Datasets."""

    source: Literal["tfds"]
    dataset: str
    """Its TFDS name, such as `food101` or `patch_camelyon:2.0.0`."""
    path: str | None = None
    """The TFDS `data_dir`."""
    train_split: str = "train"
    validation_split: str | None = None
    test_split: str | None = None


class DigitsSource(Source):
    """scikit-learn's bundled 8x8 digits as RGB images; needs nothing downloaded."""

    source: Literal["digits"]
    image_size: Annotated[int, Field(ge=8, le=2048)] = 32
    test: Share = 0.2


Dataset = Annotated[
    Union[FolderSource, TFRecordSource, HDF5Source, CSVSource, TFDSSource, DigitsSource],
    Field(discriminator="source"),
]

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")

BatchSize = Annotated[PositiveInt, Field(le=65536)]
