"""What a trainer hears."""

import os
import signal
import threading

import pytest
from training import digits_run

from tlui.runs.line import SIGNALS
from tlui.trainer import __main__ as trainer
from tlui.trainer.failure import Outcome
from tlui.trainer.reporter import Reporter
from tlui.trainer.signals import Requests


@pytest.fixture
def requests(tmp_path):
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    hangup = signal.getsignal(signal.SIGHUP)
    found = Requests(tmp_path)
    found.install()
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)
    signal.signal(signal.SIGHUP, hangup)


@pytest.mark.parametrize(
    "number,request_",
    [(signal.SIGINT, "stop"), (signal.SIGTERM, "interrupt"), (signal.SIGUSR1, "interrupt")],
)
def test_signals(requests, number, request_):
    assert requests.poll() is None
    os.kill(os.getpid(), number)
    assert requests.poll() == request_
    assert requests.honour() == request_
    assert requests.poll() is None


def test_one_that_came_before_it_listened(requests):
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    assert requests.poll() is None
    requests.install()
    assert requests.poll() == "stop"


def test_a_lost_connection_is_ignored(requests):
    os.kill(os.getpid(), signal.SIGHUP)
    assert requests.poll() is None


def test_interrupt_is_not_overruled(requests):
    requests.ask("interrupt")
    requests.ask("stop")
    assert requests.poll() == "interrupt"


def test_a_file_is_honoured_once(tmp_path):
    (tmp_path / "stop").touch()
    found = Requests(tmp_path)
    assert found.poll() == "stop"
    found.honour()
    assert not (tmp_path / "stop").exists()
    assert Requests(tmp_path).poll() is None


def test_no_folder_is_no_request(tmp_path):
    assert Requests(tmp_path / "gone").poll() is None


def test_who_says_that_it_runs_listens(home, monkeypatch):
    """From then on it is sent signals; what is heard sooner may be the run before."""
    run = digits_run(home)
    before, heard = [], []
    kept = {number: signal.signal(number, lambda *_: before.append(1)) for number in SIGNALS}

    def reports(directory):
        reporter = Reporter(directory)
        assert directory.observe().state == "running"
        os.kill(os.getpid(), signal.SIGINT)
        return reporter

    def train_here(run, reporter, requests, *_):
        heard.append(requests.poll())
        return Outcome("stopped", 130)

    monkeypatch.setattr(trainer, "Reporter", reports)
    monkeypatch.setattr(trainer, "train_here", train_here)
    try:
        trainer.train(run)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    assert heard == ["stop"] and not before
