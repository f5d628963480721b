"""Files that are whole or absent, and private to their owner.

Whole files are written aside, fsynced and moved into place; readers of JSON get None for a file
that is absent or not (yet) JSON. Nothing here follows a symlink when it creates.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from tlui.errors import TluiError

FILE_MODE = 0o600
FOLDER_MODE = 0o700
FRESH_SECONDS = 60.0
"""As long as network disks keep what they know of a file."""
AGAIN_SECONDS = (0.01, 0.05, 0.1, 0.0)
"""Pauses before a fresh file that cannot be parsed is read again, and for the last time."""
STALE_TIMES = 3
"""Readings of a file on NFS that another host replaces meanwhile, again and again."""


_SURROGATE = re.compile("[\ud800-\udfff]")


def finite(value: Any) -> Any:
    """`value` with every number that is not finite replaced by None, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON as all our files hold it: UTF-8, non-finite numbers as null.

    NumPy's numbers and arrays become plain ones. Bytes of a file name that are not UTF-8 (lone
    surrogates) are written as escapes, so that what is written can be read back.
    """
    separators = (",", ":") if indent is None else None
    value = finite(value)
    text = json.dumps(
        value,
        ensure_ascii=False,
        allow_nan=False,
        indent=indent,
        separators=separators,
        default=_plain,
    )
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return json.dumps(value, allow_nan=False, indent=indent, separators=separators, default=_plain)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    raise TypeError(f"{type(value).__name__} cannot be written as JSON: {value!r}")


def write_whole(path: Path, write: Callable[[BinaryIO], object], sync: bool = True) -> None:
    """Write a file so that readers and crashes see the old one or the new one, never a part.

    Args:
        path: Where it goes; the folder must exist.
        write: Called with the open temporary file.
        sync: fsync the file and its folder before returning; off for heartbeats.

    Raises:
        OSError: The disk is full or the folder cannot be written; the old file is untouched.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    try:
        with os.fdopen(os.open(aside, flags, FILE_MODE), "wb") as file:
            write(file)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def overwrite(path: Path, text: bytes) -> bool:
    """Put a text over a file in one write that needs no new blocks; whether that was done.

    Blanks fill what the old text was longer. For a disk that is full: a power cut within the
    write could leave a mixture, which readers of JSON take for no file.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return False
    try:
        found = os.fstat(handle)
        room = max(found.st_size, min(found.st_blocks * 512, found.st_blksize))
        if not stat.S_ISREG(found.st_mode) or len(text) > room:
            return False
        padded = text + b"\n" * (found.st_size - len(text))
        return os.pwrite(handle, padded, 0) == len(padded)
    except OSError:
        return False
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """fsync a folder, so that a rename in it survives a power cut."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network filesystems refuse to fsync a folder
    finally:
        os.close(handle)


def write_text(path: Path, text: str, sync: bool = True) -> None:
    """`write_whole` of UTF-8 text."""
    write_whole(path, lambda file: file.write(text.encode("utf-8", "surrogateescape")), sync)


def write_json(path: Path, value: Any, sync: bool = True) -> None:
    """`write_whole` of a JSON document, indented for people."""
    write_text(path, to_json(value, indent=1) + "\n", sync)


def read_json(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The JSON object in a file, or None where it is absent, unreadable or half there."""
    for pause in AGAIN_SECONDS:
        try:
            value = json.loads(read_regular(path))
        except ValueError:
            if not pause or not fresh(path):
                return None
            time.sleep(pause)
        except (OSError, RecursionError):
            return None
        else:
            return value if isinstance(value, dict) else None
    return None


def fresh(path: str | os.PathLike[str]) -> bool:
    """Whether a file is so new that what cannot be parsed of it may be whole elsewhere: the cache
    of a network disk can show a part of what another host has just replaced."""
    try:
        return time.time() - Path(path).stat().st_mtime < FRESH_SECONDS
    except OSError:
        return False


def withheld(path: str | os.PathLike[str]) -> str:
    """Why a file that is there cannot be read now; empty where it can, or is not there."""
    try:
        read_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return error.strerror or ""
    return ""


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file opened for reading; a pipe or device in its place blocks nobody.

    Raises:
        OSError: It is absent, unreadable or no regular file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path}: not a regular file")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: It is absent, unreadable or no regular file.
    """
    for _ in range(STALE_TIMES):
        try:
            return _read_regular(path)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
    return _read_regular(path)


def _read_regular(path: str | os.PathLike[str]) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path}: not a regular file")
        data = os.read(handle, found.st_size + 1)
        while more := os.read(handle, 1 << 20) if len(data) > found.st_size else b"":
            data += more  # it grew meanwhile
        return data
    finally:
        os.close(handle)


def make_private(folder: Path) -> None:
    """Create a folder, and its parents, that only their owner can enter.

    Raises:
        OSError: It cannot be created, or a file stands in its place.
    """
    if folder.is_dir():
        return
    make_private(folder.parent)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)


def make_own(folder: Path) -> None:
    """`make_private`, and refuse what is there if it is not really ours.

    Raises:
        TluiError: It is a link, belongs to somebody else, or others may write to it.
        OSError: It cannot be created.
    """
    make_private(folder)
    found = folder.lstat()
    why = foreign(found) if stat.S_ISDIR(found.st_mode) else "is a symbolic link or a file"
    if why:
        raise TluiError(f"{folder}: {why}; tlui will not write there")


def foreign(found: os.stat_result) -> str:
    """Why what lies in a folder need not be ours, as in `belongs to jane`; empty where it is."""
    if found.st_uid != os.geteuid():
        return f"belongs to {owner(found.st_uid)}"
    group = found.st_mode & stat.S_IWGRP and not _alone_in(found.st_gid)
    return "others may write to it" if group or found.st_mode & stat.S_IWOTH else ""


def owner(uid: int) -> str:
    """The name of a user."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _alone_in(gid: int) -> bool:
    """Whether a group is the one that some systems give every user for himself."""
    import grp

    try:
        return grp.getgrgid(gid).gr_name == owner(os.geteuid())
    except KeyError:
        return gid == os.geteuid()
