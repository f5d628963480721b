"""What the outside may ask of a trainer: stop, or interrupt.

Two ways in: signals from the supervisor of this host, and files a front end of any host leaves in
`requests/`. Handlers only set a word that the loop polls between two steps; nothing is torn down
from inside a handler. Stop (SIGINT, `requests/stop`) ends training and evaluates what there is;
interrupt (SIGTERM, SIGUSR1, `requests/interrupt`) checkpoints and leaves, to be resumed. SIGHUP,
a lost connection, is ignored. No TensorFlow.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType

from tlui.runs.line import SIGNALS, Request

LOOK_SECONDS = 0.3
"""How often the request files are looked for; signals are seen at once."""

_FILES: tuple[Request, ...] = ("interrupt", "stop")


class AskedToEndError(Exception):
    """A request to end came where there is nothing to checkpoint."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.request = request


class Requests:
    """The latest request not yet honoured; an interrupt is never overruled by a stop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._asked: Request | None = None
        self._looked = 0.0

    def install(self) -> None:
        """Take over the signals of this process, with those that wait since it was started; call
        from the main thread, once."""
        for number in SIGNALS:
            signal.signal(number, self._handle)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.ask(SIGNALS[number])

    def ask(self, request: Request) -> None:
        """Make a request from within the process."""
        if self._asked != "interrupt":
            self._asked = request

    def poll(self) -> Request | None:
        """What is asked now, or None; cheap enough for every step."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            for request in _FILES:
                if (self._folder / request).exists():
                    self.ask(request)
                    break
        return self._asked

    def honour(self) -> Request | None:
        """Take the request off the table, its file too, so that a second one can be told apart."""
        asked = self.poll()
        if asked is not None:
            for request in _FILES:
                try:
                    (self._folder / request).unlink(missing_ok=True)
                except OSError:
                    pass  # a read-only or vanished disk: what was asked still happens
            self._asked = None
            self._looked = time.monotonic()
        return asked
