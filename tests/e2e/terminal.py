"""A terminal to type into and read: tmux with a server of its own, driven as a person would."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

Found = TypeVar("Found")
DEADLINE = 150.0
"""Seconds anything may take on a busy machine before it counts as broken."""


def until(
    look: Callable[[], Found | None],
    what: str,
    seconds: float = DEADLINE,
    seen: Callable[[], str] = str,
) -> Found:
    """Look until there is something; its value. Fails with what was seen last."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"no {what} within {seconds:.0f} s\n{seen()}")
        time.sleep(0.05)


class Terminal:
    """One window of one tmux server; the command's last screen stays when it has ended."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        width: int = 120,
        height: int = 40,
    ) -> None:
        """Open a window of `width` columns and `height` rows and run the command in it."""
        found = shutil.which("tmux")
        if found is None:
            pytest.skip("tmux is not installed: no terminal to open the app in")
        # A socket's path may have no more than 107 bytes; pytest's folders can be longer.
        self._folder = tempfile.mkdtemp(prefix="tlui-tmux-")
        settings = Path(self._folder, "tmux.conf")
        settings.write_text(
            "set -g status off\nset -g remain-on-exit on\nset -g default-terminal screen-256color\n"
        )
        self._tmux = [found, "-u", "-f", str(settings), "-S", f"{self._folder}/s"]
        given = [f"{key}={value}" for key, value in (env or {}).items()]
        line = "exec " + shlex.join(["env", "-u", "COLUMNS", "-u", "LINES", *given, *command])
        self._call("new-session", "-d", "-x", str(width), "-y", str(height), line)

    def _call(self, *arguments: str) -> str:
        done = subprocess.run([*self._tmux, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"tmux {arguments[0]}: {done.stderr}"
        return done.stdout

    @property
    def pid(self) -> int:
        """The process in the window."""
        return int(self._call("display-message", "-p", "#{pane_pid}"))

    @property
    def dead(self) -> bool:
        """Whether it has ended."""
        return self._call("display-message", "-p", "#{pane_dead}").strip() == "1"

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names: `n`, `C-r`, `Down`, `Escape`."""
        self._call("send-keys", *keys)

    def type(self, text: str) -> None:
        """Type text as it stands."""
        self._call("send-keys", "-l", text)

    def resize(self, width: int, height: int) -> None:
        """Give the window another size while the app runs."""
        self._call("resize-window", "-x", str(width), "-y", str(height))

    def screen(self) -> str:
        """What is on the screen, a line a row."""
        return self._call("capture-pane", "-p")

    def wait(self, *texts: str, seconds: float = DEADLINE) -> str:
        """Wait until all texts are on one screen; that screen."""

        def look() -> str | None:
            screen = self.screen()
            if all(text in screen for text in texts):
                return screen
            assert not self.dead, f"ended before {texts} showed\n{screen}"
            return None

        return until(look, f"{texts} on the screen", seconds, self.screen)

    def wait_for(self, look: Callable[[str], Found | None], what: str) -> Found:
        """Wait until `look` finds something on the screen; what it found."""
        return until(lambda: look(self.screen()), what, seen=self.screen)

    def close(self) -> None:
        """End the server and all in it."""
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, timeout=60)
        shutil.rmtree(self._folder, ignore_errors=True)
