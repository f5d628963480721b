"""Runs, the home screen: the table, its filter, and a preview of the run under the cursor."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from tlui.runs.status import LIVE
from tlui.tui.lines import Line, ends
from tlui.tui.messages import WorkDone, WorkFailed
from tlui.tui.screens.framed import Framed
from tlui.tui.watch import Query
from tlui.tui.widgets.run_table import SORTS, RunTable
from tlui.tui.widgets.sheet import Sheet

if TYPE_CHECKING:
    from tlui.runs.row import Row


class FilterLine(Sheet):
    """What is shown, in which order, of how many."""

    DEFAULT_CSS = "FilterLine { height: 1; width: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self.left: Line = []
        self.right: Line = []

    def build(self, width: int, height: int) -> list[Line]:
        return [ends(self.left, [*self.right, (" ", "")], width)]


class Prompt(Sheet):
    """In front of the filter while it is typed."""

    DEFAULT_CSS = "Prompt { height: 1; width: 3; display: none; }"

    def build(self, width: int, height: int) -> list[Line]:
        return [[(" /", "key")]]


class Preview(Sheet):
    """The run under the cursor: a strip of three lines, or a card."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.row: Row | None = None

    def build(self, width: int, height: int) -> list[Line]:
        row, ascii = self.row, self.look.ascii
        rule: list[Line] = [[(" " + "─" * (width - 2), "faint")]] if height <= 4 else []
        if row is None:
            return rule
        from tlui.tui.describe import card, strip

        return [*rule, *strip(row, width - 1, ascii)] if rule else card(row, width, height, ascii)


class RunsScreen(Framed):
    """Every run of the store."""

    SCOPE = "runs"
    SCOPES: ClassVar[tuple[str, ...]] = ("runs", "run", "list", "app")
    PANES: ClassVar[tuple[str, ...]] = ("table",)
    DEFAULT_CSS = """
    RunsScreen #ask { height: 1; }
    RunsScreen #filter { display: none; width: 1fr; }
    RunsScreen.filtering #filter, RunsScreen.filtering Prompt { display: block; }
    RunsScreen.filtering FilterLine { width: 22; }
    RunsScreen #body { height: 1fr; }
    RunsScreen #left { width: 1fr; }
    RunsScreen #strip { height: 4; }
    RunsScreen #card { display: none; width: 40; padding: 0 0 0 1; }
    RunsScreen.medium #card, RunsScreen.wide #card { display: block; }
    RunsScreen.medium #strip, RunsScreen.wide #strip { display: none; }
    RunsScreen #charts { display: none; width: 38; padding: 0 0 0 2; }
    RunsScreen.wide #charts { display: block; }
    RunsScreen.zoomed #strip, RunsScreen.zoomed #card, RunsScreen.zoomed #charts { display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = RunTable(id="table")
        self.filter_line = FilterLine()
        self.filter_input = Input(
            id="filter", placeholder="dataset:intel cfg.lr>=1e-5 -state:failed"
        )
        self.filter_input.cursor_blink = False
        self.query_now = Query()
        self.strip, self.card = Preview("strip"), Preview("card")
        self._filter_before = ""
        self._anew = False
        self._seek = ""
        """A run just made, to which the cursor goes as soon as the store has it."""

    def panes(self) -> ComposeResult:
        with Horizontal(id="ask"):
            yield self.filter_line
        with Horizontal(id="body"):
            with Vertical(id="left"):
                yield self.table
                yield self.strip
            yield Vertical(id="charts")
            yield self.card

    def opened(self) -> None:
        super().opened()
        self.set_focus(self.table)
        self._describe_filter()

    def place(self) -> Line:
        return [("runs", "title")]

    def hidden_keys(self) -> set[str]:
        return set()

    def update_frame(self) -> None:
        super().update_frame()
        if self.is_mounted and self.has_class("filtering"):
            self.footer.keys = [("enter", "keep"), ("esc", "as it was"), ("f1", "help")]
            self.footer.redraw()

    def act(self, action: str) -> bool:
        self._seek = ""  # the cursor is the person's again
        return super().act(action)

    def zooms(self) -> int:
        return 1  # even where the screen is narrow there are three lines below the table

    # -- what the store says

    def refreshed(self) -> None:
        page = self.tlui.page
        if page is None or page.serial != self.query_now.serial:
            return
        self.table.marked = self.tlui.marked
        # at the top of a store that is still being read one stays at the top
        at_top = self.table.cursor == 0 and (page.reading or self.table.reading)
        if self.table.take(page, keep=not self._anew and not at_top, seek=self._seek):
            self._seek = ""
        self._anew = False
        self._describe_filter()
        self._preview()

    def ask(self, **change: object) -> None:
        """Change what the table wants to see; other runs or another order start at the top."""
        if {"filter", "sort", "show_hidden"} & set(change):
            self._anew = True
            self.table.cursor = self.table.top = 0
        serial = self.query_now.serial + 1
        keep = "" if self._anew else self._kept()
        self.query_now = replace(self.query_now, serial=serial, keep=keep, **change)  # type: ignore[arg-type]
        self.tlui.ask(self.query_now)

    @on(RunTable.Wanted)
    def _fetch(self, message: RunTable.Wanted) -> None:
        self.ask(offset=message.offset, limit=message.limit)

    @on(RunTable.Moved)
    def _moved(self) -> None:
        self.tlui.watch_store.keep(self._kept())
        self._preview()

    def _kept(self) -> str:
        """The run that the cursor goes to or stays on; none at the top, where new ones come."""
        if self._seek:
            return self._seek
        row = self.table.current
        return row.id if row is not None and self.table.cursor else ""

    @on(RunTable.Chosen)
    def _chosen(self) -> None:
        row = self.table.current
        if row is not None:
            self.open_run(row)

    def open_run(self, row: Row, pane: int = 1) -> None:
        """Enter one run."""
        from tlui.tui.screens.run import RunScreen

        self.app.push_screen(RunScreen(row.id, pane=pane))

    def _preview(self) -> None:
        row = self.table.current
        for preview in (self.strip, self.card):
            preview.row = row
            preview.redraw()
        if self.has_class("wide"):
            self._chart(row)

    def _chart(self, row: Row | None) -> None:
        """The curves of the run under the cursor, on wide screens; numpy is imported only now."""
        from tlui.tui.widgets.run_charts import RunCharts

        charts = self.query_one("#charts", Vertical)
        if not charts.children:
            charts.mount(RunCharts())
        shown = charts.query(RunCharts)
        if shown:
            shown.first().watch_run(self.tlui.home, row.id if row else None)

    def fit_to(self, width: int, height: int) -> None:
        super().fit_to(width, height)
        if self.has_class("wide") and self.table.loaded:
            self.call_after_refresh(self._preview)

    def _describe_filter(self) -> None:
        query, table = self.query_now, self.table
        line = self.filter_line
        line.left = [(" /", "key"), (f" {query.filter}" if query.filter else " filter", "dim")]
        if query.filter:
            line.left = [(" / ", "key"), (query.filter, "value")]
        word = next((w for w, key in SORTS if key.lstrip("-") == query.sort.lstrip("-")), "")
        order = {"-created": "newest first", "created": "oldest first"}.get(
            query.sort, f"by {word}" + ("" if query.sort.startswith("-") else " up")
        )
        total = table.store_total
        count = f"{table.total:,} of {total:,} runs" if query.filter else f"{total:,} runs"
        if total == 1:
            count = count.replace("runs", "run")
        if table.reading:
            count = "indexing {:,} of {:,}".format(*table.reading)
        marks = f"{len(self.tlui.marked)} marked   " if self.tlui.marked else ""
        hidden = "hidden shown   " if query.show_hidden else ""
        line.right = [(f"{marks}{hidden}{order}   ", "dim"), (count if table.loaded else "", "dim")]
        if self.has_class("filtering"):
            line.left, line.right = [], line.right[1:]
        line.redraw()

    # -- filter

    def show_filter(self, text: str) -> None:
        """Show the runs of a filter, as the leaderboard does of a cell."""
        self.ask(filter=text, offset=0)
        self._describe_filter()

    def do_filter(self) -> None:
        if not self.filter_input.is_attached:
            ask = self.query_one("#ask", Horizontal)
            ask.mount(Prompt(), self.filter_input, before=self.filter_line)
        self._filter_before = self.query_now.filter
        self.filter_input.value = self.query_now.filter
        self.add_class("filtering")
        self._describe_filter()
        self.set_focus(self.filter_input)
        self.filter_input.cursor_position = len(self.filter_input.value)

    @on(Input.Changed, "#filter")
    def _typed(self, message: Input.Changed) -> None:
        if self.has_class("filtering") and message.value != self.query_now.filter:
            self.ask(filter=message.value, offset=0)

    @on(Input.Submitted, "#filter")
    def _filtered(self) -> None:
        self._close_filter()

    def _close_filter(self) -> None:
        self.remove_class("filtering")
        self.set_focus(self.table)
        self._describe_filter()

    def do_back(self) -> None:
        if self.has_class("filtering"):
            if self.query_now.filter != self._filter_before:
                self.ask(filter=self._filter_before, offset=0)
            self._close_filter()
        elif self.query_now.filter:
            self.ask(filter="", offset=0)

    # -- order and marks

    def do_sort(self) -> None:
        keys = [key for _, key in SORTS]
        now = next(
            (i for i, k in enumerate(keys) if k.lstrip("-") == self.table.sort.lstrip("-")), 0
        )
        self._sort_by(keys[(now + 1) % len(keys)])

    def do_sort_back(self) -> None:
        sort = self.table.sort
        self._sort_by(sort[1:] if sort.startswith("-") else "-" + sort)

    def _sort_by(self, key: str) -> None:
        self.table.sort = key
        self.ask(sort=key, offset=0)
        self._describe_filter()

    def do_mark(self) -> None:
        row = self.table.current
        if row is None:
            return
        self.tlui.toggle_mark(row.id)
        self.table.marked = self.tlui.marked
        self._describe_filter()
        self.table.act("down")
        self.table.redraw()

    def do_unmark_all(self) -> None:
        self.tlui.marked.clear()
        self._describe_filter()
        self.table.redraw()

    def do_compare(self) -> None:
        ids = list(self.tlui.marked)
        if len(ids) < 2:
            self.say("space marks the runs to compare; two or more", "warn")
            return
        from tlui.tui.screens.compare import CompareScreen

        self.app.push_screen(CompareScreen(ids))

    # -- doing things to the run under the cursor, or to all marked ones

    def do_pin(self) -> None:
        self._each("pin")

    def do_hide(self) -> None:
        self._each("hide")

    def _each(self, what: str) -> None:
        from tlui.tui import actions

        row = self.table.current
        if row is None:
            return
        if what == "pin":
            work = partial(actions.pin_runs, self.tlui.home, [row.id], not row.pinned)
        else:
            work = partial(actions.hide_runs, self.tlui.home, [row.id], not row.hidden)
        self.tlui.work_on(what, work)

    def do_show_hidden(self) -> None:
        self.ask(show_hidden=not self.query_now.show_hidden, offset=0)
        self._describe_filter()

    def do_delete(self) -> None:
        from tlui.tui.actions import delete_runs
        from tlui.tui.screens.modals import ConfirmModal

        row = self.table.current
        if row is None:
            return
        if row.state in LIVE or row.state == "stale":
            self.say(f"{row.title} is {row.state}: x stops it first", "warn")
            return
        work = partial(delete_runs, self.tlui.home, [row.id])
        text = ["Its events, weights, predictions and log are removed for good."]
        self.app.push_screen(
            ConfirmModal(f"Delete {row.title}?", text, "delete"),
            lambda yes: self.tlui.work_on("delete", work) if yes else None,
        )

    def do_clone(self) -> None:
        row = self.table.current
        if row is not None:
            self.tlui.clone(row.id)

    def do_stop(self) -> None:
        row = self.table.current
        if row is not None:
            self.tlui.ask_to_stop(row.id, row.title, row.state)

    def do_resume(self) -> None:
        row = self.table.current
        if row is not None:
            self.tlui.resume(row.id)

    def do_copy(self) -> None:
        row = self.table.current
        if row is not None:
            self.tlui.copy_path(row.id)

    def do_log(self) -> None:
        row = self.table.current
        if row is not None:
            self.open_run(row, pane=2)

    def do_export(self) -> None:
        from tlui.tui.screens.export import ExportModal
        from tlui.tui.watch import HIDDEN

        query = self.query_now
        where = query.filter if query.show_hidden else f"{HIDDEN} {query.filter}"
        self.app.push_screen(ExportModal(self.table.total, filter=where, sort=query.sort))

    def work_ended(self, message: WorkDone | WorkFailed) -> None:
        """Deleted runs lose their marks; the cursor goes to the first of new ones."""
        if isinstance(message, WorkDone) and message.what == "launch":
            self._seek = message.value[0]
            self.ask()
        if isinstance(message, WorkDone) and message.what == "delete":
            for run_id in message.value:
                self.tlui.marked.pop(run_id, None)
