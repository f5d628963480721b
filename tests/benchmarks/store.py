"""How fast a large store opens: makes one and prints the figures.

    python tests/benchmarks/store.py [--runs 100000] [--keep FOLDER]

The store is made of copies of real run directories (the test factory's) with their own id, name,
settings and metrics. Times are wall clock of whole commands in fresh processes, best of three.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))
sys.path.insert(0, str(HERE.parents[2]))

from benchmarks.machine import compile_modules  # noqa: E402
from factory import dead_identity, make_run  # noqa: E402
from faults.real import cpu_seconds  # noqa: E402
from faults.test_front_ends import FrontEnd  # noqa: E402

from tlui.runs.directory import Home  # noqa: E402
from tlui.runs.index import Index  # noqa: E402

STATES = ("finished",) * 90 + ("failed",) * 4 + ("stopped",) * 3 + ("interrupted",) * 3
BACKBONES = ("MobileNetV2", "ResNet50", "EfficientNetB0", "DenseNet121")
RATES = (1e-3, 1e-4, 1e-5, 1e-6, 5e-7)


def make_store(folder: Path, runs: int, epochs: int = 10) -> Home:
    """A home of that many runs, a few of them live by a dead process or queued."""
    home = Home.at(folder)
    with tempfile.TemporaryDirectory() as aside:
        other = Home.at(aside)
        models = {
            state: make_run(
                other,
                state=state,
                epochs=epochs,
                owner=dead_identity() if state == "running" else None,
            )
            for state in {*STATES, "queued", "running"}
        }
        texts = {
            state: {path.name: path.read_text() for path in model.path.iterdir() if path.is_file()}
            for state, model in models.items()
        }
    rng = random.Random(0)
    began = time.time() - runs * 60
    for number in range(runs):
        state = rng.choice(STATES)
        if number > runs - 100:
            state = "queued" if number % 2 else "running"
        run_id = f"{rng.getrandbits(32):08x}"
        target = home.runs / run_id
        if target.exists():
            continue
        target.mkdir(mode=0o700)
        for name, text in texts[state].items():
            if name == "run.json":
                meta = json.loads(text)
                rate = rng.choice(RATES)
                meta |= {"id": run_id, "created": began + number * 60, "name": f"head-{number}"}
                meta["config"] |= {
                    "phase.0.lr.initial": rate,
                    "backbone.name": rng.choice(BACKBONES),
                    "train.seed": number % 17,
                    "dataset.name": rng.choice(("intel", "food-101", "pcam")),
                }
                text = json.dumps(meta, indent=1)
            elif name == "result.json":
                result = json.loads(text)
                result["metrics"]["val_accuracy"] = round(rng.random(), 5)
                text = json.dumps(result, indent=1)
            (target / name).write_text(text)
    return home


def command(home: Home, cache: Path, *words: str) -> None:
    """Print wall and CPU time of a whole `tlui` command, best of three."""
    environment = {**os.environ, "TLUI_HOME": str(home.path), "TLUI_CACHE": str(cache)}
    environment["PYTHONPATH"] = str(HERE.parents[2])
    wall = cpu = float("inf")
    for _ in range(3):
        start, before = time.perf_counter(), cpu_of_all()
        subprocess.run(
            [sys.executable, "-m", "tlui.cli.main", *words],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wall = min(wall, time.perf_counter() - start)
        cpu = min(cpu, cpu_of_all() - before)
    label = f"tlui {' '.join(words)}"
    print(f"{label:60} {wall * 1000:8.0f} ms  {cpu * 1000:8.0f} ms CPU", flush=True)


def app(home: Home, cache: Path) -> None:
    """Print wall and CPU time of `tlui` until it shows the newest run, best of five."""
    os.environ |= {"TLUI_HOME": str(home.path), "TLUI_CACHE": str(cache)}
    wall = cpu = float("inf")
    with Index(home) as index:
        [newest] = index.rows(limit=1)
    for _ in range(5):
        front = FrontEnd()
        wall = min(wall, front.until(newest.name))
        cpu = min(cpu, cpu_seconds(front.process.pid))
        front.end("terminate")
    print(f"{'the app until it shows runs':60} {wall * 1000:8.0f} ms  {cpu * 1000:8.0f} ms CPU")


def cpu_of_all() -> float:
    """CPU seconds of this process and of those it started that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def timed(label: str, work: object) -> None:
    start, busy = time.perf_counter(), cpu_of_all()
    answer = work()  # type: ignore[operator]
    took, cpu = time.perf_counter() - start, cpu_of_all() - busy
    print(f"{label:60} {took * 1000:8.0f} ms  {cpu * 1000:8.0f} ms CPU  {answer}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="make the store there, or use the one there")
    parser.add_argument("--warm", action="store_true", help="do not rebuild the index of --keep")
    given = parser.parse_args()
    compile_modules()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="tlui-store-"))
    try:
        if not (folder / "home").exists():
            timed(
                f"make {given.runs} runs", lambda: len(str(make_store(folder / "home", given.runs)))
            )
        home = Home.at(folder / "home")
        cache = folder / "cache"
        os.environ["TLUI_CACHE"] = str(cache)
        if given.keep and given.warm:
            index = Index(home)
        else:
            shutil.rmtree(cache, ignore_errors=True)
            index = Index(home)
        timed("build the index", index.refresh)
        print(f"{'index size':44} {index.path.stat().st_size / 2**20:9.0f} MB")  # type: ignore[union-attr]
        time.sleep(2.1)
        timed("refresh, all budget", lambda: index.refresh())
        timed("refresh, nothing changed, budget 20 ms", lambda: index.refresh(0.02))
        timed("first page", lambda: len(index.rows(limit=50)))
        timed("first page again", lambda: len(index.rows(limit=50)))
        timed("count cfg.lr>=1e-5 dataset:intel", lambda: index.count("cfg.lr>=1e-5 dataset:intel"))
        timed(
            "page of val_accuracy>.9 status:finished by -val_accuracy",
            lambda: len(index.rows("val_accuracy>.9 status:finished", "-val_accuracy", limit=50)),
        )
        timed("count of free words", lambda: index.count("head-99 -resnet"))
        timed("all ids by -val_accuracy", lambda: len(index.ids(sort="-val_accuracy")))
        [newest] = index.rows(limit=1)
        index.close()
        print("whole commands:")
        command(home, cache, "--version")
        command(home, cache, "ls")
        command(home, cache, "ls", "--filter", "cfg.lr>=1e-5 dataset:intel status:finished")
        command(home, cache, "ls", "--sort", "-val_accuracy", "--json", "--limit", "50")
        command(home, cache, "show", newest.name)
        app(home, cache)
    finally:
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
