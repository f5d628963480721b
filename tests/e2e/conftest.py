"""The command line as its user runs it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Tlui = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tlui(tmp_path: Path) -> Tlui:
    """Call `tlui` in its own store; fails on a traceback, and on a code that was not expected."""

    def call(
        *arguments: object, code: int = 0, env: dict[str, str] | None = None, timeout: float = 580
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "tlui.cli.main", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=timeout,
            env={**os.environ, "TLUI_HOME": str(tmp_path / "home"), **(env or {})},
        )
        said = f"{done.stdout}\n{done.stderr}"
        assert "Traceback" not in said, said
        assert done.returncode == code, said
        return done

    return call


@pytest.fixture
def runs(tlui: Tlui) -> Callable[[], dict[str, dict[str, Any]]]:
    """What `tlui ls --json` says, by run name."""

    def read() -> dict[str, dict[str, Any]]:
        listed = json.loads(tlui("ls", "--json").stdout)
        return {row["name"]: row for row in listed}

    return read
