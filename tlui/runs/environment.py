"""How a process that tlui starts finds this very tlui, installed or not."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import tlui


def source_tree() -> Path | None:
    """The folder that must be on a child's PYTHONPATH; None where tlui is installed."""
    root = Path(tlui.__file__).absolute().parent.parent
    return None if root.name in ("site-packages", "dist-packages") else root


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of tlui; its environment must be `importable`.

    Never from the current folder: what lies there may be a stranger's, and called `json.py`.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


PLACES = ("TLUI_HOME", "TLUI_CACHE", "TLUI_CONFIG", "KERAS_HOME")
"""Variables that hold a path, which starts at the current folder where it is relative."""


def anywhere(given: Mapping[str, str]) -> dict[str, str]:
    """`importable`, for a process that has another current folder than this one."""
    env = importable(given)
    for name in PLACES:
        if place := env.get(name):
            env[name] = _absolute(place)
    if path := env.get("PYTHONPATH"):
        env["PYTHONPATH"] = os.pathsep.join(map(_absolute, filter(None, path.split(os.pathsep))))
    return env


def _absolute(place: str) -> str:
    try:
        return place if place.startswith("~") else str(Path(place).absolute())
    except OSError:
        return place  # the current folder was deleted, and the place with it


def importable(given: Mapping[str, str]) -> dict[str, str]:
    """An environment in which the commands of `python` find this very tlui."""
    env = dict(given)
    if root := source_tree():
        known = env.get("PYTHONPATH", "").split(os.pathsep)
        if known[0] != str(root):
            env["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, known)])
    return env
