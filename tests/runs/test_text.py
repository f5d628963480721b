import json
import os

import pytest

from tlui.runs.text import json_safe, printable, shorten


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain ümläut 猫", "plain ümläut 猫"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x9b31m\x7f\x00", "\\x9b31m\\x7f\\x00"),
        ("abc\u202egnp.exe", "abc\\u202egnp.exe"),
        ("\u2028\ufeff", "\\u2028\\ufeff"),
        ("tag\U000e0041", "tag\\U000e0041"),
        (os.fsdecode(b"caf\xe9.jpg"), "caf\\xe9.jpg"),
    ],
)
def test_control_characters_become_visible(given: str, shown: str) -> None:
    assert printable(given) == shown
    printable(given).encode()  # and it can be printed


def test_every_control_character_is_escaped() -> None:
    for code in (*range(0x20), *range(0x7F, 0xA0)):
        assert printable(chr(code)).isprintable(), hex(code)


def test_keeps_what_is_asked() -> None:
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


def test_shorten_keeps_both_ends() -> None:
    assert shorten("intel-regimes-head-5e-7", 11) == "intel…-5e-7"
    assert shorten("short", 11) == "short"
    assert [len(shorten("abcdefgh", n)) for n in range(9)] == list(range(9))


def test_json_safe_means_the_same_and_prints_safely() -> None:
    given = {"a\x9b": ["\x7f\u202e\U000e0041", "\x1b\n", "ü猫"], "b": 1}
    text = json_safe(json.dumps(given, ensure_ascii=False, indent=1))
    assert json.loads(text) == given
    assert printable(text, keep="\n") == text
    assert "ü猫" in text
