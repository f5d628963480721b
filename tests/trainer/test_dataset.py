"""A run's photos, read beside the import of TensorFlow."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.training import digits_run, start
from tlui.errors import TluiError
from tlui.trainer.dataset import reading
from tlui.trainer.reporter import Reporter
from tlui.trainer.signals import AskedToEndError, Requests

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_TENSORFLOW = """
import sys
from pathlib import Path
from tlui.runs.directory import RunDirectory
from tlui.trainer.dataset import reading
from tlui.trainer.reporter import Reporter
from tlui.trainer.signals import Requests
run = RunDirectory(Path(sys.argv[1]))
dataset = reading(run, Reporter(run), Requests(run.requests)).result()
print({split: len(images) for split, images in dataset.images.items()})
print(sorted({"tensorflow", "keras"} & set(sys.modules)))
"""


def test_nothing_of_tensorflow_is_needed(home):
    run = digits_run(home)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, str(run.path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    counts, heavy = done.stdout.splitlines()
    assert counts == "{'train': 323, 'val': 107, 'test': 107}"
    assert heavy == "[]"


def test_a_trainer_reads_while_it_imports(home, tmp_path):
    """The photos are there before `keras` is: a `keras` of the test's own looks for them."""
    (tmp_path / "spy" / "keras").mkdir(parents=True)
    (tmp_path / "spy" / "keras" / "__init__.py").write_text(
        "import glob, os, time\n"
        "until = time.monotonic() + 60\n"
        "while not glob.glob(os.environ['TLUI_CACHE'] + '/images/*/meta.json'):\n"
        "    assert time.monotonic() < until\n"
        "    time.sleep(0.01)\n"
        "raise MemoryError('seen')\n"
    )
    run = digits_run(home)
    path = f"{tmp_path / 'spy'}:{ROOT}"
    trainer = start(run, PYTHONPATH=path, TLUI_CACHE=str(tmp_path / "cache"))
    assert trainer.wait(timeout=120) == 1
    assert "seen" in run.log.read_text()


def test_what_is_wrong_with_the_data_is_the_future_s(home):
    run = digits_run(home)
    run.preset.write_text(run.preset.read_text().replace('"digits"', '"digit"'))
    reporter = Reporter(run)
    future = reading(run, reporter, Requests(run.requests))
    with pytest.raises(TluiError, match="digit"):
        future.result(timeout=60)
    reporter.end("failed", 1)


def test_a_request_ends_the_reading(home):
    run = digits_run(home)
    requests = Requests(run.requests)
    requests.ask("stop")
    reporter = Reporter(run)
    with pytest.raises(AskedToEndError):
        reading(run, reporter, requests).result(timeout=60)
    reporter.end("stopped", 130)
