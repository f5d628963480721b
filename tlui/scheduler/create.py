"""Making the runs of a preset: one queued run directory a point, parents by id, in queue order."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tlui.errors import PresetError, TluiError
from tlui.recipe.fields import Loc
from tlui.recipe.lab import Point
from tlui.recipe.present import missing_files
from tlui.recipe.preset import Preset
from tlui.recipe.problems import escape
from tlui.recipe.schema import Experiment, StartFrom
from tlui.recipe.toml import configuration, experiment_to_toml
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.reference import resolve
from tlui.runs.status import read_status
from tlui.scheduler import order
from tlui.scheduler.claims import Claims
from tlui.scheduler.order import Wishes
from tlui.scheduler.parents import unusable
from tlui.scheduler.start import LEAST_BYTES, require_room

BYTES_A_RUN = 32 * 1024
"""What the files of a queued run may take on a disk that counts in blocks of 4 KiB."""
GIT_SECONDS = 2.0


def create_runs(
    home: Home,
    preset: Preset,
    wishes: Wishes | None = None,
    *,
    held: bool = False,
    before_each: Callable[[], None] = lambda: None,
) -> list[RunDirectory]:
    """Make a run for every point of a preset and put them at the end of the queue.

    run.json gets, beside what `Home.create` asks for: `parents`, the ids of the runs it may start
    from; `choose_parent`, whether the best of them is picked when they have ended (then written
    to preset.toml); `lab`, common to all runs of one call; `tags`; `folder` and `git_commit`, where
    they were asked for.

    Args:
        home: The store.
        preset: The runs to make, parents before children.
        wishes: Where they want to run; the freest device by default.
        held: Hold them back until they are released.
        before_each: Called before each run is made; may raise, then all are taken back.

    Returns:
        The runs, in the order of the points.

    Raises:
        PresetError: A run that is started from, the data or a weights file does not exist.
        TluiError: The wishes are for devices of this machine, and no run is.
        TluiError: The home cannot be written, or its disk is full or knows no locks; nothing is
            left of the runs.
    """
    backends = [point.experiment.run.on for point in preset.points]
    placed = order.placed(wishes or Wishes(), backends)
    refuse_absent(home, preset)
    require_room(home, LEAST_BYTES + len(preset.points) * BYTES_A_RUN)
    with Claims(home).still():  # where nothing can be claimed, nothing should wait for it
        pass
    common = {"lab": secrets.token_hex(4), **_place()}
    made: dict[str, RunDirectory] = {}
    with order.adding(home), _all_or_none(home, made):
        for point in preset.points:
            before_each()
            experiment, parents = _resolved(home, point, made)
            origin = experiment.origin
            meta: dict[str, Any] = {
                "name": experiment.name,
                "preset": origin.preset if origin else preset.name,
                "experiment": origin.experiment if origin else experiment.name,
                "config": configuration(experiment),
                "learns_little": experiment.learns_little,
                "parents": parents,
                "choose_parent": len(point.parents) > 1 and point.parent is None,
                "tags": list(experiment.tags),
                **common,
            }
            made[point.name] = home.create(experiment_to_toml(experiment), meta)
        for on, wished in placed.items():
            ids = [made[p.name].id for p in preset.points if p.experiment.run.on == on]
            order.append(home, ids, wished, held=held)
    return list(made.values())


def _place() -> dict[str, str | None]:
    """The current folder, and the commit that is checked out there; None where there is none."""
    try:
        folder = Path.cwd()
    except OSError:
        return {"folder": None, "git_commit": None}  # it was deleted
    commit = None
    if any(os.path.lexists(parent / ".git") for parent in (folder, *folder.parents)):
        with suppress(OSError, subprocess.SubprocessError):
            asked = subprocess.run(
                ["git", "rev-parse", "HEAD"],
                capture_output=True,
                text=True,
                timeout=GIT_SECONDS,
                stdin=subprocess.DEVNULL,
            )
            commit = asked.stdout.strip() if asked.returncode == 0 else None
    return {"folder": str(folder), "git_commit": commit or None}


@contextmanager
def _all_or_none(home: Home, made: dict[str, RunDirectory]) -> Iterator[None]:
    """Take back the runs made so far where one of them, or their place, could not be made."""
    try:
        yield
    except BaseException:
        for run in made.values():
            order.remove(home, run.id)
            status = read_status(run.status)
            if status is not None and status.state == "queued":  # nobody has started it already
                shutil.rmtree(run.path, ignore_errors=True)
        raise


def _resolved(
    home: Home, point: Point, made: dict[str, RunDirectory]
) -> tuple[Experiment, list[str]]:
    """The experiment with the ids of the runs it starts from, as far as they are known."""
    experiment = point.experiment
    parents = [made[name].id for name in point.parents if name in made]
    if experiment.start_from is not None and len(parents) == 1:
        experiment = _starting_from(experiment, experiment.start_from, parents[0])
    elif experiment.start_from is not None and experiment.start_from.run is not None:
        parent = resolve(home, experiment.start_from.run).id
        experiment = _starting_from(experiment, experiment.start_from, parent)
        parents = [parent]
    if experiment.backbone.weights.startswith("run:"):
        parent = resolve(home, experiment.backbone.weights.removeprefix("run:")).id
        backbone = experiment.backbone.model_copy(update={"weights": f"run:{parent}"})
        experiment = experiment.model_copy(update={"backbone": backbone})
        parents.append(parent)
    return experiment, parents


def _starting_from(experiment: Experiment, given: StartFrom, run_id: str) -> Experiment:
    start = given.model_copy(update={"experiment": None, "run": run_id})
    return experiment.model_copy(update={"start_from": start})


def refuse_absent(home: Home, preset: Preset) -> None:
    """Refuse a preset before anything is made for it, with everything that is missing.

    Raises:
        PresetError: The data, a weights file or a run that is started from is not there.
    """
    problems = [*missing_files(preset.points), *missing_runs(home, preset.points)]
    if problems:
        where = escape(str(preset.path or preset.name))
        raise PresetError([f"{where}: {problem}" for problem in problems])


def names_runs(points: Sequence[Point]) -> bool:
    """Whether any of them starts from a run that must be there."""
    return any(True for point in points for _ in _references(point.experiment))


def missing_runs(home: Home, points: Sequence[Point]) -> list[str]:
    """One line, `start_from.run: …`, for every run that cannot be started from, each once.

    There is no such run, several may be meant, its backbone is another, it has ended without a
    result, or its weights are gone; nothing is said of one that may still end well.
    """
    found: dict[str, None] = {}
    reasons: dict[tuple[str, str, float], str] = {}
    for point in points:
        for loc, reference in _references(point.experiment):
            backbone = point.experiment.backbone
            asked = (reference, backbone.name, backbone.alpha)
            if asked not in reasons:
                reasons[asked] = _why_not(home, *asked)
            if reasons[asked]:
                found[f"{point.place(loc)}: {reasons[asked]}"] = None
    return list(found)


def _references(experiment: Experiment) -> Iterator[tuple[Loc, str]]:
    """The runs an experiment names, and where."""
    if experiment.backbone.weights.startswith("run:"):
        yield ("backbone", "weights"), experiment.backbone.weights.removeprefix("run:")
    if experiment.start_from is not None and experiment.start_from.run is not None:
        yield ("start_from", "run"), experiment.start_from.run


def _why_not(home: Home, reference: str, name: str, alpha: float) -> str:
    """Why a run's weights cannot be started from in a backbone; '' where they can."""
    try:
        run = resolve(home, reference)
        config = run.read_meta().get("config")
        known = config if isinstance(config, dict) else {}
        theirs = (known.get("backbone.name", name), known.get("backbone.alpha", alpha))
        if theirs != (name, alpha):
            return (
                f"run {run.id} has another backbone: {theirs[0]} at alpha {theirs[1]}. "
                f"Received: {name} at alpha {alpha:g}"
            )
        return unusable(run)
    except TluiError as error:
        first, *near = [" ".join(line.split()) for line in str(error).splitlines()]
        return f"{first} {', '.join(near)}".rstrip()
