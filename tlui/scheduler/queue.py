"""The queue as a person sees it: what runs where, what waits and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.status import ENDED, LIVE
from tlui.scheduler import order
from tlui.scheduler.claims import Claims
from tlui.scheduler.devices import Device, choose, list_devices
from tlui.scheduler.parents import readiness
from tlui.scheduler.start import devices_wanted


@dataclass(frozen=True)
class Place:
    """One line of the queue."""

    run: RunDirectory
    name: str
    state: str
    """`running` (or another live state), `queued`, or `held`."""
    device: str = ""
    host: str = ""
    """Where that device is, if not here."""
    reason: str = ""
    """Why it waits, or what is wrong with it, in a sentence; empty when it starts next."""
    position: int | None = None
    """Its place among those that wait, from 1."""

    @property
    def where(self) -> str:
        """Where it runs and what is wrong with it, or why it waits."""
        device = f"{self.device} on {self.host}" if self.host else self.device
        return ": ".join(part for part in (device, self.reason) if part)


def places(
    home: Home,
    nvml: Any = None,
    devices: list[Device] | None = None,
    only: Collection[str] | None = None,
) -> list[Place]:
    """What runs, then what waits in its order.

    Args:
        home: The store.
        nvml: A module with pynvml's functions; pynvml itself by default.
        devices: What the host has, where the caller has just asked.
        only: Ids of the runs that are wanted; all by default. The fewer the faster.

    Raises:
        TluiError: The claims are not usable.
    """
    claims = Claims(home)
    found = []
    running = set()
    for claim in sorted(claims.runs(), key=lambda c: c.run):
        run = home.run(claim.run)
        seen = run.observe()
        if claim.stale or seen.state in ENDED or not (claim.devices or seen.state in LIVE):
            continue
        running.add(run.id)
        if only is not None and run.id not in only:
            continue
        state: str = "starting" if seen.state == "queued" else seen.state
        device = seen.status.device or ", ".join(claim.devices)
        there = claim.host if claim.devices and claim.host != claims.host else ""
        found.append(Place(run, _name(run), state, device, there, seen.reason))
    if devices is None:
        devices = list_devices(nvml)
    taken = 0
    promised: Counter[str] = Counter()
    elsewhere: list[int] = []
    for entry in order.entries(home):
        run = home.run(entry.run)
        seen = run.observe()
        if entry.run in running or seen.state != "queued":
            continue
        taken += 1
        if only is not None and entry.run not in only:
            continue
        state, reason = "queued", ""
        if entry.held:
            state, reason = "held", f"held back (tlui queue release {run.id})"
        elif (wishes := entry.wishes()).on != "local":
            elsewhere.append(len(found))
        else:
            parents = readiness(home, run)
            reason = parents.reason
            if parents.ready:
                choice = choose(wishes, devices_wanted(run), devices, claims, promised)
                promised.update(device.key for device in choice.devices)
                reason = choice.reason or seen.reason
        found.append(Place(run, _name(run), state, reason=reason, position=taken))
    if elsewhere:
        from tlui.scheduler.backends.handover import reasons

        said = reasons([found[i].run for i in elsewhere])
        for i in elsewhere:
            found[i] = replace(found[i], reason=said[found[i].run.id])
    return found


def _name(run: RunDirectory) -> str:
    return str(run.read_meta().get("name") or run.id)
