"""How fast commands start: whole processes, as ratios to an interpreter that does nothing.

    python tests/benchmarks/start.py [--rounds 15]

Every round runs every command once, in turn, so that a loaded machine slows all of them alike;
the figures are medians of the rounds. The store is a temporary one with 50 runs. The screen's
first paint is measured by `wire.py`.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))
sys.path.insert(0, str(HERE.parents[2]))

from factory import make_run  # noqa: E402

from tlui.runs.directory import Home  # noqa: E402

RUNS = 50
TLUI = (sys.executable, "-m", "tlui.cli.main")
BARE = "python -c pass"


def commands(preset: Path) -> dict[str, tuple[str, ...]]:
    """What is timed, the bare interpreter first."""
    return {
        BARE: (sys.executable, "-c", "pass"),
        "tlui --help": (*TLUI, "--help"),
        "tlui --version": (*TLUI, "--version"),
        "tlui ls": (*TLUI, "ls"),
        "tlui ls --json": (*TLUI, "ls", "--json"),
        "tlui show @last": (*TLUI, "show", "@last"),
        "tlui compare": (*TLUI, "compare", "head-0", "head-1"),
        "tlui export": (*TLUI, "export", "-o", "-"),
        "tlui queue": (*TLUI, "queue"),
        "tlui preset check --no-count": (*TLUI, "preset", "check", "--no-count", str(preset)),
    }


def timed(command: tuple[str, ...], env: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of one run of a command. Raises CalledProcessError where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        home = Home.at(Path(folder, "home"))
        for number in range(RUNS):
            make_run(home, name=f"head-{number}")
        env = {
            **os.environ,
            "TLUI_HOME": str(home.path),
            "TLUI_CACHE": str(Path(folder, "cache")),
            "TLUI_CONFIG": str(Path(folder, "config.toml")),
            "PYTHONPYCACHEPREFIX": str(Path(folder, "compiled")),
        }
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # installed packages are compiled
        preset = HERE.parents[2] / "presets" / "quickstart.toml"
        todo = commands(preset)
        for command in todo.values():  # compiles what is imported and fills the index
            timed(command, env)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in todo}
        for _ in range(rounds):
            for name, command in todo.items():
                found[name].append(timed(command, env))
    medians = {
        name: [statistics.median(column) for column in zip(*values, strict=True)]
        for name, values in found.items()
    }
    wall, cpu = medians[BARE]
    print("| command | wall | × python | CPU | × python |\n|---|---|---|---|---|")
    for name, (own_wall, own_cpu) in medians.items():
        print(
            f"| `{name}` | {own_wall * 1000:.0f} ms | {own_wall / wall:.1f} "
            f"| {own_cpu * 1000:.0f} ms | {own_cpu / cpu:.1f} |"
        )


if __name__ == "__main__":
    main()
