"""`python -m tlui.trainer.forkserver`: TensorFlow imported, nothing executed; trainers are forks.

A supervisor with more runs to come keeps one of these. Its standard input is a socket of packets:
it says `ready` there once everything is imported, then answers each request with the number of a
new trainer. A request is JSON, `arguments` of the trainer's command line and its `env`, and comes
with file descriptors: its log, a gate, and where there is one the line for further runs. The
trainer is forked twice, so that it is the child of the supervisor (a subreaper), as one started
by itself would be, and waits at the gate until that says `g`. The end of the socket ends this
process; trainers stay.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

from tlui.runs.line import NEVER_STARTED, NEXT, SIGNALS
from tlui.trainer import __main__ as trainer

MOST_BYTES = 1 << 20
MOST_HANDLES = 3


def main() -> int:
    """Import, then fork a trainer for each request, until there is nobody to ask."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    asking = socket.socket(fileno=0)
    trainer.import_trainer()
    import sklearn.metrics  # noqa: F401  # no trainer of ours does it beside its own import

    if holds_gpu():
        print("forkserver: a GPU is in use after the import: nothing is forked", file=sys.stderr)
        return 1
    _call_oneself("tlui-forkserver")
    asking.send(b"ready")
    while True:
        data, handles, *_ = socket.recv_fds(asking, MOST_BYTES, MOST_HANDLES)
        if not data:
            return 0
        asking.send(str(fork(asking, json.loads(data), handles)).encode())
        for handle in handles:
            os.close(handle)


def holds_gpu(folder: Path = Path("/proc/self/fd")) -> bool:
    """Whether this process has opened a GPU, as CUDA's contexts do: they do not survive a fork."""
    for entry in folder.iterdir():
        try:
            if str(entry.readlink()).startswith("/dev/nvidia"):
                return True
        except OSError:
            continue  # closed meanwhile
    return False


def fork(asking: socket.socket, request: dict[str, Any], handles: list[int]) -> int:
    """Fork a trainer that waits at its gate, the child of our parent; its number."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        # Python warns of forks beside threads. These are of OpenBLAS, which starts them anew.
        warnings.simplefilter("ignore", DeprecationWarning)
        between = os.fork()
        if between == 0:
            if os.fork():
                os._exit(0)
            try:
                signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
                asking.detach()
                os.setsid()
                os.write(write, str(os.getpid()).encode())
                os.close(write)
                _train(request, *handles)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(NEVER_STARTED)
    os.close(write)
    number = int(os.read(read, 32))
    os.close(read)
    os.waitpid(between, 0)
    return number


def _train(request: dict[str, Any], log: int, gate: int, line: int = -1) -> None:
    """Be a trainer, as `python -m tlui.trainer` is, to the end."""
    empty = os.open(os.devnull, os.O_RDONLY)
    for handle, place in ((empty, 0), (log, 1), (log, 2)):
        os.dup2(handle, place)
    _call_oneself("tlui-trainer")
    os.environ.clear()
    os.environ.update(request["env"])
    if line >= 0:
        os.environ[NEXT] = str(line)
    if os.read(gate, 1) == b"g":
        os.close(gate)
        sys.argv = [trainer.__file__, *request["arguments"]]
        trainer.leave(trainer.main(request["arguments"]))


def _call_oneself(name: str) -> None:
    """The name that `top` shows, of at most 15 characters: forks share a command line."""
    Path("/proc/self/comm").write_text(name)


if __name__ == "__main__":
    sys.exit(main())
