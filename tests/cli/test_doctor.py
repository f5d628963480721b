"""What tlui doctor finds, each with the way out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tlui.cli.doctor import doctor, examine


def findings(home: Path) -> dict[str, tuple[str, str]]:
    return {f.what: (f.verdict, f.says + " " + f.way_out) for f in examine(home)}


def test_a_good_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(home=tmp_path / "home") == 0
    said = capsys.readouterr().out
    assert "ok    TensorFlow" in said and "locks work" in said


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    verdict, says = findings(tmp_path / "home")["home"]
    assert verdict == "fail" and "--home or $TLUI_HOME" in says


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o500)
    assert findings(tmp_path / "home")["home"][0] == "fail"


def test_a_home_open_to_others(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    (tmp_path / "home").chmod(0o755)
    verdict, says = findings(tmp_path / "home")["home"]
    assert verdict == "warn" and "chmod 700" in says


def test_weights_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert findings(tmp_path / "home")["weights"][0] == "warn"
    (tmp_path / "keras" / "models").mkdir(parents=True)
    (tmp_path / "keras" / "models" / "a.h5").write_bytes(b"")
    assert findings(tmp_path / "home")["weights"][0] == "ok"


def test_a_bad_configuration_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[notfy]\n")
    verdict, says = findings(tmp_path / "home")["config"]
    assert verdict == "fail" and "notfy" in says
