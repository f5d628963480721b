"""One at a time among all processes that share a disk: a kernel lock on a file.

The kernel lets it go when its holder dies. A disk that knows no such locks (some network disks,
unless mounted with them) is named: without them two could start one run.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tlui.errors import TluiError
from tlui.runs.files import FILE_MODE

LOCKLESS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on a file, which is made if need be, for the length of a `with`.

    Raises:
        TluiError: It cannot be opened, or its disk has no locks.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, FILE_MODE)
    except OSError as error:
        raise TluiError(
            f"{path}: cannot be opened ({error.strerror}); free some space or mend "
            "the permissions of tlui's home"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            another = "a home on another disk with --home or $TLUI_HOME"
            raise TluiError(f"{path}: {refused(error, path, another)}") from error
        yield
    finally:
        os.close(handle)


def refused(error: OSError, path: Path, another: str) -> str:
    """Why a file cannot be locked, and the way out: `another` place."""
    from tlui.runs.place import filesystem

    if error.errno not in LOCKLESS:
        return f"cannot be locked ({error.strerror})"
    kind = filesystem(path.parent) or "its file system"
    return (
        f"this disk ({kind}) gives no file locks ({error.strerror}), so that two could write at "
        f"once; mount it with flock, or choose {another}"
    )
