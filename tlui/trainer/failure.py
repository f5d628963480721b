"""From an exception to how a run ended: state, exit code, what happened and what to do.

Messages made for people pass through as they are; what a machine ran out of gets advice; anything
else is named in a line, with its traceback in trainer.log. No TensorFlow is imported: its errors
are known by name.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

from tlui.errors import TluiError, refusal
from tlui.runs.lacking import GPU_FULL, MEMORY_ADVICE, NO_SPACE, NO_THREADS, THREADS_ADVICE
from tlui.runs.status import State

FINISHED, FAILED, DIVERGED, INTERRUPTED, STOPPED = 0, 1, 3, 75, 130
"""Exit codes of the trainer's process."""

SPACE_ADVICE = "Free some space, then resume: it goes on from its last good checkpoint."


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    state: State
    code: int
    reason: str = ""
    advice: str = ""
    expected: bool = True
    """False where a traceback helps whoever mends it."""


def explain(error: BaseException) -> Outcome:
    """What an exception means for the run it ended."""
    for link in _chain(error):
        found = _known(link)
        if found is not None:
            return found
    text = f"{type(error).__name__}: {error}".strip()
    first = text.splitlines()[0][:500]
    return Outcome("failed", FAILED, first, "The traceback is in trainer.log.", expected=False)


def _known(error: BaseException) -> Outcome | None:
    name, text = type(error).__name__, str(error)
    if isinstance(error, TluiError):
        return Outcome("failed", FAILED, text)
    if name == "DivergedError":
        return Outcome(
            "diverged",
            DIVERGED,
            text,
            "Lower the learning rate, clip gradients (optimizer.global_clipnorm = 1.0) or add a "
            "warm-up. Checkpoints from before are kept.",
        )
    gpu_full = GPU_FULL.search(text) is not None
    if name == "ResourceExhaustedError" or isinstance(error, MemoryError) or gpu_full:
        on_gpu = gpu_full or re.search(r"GPU|CUDA|gpu_", text)
        where = "the GPU" if on_gpu else "this machine"
        return Outcome(
            "failed",
            FAILED,
            f"out of memory on {where}: {_line(text)}" if text else f"out of memory on {where}",
            f"{MEMORY_ADVICE}.",
            expected=False,
        )
    if NO_THREADS.search(text):
        return Outcome("failed", FAILED, "no thread could be started", f"{THREADS_ADVICE}.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = f" ({error.filename})" if error.filename else ""
        return Outcome(
            "failed",
            FAILED,
            f"the disk is full{place}",
            SPACE_ADVICE,
        )
    if NO_SPACE.search(text):
        return Outcome(
            "failed",
            FAILED,
            f"the disk is full: {_line(text)}",
            SPACE_ADVICE,
        )
    if said := refusal(error):
        return Outcome("failed", FAILED, said)
    if wrapped := re.search(r"(?:DataError|BadImage|TluiError): (.*)", text):
        # raised in the input pipeline, which passes on the text alone
        return Outcome("failed", FAILED, wrapped.group(1).strip())
    return None


def _line(text: str) -> str:
    return text.strip().splitlines()[0][:300]


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in found:
        found.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return found
