import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scheduler.bench import wait_for

from tlui.runs.process import start_time
from tlui.trainer.arrays import write_arrays
from tlui.trainer.scoring import Scorer, score

CLASSES = ["a", "b", "c"]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 40).astype(np.float32)
    path = tmp_path / "val.npz"
    labels = rng.integers(0, 3, 40)
    write_arrays(path, {"label": labels, "probabilities": probabilities})
    return path


def run(code: str, *arguments: str) -> str:
    """In a process of its own: this one may have imported scikit-learn."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_fork_scores_as_this_process_does(stored: Path) -> None:
    code = (
        "import json, sys; from pathlib import Path\n"
        "from tlui.trainer.scoring import Scorer\n"
        "scorer = Scorer()\n"
        "found = [scorer.score(Path(sys.argv[1]), ['a', 'b', 'c']) for _ in range(2)]\n"
        "scorer.close()\n"
        "print(json.dumps([found, 'sklearn' in sys.modules]))"
    )
    found, imported_here = json.loads(run(code, str(stored)))
    once = json.loads(json.dumps(score(stored, CLASSES)))
    assert found == [once, once]
    assert not imported_here


def test_nan_comes_through(tmp_path: Path) -> None:
    path = tmp_path / "val.npz"
    arrays = {"label": np.zeros(2, np.int64), "probabilities": np.full((2, 3), 1 / 3, np.float32)}
    write_arrays(path, arrays)
    code = (
        "import sys; from pathlib import Path\n"
        "from tlui.trainer.scoring import Scorer\n"
        "scorer = Scorer()\n"
        "print(scorer.score(Path(sys.argv[1]), ['a', 'b', 'c'])[0]['roc_auc'])"
    )
    assert run(code, str(path)).strip() == "nan"


@pytest.mark.parametrize("when", ["at once", "after a split"])
def test_a_scorer_that_is_killed_costs_nothing(stored: Path, when: str) -> None:
    code = (
        "import json, os, signal, sys; from pathlib import Path\n"
        "from tlui.trainer.scoring import Scorer\n"
        "scorer, stored, classes = Scorer(), Path(sys.argv[1]), ['a', 'b', 'c']\n"
        f"if {when == 'after a split'}: scorer.score(stored, classes)\n"
        "os.kill(scorer._pid, signal.SIGKILL)\n"
        "print(json.dumps(scorer.score(stored, classes)))\n"
        "scorer.close()\n"
        "try: os.waitpid(-1, 0)\n"
        "except ChildProcessError: pass\n"
        "else: raise SystemExit('a child is left')\n"
    )
    assert json.loads(run(code, str(stored))) == json.loads(json.dumps(score(stored, CLASSES)))


def test_what_cannot_be_read_is_told_as_here(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from tlui.trainer.scoring import Scorer\n"
        "try: Scorer().score(Path(sys.argv[1]) / 'none.npz', ['a'])\n"
        "except FileNotFoundError as error: print(error.filename)"
    )
    assert run(code, str(tmp_path)).strip() == str(tmp_path / "none.npz")


def test_it_ends_with_the_trainer(stored: Path) -> None:
    code = (
        "import os; from tlui.trainer.scoring import Scorer\n"
        "scorer = Scorer(); print(scorer._pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)

    wait_for(lambda: start_time(pid) is None, "the end of the fork")


def test_none_where_tensorflow_is_imported() -> None:
    pytest.importorskip("tensorflow")
    assert Scorer()._pid == 0
