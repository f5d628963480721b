import gc
import os
import subprocess
import sys

import pytest

from tlui.trainer.lean import UNUSED, lean_import


def test_unused_packages_are_absent_inside_and_back_behind(monkeypatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "scipy"]:
        monkeypatch.delitem(sys.modules, name)
    assert gc.isenabled()
    with lean_import():
        assert not gc.isenabled()
        with pytest.raises(ImportError):
            import scipy
    assert gc.isenabled()
    import scipy

    assert scipy.__name__ in UNUSED


def test_what_is_imported_already_stays() -> None:
    import sklearn.metrics

    with lean_import():
        assert sys.modules["sklearn"] is sklearn


def test_an_error_leaves_nothing_behind() -> None:
    with pytest.raises(ValueError, match="inside"), lean_import():
        raise ValueError("inside")
    assert gc.isenabled()
    assert None not in [sys.modules.get(name, ...) for name in UNUSED]


def test_numpy_has_no_threads_that_would_only_wait() -> None:
    code = "import tlui.trainer.metrics, os; print(len(os.listdir('/proc/self/task')))"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS", "OMP"))}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    assert int(done.stdout) == 1
