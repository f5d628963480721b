"""Ctrl-C at any instant of `tlui run`: it stops, says so, and leaves nothing that goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.real import PRESET
from scheduler.bench import Bench, wait_for

from tlui.cli import main
from tlui.runs.directory import Home
from tlui.scheduler import order

COMMAND = "import sys; from tlui.cli.main import main; print(flush=True); main(sys.argv[1:])"


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """As in a terminal: what a shell starts in the background begins with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("times", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_a_run_is_stopped_whatever_its_front_end_was_at(
    bench: Bench, tmp_path: Path, times: int
) -> None:
    (tmp_path / "tiny.toml").write_text(PRESET)
    chance = random.Random(times)
    for _ in range(times):
        instant = chance.uniform(0, 1)
        words = [sys.executable, "-c", COMMAND, "run", str(tmp_path / "tiny.toml")]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen(words, **pipes, text=True, cwd=Path(__file__).parents[2]) as front:
            assert front.stdout is not None
            assert front.stdout.readline() == "\n"  # Python has started
            try:
                front.wait(instant)
            except subprocess.TimeoutExpired:
                front.send_signal(signal.SIGINT)
            said = front.stdout.read()
        assert front.returncode == 130 and "bug in tlui" not in said, (instant, said)
        assert {bench.state(run) for run in bench.home} <= {"stopped"}, (instant, said)
        assert order.entries(bench.home) == []
    bench.quiet()
    made = len(list(bench.home))
    print(f"\n{times} times Ctrl-C within 1 s: {made} runs made, all stopped, nothing left queued")


def test_half_of_a_lab_is_taken_back(home: Home, tmp_path: Path) -> None:
    presets = [tmp_path / "first.toml", tmp_path / "second.toml"]
    presets[0].write_text(f"{PRESET}[sweep]\ntrain.seed = [1, 2]\n")
    presets[1].write_text(f"{PRESET}[sweep]\ntrain.seed = {list(range(400))}\n")

    def press() -> None:
        wait_for(lambda: len(list(home)) > 5, "some of the second one's runs")
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    code = main.run(["queue", "add", *map(str, presets)])
    pressing.join()
    assert code == 130
    assert list(home.runs.iterdir()) == [] and order.entries(home) == []


def test_one_that_comes_as_another_error_is_a_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where classes are made, or in code written in C."""

    def listed() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt as error:
            raise RuntimeError("Error calling __set_name__") from error

    monkeypatch.setattr("tlui.cli.ls.ls", listed)
    assert main.run(["ls"]) == 130
    assert capsys.readouterr().err == "tlui: stopped\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
