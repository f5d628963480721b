"""The signals that a supervisor waits for, beside the end and the words of its trainer."""

from __future__ import annotations

import os
import select
import signal


class Signals:
    """Collects signals for the loop: SIGINT, SIGTERM and SIGUSR1 to pass on; SIGHUP is ignored."""

    def __init__(self) -> None:
        self.shutting_down = False
        """SIGTERM or SIGUSR1 came: the host wants an end, so nothing new is started."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def wait(self, seconds: float, also: int = -1) -> list[signal.Signals]:
        """Those to pass on; returns early when any signal comes, a child's end included, or
        when there is something to read from `also`."""
        handles = [self._read] + ([also] if also >= 0 else [])
        if self._read not in select.select(handles, [], [], seconds)[0]:
            return []
        came = [signal.Signals(number) for number in os.read(self._read, 4096)]
        if signal.SIGTERM in came or signal.SIGUSR1 in came:
            self.shutting_down = True
        return [number for number in came if number != signal.SIGCHLD]
