"""Reading many runs at once: `python -m tlui.runs.gather HOME` does a share of it.

A store of 100,000 runs takes one process half a minute, most of it parsing. Each helper gets its
ids on stdin and answers on stdout with pickled portions, in their order; it ends when either is
closed, so it never outlives who asked. The shares of helpers that could not be started or died
are read by the asking process itself.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path

from tlui.runs import scan
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.environment import importable, python
from tlui.runs.index_tables import Found

PORTION = 500
FIRST = 100
"""Runs that the asking process reads while its helpers start, so that it has some to show."""
MANY = 4000
"""Runs that are worth the start of other processes."""
MOST = 4
"""Processes at most: the one that asks cannot store faster than these read."""

Portions = Generator[tuple[int, list[Found]], None, None]


def gather(home: Home, ids: Sequence[str]) -> Portions:
    """Read runs, the first of `ids` first.

    Yields:
        (how many were looked at, those of them that are runs), until all are done.
    """
    processes = min(len(os.sched_getaffinity(0)), MOST) if len(ids) >= MANY else 1
    if processes < 2:
        yield from _read(home, ids)
        return
    with contextlib.ExitStack() as stack:
        shares = [ids[FIRST + number :: processes] for number in range(processes)]
        waiting = deque((stack.enter_context(_Helper(home)), share) for share in shares)
        for helper, share in waiting:
            helper.ask(share)
        yield from _read(home, ids[:FIRST])
        while waiting:
            helper, share = waiting.popleft()
            found = helper.answer()
            if found is None:
                yield from _read(home, share)
                continue
            yield len(share[:PORTION]), found
            if rest := share[PORTION:]:
                waiting.append((helper, rest))


def _read(home: Home, ids: Sequence[str]) -> Portions:
    folder = home.runs
    for start in range(0, len(ids), PORTION):
        part = ids[start : start + PORTION]
        read = (scan.look(RunDirectory(folder / run_id)) for run_id in part)
        yield len(part), [found for found in read if found is not None]


class _Helper:
    """A process that reads; gone at the end of a `with`."""

    def __init__(self, home: Home) -> None:
        try:
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
                python(__name__, str(home.path)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=importable(os.environ),
            )
        except OSError:
            self._process = None

    def __enter__(self) -> _Helper:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()

    def ask(self, ids: Sequence[str]) -> None:
        """Hand it its share; it reads all of that before it answers anything."""
        if self._process is None or self._process.stdin is None:
            return
        with contextlib.suppress(OSError):
            self._process.stdin.write(" ".join(ids).encode())
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def answer(self) -> list[Found] | None:
        """The next portion; None where it has none to give any more."""
        if self._process is None or self._process.stdout is None:
            return None
        import pickle

        try:
            found: list[Found] = pickle.load(self._process.stdout)  # noqa: S301 - our own process
        except (OSError, EOFError, pickle.UnpicklingError):
            return None
        return found


def main() -> None:
    """Answer; see the module."""
    import pickle

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.disable()  # nothing that is made here holds itself
    home = Home(Path(sys.argv[1]))
    ids = sys.stdin.buffer.read().decode().split()
    answers = sys.stdout.buffer
    for _, found in _read(home, ids):
        pickle.dump(found, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


if __name__ == "__main__":
    main()
