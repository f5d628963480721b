"""Run directories and the home they live in: where each file is, how a run is made.

A run directory is the truth about a run; it appears whole (made aside, then renamed). Opening
one reads nothing but what is asked for. No TensorFlow, no Textual, no pydantic.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlui.errors import TluiError
from tlui.recipe.place import config_path, expanded
from tlui.runs.files import (
    foreign,
    make_private,
    owner,
    read_json,
    sync_folder,
    write_json,
    write_text,
)
from tlui.runs.result import sound
from tlui.runs.status import NEW, RUN_ID, Observed, Status, observe, write_status


@dataclass(frozen=True)
class Home:
    """The store: `runs/` and what the queue keeps beside it."""

    path: Path

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @classmethod
    def at(cls, given: str | os.PathLike[str] | None = None, create: bool = True) -> Home:
        """The home that was asked for: `given`, else $TLUI_HOME, else `home` in the user's
        configuration, else the user's data directory.

        Raises:
            TluiError: It cannot be created or entered, or the configuration cannot be read.
        """
        where = given or os.environ.get("TLUI_HOME")
        if where:
            path = expanded(where).absolute()
        elif configured := _configured():
            path = configured
        else:
            import platformdirs

            path = Path(platformdirs.user_data_dir("tlui"))
        home = cls(path)
        found = _looked_at(path)
        if create:
            try:
                make_private(path)
                if why := foreign(path.stat()):
                    raise TluiError(
                        f"{path}: {why}, so it cannot be your home of tlui; "
                        + (_CLOSE.format(path) if why.startswith("others") else _ANOTHER)
                    )
                make_private(home.runs)
            except OSError as error:
                raise TluiError(
                    f"{path}: cannot be used as tlui's home ({error.strerror}); {_ANOTHER}"
                ) from error
        enter = os.R_OK | os.X_OK
        for folder in (path, home.runs):
            if found is not None and os.access(folder, os.F_OK) and not os.access(folder, enter):
                mine = found.st_uid == os.geteuid()
                whose = "" if mine else f", it belongs to {owner(found.st_uid)}"
                raise TluiError(f"{folder}: tlui's home cannot be read{whose}; {_ANOTHER}")
        return home

    def run(self, run_id: str) -> RunDirectory:
        """The directory of a run, whether or not it exists."""
        return RunDirectory(self.runs / run_id)

    def __iter__(self) -> Iterator[RunDirectory]:
        """Every run in the store, in no order; foreign files are passed over."""
        try:
            with os.scandir(self.runs) as entries:
                names = [
                    e.name
                    for e in entries
                    if RUN_ID.fullmatch(e.name) and e.is_dir(follow_symlinks=False)
                ]
        except FileNotFoundError:
            return
        for name in names:
            yield self.run(name)

    def create(self, preset_toml: str, meta: dict[str, Any]) -> RunDirectory:
        """Make a run: its directory appears whole, in state `queued`.

        Args:
            preset_toml: The resolved configuration.
            meta: run.json: what a list shows of a run without reading TOML. Must hold `name`,
                `preset`, `experiment` and `config` (the flattened leaves); `id`, `created` and
                `version` are added here.

        Raises:
            TluiError: The home cannot be written.
        """
        while os.path.lexists(target := self.runs / new_id()):
            pass
        run_id = target.name
        aside = self.runs / f"{NEW}{run_id}"
        try:
            aside.mkdir(mode=0o700)
            run = RunDirectory(aside)
            for folder in (run.checkpoints, run.requests):
                folder.mkdir(mode=0o700)
            write_text(run.preset, preset_toml)
            write_json(run.meta, {"version": 1, "id": run_id, "created": time.time(), **meta})
            write_status(run.status, Status("queued"))
            aside.rename(target)
            sync_folder(self.runs)
        except BaseException as error:
            import shutil

            shutil.rmtree(aside, ignore_errors=True)
            if not isinstance(error, OSError):
                raise
            raise TluiError(
                f"{self.runs}: cannot make a run there ({error.strerror}); free some space or "
                "choose another place with --home or $TLUI_HOME"
            ) from error
        return self.run(run_id)


_ANOTHER = "choose another with --home or $TLUI_HOME"
_CLOSE = "chmod go-w {}, or choose a folder in it with --home or $TLUI_HOME"


def _looked_at(path: Path) -> os.stat_result | None:
    """What stands in the place of a home, if anything; raises TluiError where it is no folder."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TluiError(
            f"{path}: cannot be used as tlui's home ({error.strerror}); {_ANOTHER}"
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise TluiError(f"{path}: is no folder, so not tlui's home; {_ANOTHER}")
    return found


def _configured() -> Path | None:
    """`home` of the user's configuration, read without checking the rest of it.

    Raises:
        TluiError: The file is there and cannot be read: going on could show another, empty store.
    """
    config = config_path()
    if not config.is_file():
        return None
    import tomllib

    try:
        home = tomllib.loads(config.read_text("utf-8")).get("home")
        if home is None:
            return None
        if not isinstance(home, str) or not home or "\0" in home:
            raise TluiError(f"{config}: home: must be a path in quotes. Received: {home!r}", 2)
    except (OSError, ValueError) as error:
        raise TluiError(f"{config}: cannot be read: {error}; mend it or give --home", 2) from error
    try:
        return config.absolute().parent / expanded(home)
    except TluiError as error:
        raise TluiError(f"{config}: home: {error}", 2) from error


def new_id() -> str:
    """Eight hex digits that no spreadsheet or data frame takes for a number (`12e45678` is one)."""
    while not re.search("[abcdf]", run_id := os.urandom(4).hex()):
        pass
    return run_id


@dataclass(frozen=True)
class RunDirectory:
    """One run's files. Every property is a path; methods read."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def preset(self) -> Path:
        return self.path / "preset.toml"

    @property
    def meta(self) -> Path:
        """run.json: id, created, name, preset, experiment, config leaves; never rewritten."""
        return self.path / "run.json"

    @property
    def env(self) -> Path:
        return self.path / "env.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def status(self) -> Path:
        return self.path / "status.json"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def classes(self) -> Path:
        return self.path / "classes.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The evaluated model, loadable with plain Keras."""
        return self.path / "model.keras"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def log(self) -> Path:
        return self.path / "trainer.log"

    @property
    def requests(self) -> Path:
        """Where front ends of any host leave word for the trainer: a file named `stop`."""
        return self.path / "requests"

    def kill_request(self, attempt: int) -> Path:
        """There once that attempt at training is over, whatever its processes think: as soon as
        they see it they end, and touch nothing that the next attempt writes."""
        return self.requests / f"kill-{attempt}"

    def exists(self) -> bool:
        return os.path.isfile(self.meta)  # noqa: PTH113 - False, too, where others closed it

    def observe(self, now: float | None = None) -> Observed:
        return observe(self.status, now)

    def read_meta(self) -> dict[str, Any]:
        return read_json(self.meta) or {}

    def read_result(self) -> dict[str, Any] | None:
        given = read_json(self.result)
        return None if given is None else sound(given)
