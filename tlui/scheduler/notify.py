"""Word to whoever wants it when a run, or the whole queue, has ended.

`[notify]` in the user's own configuration names a command, a webhook or both; a preset cannot.
The command gets the message in its environment (TLUI_MESSAGE, TLUI_RUN, TLUI_NAME, TLUI_STATE,
TLUI_EVENT), never in its arguments, and no shell reads it; nor does a terminal that it is printed
on obey it. A notification that fails is one line
in the run's log and nothing more.

A command may take its time, so the word goes out from a process of its own
(`python -m tlui.scheduler.notify HOME`, the messages as JSON on its stdin), one such after another
in the order in which the runs ended; that the queue is done is said last.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tlui.errors import TluiError
from tlui.recipe.place import config_path
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.environment import importable, python
from tlui.runs.status import ENDED, Status
from tlui.runs.text import printable
from tlui.scheduler import order
from tlui.scheduler.claims import Claims
from tlui.scheduler.launch import open_log
from tlui.scheduler.turn import Turn, anybodys, take

if TYPE_CHECKING:
    from tlui.recipe.config import Notify

COMMAND_SECONDS = 60
WEBHOOK_SECONDS = 15


_children: list[subprocess.Popen[bytes]] = []
"""Processes that send, kept to be reaped."""


class News:
    """Runs that have ended, as whoever ended them knows it; a full disk may not.

    Who ends one adds it before its claims go. That keeps its turn: word of what ends later goes
    out later, whoever sends it, and nobody takes the queue for done before.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._ended: list[tuple[RunDirectory, Status]] = []
        self._turn = Turn()

    def take_turn(self) -> None:
        """Keep a place in the order of what ends; the first time counts."""
        if self._turn.path is None and config_path().exists():
            self._turn = take(self._home)

    def add(self, run: RunDirectory, final: Status) -> None:
        """A run and how it ended, if it did."""
        self.take_turn()
        self._ended.append((run, final))

    def send(self, *, here: bool = False) -> None:
        """Send word; never raises.

        Args:
            here: From this process, whose end takes along all that it starts, and not from one
                of its own.
        """
        _children[:] = [child for child in _children if child.poll() is None]
        try:
            told = self._messages()
            if told and here:
                _send_all(self._home, told, self._turn)
            elif told and config_path().exists():
                self._start(told)
        except (TluiError, OSError) as error:
            print(f"tlui: no notification: {error}", file=sys.stderr)
        finally:
            self._turn.end()

    def _messages(self) -> list[dict[str, str]]:
        """One for each run that is over."""
        found = []
        for run, final in self._ended:
            if final.state not in ENDED:
                continue
            name = printable(run.read_meta().get("name") or run.id)
            why = f": {printable(final.reason.splitlines()[0].rstrip(':'))}" if final.reason else ""
            message = f"tlui: {name} ({run.id}) {final.state}{why}"
            about = {"run": run.id, "name": name, "state": final.state}
            found.append({"event": "run", **about, "message": message})
        return found

    def _start(self, told: list[dict[str, str]]) -> None:
        said = os.memfd_create("messages")  # as many as there are, and a disk may be full
        log = open_log(self._ended[0][0].log)
        command = python("tlui.scheduler.notify", str(self._home.path))
        handles = []
        if self._turn.path is not None:
            handles.append(self._turn.handle)
            command += [str(self._turn.path), str(self._turn.handle)]
        with os.fdopen(said, "wb+") as file, os.fdopen(log, "ab") as output:
            file.write(json.dumps(told).encode())
            file.seek(0)
            _children.append(
                subprocess.Popen(
                    command,
                    stdin=file,
                    stdout=output,
                    stderr=output,
                    env=importable(os.environ),
                    pass_fds=handles,
                    start_new_session=True,
                )
            )
        self._turn.hand_on()


def _send_all(home: Home, messages: Sequence[dict[str, str]], turn: Turn) -> None:
    """Send them in their order, when it is our turn, and that the queue is done where these were
    its last. Raises TluiError where the configuration is not one."""
    from tlui.recipe.config import load_config

    wanted = load_config().notify
    if not (wanted.command or wanted.webhook):
        return
    turn.wait()
    for message in messages:
        _send(wanted, message)
    turn.end()
    # Claims first: who lets one go has taken a turn before.
    if queue_is_done(home) and not anybodys(home) and order.take_busy(home):
        about = {"run": "", "name": "", "state": ""}
        _send(wanted, {"event": "queue", **about, "message": "tlui: the queue is done"})


def queue_is_done(home: Home) -> bool:
    """Whether nothing runs and nothing but held runs waits."""
    waiting = any(not entry.held for entry in order.entries(home))
    return not waiting and all(claim.stale for claim in Claims(home).runs())


def _send(wanted: Notify, message: dict[str, str]) -> None:
    if wanted.command:
        import shlex

        given = wanted.command
        env = {**os.environ, **{f"TLUI_{key.upper()}": text for key, text in message.items()}}
        try:
            argv = shlex.split(given) if isinstance(given, str) else list(given)
            subprocess.run(
                argv, env=env, stdin=subprocess.DEVNULL, timeout=COMMAND_SECONDS, check=True
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            print(f"tlui: notify.command failed: {error}", file=sys.stderr)
    if wanted.webhook:
        import http.client
        import urllib.request

        try:
            request = urllib.request.Request(
                wanted.webhook,
                data=json.dumps(message).encode(),
                headers={"Content-Type": "application/json"},
            )
            urllib.request.urlopen(request, timeout=WEBHOOK_SECONDS).close()
        except (OSError, ValueError, http.client.HTTPException) as error:
            print(f"tlui: notify.webhook failed: {error}", file=sys.stderr)


def _main(home: str, path: str | None = None, handle: str = "") -> None:
    turn = Turn() if path is None else Turn(Path(path), int(handle))
    if turn.path is not None:
        os.set_inheritable(turn.handle, False)
    _send_all(Home(Path(home)), json.load(sys.stdin), turn)


if __name__ == "__main__":
    try:
        _main(*sys.argv[1:])
    except TluiError as error:
        sys.exit(f"tlui: no notification: {error}")
