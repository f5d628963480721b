"""Export what is shown as CSV: one row a run, or one row an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from tlui.recipe.place import expanded
from tlui.runs.directory import Home
from tlui.tui.lines import Line
from tlui.tui.screens.modals import Lines, Modal, taken


class ExportModal(Modal):
    """Asks where to; writes in a thread."""

    def __init__(
        self,
        count: int,
        *,
        ids: Sequence[str] | None = None,
        filter: str = "",
        sort: str = "-created",
        epochs: bool = False,
    ) -> None:
        """Args:
        count: Runs that will be written.
        ids: Which runs; those of `filter` in the order of `sort` where not given.
        epochs: Whether one row an epoch is offered first.
        """
        super().__init__()
        self.count, self.ids, self.filter, self.sort = count, ids, filter, sort
        self.epochs = epochs

    def compose(self) -> ComposeResult:
        field = Input(value="epochs.csv" if self.epochs else "runs.csv", id="path")
        field.cursor_blink = False
        with Vertical(id="box"):
            yield Lines(self._text(), id="words")
            yield field
            yield Lines([[]], id="problem")
            yield Lines(
                [
                    [
                        ("enter", "key"),
                        (" write   ", "dim"),
                        ("tab", "key"),
                        (" one row a run or an epoch   ", "dim"),
                        ("esc", "key"),
                        (" no", "dim"),
                    ]
                ]
            )

    def opened(self) -> None:
        field = self.query_one(Input)
        self.set_focus(field)
        field.cursor_position = len(field.value)

    def _text(self) -> list[Line]:
        runs = "1 run" if self.count == 1 else f"{self.count:,} runs"
        rows = "one row an epoch" if self.epochs else "one row a run"
        return [[("Export CSV", "title")], [(f"{runs}, {rows}, to", "")]]

    def pressed(self, key: str, typing: bool) -> bool:
        if key != "tab":
            return False
        self.epochs = not self.epochs
        field = self.query_one(Input)
        if field.value in ("runs.csv", "epochs.csv"):
            field.value = "epochs.csv" if self.epochs else "runs.csv"
            field.cursor_position = len(field.value)
        words = self.query_one("#words", Lines)
        words.text = self._text()
        words.redraw()
        return True

    @on(Input.Submitted)
    def _write(self, message: Input.Submitted) -> None:
        if not message.value.strip():
            return self._complain("name a file")
        if problem := taken(message.value):
            return self._complain(problem)
        path = expanded(message.value)
        home, ids, epochs = self.tlui.home, self.ids, self.epochs
        filter, sort = self.filter, self.sort
        self.tlui.work_on("export", lambda: export(home, str(path), ids, filter, sort, epochs))
        self.dismiss(None)
        return None

    def _complain(self, text: str) -> None:
        problem = self.query_one("#problem", Lines)
        problem.text = [[(text, "error")]]
        problem.redraw()


def export(
    home: Home, path: str, ids: Sequence[str] | None, filter: str, sort: str, epochs: bool
) -> tuple[Any, str]:
    """Write the CSV; may block. Raises TluiError where it cannot be written."""
    from tlui.runs.export import pages, save, write_epochs, write_runs
    from tlui.runs.index import open_index

    with open_index(home) as index:
        wanted = list(ids) if ids is not None else index.ids(filter, sort)
        if epochs:
            count = save(path, False, lambda out: write_epochs(out, home, pages(index, wanted)))
            what = "epochs"
        else:
            count = save(path, False, lambda out: write_runs(out, lambda: pages(index, wanted)))
            what = "runs"
    return path, f"wrote {count:,} {what} to {path}"
