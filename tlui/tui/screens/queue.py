"""Queue and devices: what runs where, what waits and why; reorder, hold, drop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.timer import Timer

from tlui.runs import format
from tlui.runs.directory import Home
from tlui.runs.text import printable
from tlui.runs.text import shorten as both_ends
from tlui.tui import describe
from tlui.tui.keys import shown_key
from tlui.tui.lines import Line, pad, shorten, width_of
from tlui.tui.messages import WorkDone, WorkFailed
from tlui.tui.screens.framed import Framed
from tlui.tui.widgets.listing import Listing
from tlui.tui.widgets.sheet import Sheet

if TYPE_CHECKING:
    from tlui.scheduler.devices import Device
    from tlui.scheduler.queue import Place
    from tlui.tui.app import TluiApp

POLL_SECONDS = 2.0


class DeviceLines(Sheet):
    """One line a device."""

    DEFAULT_CSS = "DeviceLines { height: 3; }"

    def __init__(self) -> None:
        super().__init__()
        self.devices: Sequence[Device] = ()
        self.places: Sequence[Place] = ()

    def build(self, width: int, height: int) -> list[Line]:
        lines: list[Line] = [[(" devices", "title")]]
        for device in self.devices:
            lines.append(self._line(device, width))
        return lines

    def _line(self, device: Device, width: int) -> Line:
        ascii = self.look.ascii
        live = [p for p in self.places if p.state != "queued" and not p.host]
        gpu = device.kind == "gpu"  # `cpu on node7` is a cluster's
        runs = [p for p in live if (device.key in p.device if gpu else device.key == p.device)]
        names = ", ".join(f"{printable(p.name)} #{p.run.id[:4]}" for p in runs)
        line: Line = [(" " + pad(printable(device.name).removeprefix("NVIDIA "), 18), "")]
        if device.kind == "gpu":
            used = device.memory_total_mb - device.memory_free_mb
            share = used / device.memory_total_mb if device.memory_total_mb else 0.0
            line += [(f" {device.utilisation:3d}% ", ""), *describe.bar(share, 10)]
            words = (
                f" {format.memory(used, ascii)} of {format.memory(device.memory_total_mb, ascii)}"
            )
            line.append((words, "dim"))
            strangers = sum(1 for p in device.processes if not p.ours)
            if strangers:
                line.append((f"  {strangers} of other people", "warn"))
        line.append(("  " + (shorten(names, 60) or "free"), "accent" if names else "dim"))
        return line


class QueueList(Listing):
    """What runs, then what waits in its order."""

    def __init__(self) -> None:
        super().__init__(id="places")
        self.places: list[Place] = []
        self.read = False

    @property
    def current(self) -> Place | None:
        return self.places[self.cursor] if self.cursor < len(self.places) else None

    def head_lines(self, width: int) -> list[Line]:
        focus = self.has_focus
        return [describe.heading("queue", width, focus)]

    def row_line(self, index: int, width: int, here: bool) -> Line:
        place, ascii = self.places[index], self.look.ascii
        sel = " sel" if here else ""
        state = "queued" if place.state == "held" else place.state
        word, style = describe.state_span(state, ascii)
        if place.state == "held":
            word, style = ("= held" if ascii else "‖ held"), "warn"
        number = f"{place.position:3d}" if place.position is not None else "   "
        room = min(max(width_of(self.signed(p)) for p in self.places), max(width // 2 - 10, 16))
        text = "h lets it go" if place.state == "held" else self._where(place)
        return [
            ("▌" if here else " ", "accent" + sel),
            (number + " ", "dim" + sel),
            (pad(word, 14), style + sel),
            (self.signed(place, room) + "  ", ("title" if here else "") + sel),
            (pad(text, max(width - room - 21, 0)), "dim" + sel),
        ]

    def signed(self, place: Place, width: int = 0) -> str:
        """`head-1e-4 #2f3a`, in exactly `width` cells where one is given; the id stays."""
        sign, name = f" #{place.run.id[:4]}", printable(place.name)
        if not width:
            return name + sign
        ellipsis = "~" if self.look.ascii else "…"
        return pad(both_ends(name, width - len(sign), ellipsis) + sign, width)

    def _where(self, place: Place) -> str:
        """Where it runs or why it waits; other runs by the sign they have here."""
        text = printable(place.where)
        for other in self.places:
            text = text.replace(other.run.id, f"#{other.run.id[:4]}")
        if text or place.state != "queued":
            return text
        key = shown_key(cast("TluiApp", self.app).keys.of("start"))
        return f"fits now; {key} starts it" if key else "fits now"

    def empty_lines(self, width: int) -> list[Line]:
        if not self.read:
            return [[("  reading the queue …", "dim")]]
        return [
            [],
            [("  Nothing runs and nothing waits. ", ""), ("n", "key"), (" sets up a run.", "")],
        ]


class QueueScreen(Framed):
    """The queue of this store."""

    SCOPE = "queue"
    SCOPES: ClassVar[tuple[str, ...]] = ("queue", "list", "run", "app")
    PANES: ClassVar[tuple[str, ...]] = ("places",)

    def __init__(self) -> None:
        super().__init__()
        self.device_lines = DeviceLines()
        self.listing = QueueList()
        self._timer: Timer | None = None

    def panes(self) -> ComposeResult:
        yield self.device_lines
        yield self.listing

    def opened(self) -> None:
        super().opened()
        self.set_focus(self.listing)
        self._read()
        self._timer = self.set_interval(POLL_SECONDS, self._read)

    def place(self) -> Line:
        return [("queue", "title")]

    def hidden_keys(self) -> set[str]:
        """A run that trains can be stopped and cloned, one that waits moved, held and dropped."""
        place = self.listing.current
        waits = place is not None and place.position is not None
        return {"stop", "clone"} if waits else {"start", "sooner", "hold", "drop"}

    def _read(self) -> None:
        if self.app.screen is self:
            home = self.tlui.home
            self.tlui.work_on("places", lambda: (read_queue(home), ""))

    def work_ended(self, message: WorkDone | WorkFailed) -> None:
        """The queue has been read, or something was done to it."""
        if isinstance(message, WorkDone) and message.what == "places":
            places, devices = message.value
            before = self.listing.current
            self.listing.places, self.listing.read = places, True
            self.listing.total = len(places)
            if before is not None:
                for index, place in enumerate(places):
                    if place.run.id == before.run.id:
                        self.listing.cursor = index
            self.device_lines.places, self.device_lines.devices = places, devices
            self.device_lines.styles.height = len(devices) + 2
            self.device_lines.redraw()
            self.listing.redraw()
            self.update_frame()
        elif message.what in ("move", "hold", "drop", "start", "stop", "resume"):
            self._read()

    @on(Listing.Moved)
    def _moved(self) -> None:
        self.update_frame()

    @on(Listing.Chosen)
    def _chosen(self) -> None:
        self._open()

    def _open(self, pane: int = 1) -> None:
        from tlui.tui.screens.run import RunScreen

        place = self.listing.current
        if place is not None:
            self.app.push_screen(RunScreen(place.run.id, pane=pane))

    def _waiting(self) -> Place | None:
        place = self.listing.current
        if place is None or place.position is None:
            self.say("only what waits can be moved, held or dropped", "warn")
            return None
        return place

    def _do(self, what: str, work: Callable[[], object], text: str) -> None:
        def done() -> tuple[Any, str]:
            work()
            return None, text

        self.tlui.work_on(what, done)

    def do_sooner(self) -> None:
        self._move("up")

    def do_later(self) -> None:
        self._move("down")

    def _move(self, how: str) -> None:
        from tlui.scheduler.control import move

        place = self._waiting()
        if place is not None:
            self._do("move", partial(move, self.tlui.home, place.run, how), "")  # type: ignore[arg-type]

    def do_hold(self) -> None:
        from tlui.scheduler.control import hold, release

        place = self._waiting()
        if place is None:
            return
        if place.state == "held":
            self._do("hold", partial(self._let_go, release, place), "it may start now")
        else:
            self._do("hold", partial(hold, self.tlui.home, place.run), "held back; h lets it go")

    def _let_go(self, release: Callable[..., object], place: Place) -> None:
        from tlui.scheduler.start import start

        release(self.tlui.home, place.run)
        start(self.tlui.home)

    def do_drop(self) -> None:
        from tlui.scheduler.control import drop
        from tlui.tui.screens.modals import ConfirmModal

        place = self._waiting()
        if place is None:
            return
        work = partial(drop, self.tlui.home, place.run)
        text = "It stays in the list as stopped; R queues it again."
        self.app.push_screen(
            ConfirmModal(f"Drop {place.name} from the queue?", [text], "drop"),
            lambda yes: self._do("drop", work, "dropped") if yes else None,
        )

    def do_stop(self) -> None:
        place = self.listing.current
        if place is not None:
            title = f"{printable(place.name)} #{place.run.id[:4]}"
            state = "queued" if place.state == "held" else place.state
            self.tlui.ask_to_stop(place.run.id, title, state)

    def do_resume(self) -> None:
        self._on_current(self.tlui.resume)

    def do_clone(self) -> None:
        self._on_current(self.tlui.clone)

    def do_pin(self) -> None:
        self._on_current(self.tlui.pin)

    def do_copy(self) -> None:
        self._on_current(self.tlui.copy_path)

    def _on_current(self, act: Callable[[str], object]) -> None:
        """Do something with the run under the cursor, by its id."""
        place = self.listing.current
        if place is not None:
            act(place.run.id)

    def do_log(self) -> None:
        self._open(pane=2)

    def do_export(self) -> None:
        from tlui.tui.screens.export import ExportModal

        ids = [place.run.id for place in self.listing.places]
        self.app.push_screen(ExportModal(len(ids), ids=ids))


def read_queue(home: Home) -> tuple[list[Place], list[Device]]:
    """Queue and devices; may block."""
    from tlui.scheduler.devices import list_devices
    from tlui.scheduler.queue import places

    devices = list_devices()
    return places(home, devices=devices), devices
