"""Fixtures that all tests share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tlui.runs.directory import Home

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="long: give --slow to run it"))


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the home, cache or configuration of whoever runs it."""
    monkeypatch.setenv("TLUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TLUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TLUI_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    for name in ("TLUI_ASCII", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty store."""
    return Home.at(tmp_path / "home")


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real photos and weights; tests that need it skip without it."""
    given = os.environ.get("TLUI_REALDATA")
    if not given:
        pytest.skip("TLUI_REALDATA is not set: no folder of real photos and weights")
    path = Path(given).resolve()
    if not (path / "datasets").is_dir():
        pytest.skip(f"TLUI_REALDATA={given} holds no datasets folder")
    return path


@pytest.fixture(scope="session")
def keras_home(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A private copy of the real ImageNet weights, to be used as KERAS_HOME."""
    target = tmp_path_factory.mktemp("keras") / "keras_home"
    shutil.copytree(realdata / "weights" / "keras_home", target)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield target


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A small folder dataset: two classes, train and test, distinguishable by colour."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for name, base in (("blue", (30, 40, 200)), ("red", (200, 40, 30))):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                noise = rng.integers(-25, 25, (40, 48, 3))
                pixels = np.clip(np.array(base) + noise, 0, 255).astype("uint8")
                Image.fromarray(pixels).save(folder / f"{i:02}.png")
    return tmp_path / "photos"
