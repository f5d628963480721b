"""Exceptions as a person reads them."""

import errno

import pytest

from tlui.errors import DataError, PresetError
from tlui.trainer.failure import explain


class ResourceExhaustedError(Exception):
    """As TensorFlow's, known by name."""


class UnknownError(Exception):
    """As TensorFlow's around what the input pipeline raised."""


@pytest.mark.parametrize(
    "error,state,code,reason,advice",
    [
        (DataError("dataset x: no class"), "failed", 1, "dataset x: no class", ""),
        (PresetError(["a", "b"]), "failed", 1, "a\nb", ""),
        (MemoryError(), "failed", 1, "out of memory on this machine", "batch_size"),
        (
            ResourceExhaustedError("OOM when allocating on /device:GPU:0\nmore"),
            "failed",
            1,
            "out of memory on the GPU: OOM when allocating on /device:GPU:0",
            "mixed_precision",
        ),
        (
            UnknownError("Dst tensor is not initialized. [[node x]]"),
            "failed",
            1,
            "out of memory on the GPU: Dst tensor is not initialized. [[node x]]",
            "batch_size",
        ),
        (OSError(errno.ENOSPC, "No space left"), "failed", 1, "the disk is full", "resume"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "failed", 1, "the disk is full", "resume"),
        (
            UnknownError("Can't write data (errno = 28, error message = 'No space')"),
            "failed",
            1,
            "the disk is full: Can't write data (errno = 28, error message = 'No space')",
            "resume",
        ),
        (
            UnknownError("tlui.errors.DataError: x.jpg cannot be decoded\nTraceback: …"),
            "failed",
            1,
            "x.jpg cannot be decoded",
            "",
        ),
        (ZeroDivisionError("by zero"), "failed", 1, "ZeroDivisionError: by zero", "trainer.log"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Exception) else "",
)
def test_reason_and_advice(error, state, code, reason, advice):
    found = explain(error)
    assert (found.state, found.code) == (state, code)
    assert found.reason == reason
    assert advice in found.advice


def test_the_cause_counts():
    try:
        try:
            raise MemoryError
        except MemoryError as cause:
            raise RuntimeError("step failed") from cause
    except RuntimeError as error:
        assert "out of memory" in explain(error).reason


def test_only_the_unexpected_wants_a_traceback():
    assert explain(DataError("x")).expected
    assert not explain(KeyError("x")).expected
