"""A trainer without TensorFlow: speaks the same files and signals, and does as its run is told.

`python stand_in.py RUN_DIR`. The run's name says what happens: `finish…` at once,
`wait…` until the home holds a file `go-NAME` (or `go`), `fail…`, `diverge…`, `crash…` (SIGSEGV),
`die…` (SIGKILL), `mute…` (exit 0 without a word), `deaf…` waits and ignores SIGINT.
With `again` in its name it takes another run when it has finished, as the real trainer does.
Every start appends the run's id to `<home>/starts`, and to `<home>/coming` a line of the runs it
was told may follow. It is started without site-packages (-S), for speed, and so finds tlui beside
the tests.
"""

import os
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tlui.runs.directory import RunDirectory
from tlui.runs.events import EventWriter
from tlui.runs.files import write_json
from tlui.runs.line import COMING, DONE, NEXT, NextRun
from tlui.runs.process import identify
from tlui.runs.status import read_status, write_status

asked = ""


def ask(number: int, frame: object) -> None:
    global asked
    asked = "stop" if number == signal.SIGINT else "interrupt"


def main(run: RunDirectory) -> int:
    global asked
    asked = ""
    home = run.path.parent.parent
    name = run.read_meta()["name"]
    signal.signal(signal.SIGINT, signal.SIG_IGN if name.startswith("deaf") else ask)
    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGUSR1, ask)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    starts = os.open(home / "starts", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(starts, f"{run.id}\n".encode())
    status = read_status(run.status)
    assert status is not None and status.state == "starting", status
    beat = 0

    def say(state: str, **fields: object) -> None:
        nonlocal beat, status
        beat += 1
        status = replace(status, state=state, owner=identify(), heartbeat=beat, **fields)
        write_status(run.status, status, sync=False)

    say("running")
    events = EventWriter(run.events)
    events.write("open", version=1, attempt=status.attempt, epoch=0, step=0)
    events.write("phase", phase=0, freeze="none", epochs=3, first_epoch=1)
    step = 0

    def go_on() -> bool:
        global asked
        for word in ("interrupt", "stop"):
            if (run.requests / word).exists():
                asked = asked or word
        return (home / "go").exists() or (home / f"go-{name}").exists()

    while name.startswith(("wait", "deaf")) and not go_on() and not asked:
        step += 1
        events.write("step", phase=0, epoch=1, step=step, steps=9999, global_step=step, loss=0.5)
        say("running")
        time.sleep(0.02)
    if name.startswith("fail"):
        print("ValueError: the stand-in was told to fail", flush=True)
        return 1
    if name.startswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("mute"):
        return 0
    if name.startswith("diverge"):
        say("diverged", reason="loss is not finite", ended=time.time())
        return 3
    if asked == "interrupt":
        say("interrupted", reason="asked to", ended=time.time())
        return 75
    for epoch in range(1, 4):
        value = {"val_accuracy": 0.5 + epoch / 10, "val_loss": 1 / epoch, "train_loss": 1 / epoch}
        events.write(
            "epoch", phase=0, epoch=epoch, epochs=3, global_step=epoch, lr=1e-3, best=True, **value
        )
    merit = sum(map(ord, name)) / 10_000
    result = {
        "version": 1,
        "metrics": {"train_accuracy": 0.9, "val_accuracy": merit, "test_accuracy": 0.7},
        "best": {"epoch": 3, "monitor": "val_accuracy", "value": merit},
    }
    write_json(run.result, result)
    say("stopped" if asked else "finished", ended=time.time())
    return 130 if asked else 0


def note(run: RunDirectory, coming: list[str]) -> None:
    with (run.path.parent.parent / "coming").open("a") as file:
        file.write(" ".join(coming) + "\n")


def next_run(line: socket.socket) -> RunDirectory | None:
    line.sendall(DONE)
    found = NextRun.receive(line)
    if found is None:
        return None
    run = RunDirectory(found.folder)
    note(run, found.coming)
    log = os.open(run.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    return run


run: RunDirectory | None = RunDirectory(Path(sys.argv[1]))
note(run, os.environ.get(COMING, "").split())
line = socket.socket(fileno=int(os.environ[NEXT])) if NEXT in os.environ else None
code = 0
while run is not None:
    code = main(run)
    again = line is not None and code == 0 and "again" in run.read_meta()["name"]
    run = next_run(line) if again and line is not None else None
sys.exit(code)
