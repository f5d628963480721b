"""Which characters the terminal shows: decided here, for commands and the app alike.

It is asked of the environment, not of Python: in a C locale Python turns its own UTF-8 mode on,
its streams say `utf-8` and it sets LC_CTYPE, whatever the terminal can do. The first of LC_ALL,
LC_CTYPE and LANG that is set names the codeset: anything but UTF-8, or none (`C`, `POSIX`,
`de_DE`), is ASCII.

Where none of the three is set nobody has said anything. A login over SSH and every desktop set
one; containers do not, and the terminal they are reached from shows UTF-8. So that is drawn, but
for tmux and screen, which then put `_` in the place of whatever is not ASCII.
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from tlui.runs import text


def shows_unicode(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the locale says that the terminal is written to in UTF-8."""
    env = _as_given() if environment is None else environment
    given = next((env[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if env.get(name)), None)
    if given is None:
        within = env.get("TERM", "").startswith(("screen", "tmux"))
        return not (within or env.get("TMUX") or env.get("STY"))
    name, _, codeset = given.partition("@")[0].partition(".")
    try:  # macOS sends LC_CTYPE=UTF-8, a codeset without a language
        return codecs.lookup(codeset or name).name == "utf-8"
    except LookupError:
        return False


def _as_given() -> Mapping[str, str]:
    """The environment as this process got it: Python writes C.UTF-8 over an LC_CTYPE of C."""
    env = dict(os.environ)
    if env.get("LC_CTYPE") in ("C.UTF-8", "C.utf8", "UTF-8"):
        try:
            given = Path("/proc/self/environ").read_bytes().split(b"\0")
        except OSError:
            return env
        before = (part[9:].decode("ascii", "replace") for part in given if part[:9] == b"LC_CTYPE=")
        env["LC_CTYPE"] = next(before, "")
    return env


def ascii_only(asked: bool = False) -> bool:
    """Whether to draw with ASCII: asked for (`--ascii`, $TLUI_ASCII), or no more is shown."""
    return (
        asked
        or bool(os.environ.get("TLUI_ASCII"))
        or os.environ.get("TERM") == "dumb"
        or not shows_unicode()
        or not all(_is_utf8(stream) for stream in (sys.stdout, sys.__stderr__))
    )


def _is_utf8(stream: TextIO | None) -> bool:
    encoding = getattr(stream, "encoding", None)
    return not encoding or codecs.lookup(encoding).name == "utf-8"


def restrain() -> None:
    """Write nothing but ASCII to a terminal that shows no more, whoever the text is from.

    Files and pipes stay UTF-8: what reads them is no terminal.
    """
    if shows_unicode():
        return
    codecs.register_error("tlui", _in_ascii)
    if sys.stdout.isatty():
        text.escape_beyond_ascii()  # here already, so that columns stay aligned
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and stream.isatty():
            reconfigure(encoding="ascii", errors="tlui")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(text.in_ascii, error.object[error.start : error.end])), error.end
