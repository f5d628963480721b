"""Text from files made safe to print: no control character reaches the terminal.

Class names, file names, log lines and error messages come from strangers' data. `printable`
turns what could move the cursor, change colours or reorder text into visible escapes. It does not
know Rich's markup: who prints through Rich passes `Text`, never markup.
"""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u206f\ufeff"  # bidi, invisible
    "\ud800-\udfff"  # bytes of a file name that are not UTF-8 (surrogateescape)
    "\ufff9-\ufffb\U000e0000-\U000e007f"  # interlinear marks, tags
    "]"
)
PLAIN = str.maketrans(
    {
        "…": "~", "–": "-", "—": "-", "·": "|", "×": "x", "▌": ">", "│": "|", "─": "-",
        "━": "#", "█": "#", "╌": "-", "‖": "=",
        "░": ".", "▒": "=", "→": ">", "←": "<", "↑": "^", "↓": "v", "✓": "+", "✗": "x", "↵": "<",
        "●": "*", "○": ".", "■": "#", "▸": ">", "▾": "v", "≥": ">", "≤": "<", "«": "<", "»": ">",
    }
)  # fmt: skip
"""What tlui draws, one ASCII character for each of its own."""
_BEYOND = re.compile(f"{_UNSAFE.pattern}|[^\x00-\x7f]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: object, keep: str = "") -> str:
    r"""`text` with control characters as visible escapes: `\x1b`, `\n`, `\u202e`.

    Args:
        text: Anything; `str` is called on it.
        keep: Characters to leave as they are, such as "\n" for a log of many lines.

    A byte of a file name that is not UTF-8 (a lone surrogate from `os.fsdecode`) becomes `\xff`.
    """
    return _escaped.sub(lambda m: m[0] if m[0] in keep else in_ascii(m[0]), str(text))


_escaped = _UNSAFE


def escape_beyond_ascii() -> None:
    """Let `printable` escape all that is not ASCII from now on: the terminal shows no more."""
    global _escaped
    _escaped = _BEYOND


def in_ascii(char: str) -> str:
    r"""One of tlui's own characters by its likeness, one of other people's as `\xe9`, `\u732b`."""
    plain = char.translate(PLAIN)
    return escape(char) if plain == char else plain


def json_safe(text: str) -> str:
    """A JSON document with the characters `printable` escapes as JSON escapes (`\\u009b`).

    JSON's own writer escapes only the first 32; what the document means stays the same.
    """
    return _UNSAFE.sub(lambda m: m[0] if m[0] == "\n" else _json_escape(m[0]), text)


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def escape(char: str) -> str:
    code = ord(char)
    if char in _NAMED:
        return _NAMED[char]
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shorten(text: str, width: int, ellipsis: str = "…") -> str:
    """At most `width` characters, the middle left out: `intel-regi…e-7` keeps both ends.

    Args:
        text: One line, already `printable`.
        width: Characters; 0 gives an empty string.
        ellipsis: What stands for the part left out; "~" for ASCII.
    """
    if len(text) <= width:
        return text
    room = width - len(ellipsis)
    if room <= 0:
        return text[: max(width, 0)]
    tail = room // 2
    return text[: room - tail] + ellipsis + (text[-tail:] if tail else "")
