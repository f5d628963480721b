"""Word to whoever wants it when a run, or the whole queue, has ended.

`[notify]` in the user's own configuration names a command, a webhook or both; a preset cannot.
The command gets the message in its environment (TLUI_MESSAGE, TLUI_RUN, TLUI_NAME, TLUI_STATE,
TLUI_EVENT), never in its arguments, and no shell reads it. A notification that fails is one line
in the run's log and nothing more.

A command may take its time, so the word goes out from a process of its own
(`python -m tlui.scheduler.notify HOME`, the messages as JSON on its stdin), one such after another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tlui.errors import TluiError
from tlui.recipe.place import config_path
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.environment import importable
from tlui.runs.lock import locked
from tlui.runs.status import ENDED, Status
from tlui.scheduler import order
from tlui.scheduler.claims import Claims
from tlui.scheduler.launch import open_log

if TYPE_CHECKING:
    from tlui.recipe.config import Notify

COMMAND_SECONDS = 60
WEBHOOK_SECONDS = 15


Ended = tuple[RunDirectory, Status]
"""A run and its final status as whoever ended it knows it; a full disk may not."""

_children: list[subprocess.Popen[bytes]] = []
"""Processes that send, kept to be reaped."""


def notify(home: Home, ended: Sequence[Ended]) -> None:
    """Send word of runs that have ended, from a process of its own; never raises."""
    _children[:] = [child for child in _children if child.poll() is None]
    try:
        told = _messages(home, ended)
        if not told or not config_path().exists():
            return
        said = os.memfd_create("messages")  # as many as there are, and a disk may be full
        with os.fdopen(said, "wb+") as file, os.fdopen(open_log(ended[0][0].log), "ab") as log:
            file.write(json.dumps(told).encode())
            file.seek(0)
            _children.append(
                subprocess.Popen(
                    [sys.executable, "-P", "-m", "tlui.scheduler.notify", str(home.path)],
                    stdin=file,
                    stdout=log,
                    stderr=log,
                    env=importable(os.environ),
                    start_new_session=True,
                )
            )
    except (TluiError, OSError) as error:
        print(f"tlui: no notification: {error}", file=sys.stderr)


def notify_now(home: Home, ended: Sequence[Ended]) -> None:
    """Send it from this process, whose end takes all that it starts with it; never raises."""
    try:
        _send_all(home, _messages(home, ended))
    except TluiError as error:
        print(f"tlui: no notification: {error}", file=sys.stderr)


def _messages(home: Home, ended: Sequence[Ended]) -> list[dict[str, str]]:
    """One for each run that is over, and one for the queue where these were its last."""
    found = []
    for run, final in ended:
        if final.state not in ENDED:
            continue
        name = str(run.read_meta().get("name") or run.id)
        why = f": {final.reason.splitlines()[0].rstrip(':')}" if final.reason else ""
        message = f"tlui: {name} ({run.id}) {final.state}{why}"
        about = {"run": run.id, "name": name, "state": final.state}
        found.append({"event": "run", **about, "message": message})
    if found and queue_is_done(home) and order.take_busy(home):
        about = {"run": "", "name": "", "state": ""}
        found.append({"event": "queue", **about, "message": "tlui: the queue is done"})
    return found


def _send_all(home: Home, messages: Sequence[dict[str, str]]) -> None:
    """Send them in their order. Raises TluiError where the configuration is not one."""
    from tlui.recipe.config import load_config

    wanted = load_config().notify
    if not (wanted.command or wanted.webhook):
        return
    with ExitStack() as turn:
        with suppress(TluiError):  # then two may speak at once
            turn.enter_context(locked(order.folder(home) / ".notify"))
        for message in messages:
            _send(wanted, message)


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
            subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, timeout=COMMAND_SECONDS)
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


if __name__ == "__main__":
    try:
        _send_all(Home(Path(sys.argv[1])), json.load(sys.stdin))
    except TluiError as error:
        sys.exit(f"tlui: no notification: {error}")
