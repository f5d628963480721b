"""What a machine ran out of, told from what a trainer said; and what to do about it.

For the trainer, which has the exception, and for whoever finds it dead, who has its last lines.
"""

from __future__ import annotations

import re

GPU_FULL = re.compile("CUDA_ERROR_OUT_OF_MEMORY|STATUS_ALLOC_FAILED|Dst tensor is not initialized")
"""What TensorFlow says, as an internal error, where a GPU has no memory left for a copy or a
library; that it means this: tensorflow/tensorflow#7025."""
MEMORY_FULL = re.compile(
    f"{GPU_FULL.pattern}|RESOURCE_EXHAUSTED|ResourceExhausted|OOM when|MemoryError|bad_alloc"
    "|Cannot allocate memory"
)
"""What is said where any memory is full."""
NO_THREADS = re.compile("can't start new thread|pthread_create")
NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded|errno = (28|122)\b")
"""What C libraries, HDF5 and TensorFlow say of a disk: the system's error, in their text alone."""

MEMORY_ADVICE = (
    "Lower train.batch_size (and evaluate.batch_size), set train.mixed_precision = true, "
    "or use smaller images or backbone"
)
HOST_ADVICE = f"{MEMORY_ADVICE}; or wait until the host has more memory free"
THREADS_ADVICE = "You may have no more processes and threads (ulimit -u): end some, or raise that"
