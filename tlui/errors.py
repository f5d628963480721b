"""What tlui says when something is wrong: the thing, the place and the way out.

Every error a person can cause is a `TluiError`; the command line prints its message without a
traceback and exits with its code. Imports nothing but numbers.
"""

from __future__ import annotations

import errno
import os

REFUSALS = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
        *(
            errno.EIO,
            errno.ESTALE,
            errno.ETIMEDOUT,
            errno.ENOTCONN,
            errno.ELOOP,
            errno.ENAMETOOLONG,
        ),
    }
)
"""Errors of a file that say something of the machine, and nothing of tlui."""


class TluiError(Exception):
    """A message for the person, complete in itself.

    Args:
        message: One or more lines that name the thing, the place and the way out.
        code: The command's exit code: 1 failed, 2 bad usage or preset.
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class PresetError(TluiError):
    """A preset that cannot be used; `problems` holds one line for each error found."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems), code=2)
        self.problems = problems


class DataError(TluiError):
    """A dataset that cannot be trained on: files, classes or images, named with the reason."""


def refusal(error: BaseException) -> str:
    """`PATH: Permission denied`, where the system refused tlui a file; else empty."""
    if not isinstance(error, OSError) or error.filename is None or error.errno not in REFUSALS:
        return ""
    return f"{os.fsdecode(error.filename)}: {error.strerror}"


def no_space(error: BaseException | None) -> bool:
    """Whether an error is, or comes from, a full disk or a quota that is used up."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False
