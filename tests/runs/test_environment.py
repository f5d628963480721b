"""Processes that tlui starts run tlui's own code, wherever they are started."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import tlui
from tlui.runs.environment import anywhere, importable, python, source_tree


def test_nothing_in_the_current_folder_is_run(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("open('executed', 'w')")
    command = python("tlui.trainer.download", "--help")
    done = subprocess.run(command, cwd=tmp_path, env=importable(os.environ), capture_output=True)
    assert done.returncode == 0 and b"usage" in done.stdout
    assert not (tmp_path / "executed").exists()


def test_every_process_of_tlui_is_started_so() -> None:
    package = Path(tlui.__file__).parent
    found = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.List | ast.Tuple)
        and any(isinstance(word, ast.Constant) and word.value == "-m" for word in node.elts)
    ]
    assert found == ["runs/environment.py"]


def test_the_path_does_not_grow_from_process_to_process() -> None:
    once = importable({"PYTHONPATH": "/elsewhere"})
    assert importable(once) == once
    tree = source_tree()
    assert once["PYTHONPATH"] == os.pathsep.join([*([str(tree)] if tree else []), "/elsewhere"])


def test_places_stay_where_they_are_in_another_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"TLUI_CACHE": "cache", "KERAS_HOME": "~/keras", "PYTHONPATH": "/there::mine"}
    env = anywhere(given)
    assert (env["TLUI_CACHE"], env["KERAS_HOME"]) == (f"{tmp_path}/cache", "~/keras")
    assert env["PYTHONPATH"].endswith(f"/there{os.pathsep}{tmp_path}/mine")
