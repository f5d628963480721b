"""`python -m tlui.trainer RUN_DIR`: train one run, from its last checkpoint where it has one, in a
process of its own; then others of its sweep where its supervisor hands it some (`relay`).

Speaks before TensorFlow is imported: the state is `running` and requests are heard from the first
moment. However it ends, status.json says so with a reason and advice, and the exit code tells the
supervisor: 0 finished, 1 failed, 2 bad usage, 3 diverged, 75 interrupted, 130 stopped. Tracebacks
go to stderr, which is trainer.log.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import NoReturn

from tlui.errors import TluiError
from tlui.runs.directory import RunDirectory
from tlui.trainer.dataset import reading
from tlui.trainer.failure import FAILED, Outcome, explain
from tlui.trainer.lean import lean_import
from tlui.trainer.output import make_lossy
from tlui.trainer.relay import Relay
from tlui.trainer.reporter import Reporter
from tlui.trainer.scoring import Score, Scorer, score
from tlui.trainer.signals import Requests


def main(arguments: list[str] | None = None) -> int:
    """Train the run named on the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tlui.trainer", description="Train one run.")
    parser.add_argument("run", type=Path, metavar="RUN_DIR")
    given = parser.parse_args(arguments)
    os.umask(0o077)  # what TensorFlow, Keras and HDF5 write is private as well
    make_lossy()
    relay = Relay()
    with closing(Scorer()) as scorer:
        code = train(RunDirectory(given.run.absolute()), relay.open, scorer.score)
        while (run := relay.next(code)) is not None:
            sys.argv[1:] = [str(run.path)]  # env.json says how to call it
            code = train(run, True, scorer.score)
    return code


def train(
    run: RunDirectory, more: bool = False, score: Callable[[Path, list[str]], Score] = score
) -> int:
    """Train one run and say how it ended; returns the exit code.

    Args:
        more: Another run may follow in this process, which keeps what that one can use.
        score: `scoring.score`, or where that is done elsewhere.
    """
    requests = Requests(run.requests)
    try:
        if not run.preset.is_file():
            raise TluiError(f"{run.path}: not a run directory (it holds no preset.toml)", code=2)
        requests.install()  # before it says that it runs: then signals are sent to it
        reporter = Reporter(run)
    except TluiError as error:
        print(f"tlui: {error}", file=sys.stderr)
        return error.code
    except OSError as error:
        print(f"tlui: {run.path}: {error.strerror}", file=sys.stderr)
        return FAILED
    outcome = train_here(run, reporter, requests, more, score)
    reporter.end(outcome.state, outcome.code, outcome.reason, outcome.advice)
    return outcome.code


def train_here(
    run: RunDirectory,
    reporter: Reporter,
    requests: Requests,
    more: bool = False,
    score: Callable[[Path, list[str]], Score] = score,
) -> Outcome:
    """Train in this process; whatever goes wrong comes back as an outcome."""
    try:
        dataset = reading(run, reporter, requests)
        train_run = import_trainer(more)
        return train_run(run, dataset, reporter, requests, score)
    except BaseException as error:
        outcome = explain(error)
        if not outcome.expected:
            traceback.print_exc()
        reporter.log(outcome.reason, "error")
        return outcome
    finally:
        requests.honour()  # nothing that was asked of this attempt is left to end the next one


def import_trainer(more: bool = False) -> Callable[..., Outcome]:
    """Import TensorFlow and what trains; returns `train_run`.

    Nothing is executed yet: no device is touched and no thread of TensorFlow's runs.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    there = "tlui.trainer.run" in sys.modules  # and with it garbage of the runs before
    with nullcontext() if there else lean_import():
        from tlui.trainer import reuse
        from tlui.trainer.run import train_run
    reuse.keep(more)
    return train_run


def leave(code: int) -> NoReturn:
    """End this process without sys.exit: TensorFlow's threads take up to a second to be torn
    down, and nothing is left to write."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
