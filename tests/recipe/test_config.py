"""The user's configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlui.errors import PresetError
from tlui.recipe.config import Config, config_path, load_config


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("TLUI_CONFIG", str(path))
    return path


def test_without_a_file_everything_has_its_default(file: Path) -> None:
    assert load_config() == Config()


def test_nothing_by_its_other_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLUI_CONFIG", "/dev/null")
    assert load_config() == Config()


def test_what_it_may_hold(file: Path) -> None:
    file.write_text(
        """
        home = "/store"
        [datasets]
        intel = "~/data/intel"
        [notify]
        command = ["notify-send", "tlui"]
        bell = true
        [keys]
        stop = "x"
        [cache]
        limit_gb = 20
        """
    )
    config = load_config()
    assert config.datasets == {"intel": "~/data/intel"}
    assert config.notify.command == ["notify-send", "tlui"]
    assert config.cache.limit_gb == 20


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[dataset]\n", 'dataset: "dataset" is not a key (did you mean "datasets"?)'),
        ("[notify]\nbel = true", 'notify.bel: "bel" is not a key (did you mean "bell"?)'),
        ("[cache]\nlimit_gb = 0", "cache.limit_gb: must be greater than 0. Received: 0"),
        ("[datasets]\nintel = 3", "datasets.intel: must be text in quotes. Received: 3"),
        ("[datasets]\nintel = ''", "datasets.intel: must not be empty"),
        ("[notify]\ncommand = 3", "notify.command: must be text in quotes, or a list of such"),
        ('[notify]\nwebhook = "x.org/y"', "notify.webhook: must be an http:// or https:// address"),
        ("[notify]\nwebhook = 3", "notify.webhook: must be an http:// or https:// address"),
        ("[notify]\nbell = 1", "notify.bell: must be true or false. Received: 1"),
        ("[keys]\nstop = [1]", "keys.stop: must be text in quotes, or a list of such"),
        ("a = ", "line 1, column 5: not valid TOML: Invalid value"),
    ],
)
def test_what_is_wrong_is_said_like_in_a_preset(file: Path, text: str, line: str) -> None:
    file.write_text(text)
    with pytest.raises(PresetError) as caught:
        load_config()
    (got,) = caught.value.problems
    assert got.startswith(f"{file}: {line}")


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TLUI_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_path() == tmp_path / "tlui" / "config.toml"
