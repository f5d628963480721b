"""Photos a person names, outside any dataset: files as they are, folders with all that is in them.

A photo that cannot be used comes with the reason in its place; it never stops the others.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from tlui.data.decode import Resize, decode_to
from tlui.data.items import BadImage, Pixels, Skipped
from tlui.data.parallel import cpus
from tlui.data.sources.files import read_file, walk
from tlui.errors import DataError


@dataclass(frozen=True)
class Named:
    """A photo to be looked at."""

    path: bytes
    problem: str = ""
    """Why there is nothing to look at."""


def find(given: Sequence[bytes]) -> tuple[list[Named], list[Skipped]]:
    """The photos that paths stand for, in the order given, and what folders hold besides.

    A file is taken whatever its suffix; a folder is searched at any depth, its photos sorted by
    the bytes of their paths. A path without a photo is in the list, with the problem.
    """
    found: list[Named] = []
    skipped: list[Skipped] = []
    for path in given:
        try:
            if not stat.S_ISDIR(os.stat(path).st_mode):  # noqa: PTH116 - bytes
                found.append(Named(path))
                continue
            inside = walk(path, b"", skipped)
        except OSError as error:
            found.append(Named(path, f"cannot be read: {error.strerror or error}"))
        except DataError as error:
            found.append(Named(path, str(error)))
        else:
            found += [Named(os.path.join(path, file.path)) for file in inside]  # noqa: PTH118
            if not inside:
                found.append(Named(path, "a folder without photos"))
    return found, skipped


def read_ahead(
    paths: Sequence[bytes], size: int, method: Resize, ahead: int
) -> Iterator[Pixels | str]:
    """Every photo as uint8 (size, size, 3), or why it cannot be used, in order.

    Args:
        ahead: Photos that are decoded before they are asked for, in threads.
    """
    with ThreadPoolExecutor(cpus(), thread_name_prefix="decode") as executor:
        running: deque[Future[Pixels | str]] = deque()
        try:
            for path in paths:
                running.append(executor.submit(_read, path, size, method))
                if len(running) > ahead:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


def _read(path: bytes, size: int, method: Resize) -> Pixels | str:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - bytes
            return "not a regular file"
        return decode_to(read_file(path), size, method)
    except BadImage as error:
        return error.reason
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
