"""Images as files below one root: names, order, fingerprint, reading. Any name a disk can hold.

Names are kept as the bytes that the disk has and shown as UTF-8 with surrogate escapes, so that
order, labels and fingerprints do not depend on the locale.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tlui.data.decode import MAX_BYTES, sniff
from tlui.data.items import HIDDEN, BadImage, Pool, Skipped, digest
from tlui.errors import DataError
from tlui.recipe.place import endless

SUFFIXES = frozenset(
    (b".jpg", b".jpeg", b".jpe", b".jfif", b".png", b".bmp", b".dib", b".gif", b".webp",
     b".tif", b".tiff")
)  # fmt: skip
JUNK = frozenset((b"thumbs.db", b"desktop.ini", b"ehthumbs.db", b"icon\r", b"__macosx"))


def shown(name: bytes) -> str:
    """A file name as text, the same in every locale."""
    return name.decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class FoundFile:
    """An image file; its size and time are -1 where it could not be looked at."""

    path: bytes
    """Relative to the root, with / between its parts."""
    size: int
    changed: int
    """mtime in nanoseconds."""


class Files(Pool):
    """Image files below a root."""

    def __init__(self, root: bytes, files: Sequence[FoundFile]) -> None:
        self._root = root
        self._paths = [file.path for file in files]
        self.names = [shown(path) for path in self._paths]
        self.fingerprint = digest(
            [b"%s\0%d\0%d" % (file.path, file.size, file.changed) for file in files]
        )

    def read(self, item: int) -> bytes:
        return read_file(os.path.join(self._root, self._paths[item]))  # noqa: PTH118 - bytes


def read_file(path: bytes) -> bytes:
    """A file's content.

    Raises:
        BadImage: It is gone, not readable, or too large to be a photo.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise BadImage(f"{size:,} bytes, larger than any photo")
            return file.read()
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror or error}", passing=True) from None
    except MemoryError:
        raise BadImage("does not fit in memory", passing=True) from None


def read_list(path: str | bytes | os.PathLike[str], what: str) -> bytes:
    """The content of a file of names a person wrote.

    Args:
        what: What it is called in errors.

    Raises:
        DataError: It cannot be read, or is no file.
    """
    try:
        if kind := endless(path):
            raise DataError(f"{what} {shown(os.fsencode(path))!r} is {kind}; give a file")
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise DataError(f"{what} {shown(os.fsencode(path))!r}: {error.strerror or error}") from None


def look(root: bytes, path: bytes) -> FoundFile | str:
    """A file that must be there, with size and time; or why there is none."""
    try:
        state = os.stat(os.path.join(root, path))  # noqa: PTH116, PTH118 - bytes
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist"
    except OSError as error:
        return f"cannot be looked at: {error.strerror or error}"
    if not stat.S_ISREG(state.st_mode):
        return "is not a regular file"
    return FoundFile(path, state.st_size, state.st_mtime_ns)


def subfolders(folder: bytes) -> list[bytes]:
    """Names of the visible folders (or links to folders) in a folder, sorted by bytes.

    Raises:
        DataError: The folder cannot be listed.
    """
    return sorted(
        entry.name for entry in _scan(folder) if not _hidden(entry.name) and _is_folder(entry)
    )


def walk(root: bytes, start: bytes, skipped: list[Skipped]) -> list[FoundFile]:
    """Every image below `root/start`, at any depth, sorted by the bytes of its path.

    Files with an image's suffix are taken as images, whatever is in them (decoding will tell);
    others are taken when their first bytes are an image's. The rest goes to `skipped`. A link
    to a folder is followed once; one that leads back up is not.
    """
    found = list(_walk(root, start, skipped, frozenset()))
    found.sort(key=lambda file: file.path)
    return found


def _walk(
    root: bytes, start: bytes, skipped: list[Skipped], above: frozenset[tuple[int, int]]
) -> Iterator[FoundFile]:
    folder = os.path.join(root, start) if start else root  # noqa: PTH118 - bytes
    state = os.stat(folder)  # noqa: PTH116 - bytes
    here = (state.st_dev, state.st_ino)
    if here in above:
        skipped.append(Skipped(shown(start), "link that leads back to a folder above it"))
        return
    for entry in _scan(folder):
        path = start + b"/" + entry.name if start else entry.name
        if _hidden(entry.name):
            skipped.append(Skipped(shown(path), HIDDEN))
        elif _is_folder(entry):
            yield from _walk(root, path, skipped, above | {here})
        elif (file := _image(entry, path, skipped)) is not None:
            yield file


def _image(entry: os.DirEntry[bytes], path: bytes, skipped: list[Skipped]) -> FoundFile | None:
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - bytes
    try:
        state = entry.stat()
    except OSError as error:
        if suffix in SUFFIXES:  # a link into nowhere: an image that cannot be read
            return FoundFile(path, -1, -1)
        nothing = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
        why = "link to nothing" if nothing else f"cannot be looked at: {error.strerror or error}"
        skipped.append(Skipped(shown(path), why))
        return None
    if not stat.S_ISREG(state.st_mode):
        skipped.append(Skipped(shown(path), "not a regular file"))
        return None
    if suffix not in SUFFIXES:
        try:
            with open(entry.path, "rb") as file:
                why = "" if sniff(file.read(16)) else "not an image"
        except OSError as error:
            why = f"cannot be read: {error.strerror or error}"
        if why:
            skipped.append(Skipped(shown(path), why))
            return None
    return FoundFile(path, state.st_size, state.st_mtime_ns)


def _scan(folder: bytes) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(
            f"folder {shown(folder)!r} cannot be listed: {error.strerror or error}"
        ) from None


def _hidden(name: bytes) -> bool:
    return name.startswith(b".") or name.lower() in JUNK


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
