"""The floors of the house, seen from a fresh interpreter: what a command really imports.

Static analysis (import-linter in CI) cannot see deferred imports; this can.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tlui.cli.commands import TABLE

PROBE = """
import json, sys
from tlui.cli.main import run
code = run({arguments!r})
print("PROBE" + json.dumps([code, sorted(sys.modules)]))
"""


def imported_by(*arguments: str) -> tuple[int, set[str]]:
    """The exit code of a command line and the modules it left imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(arguments=list(arguments))],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    code, modules = json.loads(done.stdout[done.stdout.rindex("PROBE") + 5 :])
    return code, set(modules)


HEAVY = {"tensorflow", "keras", "textual"}
LIGHT = HEAVY | {"pydantic", "numpy", "sklearn", "PIL", "h5py"}


@pytest.mark.parametrize(
    ("arguments", "banned"),
    [
        (["--help"], LIGHT),
        (["--version"], LIGHT),
        (["ls"], LIGHT),
        (["ls", "--json"], LIGHT),
        (["queue"], HEAVY),
        (["preset", "check", "presets/quickstart.toml", "--help"], HEAVY),
        (["preset", "schema"], HEAVY),
        (["doctor", "--help"], HEAVY),
        (["run", "--help"], LIGHT),
        (["predict", "--help"], LIGHT),
    ],
)
def test_commands_import_nothing_heavy(arguments: list[str], banned: set[str]) -> None:
    code, modules = imported_by(*arguments)
    assert code == 0
    assert not modules & banned


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [(["--help"], set()), (["--version"], set()), (["ls"], {"ls"}), (["dataset"], {"dataset"})],
)
def test_commands_that_were_not_called_are_not_imported(
    arguments: list[str], wanted: set[str]
) -> None:
    _, modules = imported_by(*arguments)
    commands = {place.partition(":")[0] for place, _ in TABLE.values()}
    assert {name for name in commands if f"tlui.cli.{name}" in modules} == wanted


def test_a_supervisor_imports_only_the_standard_library_and_tlui() -> None:
    probe = (
        "import sys; before = set(sys.modules); import tlui.scheduler.supervisor; "
        "print(*sorted({n.split('.')[0] for n in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(done.stdout.split()) - set(sys.stdlib_module_names) == {"tlui"}


def test_only_the_trainer_names_tensorflow() -> None:
    root = Path(__file__).parents[1] / "tlui"
    guilty = [
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if "trainer" not in path.relative_to(root).parts
        and any(
            line.strip().startswith(("import tensorflow", "from tensorflow", "import keras"))
            or line.strip().startswith(("from keras",))
            for line in path.read_text().splitlines()
        )
    ]
    assert guilty == []
