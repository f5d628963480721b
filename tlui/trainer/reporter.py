"""The trainer's voice: the only writer of status.json and events.jsonl while it lives.

A thread beats every two seconds (status.json replaced without fsync) and samples the machine every
five. A disk that is full or gone loses records and raises an alert once it can be written; it
never ends training. No TensorFlow: it speaks from the moment the process starts.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from typing import Any

from tlui.errors import TluiError
from tlui.runs.directory import RunDirectory
from tlui.runs.events import EventWriter
from tlui.runs.process import identify, liveness, say_refused
from tlui.runs.status import HEARTBEAT_SECONDS, State, Status, read_status, write_status

SYSTEM_SECONDS = 5.0
STEP_SECONDS = 0.1
"""Least time between two step records, the last of an epoch excepted."""


class Reporter:
    """Says what a run is doing, to whoever reads its directory.

    Args:
        run: The run directory, which must exist.

    Raises:
        TluiError: Another live process trains this run.
        OSError: The event log cannot be opened.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        before = read_status(run.status) or Status("queued")
        me = identify()
        if (
            before.state in ("running", "evaluating")
            and before.owner is not None
            and before.owner != me
            and liveness(before.owner) == "alive"
        ):
            raise TluiError(
                f"run {run.id}: process {before.owner.pid} is already training it; "
                f"stop that one first"
            )
        self.before = before
        self.events = EventWriter(run.events)
        self._status = replace(
            before,
            state="running",
            reason="",
            advice="",
            owner=me,
            heartbeat=before.heartbeat + 1,
            device=os.environ.get("TLUI_DEVICE") or before.device,
            attempt=before.attempt + (before.state != "starting"),  # a supervisor has counted it
            started=before.started or time.time(),
            ended=None,
            exit_code=None,
        )
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._disk_trouble = ""
        self._alerted: set[tuple[str, object]] = set()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._system = SystemSampler()
        self._gpu_percents: list[float] = []
        self._write(sync=True)
        self._thread.start()

    @property
    def attempt(self) -> int:
        return self._status.attempt

    @property
    def status(self) -> Status:
        return self._status

    def device(self, label: str) -> None:
        """Say what it trains on, where the supervisor has not said so already."""
        if not self._status.device:
            with self._lock:
                self._status = replace(self._status, device=label)

    def state(self, state: State) -> None:
        """Move to another live state."""
        with self._lock:
            self._status = replace(self._status, state=state)
        self.event("state", state=state)
        self._write(sync=True)

    def progress(self, **fields: Any) -> None:
        """Change what status.json says of progress, at the next heartbeat."""
        with self._lock:
            self._status = replace(self._status, progress={**self._status.progress, **fields})

    def event(self, type: str, **fields: Any) -> None:
        """Append a record to events.jsonl."""
        with self._lock:
            lost, deleted = self.events.lost, self.events.deleted
            written = self.events.write(type, **fields)
            if written and lost:
                message = f"{lost} records could not be written: was the disk full?"
                self.events.write("alert", kind="records_lost", message=message)
            if self.events.deleted > deleted:
                message = f"{self.run.events} was deleted: what it said so far is lost"
                self.events.write("alert", kind="records_lost", message=message)

    def log(self, message: str, level: str = "info") -> None:
        """A line for people, in the event log and trainer.log."""
        print(f"{level}: {message}", file=sys.stderr, flush=True)
        self.event("log", level=level, message=message)

    def alert(self, kind: str, message: str, once: object = None) -> None:
        """Warn of something a person should look at; said once for each `kind` and `once`."""
        if (kind, once) in self._alerted:
            return
        self._alerted.add((kind, once))
        print(f"alert: {message}", file=sys.stderr, flush=True)
        self.event("alert", kind=kind, message=message)

    def take_gpu_percents(self) -> list[float]:
        """How busy the GPU was at each sample since the last call; [] where NVML does not say."""
        with self._lock:
            taken, self._gpu_percents = self._gpu_percents, []
        return taken

    def end(self, state: State, code: int, reason: str = "", advice: str = "") -> None:
        """Write how it ended, stop the thread and close the log; the last thing that is said."""
        self._over.set()
        self._thread.join(timeout=30)
        with self._lock:
            self._status = replace(
                self._status,
                state=state,
                reason=reason,
                advice=advice,
                ended=time.time(),
                exit_code=code,
            )
        self.event("state", state=state)
        self._write(sync=True)
        self.events.close()

    def _write(self, sync: bool) -> None:
        with self._lock:
            before = self._disk_trouble
            if before and self._status.reason == before:
                self._status = replace(self._status, reason="")
            try:
                write_status(self.run.status, self._status, sync)
            except OSError as error:
                trouble = (
                    f"{self.run.path}: cannot be written ({error.strerror or error}); training "
                    "goes on, but free some space or the results are lost"
                )
                self._live_on(trouble, new=not before)
                say_refused(error.errno or 0)
            else:
                trouble = ""
                if before:
                    say_refused(0)
            self._disk_trouble = trouble
        if trouble and not before:
            self.alert("disk", trouble, once=time.time())

    def _live_on(self, trouble: str, new: bool) -> None:
        """Show, without any space on the disk, that this process lives and what it lacks."""
        self._status = replace(self._status, reason=trouble)
        try:
            if new:
                write_status(self.run.status, self._status)
            os.utime(self.run.status)
        except OSError:
            pass  # then it is shown as stale, with what the process table says

    def _beat(self) -> None:
        sampled = time.monotonic()
        while not self._over.wait(HEARTBEAT_SECONDS):
            if self.run.kill_request(self.attempt).exists():
                os.kill(os.getpid(), signal.SIGKILL)  # given up: another attempt may have begun
            with self._lock:
                self._status = replace(self._status, heartbeat=self._status.heartbeat + 1)
            self._write(sync=False)
            if time.monotonic() - sampled >= SYSTEM_SECONDS:
                sampled = time.monotonic()
                fields = self._system.sample()
                if "gpu_percent" in fields:
                    with self._lock:
                        self._gpu_percents.append(fields["gpu_percent"])
                if fields:
                    self.event("system", **fields)


class SystemSampler:
    """CPU, memory and GPU use of this process and its device; what can't be read is left out."""

    def __init__(self) -> None:
        self._process: Any = None
        self._gpu: Any = None
        self._looked_for_gpu = False

    def sample(self) -> dict[str, float]:
        """cpu_percent (100 = one core), ram_mb, and of the first GPU gpu_percent, gpu_mb and
        gpu_celsius where there is one."""
        fields: dict[str, float] = {}
        try:
            import psutil

            if self._process is None:
                self._process = psutil.Process()
                self._process.cpu_percent()  # the first is 0: it counts from the call before
            else:
                fields["cpu_percent"] = round(self._process.cpu_percent(), 1)
            fields["ram_mb"] = round(self._process.memory_info().rss / 2**20, 1)
        except (ImportError, OSError, RuntimeError):
            fields.clear()  # no /proc here: the figures are a courtesy
        fields.update(self._sample_gpu())
        return fields

    def _sample_gpu(self) -> dict[str, float]:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible in ("", "-1"):
            return {}
        try:
            import pynvml

            if not self._looked_for_gpu:
                self._looked_for_gpu = True
                pynvml.nvmlInit()
                first = (visible or "0").split(",")[0].strip()
                self._gpu = (
                    pynvml.nvmlDeviceGetHandleByUUID(first)
                    if first.startswith(("GPU-", "MIG-"))
                    else pynvml.nvmlDeviceGetHandleByIndex(int(first))
                )
            if self._gpu is None:
                return {}
            return {
                "gpu_percent": float(pynvml.nvmlDeviceGetUtilizationRates(self._gpu).gpu),
                "gpu_mb": round(pynvml.nvmlDeviceGetMemoryInfo(self._gpu).used / 2**20, 1),
                "gpu_celsius": float(
                    pynvml.nvmlDeviceGetTemperature(self._gpu, pynvml.NVML_TEMPERATURE_GPU)
                ),
            }
        except Exception:
            return {}  # no NVML, no such device, no permission: nothing to show
