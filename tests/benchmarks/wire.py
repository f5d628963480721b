"""The app on a real pty: first paint, bytes a second, time from key to echo.

    python tests/benchmarks/wire.py           # or `quick`: without idle screens and first paint
    python tests/benchmarks/wire.py many      # the app opened on a store of 10,000 runs

A made-up run trains in a thread of this process (ten steps a second, an epoch every two seconds);
the app runs as its own process on a pty whose output is counted, or read at 64 KiB/s. Prints
figures beside their budget and asserts nothing, since the machine decides.
"""

from __future__ import annotations

import fcntl
import math
import os
import pty
import select
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from factory import epoch_metrics, make_run  # noqa: E402

from tlui.runs.directory import Home, RunDirectory  # noqa: E402
from tlui.runs.events import EventWriter  # noqa: E402
from tlui.runs.process import identify  # noqa: E402
from tlui.runs.status import read_status, write_status  # noqa: E402

APP = "from tlui.cli.main import main; main([])"
MINIMAL = (
    "from textual.app import App\n"
    "from textual.widgets import Static\n"
    "class Minimal(App):\n"
    "    def compose(self):\n"
    "        yield Static('tlui')\n"
    "Minimal().run()\n"
)
THROTTLE = 64 * 1024


class Terminal:
    """A process on a pty; a thread reads what it writes, at a bounded rate if asked."""

    def __init__(self, code: str, size: tuple[int, int], rate: int = 0) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor",
               "PYTHONPATH": str(ROOT)}  # fmt: skip
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=slave, stdout=slave, stderr=slave,
            env=env, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.rate = rate
        self.seen: list[tuple[float, bytes]] = []
        self.count = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        portion = self.rate // 50 or 1 << 16
        while True:
            try:
                ready, _, _ = select.select([self.master], [], [], 1.0)
                if not ready:
                    continue
                data = os.read(self.master, portion)
            except OSError:
                return
            if not data:
                return
            self.count += len(data)
            self.seen.append((time.perf_counter(), data))
            if self.rate:
                time.sleep(len(data) / self.rate)

    def press(self, keys: bytes) -> float:
        os.write(self.master, keys)
        return time.perf_counter()

    def wait(self, text: bytes, since: int = 0, seconds: float = 20) -> float | None:
        """When `text` was first there among what came after the first `since` portions."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            joined = b""
            for when, data in self.seen[since:]:
                joined = joined[-64:] + data
                if text in joined:
                    return when
            time.sleep(0.002)
        return None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()  # else it would read from the next terminal, of the same number
        os.close(self.master)


class Training:
    """A run that goes on while it is looked at."""

    def __init__(self, home: Home) -> None:
        self.run: RunDirectory = make_run(
            home, name="live", state="running", epochs=500, done=5, steps=20, owner=identify()
        )
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._train, daemon=True)
        self._thread.start()

    def _train(self) -> None:
        writer = EventWriter(self.run.events)
        step, epoch = 100, 5
        while not self._ended.wait(0.1):
            step += 1
            found = epoch_metrics(epoch, 500)
            writer.write(
                "step", phase=0, epoch=epoch + 1, step=step % 20 + 1, steps=20, global_step=step,
                loss=found["train_loss"], accuracy=found["train_accuracy"], lr=1e-4,
                images_per_second=140.0 + step % 9,
            )  # fmt: skip
            if step % 20 == 0:
                epoch += 1
                writer.write(
                    "epoch", phase=0, epoch=epoch, epochs=500, global_step=step, seconds=2.0,
                    lr=1e-4, images_per_second=148.0, best=True, **epoch_metrics(epoch, 500),
                )  # fmt: skip
                writer.write("system", cpu_percent=80 + epoch % 10, ram_mb=2000)
                status = read_status(self.run.status)
                if status is not None:
                    progress = {**status.progress, "epoch": epoch, "step": step % 20, "steps": 20,
                                "eta_seconds": 1000 - epoch}  # fmt: skip
                    beat = replace(status, heartbeat=status.heartbeat + 1, progress=progress)
                    write_status(self.run.status, beat, sync=False)
        writer.close()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


def make_bytecode(folder: str) -> None:
    """Start both apps as if installed: with bytecode, which their first start makes."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = folder
    for code in (MINIMAL, APP):
        terminal = Terminal(code, (80, 24))
        terminal.wait(b"tlui")
        time.sleep(2)  # what the app imports behind its first frame
        terminal.close()


def first_paint(times: int = 15) -> None:
    minimal: list[float] = []
    ours: list[float] = []
    for _ in range(times):
        for code, found in ((MINIMAL, minimal), (APP, ours)):
            terminal = Terminal(code, (80, 24))
            when = terminal.wait(b"tlui")
            terminal.close()
            found.append((when or math.inf) - terminal.started)
    a, b = statistics.median(minimal), statistics.median(ours)
    print(f"first paint         minimal {a:.2f} s   tlui {b:.2f} s   ratio {b / a:.2f} (<= 1.5)")


def live_bytes(home: Home, size: tuple[int, int], budget: int, seconds: float = 15) -> None:
    training = Training(home)
    terminal = Terminal(APP, size)
    terminal.wait(b"live")
    terminal.press(b"\r")
    terminal.wait(b"accuracy")
    time.sleep(3)
    before, start = terminal.count, time.perf_counter()
    time.sleep(seconds)
    rate = (terminal.count - before) / (time.perf_counter() - start)
    print(f"live, {size[0]:3}x{size[1]:<3}       {rate / 1024:6.2f} KiB/s (<= {budget})")
    terminal.close()
    training.stop()


def idle_bytes(seconds: float = 10) -> None:
    for label, keys in (("runs", b""), ("run", b"\r")):
        terminal = Terminal(APP, (80, 24))
        terminal.wait(b"done")
        terminal.press(keys)
        time.sleep(4)
        before = terminal.count
        time.sleep(seconds)
        print(f"idle, {label:12} {terminal.count - before:6} bytes in {seconds:.0f} s (0)")
        terminal.close()


def key_to_echo(home: Home) -> None:
    training = Training(home)
    terminal = Terminal(APP, (200, 60), THROTTLE)
    terminal.wait(b"live")
    time.sleep(3)
    terminal.press(b"/")
    time.sleep(1)
    delays = []
    for key in b"zqwxkvjyzqwxkvjyzqwxkvjyzqwxkv":
        since = len(terminal.seen)
        pressed = terminal.press(bytes([key]))
        when = terminal.wait(bytes([key]), since, 5)
        delays.append((when if when is not None else pressed + 5) - pressed)
        time.sleep(0.15)
    delays.sort()
    p50, p95 = delays[len(delays) // 2], delays[int(len(delays) * 0.95)]
    figures = f"p50 {p50 * 1000:.0f} ms   p95 {p95 * 1000:.0f} ms (<= 250)"
    print(f"key to echo, 64 KiB/s, 200x60   {figures}")
    terminal.close()
    training.stop()


def opening(home: Home, count: int = 10_000, times: int = 5) -> None:
    """Seconds until a large store shows its newest runs, and until it knows all of them."""
    for i in range(count):
        make_run(home, name=f"run{i}", state="finished", epochs=3)
    for anew in (True, False):
        for _ in range(times):
            if anew:
                shutil.rmtree(os.environ["TLUI_CACHE"], ignore_errors=True)
            terminal = Terminal(APP, (120, 40))
            seen = [
                terminal.wait(text.encode(), seconds=120)
                for text in (f"run{count - 1} ", f"{count:,} runs")
            ]
            terminal.close()
            first, all_ = (f"{(w or math.inf) - terminal.started:.2f} s" for w in seen)
            how = "without an index" if anew else "with one"
            print(f"{count:,} runs, {how}: the newest after {first} (< 1), all after {all_}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TLUI_CACHE"] = f"{folder}/cache"
        os.environ["TLUI_CONFIG"] = f"{folder}/none.toml"
        os.environ["TLUI_HOME"] = f"{folder}/home"
        home = Home.at()
        make_bytecode(f"{folder}/bytecode")
        if "many" in sys.argv:
            opening(home)
            return
        make_run(home, name="done", state="finished")
        if "quick" not in sys.argv:
            idle_bytes()
            first_paint()
        live_bytes(home, (80, 24), 8)
        live_bytes(home, (200, 60), 50)
        key_to_echo(home)


if __name__ == "__main__":
    main()
