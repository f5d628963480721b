"""Textual's terminal driver, which bytes that are not UTF-8 do not kill: they are no key.

A terminal of another codeset sends them for letters beyond ASCII, and a bad line for anything;
Textual decodes strictly, in a thread whose end is the app's.
"""

from __future__ import annotations

import codecs
from functools import partial

from textual.drivers import linux_driver


def _forgiving(encoding: str) -> partial[codecs.IncrementalDecoder]:
    return partial(codecs.getincrementaldecoder(encoding), errors="ignore")


class SteadyDriver(linux_driver.LinuxDriver):
    """Passes over what cannot be decoded."""

    def run_input_thread(self) -> None:
        vars(linux_driver)["getincrementaldecoder"] = _forgiving
        super().run_input_thread()
