"""The runs of a lab and which starts from which: links, order and `--only`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tlui.recipe.assign import value_at
from tlui.recipe.catalogue import unknown
from tlui.recipe.fields import Loc, Path
from tlui.recipe.problems import Problems, dotted, escape, shown
from tlui.recipe.resolve import Draft, Resolved
from tlui.recipe.schema import Experiment


@dataclass(frozen=True)
class Point:
    """One run to be made."""

    experiment: Experiment
    """Resolved and validated; `name` is unique in the preset, `origin` says where it is from."""
    parent: str | None = None
    """Name of the point whose weights it starts from, where that is known beforehand."""
    parents: tuple[str, ...] = ()
    """Every point it may start from; the best of several is known when they have ended."""
    place: Callable[[Loc], str] = field(default=dotted, compare=False, repr=False)
    """Where in the preset a setting of it stands, in the person's terms."""

    @property
    def name(self) -> str:
        return self.experiment.name


def link(
    drafts: list[Draft], resolved: dict[str, list[Resolved]], problems: Problems
) -> list[Point]:
    """Points in dependency order; a parent always comes before its children."""
    labels = {draft.name: draft for draft in drafts}
    if _unknown_or_circular(drafts, resolved, problems):
        return []
    points: dict[str, Point] = {}
    for draft in drafts:
        for one in resolved[draft.name]:
            start = one.experiment.start_from
            if start is None or start.experiment is None:
                points[one.experiment.name] = Point(one.experiment, place=_place(draft, one))
                continue
            parents = resolved[start.experiment]
            if start.pick == "match" and len(parents) > 1:
                chosen = [parent for parent in parents if _matches(one, parent)]
                shared = any(path in parent.sweep for parent in parents for path in one.sweep)
                if parents and (not chosen or not shared):
                    place, _ = labels[draft.name].place(("start_from", "pick"), {})
                    problems.add(place, _no_match(one, start.experiment, shared))
                    continue
                parents = chosen
            for parent in parents:
                _same_backbone(draft, one, parent, start.experiment, problems)
            names = tuple(parent.experiment.name for parent in parents)
            only = names[0] if len(names) == 1 else None
            points[one.experiment.name] = Point(one.experiment, only, names, _place(draft, one))
    return _ordered(points)


def _place(draft: Draft, one: Resolved) -> Callable[[Loc], str]:
    return lambda loc: draft.place(loc, one.sweep)[0]


def _same_backbone(
    draft: Draft, child: Resolved, parent: Resolved, experiment: str, problems: Problems
) -> None:
    """Weights fit the backbone they were trained in: name an experiment that has another."""
    for key in ("name", "alpha"):
        mine, theirs = (getattr(one.experiment.backbone, key) for one in (child, parent))
        if mine != theirs:
            place, _ = draft.place(("backbone", key), child.sweep)
            problems.add(
                place,
                f"must be that of {shown(experiment)}, which it starts from: "
                f"{shown(theirs)}. Received: {shown(mine)}",
            )
            return


def _unknown_or_circular(
    drafts: list[Draft], resolved: dict[str, list[Resolved]], problems: Problems
) -> bool:
    """Check `start_from.experiment` of every experiment, whether or not its points are valid."""
    names = [draft.name for draft in drafts]
    needs: dict[str, list[str]] = {name: [] for name in names}
    bad = False
    for draft in drafts:
        # what is written counts even where no point is valid; a dict keeps the order
        targets = [value_at(draft.document, ("start_from", "experiment"))]
        targets += [
            one.experiment.start_from.experiment
            for one in resolved[draft.name]
            if one.experiment.start_from is not None
        ]
        swept = any(path[:1] == ("start_from",) for path in draft.axes)
        for target in dict.fromkeys(name for name in targets if isinstance(name, str)):
            if swept and not resolved[draft.name]:
                continue
            place, _ = draft.place(("start_from", "experiment"), {})
            if target == draft.name:
                problems.add(place, f"{shown(target)} cannot start from itself")
                bad = True
            elif target not in names:
                others = [name for name in names if name != draft.name]
                if others:
                    problems.add(place, unknown("experiment", escape(target), others))
                else:
                    problems.add(
                        place,
                        f"there is no other experiment in this preset. Received: {shown(target)}; "
                        "to start from a run that is there, give start_from.run",
                    )
                bad = True
            else:
                needs[draft.name].append(target)
    circle = _circle(needs)
    if circle:
        first = next(draft for draft in drafts if draft.name == circle[0])
        place, _ = first.place(("start_from", "experiment"), {})
        problems.add(place, "goes in a circle: " + " -> ".join(map(escape, circle)))
        bad = True
    return bad


def _circle(needs: dict[str, list[str]]) -> list[str]:
    """One circle among the needs, its first name repeated at the end; [] where there is none."""
    done: set[str] = set()
    for root in needs:
        trail: list[str] = []
        stack: list[tuple[str, bool]] = [(root, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                done.add(trail.pop())
            elif name in trail:
                return [*trail[trail.index(name) :], name]
            elif name not in done:
                trail.append(name)
                stack.append((name, True))
                stack += [(other, False) for other in needs[name]]
    return []


def _matches(child: Resolved, parent: Resolved) -> bool:
    return all(
        child.sweep[path] == parent.sweep[path] for path in child.sweep if path in parent.sweep
    )


def _no_match(child: Resolved, parent: str, shared: bool) -> str:
    if not shared:
        return f'"match" needs a sweep axis that {shown(parent)} has too; "best" takes the best'
    values = ", ".join(f"{_dots(path)} = {shown(value)}" for path, value in child.sweep.items())
    return f"no run of {shown(parent)} has {values}"


def _dots(path: Path) -> str:
    return ".".join(path)


def _ordered(points: dict[str, Point]) -> list[Point]:
    """Parents first, otherwise as written."""
    done: dict[str, Point] = {}
    stack = list(reversed(points.values()))
    while stack:
        point = stack[-1]
        waiting = [name for name in point.parents if name not in done and name in points]
        if point.name in done or not waiting:
            stack.pop()
            done.setdefault(point.name, point)
        else:
            stack += [points[name] for name in reversed(waiting)]
    return list(done.values())


def choose(points: list[Point], only: Sequence[str], problems: Problems) -> list[Point]:
    """The points of the experiments or runs named, with every parent they need."""
    if not only:
        return points
    by_name = {point.name: point for point in points}
    wanted: set[str] = set()
    for name in only:
        found = [
            point.name
            for point in points
            if point.name == name
            or (point.experiment.origin is not None and point.experiment.origin.experiment == name)
        ]
        if not found:
            experiments = [p.experiment.origin.experiment for p in points if p.experiment.origin]
            known = dict.fromkeys([*experiments, *by_name])
            problems.add("--only", unknown("experiment or run", escape(name), known))
        wanted.update(found)
    stack = list(wanted)
    while stack:
        for parent in by_name[stack.pop()].parents:
            if parent not in wanted:
                wanted.add(parent)
                stack.append(parent)
    return [point for point in points if point.name in wanted]


def check_only(experiments: Sequence[str], only: Sequence[str], problems: Problems) -> None:
    """Name what `--only` cannot mean, where a preset's own problems keep its runs unknown."""
    for name in only:
        if not any(name == one or name.startswith(f"{one}-") for one in experiments):
            problems.add("--only", unknown("experiment or run", escape(name), experiments))
