"""How a process that tlui starts finds this very tlui, installed or not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import tlui


def source_tree() -> Path | None:
    """The folder that must be on a child's PYTHONPATH; None where tlui is installed."""
    root = Path(tlui.__file__).absolute().parent.parent
    return None if root.name in ("site-packages", "dist-packages") else root


def importable(given: Mapping[str, str]) -> dict[str, str]:
    """An environment in which `python -P -m tlui…` finds this very tlui."""
    env = dict(given)
    if root := source_tree():
        env["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, [env.get("PYTHONPATH")])])
    return env
