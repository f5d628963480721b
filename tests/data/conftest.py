"""Small datasets of every source, made on the spot."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from tlui.recipe.sources import Dataset


def described(**keys: Any) -> Any:
    """A `[dataset]` table."""
    return TypeAdapter(Dataset).validate_python(keys)


@pytest.fixture
def describe() -> Callable[..., Any]:
    return described


def encoded(shade: int, form: str = "PNG", size: tuple[int, int] = (12, 10)) -> bytes:
    """One flat gray image with its shade."""
    file = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(file, form)
    return file.getvalue()


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture
def image() -> Callable[..., bytes]:
    return encoded


@pytest.fixture
def classes_of(tmp_path: Path) -> Callable[..., Path]:
    """Write `{"train/cat": 3, …}`: that many different images in each folder."""

    def write(counts: dict[str, int], root: str = "data") -> Path:
        shade = 0
        for folder, count in counts.items():
            (tmp_path / root / folder).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                put(tmp_path / root / folder / f"{i:03}.png", encoded(shade % 256))
                shade += 1
        return tmp_path / root

    return write


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def example_of(features: dict[str, bytes | int | float], packed: bool = True) -> bytes:
    """A serialized tf.train.Example, written by the format's rules."""
    entries = b""
    for key, value in features.items():
        if isinstance(value, bytes):
            feature = field(1, field(1, value))
        elif isinstance(value, float):
            feature = field(2, field(1, struct.pack("<f", value)))
        elif packed:
            feature = field(3, field(1, varint(value)))
        else:
            feature = field(3, varint(1 << 3) + varint(value))
        entries += field(1, field(1, key.encode()) + field(2, feature))
    return field(1, entries)


def framed(data: bytes) -> bytes:
    """A record of a TFRecord file."""

    def masked(part: bytes) -> bytes:
        crc = google_crc32c.value(part)
        return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)

    head = struct.pack("<Q", len(data))
    return head + masked(head) + data + masked(data)


@pytest.fixture
def write_shard() -> Callable[..., Path]:
    """Write examples, given as dicts of features, to a TFRecord file."""

    def write(path: Path, rows: Sequence[dict[str, Any]], packed: bool = True) -> Path:
        return put(path, b"".join(framed(example_of(row, packed)) for row in rows))

    return write


@pytest.fixture
def write_pcam(tmp_path: Path) -> Callable[..., Path]:
    """PCam's six files with few images; every pixel of image i is i."""

    def write(chunked: bool = True, side: int = 16, **counts: int) -> Path:
        import h5py

        root = tmp_path / "pcam"
        root.mkdir(exist_ok=True)
        for split, count in (counts or {"train": 20, "valid": 6, "test": 6}).items():
            name = f"camelyonpatch_level_2_split_{split}"
            shades = np.arange(count, dtype=np.uint8)
            x = np.broadcast_to(shades[:, None, None, None], (count, side, side, 3))
            options = {"chunks": (4, side, side, 3), "compression": "gzip"} if chunked else {}
            with h5py.File(root / f"{name}_x.h5", "w") as file:
                file.create_dataset("x", data=x, **options)
            with h5py.File(root / f"{name}_y.h5", "w") as file:
                file.create_dataset("y", data=(shades % 2).reshape(-1, 1, 1, 1))
        return root

    return write


@pytest.fixture
def pcam_with_damage(write_pcam: Callable[..., Path]) -> Path:
    """PCam's files, images 8 to 11 of train in a chunk that no longer unpacks."""
    import h5py

    root = write_pcam()
    path = root / "camelyonpatch_level_2_split_train_x.h5"
    with h5py.File(path) as file:
        chunk = file["x"].id.get_chunk_info_by_coord((8, 0, 0, 0))
    with open(path, "r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff" * chunk.size)
    return root
