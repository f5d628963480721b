"""`tlui predict`: what a trained run says of photos.

Finding photos and printing happen here; decoding and the network live in a process that has
TensorFlow, which answers photo by photo.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

import typer

from tlui.cli.options import AsciiOption, HomeOption

if TYPE_CHECKING:
    from tlui.data.photos import Named
    from tlui.runs.directory import RunDirectory

PROGRESS_SECONDS = 0.25
SHOWN_CLASSES = 3


def predict(
    run: Annotated[str, typer.Argument(help="A run: id prefix, name or @last.")],
    photos: Annotated[list[str], typer.Argument(help="Photos, or folders of photos.")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Write CSV with every probability; - is stdout."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="A JSON object a line, on stdout.")] = False,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, help="Classes shown of each photo; else 3."),
    ] = None,
    weights: Annotated[
        Literal["best", "last"] | None,
        typer.Option("--weights", help="Of which epoch; as the run was evaluated if not given."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, max=65536, help="As the run evaluated if not given."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    home: HomeOption = None,
    ascii: AsciiOption = False,
) -> int:
    """Classify photos with a trained run: a table, lines with tabs where nobody looks, JSON or CSV.

    Photos that cannot be read are named on stderr with the reason and make the exit code 1; the
    others are classified all the same.
    """
    from tlui.cli.terminal import is_terminal
    from tlui.data.photos import find
    from tlui.errors import TluiError
    from tlui.runs.charset import ascii_only
    from tlui.runs.directory import Home
    from tlui.runs.export import save
    from tlui.runs.reference import resolve
    from tlui.runs.text import printable

    if json and output is not None:
        raise TluiError("--json or --output, not both", 2)
    if top is not None and output is not None:
        raise TluiError("--output writes every class's probability: --top has no part in it", 2)
    if force and output in (None, "-"):
        raise TluiError("--force replaces the file that -o names; none is named", 2)
    top = top or SHOWN_CLASSES
    chosen = resolve(Home.at(home, create=False), run)
    which = _weights(chosen, weights)
    classes = _classes(chosen)
    found, skipped = find([os.fsencode(path) for path in photos])
    table = is_terminal() and not json and output is None
    asked = _Asked(chosen, which, batch_size, found, classes)
    asked.progress = sys.stderr.isatty() and (table or not is_terminal())
    if output is not None:
        save(output, force, lambda out: _write_csv(out, asked))
    elif json:
        _print_json(asked, top)
    elif table:
        _print_table(asked, top, ascii_only(ascii))
    else:
        _print_lines(asked, top)
    for name, problem in asked.problems:
        print(f"tlui: {printable(name)}: {printable(problem)}", file=sys.stderr)
    if skipped:
        others = f"{len(skipped):,} other file{'' if len(skipped) == 1 else 's'}"
        print(f"{others} in the folders, not photos, left out", file=sys.stderr)
    if asked.images:
        print(asked.summary(), file=sys.stderr)
    return 1 if asked.problems else 0


def _weights(run: RunDirectory, wanted: str | None) -> str:
    """Which checkpoint to take.

    Raises:
        TluiError: The run has no result, or not this checkpoint.
    """
    from tlui.errors import TluiError

    result = run.read_result()
    if result is None:
        state = run.observe().state
        way = f"tlui resume {run.id} continues it"
        if state in ("queued", "starting", "running", "evaluating", "stale"):
            way = f"tlui watch {run.id} shows how far it is"
        raise TluiError(f"run {run.id} is {state} and has no result to predict with; {way}")
    name = wanted or ("last" if result.get("evaluated") == "last" else "best")
    if not (run.checkpoints / f"{name}.npz").is_file():
        other = "last" if name == "best" else "best"
        there = (run.checkpoints / f"{other}.npz").is_file()
        way = f"try --weights {other}" if there else f"tlui resume {run.id} trains it again"
        raise TluiError(f"run {run.id} has no {name} weights (checkpoints/{name}.npz); {way}")
    return name


def _classes(run: RunDirectory) -> list[str]:
    """The names of a run's classes, by index.

    Raises:
        TluiError: They cannot be read.
    """
    from tlui.errors import TluiError
    from tlui.runs.files import read_json

    names = (read_json(run.classes) or {}).get("classes")
    if not isinstance(names, list) or len(names) < 2:
        raise TluiError(f"{run.classes}: cannot be read: the run's classes have no names")
    return [str(name) for name in names]


@dataclass
class _Answer:
    """What the network says of one photo."""

    name: str
    classes: list[str]
    probabilities: list[float] | None = None
    problem: str = ""

    def top(self, count: int) -> list[tuple[str, float]]:
        """The most probable classes, best first."""
        pairs = zip(self.classes, self.probabilities or [], strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])[:count]


@dataclass
class _Asked:
    """A request to the process with the network; iterating over it asks and gives the answers."""

    run: RunDirectory
    weights: str
    batch_size: int | None
    photos: list[Named]
    classes: list[str]
    progress: bool = False
    """Whether to say on stderr how far it is."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    images: int = 0
    seconds: float = 0.0
    device: str = ""
    _said: float = 0.0

    def __iter__(self) -> Iterator[_Answer]:
        """One answer a photo, in order.

        Raises:
            TluiError: The run cannot be used, or the process fails.
        """
        from tlui.data.sources.files import shown

        sound = [i for i, photo in enumerate(self.photos) if not photo.problem]
        answers = self._ask([self.photos[i].path for i in sound]) if sound else iter(())
        for done, photo in enumerate(self.photos):
            answer = _Answer(shown(photo.path), self.classes, problem=photo.problem)
            if not photo.problem:
                given = next(answers)
                answer.problem = given.get("error", "")
                answer.probabilities = given.get("probabilities")
            if answer.problem:
                self.problems.append((answer.name, answer.problem))
            if time.monotonic() - self._said >= PROGRESS_SECONDS:
                self._say(f"{done:,} of {len(self.photos):,} photos")
            yield answer
        for _ in answers:  # hears the end
            pass
        self._say("")

    def summary(self) -> str:
        """How many photos, by what, and how fast the network was."""
        from tlui.runs.format import duration, speed

        photos = f"{self.images:,} photo{'' if self.images == 1 else 's'}"
        fast = speed(self.images / max(self.seconds, 1e-9))
        return (
            f"{photos} with the {self.weights} weights of run {self.run.id}: inference "
            f"{duration(self.seconds)} ({fast}), warmed up, batch {self.batch_size}, {self.device}"
        )

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        if self.progress:
            end = "" if text else "\r"
            print(f"\r{text:<40}", end=end, file=sys.stderr, flush=True)

    def _ask(self, paths: list[bytes]) -> Iterator[dict[str, Any]]:
        import subprocess
        import tempfile
        from json import dumps, loads

        from tlui.errors import TluiError
        from tlui.runs.environment import importable, python

        self._say("starting TensorFlow")
        request = {
            "run": str(self.run.path),
            "weights": self.weights,
            "classes": len(self.classes),
            "batch_size": self.batch_size,
            "photos": [os.fsdecode(path) for path in paths],
        }
        with tempfile.TemporaryFile("w+", errors="replace") as log:
            process = subprocess.Popen(
                python("tlui.trainer.predict"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=importable(os.environ),
            )
            assert process.stdin is not None and process.stdout is not None
            ended = False
            try:
                with process.stdin as ask:
                    ask.write(dumps(request))
                for line in process.stdout:
                    answer = loads(line)
                    match answer["type"]:
                        case "begin":
                            self.batch_size = answer["batch_size"]
                            self.device = answer["device"]
                        case "photo":
                            yield answer
                        case "end":
                            self.images, self.seconds = answer["images"], answer["seconds"]
                            ended = True
                        case "error":
                            self._say("")
                            raise TluiError(answer["message"], answer["code"])
            except BrokenPipeError:
                pass  # it ended before it heard the request: its log says why
            finally:
                process.kill()
                process.wait()
                process.stdout.close()
            if not ended:
                self._say("")
                log.seek(0)
                lines = [line.strip() for line in log if line.strip()]
                raise TluiError(f"predicting failed: {lines[-1] if lines else 'the process died'}")


def _print_json(asked: _Asked, top: int) -> None:
    from tlui.cli.terminal import print_json_line

    for answer in asked:
        row: dict[str, Any] = {"file": answer.name}
        if answer.problem:
            row["error"] = answer.problem
        else:
            best = answer.top(top)
            row |= {"class": best[0][0], "probability": best[0][1]}
            row["top"] = [{"class": name, "probability": p} for name, p in best]
        print_json_line(row)


def _print_lines(asked: _Asked, top: int) -> None:
    from tlui.runs.text import printable

    for answer in asked:
        if not answer.problem:
            cells = [answer.name]
            for name, probability in answer.top(top):
                cells += [name, f"{probability:.6g}"]
            print("\t".join(printable(cell) for cell in cells), flush=True)


def _print_table(asked: _Asked, top: int, ascii: bool) -> None:
    from shutil import get_terminal_size

    from tlui.cli.tables import aligned
    from tlui.runs.format import metric
    from tlui.runs.text import printable, shorten

    rows = []
    for answer in asked:
        if not answer.problem:
            (name, probability), *others = answer.top(top)
            then = ", ".join(f"{printable(n)} {metric(p, ascii)}" for n, p in others)
            rows.append([answer.name, printable(name), metric(probability, ascii), then])
    if not rows:
        return
    header = ["file", "class", "prob.", "then" if top > 1 else ""]
    rest = sum(2 + max(len(row[i]) for row in [header, *rows]) for i in (1, 2, 3))
    room = max(get_terminal_size().columns - rest - 2, 16)
    for row in rows:
        row[0] = shorten(printable(row[0]), room, "~" if ascii else "…")
    print("\n".join(aligned([header, *rows], left=4)))


def _write_csv(out: IO[str], asked: _Asked) -> int:
    import csv

    from tlui.runs.export import cell

    writer = csv.writer(out, lineterminator="\r\n")
    written = 0
    for answer in asked:
        if not written:
            names = [f"probability.{name}" for name in asked.classes]
            writer.writerow(cell(x) for x in ("file", "class", "probability", "error", *names))
        best = answer.top(1)[0] if not answer.problem else (None, None)
        values = answer.probabilities or [math.nan] * len(asked.classes)
        row = [answer.name, *best, answer.problem or None, *values]
        writer.writerow(cell(value) for value in row)
        written += 1
    return written
