"""What the environment says of the terminal."""

from __future__ import annotations

import pytest

from tlui.runs import text
from tlui.runs.charset import ascii_only, shows_unicode
from tlui.runs.text import printable


@pytest.mark.parametrize(
    ("env", "unicode"),
    [
        ({"LANG": "de_DE.UTF-8"}, True),
        ({"LANG": "C.utf8"}, True),
        ({"LC_CTYPE": "UTF-8"}, True),  # as macOS sends it
        ({"LANG": "de_DE.UTF-8@euro"}, True),
        ({"LANG": "C"}, False),
        ({"LANG": "POSIX"}, False),
        ({"LANG": "de_DE"}, False),
        ({"LANG": "de_DE@euro"}, False),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
        ({"LANG": "ja_JP.eucJP"}, False),
        ({"LANG": "xx.nonsense"}, False),
        ({"LC_ALL": "C", "LC_CTYPE": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"}, False),
        ({"LC_ALL": "", "LC_CTYPE": "de_DE.UTF-8", "LANG": "C"}, True),
        ({"LC_CTYPE": "C", "LANG": "de_DE.UTF-8"}, False),
        ({"LC_ALL": "C.UTF-8", "LANG": "C"}, True),
        ({"TERM": "xterm-256color"}, True),  # a container: nobody has said anything
        ({"TERM": "screen-256color"}, False),
        ({"TERM": "tmux-256color"}, False),
        ({"TERM": "xterm", "TMUX": "/tmp/tmux-0/default,1,0"}, False),
        ({"TERM": "xterm", "STY": "1.pts-0.host"}, False),
        ({"TERM": "screen", "LANG": "de_DE.UTF-8"}, True),
    ],
)
def test_the_first_variable_that_is_set_decides(env: dict[str, str], unicode: bool) -> None:
    assert shows_unicode(env) is unicode


@pytest.mark.parametrize(
    ("name", "value", "ascii"),
    [
        ("LC_ALL", "C.UTF-8", False),
        ("LC_ALL", "C", True),
        ("TERM", "dumb", True),
        ("TLUI_ASCII", "1", True),
    ],
)
def test_who_asks_for_ascii_gets_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, ascii: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv(name, value)
    assert ascii_only() is ascii
    assert ascii_only(True)


def test_names_are_escaped_where_only_ascii_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_escaped", text._UNSAFE)
    assert printable("Zoë 猫\x1b…") == "Zoë 猫\\x1b…"
    text.escape_beyond_ascii()
    assert printable("Zoë 猫\x1b…\U0001f431") == "Zo\\xeb \\u732b\\x1b~\\U0001f431"
    assert printable("a\nb", keep="\n") == "a\nb"
