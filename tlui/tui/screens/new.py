"""New run: a form anyone can fill, and beside it what it will do."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.timer import Timer

from tlui.errors import TluiError
from tlui.runs.directory import Home
from tlui.runs.text import printable
from tlui.tui import forecast
from tlui.tui.choices import offer
from tlui.tui.draft import Draft
from tlui.tui.forecast import Checked, Seen
from tlui.tui.keys import shown_key
from tlui.tui.lines import Line
from tlui.tui.messages import WorkDone, WorkFailed
from tlui.tui.screens.framed import Framed
from tlui.tui.widgets.forecast_sheet import ForecastSheet
from tlui.tui.widgets.form_sheet import FormSheet

CHECK_SECONDS, LOOK_SECONDS, COUNT_SECONDS = 0.12, 0.5, 1.5
THUMBNAILS = 12


class NewScreen(Framed):
    """The form of one preset."""

    SCOPE = "new"
    SCOPES: ClassVar[tuple[str, ...]] = ("new", "app")
    PANES: ClassVar[tuple[str, ...]] = ("form", "forecast")
    DEFAULT_CSS = """
    NewScreen #body { height: 1fr; }
    NewScreen FormSheet { width: 1fr; min-width: 44; }
    NewScreen ForecastSheet { width: 1fr; padding: 0 0 0 2; }
    NewScreen.narrow FormSheet { width: 46; }
    NewScreen.wide FormSheet { width: 76; }
    """

    def __init__(self, draft: Draft | None = None, clone: str | None = None) -> None:
        super().__init__()
        self.draft = draft or Draft()
        self.clone = clone
        self.form = FormSheet(self.draft, id="form")
        self.forecast = ForecastSheet(id="forecast")
        self.serial = 0
        self.checked: Checked | None = None
        self._delays: dict[str, Timer] = {}
        self._data_key = ""
        self._count_key = ""
        self._counted: dict[str, list[tuple[int, int]]] = {}
        self._loading = self._launching = False

    @property
    def busy(self) -> bool:
        return self._loading or self._launching

    def panes(self) -> ComposeResult:
        with Horizontal(id="body"):
            yield self.form
            yield self.forecast

    def opened(self) -> None:
        super().opened()
        self.set_focus(self.form)
        if self.clone is not None:
            self._read(self.tlui.home.run(self.clone).preset)
        else:
            self._edited_now()

    def place(self) -> Line:
        where = printable(self.draft.where)
        return [("new run", "title"), (f"  from {where}" if where else "", "dim")]

    def update_frame(self) -> None:
        preset = self.checked.preset if self.checked else None
        if preset is not None and self.forecast.unreadable:
            self.header.right = [("data to mend", "error")]
        elif preset is not None:
            count = len(preset.points)
            word = "1 run" if count == 1 else f"{count} runs"
            self.header.right = [(f"{word} will be made", "accent")]
        elif self.checked is not None:
            self.header.right = [(f"{self.forecast.to_mend} to mend", "error")]
        super().update_frame()

    # -- following every keystroke

    @on(FormSheet.Edited)
    def _edited(self) -> None:
        self._edited_now()

    @on(FormSheet.Entered)
    def _entered(self) -> None:
        self._suggest()

    def _edited_now(self) -> None:
        """Draw the rate at once; check, look and count when the typing rests."""
        self.serial += 1
        curves, problem = forecast.rate_curves(self.draft)
        self.forecast.rate(curves, problem)
        self._later("check", CHECK_SECONDS, self._check)
        self._suggest()

    def _later(self, what: str, seconds: float, do: Any) -> None:
        if what in self._delays:
            self._delays[what].stop()
        self._delays[what] = self.set_timer(seconds, do)

    def _check(self) -> None:
        serial, toml, only = self.serial, self.draft.toml(), self.draft.only
        self.tlui.work_on("check", lambda: (forecast.check(serial, toml, only), ""))

    def work_ended(self, message: WorkDone | WorkFailed) -> None:
        """A thread has an answer."""
        value: Any = message.value if isinstance(message, WorkDone) else None
        if message.what == "load":
            self._loading = False
        elif message.what == "launch":
            self._launching = False
        if isinstance(message, WorkFailed):
            if message.what == "launch":
                self._to_mend(message.text)
            if message.what in ("launch", "load"):
                self.forecast.refused(message.text)
        elif message.what == "check" and value.serial == self.serial:
            self._take_check(value)
        elif message.what == "look" and value.key == self._data_key:
            self._take_data(value)
        elif message.what == "count":
            key, found = value
            self._counted[key] = found
            if key == self._count_key:  # of the network as it is now, not as it was
                self.forecast.count(found)
        elif message.what == "load":
            self._load(value)
        elif message.what == "complete" and value[0] == (self.form.field.path, self.form.text):
            self.form.ghost = value[1]
            self.form.redraw()
        elif message.what == "launch":
            self._launched(value)

    def _read(self, preset: Path) -> None:
        self._loading = True
        self.tlui.work_on("load", partial(load_draft, preset))

    def _load(self, draft: Draft) -> None:
        self.draft = draft
        self.form.load(draft)
        self.form.redraw()
        self._edited_now()
        self.update_frame()

    def _take_check(self, checked: Checked) -> None:
        self.checked = checked
        paths = [f.path for f in self.form.fields]
        found, rest = forecast.by_field(checked.problems, paths)
        self.form.problems = found
        self.form.notes = self._notes(checked)
        self.form.redraw()
        self.forecast.check(checked, rest, len(found), self.draft.changes())
        self.update_frame()
        if checked.shown is None:
            return
        key = checked.shown.dataset.model_dump_json()
        if key != self._data_key:
            self._data_key = key
            self._later("look", LOOK_SECONDS, self._look)
        else:
            self._count_later()

    def _to_mend(self, refusal: str) -> None:
        """Say beside its field what keeps the runs from being made, and go to the first one."""
        form = self.form
        found, _ = forecast.by_field(tuple(refusal.splitlines()), [f.path for f in form.fields])
        form.problems = {**form.problems, **found}
        form.go_to(next((f.path for f in form.fields if f.path in found), form.field.path))

    def _notes(self, checked: Checked) -> dict[str, str]:
        from tlui.recipe.catalogue import BACKBONES, weights_at_hand
        from tlui.runs import format

        one = checked.shown
        if one is None:
            return {}
        spec = BACKBONES[one.backbone.name]
        count = spec.parameters_at(one.backbone.alpha)
        notes = {"backbone.name": f"{format.count(count)} params, made for {spec.size} px"}
        if one.backbone.weights == "imagenet":
            size = one.dataset.image_size
            here = weights_at_hand(one.backbone.name, one.backbone.alpha, size)
            notes["backbone.weights"] = "✓ at hand" if here else "will be downloaded"
        return notes

    def _look(self) -> None:
        checked = self.checked
        if checked is None or checked.shown is None:
            return
        dataset, key = checked.shown.dataset, self._data_key
        self.forecast.looking()
        self.tlui.work_on("look", lambda: (forecast.look_at_data(dataset, key, THUMBNAILS), ""))

    def _take_data(self, seen: Seen) -> None:
        self.forecast.see(seen)
        self.update_frame()
        self._count_later()

    def _count_later(self) -> None:
        """Exact parameter counts, once for every network; the trainer's own process counts."""
        seen, checked = self.forecast.seen, self.checked
        if seen is None or not seen.classes or checked is None or checked.shown is None:
            return
        one, classes = checked.shown, len(seen.classes)
        self._count_key = key = forecast.network_key(one, classes)
        if key in self._counted:
            self.forecast.count(self._counted[key])
        elif self.tlui.count_parameters:
            self.forecast.count([], counting=True)

            def count() -> None:
                self.tlui.work_on(
                    "count", lambda: ((key, forecast.count_parameters(one, classes)), "")
                )

            self._later("count", COUNT_SECONDS, count)

    def _suggest(self) -> None:
        """Offer to complete a choice at once, a path from a thread."""
        form = self.form
        self.forecast.offered(offer(self.draft, form.field, form.text, self.tlui.look.ascii))
        form.ghost = ""
        text, field = form.text, form.field
        if form.caret < len(text) or not text:
            return
        part = text.rpartition(",")[2].lstrip()
        if field.choices and part:
            fits = [c for c in field.choices if c.lower().startswith(part.lower()) and c != part]
            form.ghost = fits[0][len(part) :] if fits else ""
            form.redraw()
        elif field.path.endswith("path") or (field.path == "backbone.weights" and "/" in text):
            key = (field.path, text)
            self.tlui.work_on("complete", lambda: ((key, complete(text)), ""))

    # -- keys

    def do_field_up(self) -> None:
        self.form.go(self.form.cursor - 1)

    def do_field_down(self) -> None:
        self.form.go(self.form.cursor + 1)

    def do_next_pane(self) -> None:
        self.form.go_section(1)

    def do_previous_pane(self) -> None:
        self.form.go_section(-1)

    def do_choice_next(self) -> None:
        self.form.choose(1)

    def do_choice_back(self) -> None:
        self.form.choose(-1)

    def do_back(self) -> None:
        from tlui.tui.screens.modals import ConfirmModal

        if not self.draft.changes() and self.serial <= 1:
            self.app.pop_screen()
            return
        self.app.push_screen(
            ConfirmModal("Leave the form?", ["What was typed is lost; f2 saves it."], "leave"),
            lambda yes: self._leave() if yes else None,
        )

    def _leave(self) -> None:
        self.app.pop_screen()

    def do_launch(self) -> None:
        self._make(start=True)

    def do_enqueue(self) -> None:
        self._make(start=False)

    def _make(self, start: bool) -> None:
        if self.busy:  # keys wait for it, but not for ever
            self.say("the preset is still being read" if self._loading else "making the runs …")
            return
        self._launching = True
        toml, only, device, home = (
            self.draft.toml(),
            self.draft.only,
            self.draft.device,
            self.tlui.home,
        )
        self.say("making the runs …")
        key = shown_key(self.tlui.keys.of("start")) or ":start"
        self.tlui.work_on("launch", lambda: make_runs(home, toml, only, device, start, key))

    def _launched(self, ids: list[str]) -> None:
        self.app.pop_screen()
        if len(ids) == 1:
            from tlui.tui.screens.run import RunScreen

            self.app.push_screen(RunScreen(ids[0]))

    def do_load_preset(self) -> None:
        from tlui.tui.screens.presets import PresetModal

        def chosen(path: str | None) -> None:
            if path:
                self._read(Path(path))

        self.app.push_screen(PresetModal(), chosen)

    def do_save_preset(self) -> None:
        from tlui.tui.screens.presets import SaveModal

        self.app.push_screen(SaveModal(self.draft))


def load_draft(path: Path) -> tuple[Draft, str]:
    """A draft from a preset file; may block. Raises PresetError where it is no TOML."""
    from tlui.recipe.config import read_toml

    own = path.name == "preset.toml"
    return Draft(read_toml(path), f"run {path.parent.name[:4]}" if own else str(path)), ""


def complete(text: str) -> str:
    """What a path lacks to the next folder's end; may block."""
    import os

    head, _, part = text.rpartition("/")
    folder = os.path.expanduser(head or ("/" if text.startswith("/") else "."))  # noqa: PTH111
    try:
        with os.scandir(folder) as entries:
            names = sorted(
                e.name + ("/" if e.is_dir() else "")
                for e, _ in zip(entries, range(2000), strict=False)
                if e.name.startswith(part) and (part or not e.name.startswith("."))
            )
    except OSError:
        return ""
    if not names:
        return ""
    first, last = names[0], names[-1]
    alike = 0
    while alike < min(len(first), len(last)) and first[alike] == last[alike]:
        alike += 1
    return first[len(part) : alike] or first[len(part) :]


def make_runs(
    home: Home, toml: str, only: tuple[str, ...], device: str, start: bool, key: str = ""
) -> tuple[list[str], str]:
    """Make the runs of a draft and start what fits, or say which key does; may block.

    Raises:
        TluiError: The draft is not right, or the store cannot be written.
    """
    from tlui.recipe.preset import parse_preset
    from tlui.scheduler.create import create_runs
    from tlui.scheduler.order import Wishes

    preset = parse_preset(toml, "form", only=only)
    if not preset.points:
        raise TluiError("the form makes no run")
    ids = [run.id for run in create_runs(home, preset, Wishes(device=device))]
    word = "1 run" if len(ids) == 1 else f"{len(ids)} runs"
    if not start:
        return ids, f"queued {word}; {key} starts what fits"
    from tlui.scheduler.start import start as start_runs

    try:
        started = start_runs(home)
    except TluiError as error:
        return ids, f"queued {word}: {error}"
    return ids, f"made {word}, started {len(set(started) & set(ids))}"
