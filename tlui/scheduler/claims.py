"""Who holds what: one file a running run and one a device slot, in `<home>/claims`.

Promise: a run is started once and a device slot has one holder, however many front ends and
supervisors decide at the same instant, and a holder that died never blocks anybody for ever.

A claim is created with O_EXCL and names the processes that hold it (the supervisor first, then
its trainer); it is stale when all of them are proven dead, which only their own host can say.
Changes to existing claims (naming the trainer, breaking a stale one) are made under a kernel
lock on `<home>/claims/.lock`, held for microseconds and let go by the kernel when its holder
dies: without it a slow breaker could remove the claim a faster one had just made. Device slots
are taken under the same lock, all or none.

Nothing here follows a symlink; one in the place of a claim is refused by name.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlui.errors import TluiError
from tlui.runs.directory import Home
from tlui.runs.files import FILE_MODE, fresh, make_own, write_json
from tlui.runs.lock import locked
from tlui.runs.process import Identity, identify, liveness

CPU = "cpu"
"""The key of the one CPU device of a host; a GPU's key is its UUID."""
RUN = "run-"
DEVICE = "device-"


@dataclass(frozen=True)
class Claim:
    """What a claim file says."""

    name: str
    run: str
    holders: tuple[Identity, ...]
    """The supervisor, then the trainer once there is one."""
    devices: tuple[str, ...] = ()
    """Of a run: the keys of its devices. Of a device slot: that device's key."""
    host: str = ""
    per_device: int = 1
    """How many runs its holder tolerates on the device, itself included."""
    seen: float | None = field(default=None, compare=False)
    """Unix time of the last sign of life: when the claim was written, or the run's heartbeat."""

    unclear: bool = field(default=False, compare=False)
    """It is not readable, and too new for that to mean a crash half-way."""

    @property
    def supervisor(self) -> Identity | None:
        return self.holders[0] if self.holders else None

    @property
    def trainer(self) -> Identity | None:
        return self.holders[1] if len(self.holders) > 1 else None

    @property
    def stale(self) -> bool:
        """Whether every holder is known to be dead."""
        return not self.unclear and all(liveness(who, self.seen) == "dead" for who in self.holders)

    @property
    def orphaned(self) -> bool:
        """Whether the trainer lives on this host and its supervisor does not."""
        if self.supervisor is None or self.trainer is None:
            return False
        return liveness(self.supervisor) == "dead" and liveness(self.trainer) == "alive"

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": 1,
            "run": self.run,
            "holders": [who.to_dict() for who in self.holders],
            "devices": list(self.devices),
            "host": self.host,
            "per_device": self.per_device,
        }


class Claims:
    """The claims of one home.

    Args:
        home: The store.
        leaving: A run of this process's that is over: its devices count as free here, and its
            claims go in the instant in which this process takes devices for another run.
    """

    def __init__(self, home: Home, leaving: str = "") -> None:
        self._home = home
        self._leaving = leaving
        self.folder = home.path / "claims"
        self.host = socket.gethostname()

    def all(self) -> list[Claim]:
        """Every readable claim, those on runs first.

        Raises:
            TluiError: The folder or a claim is a symlink, or a claim is no file or cannot be read.
        """
        if self.folder.is_symlink():
            raise TluiError(f"{self.folder}: is a symbolic link, not a folder of claims; remove it")
        if not self.folder.is_dir():
            return []
        names = [p.name for p in self.folder.iterdir() if p.name.startswith((RUN, DEVICE))]
        found = (self.read(name) for name in sorted(names, reverse=True))
        return [claim for claim in found if claim is not None]

    def runs(self) -> list[Claim]:
        """The claims on runs."""
        return [claim for claim in self.all() if claim.name.startswith(RUN)]

    def of_run(self, run_id: str) -> Claim | None:
        """The claim on a run, or None where nobody holds it."""
        return self.read(RUN + run_id)

    def seen_to(self, run_id: str) -> bool:
        """Whether somebody else on this host has a run, and so sees to what follows from it."""
        claim = self.of_run(run_id)
        if claim is None or run_id == self._leaving:
            return False
        return any(liveness(who) == "alive" for who in claim.holders)

    def read(self, name: str) -> Claim | None:
        """One claim; None where there is none. A half-written one has no holders: it is stale, but
        for the first minute, in which another host's may only look so (`fresh`)."""
        path = self.folder / name
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise TluiError(f"{path}: is a symbolic link, not a claim; remove it") from error
            raise TluiError(f"{path}: cannot be read ({error.strerror})") from error
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise TluiError(f"{path}: is not a file, and so no claim; remove it")
        with os.fdopen(handle, "rb") as file:
            try:
                given = json.load(file)
                holders = [Identity.from_dict(who) for who in given["holders"]]
                return Claim(
                    name=name,
                    run=str(given["run"]),
                    holders=tuple(who for who in holders if who is not None),
                    devices=tuple(str(key) for key in given["devices"]),
                    host=str(given["host"]),
                    per_device=int(given["per_device"]),
                    seen=max(os.fstat(handle).st_mtime, self._heard(str(given["run"]))),
                )
            except (OSError, ValueError, KeyError, TypeError):
                run = name.removeprefix(RUN) if name.startswith(RUN) else ""
                return Claim(name, run, (), unclear=fresh(path))

    def take(self, run_id: str, devices: Sequence[str] = (), per_device: int = 1) -> bool:
        """Claim a run and its devices for this process, all or nothing.

        Args:
            run_id: The run; nobody else may hold it.
            devices: Keys of the devices; each must have room for one more.
            per_device: How many runs may be on a device once this one is there.

        Returns:
            False when another live process holds the run, or a device has no room.

        Raises:
            TluiError: The claims folder is not usable.
        """
        me = (identify(),)
        with self._lock():
            if not self._vacant(RUN + run_id):
                return False
            if devices and self._leaving:
                self._let_go(self._leaving)
            slots = []
            for key in devices:
                slot = self._free_slot(key, per_device)
                if slot is None:
                    return False
                slots.append(
                    Claim(slot, run_id, me, devices=(key,), host=self.host, per_device=per_device)
                )
            run = Claim(RUN + run_id, run_id, me, tuple(devices), self.host, per_device)
            return self._create([*slots, run])

    def occupants(self, key: str) -> list[Claim]:
        """The live claims on a device of this host."""
        prefix = device_prefix(self.host, key)
        there = [c for c in self.all() if c.name.startswith(prefix) and not c.stale]
        return [c for c in there if c.run != self._leaving]

    def name_trainer(self, run_id: str, trainer: Identity) -> None:
        """Add the trainer to the holders of a run's claims, which this process took."""
        with self._lock():
            for claim in self._held(run_id):
                self._replace(claim, (identify(), trainer))

    def adopt(self, run_id: str) -> Claim | None:
        """Take the supervisor's place in the claims of an orphaned run; None when it is not one."""
        with self._lock():
            claim = self.of_run(run_id)
            if claim is None or not claim.orphaned or claim.trainer is None:
                return None
            for held in self._held(run_id):
                self._replace(held, (identify(), claim.trainer))
            return claim

    def receive(self, run_id: str, giver: Identity) -> bool:
        """Take over the claims a starter made for its supervisor, which is this process."""
        with self._lock():
            claim = self.of_run(run_id)
            if claim is None or claim.holders != (giver,):
                return False
            for held in self._held(run_id):
                self._replace(held, (identify(),))
            return True

    def inherit(self, run_id: str) -> bool:
        """Take over the stale claim of a run whose processes are all dead, to settle it."""
        with self._lock():
            claim = self.of_run(run_id)
            if claim is None or not claim.stale:
                return False
            for held in self._held(run_id):
                self._replace(held, (identify(),))
            return True

    def release(self, run_id: str) -> None:
        """Let go of a run and its devices, the run last, as far as they are this process's."""
        with self._lock():
            self._let_go(run_id)

    def evict(self, run_id: str) -> None:
        """Remove a run's claims whoever holds them; for holders known dead by other means."""
        with self._lock():
            for claim in self._held(run_id):
                (self.folder / claim.name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove stale device slots whose run nobody holds: left by a crash half-way."""
        stray = [c for c in self.all() if c.name.startswith(DEVICE) and c.stale]
        if stray:
            with self._lock():
                for claim in stray:
                    if self.of_run(claim.run) is None:
                        self._vacant(claim.name)

    @contextmanager
    def holding(self, run_id: str) -> Iterator[bool]:
        """Hold a run (no device) for the length of a `with`; yields whether it was free."""
        taken = self.take(run_id)
        try:
            yield taken
        finally:
            if taken:
                self.release(run_id)

    @contextmanager
    def still(self) -> Iterator[None]:
        """Nobody changes a claim for the length of a `with`, which must be short; reading only."""
        with self._lock():
            yield

    def _let_go(self, run_id: str) -> None:
        me = identify()
        for claim in self._held(run_id):
            if claim.supervisor == me:
                (self.folder / claim.name).unlink(missing_ok=True)

    def _heard(self, run_id: str) -> float:
        """Unix time of a run's last heartbeat; 0 where it has none."""
        try:
            return self._home.run(run_id).status.stat().st_mtime
        except OSError:
            return 0.0

    def _held(self, run_id: str) -> list[Claim]:
        """The claims of a run, its devices first."""
        return sorted((c for c in self.all() if c.run == run_id), key=lambda c: c.name)

    def _free_slot(self, key: str, per_device: int) -> str | None:
        prefix = device_prefix(self.host, key)
        occupants = self.occupants(key)
        if any(len(occupants) >= claim.per_device for claim in occupants):
            return None
        names = (f"{prefix}{slot}" for slot in range(per_device))
        if len(occupants) >= per_device:
            return None
        return next((name for name in names if self._vacant(name)), None)

    def _vacant(self, name: str) -> bool:
        """Whether a name is free, after breaking a stale claim of that name; under the lock."""
        claim = self.read(name)
        if claim is None:
            return True
        if not claim.stale:
            return False
        (self.folder / name).unlink(missing_ok=True)
        return True

    def _create(self, claims: Sequence[Claim]) -> bool:
        """Make the files of all these claims or of none; under the lock."""
        made: list[Path] = []
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            for claim in claims:
                path = self.folder / claim.name
                handle = os.open(path, flags, FILE_MODE)
                made.append(path)
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(claim.to_dict(), file)
        except OSError as error:
            for path in made:
                path.unlink(missing_ok=True)
            if isinstance(error, FileExistsError) or self._vague(error):
                return False
            raise TluiError(
                f"{self.folder}: cannot be written ({error.strerror}); free some space or mend "
                "the permissions of tlui's home"
            ) from error
        return True

    def _vague(self, error: OSError) -> bool:
        """Whether `not permitted` means `exists`, for which SFTP, and so sshfs, has no word."""
        from tlui.runs.place import NETWORK, filesystem

        return error.errno == errno.EPERM and filesystem(self.folder) in NETWORK

    def _replace(self, claim: Claim, holders: tuple[Identity, ...]) -> None:
        write_json(self.folder / claim.name, {**claim.to_dict(), **_holders(holders)}, sync=False)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            make_own(self.folder)
        except OSError as error:
            raise TluiError(
                f"{self.folder}: cannot be made ({error.strerror}); free some space or mend "
                "the permissions of tlui's home"
            ) from error
        with locked(self.folder / ".lock"):
            yield


def device_prefix(host: str, key: str) -> str:
    """How the names of a device's claims begin; the slot's number follows."""
    return f"{DEVICE}{_plain(host)}-{_plain(key)}-"


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)


def _holders(holders: tuple[Identity, ...]) -> dict[str, Any]:
    return {"holders": [who.to_dict() for who in holders]}
