"""Forks of the trainer while it is still a light process, for work beside the import of TensorFlow.

The import keeps one core busy for seconds and holds the interpreter meanwhile, so that threads
would wait for it.
"""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable


def fork(work: Callable[[], None]) -> int:
    """A child that does `work` and ends, whatever becomes of it; its number."""
    with warnings.catch_warnings():
        # Python warns of forks beside threads: the heartbeat, and OpenBLAS's own.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            work()
        finally:
            os._exit(0)
    return pid
