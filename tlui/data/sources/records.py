"""TFRecord files and the tf.train.Example in them, read without TensorFlow.

A TFRecord is a row of (uint64 length, crc of length, data, crc of data), little-endian, with
masked CRC-32C (tensorflow/core/lib/io/record_writer.h). Each shard is scanned once, every
checksum verified, and its index (offset, length, label of each record) kept in the user's cache,
so that items are read at random by (file, offset, length).
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import google_crc32c
import numpy as np
import numpy.typing as npt

from tlui.data.items import BadImage, Index, Pool, digest
from tlui.errors import TluiError
from tlui.runs.files import make_own, write_whole
from tlui.runs.place import cache_folder, usable

Value = list[bytes] | list[int] | list[float]
OPEN_FILES = 128
"""Shards kept open; more are opened for each read."""


class CorruptError(Exception):
    """A shard that cannot be read to its end; says where and why."""


@dataclass(frozen=True)
class Shard:
    """Where the records of one file are, and how each is labelled."""

    path: Path
    offsets: Index
    """int64 (n,), where the data of each record starts, in bytes."""
    lengths: Index
    labels: Index
    """int64 (n,); all zero where labels are text."""
    texts: npt.NDArray[np.bytes_]
    """The class name of each record, or empty where records hold none."""

    def __len__(self) -> int:
        return len(self.offsets)


def example(record: bytes | memoryview) -> dict[str, Value]:
    """The features of a serialized tf.train.Example.

    Raises:
        ValueError: It is not one.
    """
    features: dict[str, Value] = {}
    for number, body in _fields(memoryview(record)):
        if number != 1 or not isinstance(body, memoryview):
            continue
        for inner, entry in _fields(body):
            if inner != 1 or not isinstance(entry, memoryview):
                continue
            parts = dict(_fields(entry))
            key, feature = parts.get(1), parts.get(2)
            if isinstance(key, memoryview):
                value = _feature(feature) if isinstance(feature, memoryview) else []
                features[bytes(key).decode("utf-8", "replace")] = value
    return features


def scan(path: Path, label_key: str, text_keys: Sequence[str] = ()) -> Shard:
    """The index of a shard, from the cache where the file has not changed since.

    Args:
        path: The shard.
        label_key: The feature with the label, an integer or a class name.
        text_keys: Features that may hold the class's name beside an integer label.

    Raises:
        CorruptError: A record is torn, damaged, or no labelled Example; names the byte offset.
        OSError: The file cannot be read.
    """
    state = path.stat()
    keys = [key.encode("utf-8", "surrogateescape") for key in (label_key, *text_keys)]
    name = digest([b"index 1", os.fsencode(path.absolute()), *keys])
    stamp = np.array([state.st_size, state.st_mtime_ns], np.int64)
    kept = cache_folder() / "index" / f"{name[:40]}.npz"
    try:
        usable(cache_folder())
        make_own(kept.parent)
    except (OSError, TluiError):
        return _scanned(path, state.st_size, label_key, text_keys)
    unreadable = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
    with contextlib.suppress(*unreadable), np.load(kept, allow_pickle=False) as stored:
        if np.array_equal(stored["stamp"], stamp):
            parts = (stored[key] for key in ("offsets", "lengths", "labels", "texts"))
            return Shard(path, *parts)
    shard = _scanned(path, state.st_size, label_key, text_keys)
    with contextlib.suppress(OSError):
        packed = io.BytesIO()
        np.savez(
            packed,
            stamp=stamp,
            offsets=shard.offsets,
            lengths=shard.lengths,
            labels=shard.labels,
            texts=shard.texts,
        )
        write_whole(kept, lambda file: file.write(packed.getbuffer()), sync=False)
    return shard


def records(path: Path, size: int) -> Iterator[tuple[int, bytes]]:
    """(offset of the data, data) of each record, checksums verified.

    Raises:
        CorruptError: Truncated or damaged; names the byte offset of the record.
    """
    with open(path, "rb", buffering=1 << 20) as file:
        at = 0
        number = 0
        while at < size:
            where = f"at byte {at:,} (record {number})"
            head = file.read(12)
            if number == 0 and head[:2] == b"\x1f\x8b":
                raise CorruptError("compressed with gzip; unpack it first")
            if len(head) < 12:
                raise CorruptError(f"truncated {where}: {len(head)} bytes of its header are left")
            length, length_crc = struct.unpack("<QI", head)
            if _masked(head[:8]) != length_crc:
                what = "not a TFRecord file" if number == 0 else "corrupt"
                raise CorruptError(f"{what} {where}: the checksum of its length is wrong")
            if at + 16 + length > size:
                raise CorruptError(
                    f"truncated {where}: it needs {length + 16:,} bytes, {size - at:,} are left"
                )
            data = file.read(length)
            tail = file.read(4)
            if len(data) < length or len(tail) < 4:
                raise CorruptError(f"truncated {where} while it was read")
            if _masked(data) != struct.unpack("<I", tail)[0]:
                raise CorruptError(f"corrupt {where}: the checksum of its data is wrong")
            yield at + 12, data
            at += length + 16
            number += 1


class Records(Pool):
    """Images in the Examples of TFRecord shards, read at random."""

    def __init__(self, shards: Sequence[Shard], image_key: str) -> None:
        self._shards = list(shards)
        self._image_key = image_key
        counts = [len(shard) for shard in shards]
        self._starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self._open: dict[int, int] = {}
        self._lock = threading.Lock()
        self.names = _RecordNames([s.path.name for s in shards], self._starts)
        parts: list[bytes] = [image_key.encode()]
        for shard in shards:
            state = shard.path.stat()
            parts.append(os.fsencode(shard.path.name))
            parts.append(f"{state.st_size} {state.st_mtime_ns}".encode())
        self.fingerprint = digest(parts)

    def read(self, item: int) -> bytes:
        at = int(np.searchsorted(self._starts, item, "right")) - 1
        shard = self._shards[at]
        index = item - int(self._starts[at])
        offset, length = int(shard.offsets[index]), int(shard.lengths[index])
        try:
            features = example(self._pread(at, offset, length))
        except (OSError, ValueError) as error:
            passing = isinstance(error, OSError)
            raise BadImage(f"record at byte {offset:,} cannot be read: {error}", passing) from None
        value = features.get(self._image_key)
        if not value or not isinstance(value[0], bytes):
            has = ", ".join(sorted(features)) or "nothing"
            raise BadImage(f'record has no image in "{self._image_key}"; it has: {has}')
        return value[0]

    def _pread(self, at: int, offset: int, length: int) -> bytes:
        with self._lock:
            file = self._open.get(at)
            if file is None and len(self._open) < OPEN_FILES:
                file = self._open[at] = os.open(self._shards[at].path, os.O_RDONLY | os.O_CLOEXEC)
        if file is not None:
            data = os.pread(file, length, offset)
        else:
            with open(self._shards[at].path, "rb") as opened:
                data = os.pread(opened.fileno(), length, offset)
        if len(data) < length:
            raise OSError("the file has become shorter")
        return data

    def __del__(self) -> None:
        for file in getattr(self, "_open", {}).values():
            with contextlib.suppress(OSError):
                os.close(file)


class _RecordNames(Sequence[str]):
    """`shard-name:record` for every record of every shard."""

    def __init__(self, files: list[str], starts: Index) -> None:
        self._files = files
        self._starts = starts

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[i] for i in range(len(self))[at]]
        item = range(len(self))[at]
        shard = int(np.searchsorted(self._starts, item, "right")) - 1
        return f"{self._files[shard]}:{item - int(self._starts[shard])}"


def _scanned(path: Path, size: int, label_key: str, text_keys: Sequence[str]) -> Shard:
    offsets: list[int] = []
    lengths: list[int] = []
    labels: list[int] = []
    texts: list[bytes] = []
    for number, (offset, data) in enumerate(records(path, size)):
        where = f"record {number} at byte {offset - 12:,}"
        try:
            features = example(data)
        except ValueError as error:
            raise CorruptError(f"{where} is no tf.train.Example: {error}") from None
        label = features.get(label_key)
        if not label or isinstance(label[0], float):
            has = ", ".join(sorted(features)) or "nothing"
            raise CorruptError(f'{where} has no label in "{label_key}"; it has: {has}')
        named = next((features[key] for key in text_keys if features.get(key)), None)
        offsets.append(offset)
        lengths.append(len(data))
        labels.append(0 if isinstance(label[0], bytes) else label[0])
        if isinstance(label[0], bytes):
            texts.append(label[0])
        else:
            texts.append(named[0] if named and isinstance(named[0], bytes) else b"")
    return Shard(
        path,
        np.array(offsets, np.int64),
        np.array(lengths, np.int64),
        np.array(labels, np.int64),
        np.array(texts, np.bytes_),
    )


def _masked(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """(field number, value) of a protocol buffer message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + length > len(data):
            raise ValueError("a field is longer than the record")
        yield number, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number does not end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _feature(data: memoryview) -> Value:
    for kind, body in _fields(data):
        if not isinstance(body, memoryview):
            continue
        if kind == 1:
            return [bytes(v) for n, v in _fields(body) if n == 1 and isinstance(v, memoryview)]
        if kind == 2:
            packed = [v for n, v in _fields(body) if n == 1 and isinstance(v, memoryview)]
            return [float(x) for v in packed for x in np.frombuffer(v, "<f4")]
        if kind == 3:
            numbers: list[int] = []
            for n, v in _fields(body):
                if n == 1:
                    numbers += [v] if isinstance(v, int) else _packed(v)
            return [v - (1 << 64) if v >= 1 << 63 else v for v in numbers]
    return []


def _packed(data: memoryview) -> list[int]:
    numbers: list[int] = []
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        numbers.append(value)
    return numbers
