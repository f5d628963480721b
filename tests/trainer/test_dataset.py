"""A run's photos, read beside the import of TensorFlow."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.training import digits_run, photo_experiment, start
from tlui.data.store import fill, lacks, open_images
from tlui.data.table import open_dataset
from tlui.errors import TluiError
from tlui.recipe.toml import load_experiment
from tlui.runs.events import EventReader
from tlui.runs.process import start_time
from tlui.trainer.dataset import Filling, reading
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


def test_what_is_wrong_with_the_data_is_said_at_once(home):
    run = digits_run(home)
    run.preset.write_text(run.preset.read_text().replace('"digits"', '"digit"'))
    reporter = Reporter(run)
    with pytest.raises(TluiError, match="digit"):
        reading(run, reporter, Requests(run.requests))
    reporter.end("failed", 1)


def test_a_request_ends_the_reading(home):
    run = digits_run(home)
    requests = Requests(run.requests)
    requests.ask("stop")
    reporter = Reporter(run)
    with pytest.raises(AskedToEndError):
        reading(run, reporter, requests).result(timeout=60)
    reporter.end("stopped", 130)


def test_that_another_run_reads_the_same_is_said(home):
    run = digits_run(home)
    table = open_dataset(load_experiment(run.preset).dataset)
    begun, go = threading.Event(), threading.Event()

    def slow(done, total):
        begun.set()
        go.wait(60)

    other = threading.Thread(target=fill, args=(table, 16, "stretch", slow))
    other.start()
    assert begun.wait(60)
    reporter, log = Reporter(run), EventReader(run.events)
    read = reading(run, reporter, Requests(run.requests))
    until = time.monotonic() + 60
    while not (told := [e for e in log.read_all() if e["type"] == "progress"]):
        assert time.monotonic() < until
    assert told[0]["what"] == "reading images (another run is at it)"
    assert told[0]["done"] == 0 < told[0]["total"]
    go.set()
    other.join()
    assert not read.result(timeout=60).images["train"].streamed
    reporter.end("stopped", 130)


class TestFilling:
    def test_fills_the_cache_and_tells_how_far_it_is(self, photos):
        table = open_dataset(photo_experiment(photos).dataset)
        assert lacks(table, 16, "stretch")
        told = []
        Filling(table, 16, "stretch").follow(lambda *counts: told.append(counts))
        assert not lacks(table, 16, "stretch")
        assert told and told[-1][0] == told[-1][1] > 0
        images = open_images(table, "train", 16, "stretch", limit=0)
        cached = open_images(table, "train", 16, "stretch", progress=pytest.fail)
        rows = range(len(images))
        assert cached.batch(rows).tobytes() == images.batch(rows).tobytes()

    def test_ends_when_it_is_asked_to(self, photos):
        table = open_dataset(photo_experiment(photos).dataset)
        filling = Filling(table, 16, "stretch")

        def ask(done, total):
            raise AskedToEndError("stop")

        with pytest.raises(AskedToEndError):
            filling.follow(ask)
        assert start_time(filling.pid) is None

    def test_leaves_what_goes_wrong_to_who_opens_the_images(self, photos, tmp_path, monkeypatch):
        table = open_dataset(photo_experiment(photos).dataset)
        (tmp_path / "no-folder").touch()
        monkeypatch.setenv("TLUI_CACHE", str(tmp_path / "no-folder"))
        Filling(table, 16, "stretch").follow(lambda *counts: None)
        assert open_images(table, "train", 16, "stretch").streamed
