"""Word to whoever wants it when a run, or the whole queue, has ended.

`[notify]` in the user's own configuration names a command, a webhook or both; a preset cannot.
The command gets the message in its environment (TLUI_MESSAGE, TLUI_RUN, TLUI_NAME, TLUI_STATE,
TLUI_EVENT), never in its arguments, and no shell reads it. A notification that fails is one line
in the supervisor's output and nothing more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tlui.errors import TluiError
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.status import Status
from tlui.scheduler import order
from tlui.scheduler.claims import Claims

if TYPE_CHECKING:
    from tlui.recipe.config import Notify

COMMAND_SECONDS = 60
WEBHOOK_SECONDS = 15


def notify(home: Home, run: RunDirectory, final: Status) -> None:
    """Send what the user's configuration asks for; never raises."""
    try:
        from tlui.recipe.config import load_config

        wanted = load_config().notify
        if not (wanted.command or wanted.webhook):
            return
        name = str(run.read_meta().get("name") or run.id)
        why = f": {final.reason.splitlines()[0].rstrip(':')}" if final.reason else ""
        message = {
            "event": "run",
            "run": run.id,
            "name": name,
            "state": final.state,
            "message": f"tlui: {name} ({run.id}) {final.state}{why}",
        }
        _send(wanted, message)
        if queue_is_done(home) and order.take_busy(home):
            said = "tlui: the queue is done"
            _send(wanted, {"event": "queue", "run": "", "name": "", "state": "", "message": said})
    except TluiError as error:
        print(f"tlui: no notification: {error}", file=sys.stderr)


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
