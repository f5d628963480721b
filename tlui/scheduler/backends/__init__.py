"""The backends by name, as `[run] on` and `--on` know them; a new one is one entry here.

`local` has none: it is the queue itself. Their words for people are in `tlui.recipe.placement`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache

from tlui.errors import TluiError
from tlui.runs.directory import RunDirectory
from tlui.scheduler.backends.base import Backend, Hint


@cache
def _slurm() -> Backend:
    from tlui.scheduler.backends.slurm import SlurmBackend

    return SlurmBackend()


BACKENDS: dict[str, Callable[[], Backend]] = {"slurm": _slurm}


def backend(name: str) -> Backend:
    """The backend of that name.

    Raises:
        TluiError: There is none.
    """
    try:
        return BACKENDS[name]()
    except KeyError:
        known = ", ".join(["local", *BACKENDS])
        raise TluiError(f'"{name}" is not a backend (one of: {known})', code=2) from None


def placed_on(run: RunDirectory) -> str:
    """The backend a run was made for: `local` or a key of `BACKENDS`."""
    config = run.read_meta().get("config")
    on = config.get("run.on") if isinstance(config, Mapping) else None
    return on if isinstance(on, str) and on in BACKENDS else "local"


def hints(runs: Sequence[RunDirectory]) -> dict[str, Hint]:
    """What the clusters say of those runs that were made for one; asks each cluster once."""
    by_backend: dict[str, list[RunDirectory]] = {}
    for run in runs:
        if (on := placed_on(run)) != "local":
            by_backend.setdefault(on, []).append(run)
    found: dict[str, Hint] = {}
    for on, theirs in by_backend.items():
        found.update(backend(on).state(theirs))
    return found


def dependencies(runs: Sequence[RunDirectory]) -> dict[str, Collection[str]]:
    """Run id -> ids of the runs it may start from, as run.json says."""
    return {
        run.id: [str(parent) for parent in run.read_meta().get("parents") or []] for run in runs
    }
