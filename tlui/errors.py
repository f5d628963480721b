"""What tlui says when something is wrong: the thing, the place and the way out.

Every error a person can cause is a `TluiError`; the command line prints its message without a
traceback and exits with its code. Imports nothing.
"""

from __future__ import annotations


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
