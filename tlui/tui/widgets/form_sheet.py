"""The form: one line a field, edited in place, its sections folded where they don't fit."""

from __future__ import annotations

from collections.abc import Mapping

from textual import events
from textual.message import Message

from tlui.runs.text import printable
from tlui.tui.draft import Draft
from tlui.tui.form_fields import Field
from tlui.tui.lines import Line, cells, shorten, tail_of, width_of, wrap
from tlui.tui.widgets.sheet import Sheet

LABEL = 15


class FormSheet(Sheet, can_focus=True):
    """Fields of a draft. Typing changes the field under the cursor at once."""

    typing = True
    """Keys are text here, but for those the key table lets through."""

    class Edited(Message):
        """A field has other text now."""

        def __init__(self, path: str) -> None:
            super().__init__()
            self.path = path

    class Entered(Message):
        """The cursor is on another field."""

    def __init__(self, draft: Draft, id: str | None = None) -> None:
        super().__init__(id=id)
        self.draft = draft
        self.fields: list[Field] = draft.fields()
        self.values: dict[str, str] = {}
        self.cursor = 0
        self.caret = 0
        self.selected = False
        """Whether all of the field's text is: what is typed replaces it, moving keeps it."""
        self.problems: Mapping[str, str] = {}
        """Path -> what is wrong with it."""
        self.ghost = ""
        """What a completion would add behind the caret."""
        self.notes: Mapping[str, str] = {}
        """Path -> a word behind its value, such as `in cache`."""
        self._top = 0
        self._rows: list[int | None] = []
        self.load(draft)

    def load(self, draft: Draft) -> None:
        """Show another draft, the cursor on its first field."""
        self.draft = draft
        self.cursor = 0
        self.values = {}
        self._renew()
        self.caret, self.selected = len(self.text), bool(self.text)

    def _renew(self) -> None:
        """Fields as the draft has them now; the cursor stays on its field."""
        path = self.field.path if self.fields and self.cursor < len(self.fields) else ""
        self.fields = self.draft.fields()
        keep = self.values.get(path)
        self.values = {f.path: self.draft.text(f.path) for f in self.fields}
        for index, field in enumerate(self.fields):
            if field.path == path:
                self.cursor = index
                if keep is not None:
                    self.values[path] = keep
        self.cursor = min(self.cursor, len(self.fields) - 1)

    @property
    def field(self) -> Field:
        """The field under the cursor."""
        return self.fields[self.cursor]

    @property
    def text(self) -> str:
        """What stands in it."""
        return self.values.get(self.field.path, "")

    # -- moving and editing

    def go(self, index: int, select: bool = True) -> None:
        """Put the cursor on another field, its text selected and the caret at the end."""
        path = self.field.path
        self.values[path] = self.draft.text(path)
        self.cursor = index % len(self.fields)
        self.caret, self.selected = len(self.text), select and bool(self.text)
        self.ghost = ""
        self.post_message(self.Entered())
        self.redraw()

    def go_to(self, path: str) -> None:
        """Put the cursor on the field of that path."""
        for index, field in enumerate(self.fields):
            if field.path == path:
                self.go(index)
                return

    def go_section(self, by: int) -> None:
        """To the first field of the next or previous section."""
        sections = list(dict.fromkeys(f.section for f in self.fields))
        at = sections.index(self.field.section)
        target = sections[(at + by) % len(sections)]
        self.go(next(i for i, f in enumerate(self.fields) if f.section == target))

    def change(self, text: str, caret: int | None = None) -> None:
        """Replace the field's text."""
        path = self.field.path
        self.values[path] = text
        self.caret = len(text) if caret is None else caret
        self.selected = False
        self.ghost = ""
        self.draft.put(path, text)
        self._renew()
        self.post_message(self.Edited(path))
        self.redraw()

    def choose(self, by: int) -> bool:
        """The next or previous choice of the field; False where it has none."""
        choices = self.field.choices
        if not choices:
            return False
        now = self.text or self.field.default
        at = choices.index(now) if now in choices else (-1 if by > 0 else 0)
        self.change(choices[(at + by) % len(choices)])
        return True

    def insert(self, text: str) -> None:
        """Type text at the caret, or in place of what is selected."""
        text = "".join(c for c in text if c.isprintable())
        now, at = ("", 0) if self.selected else (self.text, min(self.caret, len(self.text)))
        self.change(now[:at] + text + now[at:], at + len(text))

    def on_key(self, event: events.Key) -> None:
        text, at = self.text, min(self.caret, len(self.text))
        match event.key:
            case "backspace" | "delete" | "ctrl+d" if self.selected:
                self.change("")
            case "left":
                self.caret = max(at - 1, 0)
            case "right":
                if at == len(text) and self.ghost:
                    self.insert(self.ghost)
                self.caret = min(at + 1, len(text)) if at < len(text) else self.caret
            case "home" | "ctrl+a":
                self.caret = 0
            case "end" | "ctrl+e":
                self.caret = len(text)
            case "backspace":
                if at:
                    self.change(text[: at - 1] + text[at:], at - 1)
            case "delete" | "ctrl+d":
                if at < len(text):
                    self.change(text[:at] + text[at + 1 :], at)
            case "ctrl+u":
                self.change(text[at:], 0)
            case "ctrl+k":
                self.change(text[:at], at)
            case "ctrl+w":
                head = text[:at].rstrip()
                cut = max(head.rfind(c) for c in " ,/.") + 1 if head else 0
                self.change(text[:cut] + text[at:], cut)
            case "space" if self._complete_choice():
                self.choose(1)
            case _:
                if event.character in ("?", None) or not event.is_printable:
                    return
                self.insert(event.character)
        self.selected = False
        event.stop()
        event.prevent_default()
        self.redraw()

    def _complete_choice(self) -> bool:
        """Whether the field holds exactly one of its choices, so that space means the next."""
        return (self.text or self.field.default) in self.field.choices

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self.insert(event.text.splitlines()[0] if event.text else "")

    # -- painting

    def build(self, width: int, height: int) -> list[Line]:
        sections: dict[str, list[int]] = {}
        for index, field in enumerate(self.fields):
            sections.setdefault(field.section, []).append(index)
        open_sections = self._open(sections, height)
        lines: list[Line] = []
        rows: list[int | None] = []
        focus = (0, 0)
        for number, (section, indices) in enumerate(sections.items(), 1):
            lines.append(self._heading(number, section, indices, section in open_sections, width))
            rows.append(indices[0])
            if section not in open_sections:
                continue
            for index in indices:
                here = index == self.cursor
                part = self._field_lines(index, width, here)
                if here:
                    focus = (len(lines) - 1, len(lines) + len(part))
                lines += part
                rows += [index] * len(part)
        if focus[0] < self._top:
            self._top = max(focus[0], 0)
        elif focus[1] > self._top + height:
            self._top = focus[1] - height
        self._top = min(self._top, max(len(lines) - height, 0))
        self._rows = rows[self._top : self._top + height]
        return lines[self._top : self._top + height]

    def _open(self, sections: Mapping[str, list[int]], height: int) -> set[str]:
        """The sections unfolded: the one with the cursor, those with something to mend, others as
        long as they fit."""
        mine = self.field.section
        room = height - len(sections) - len(sections[mine]) - 3 - len(self.problems)
        chosen = {mine}
        wrong = {field.section for field in self.fields if field.path in self.problems}
        for name in sorted(sections, key=lambda name: name not in wrong):
            if name == mine:
                continue
            if len(sections[name]) <= room + (2 if name in wrong else 0):  # 2 of the 3 kept above
                room -= len(sections[name])
                chosen.add(name)
            elif name in wrong or room < 6:
                break
        return chosen

    def _heading(
        self, number: int, section: str, indices: list[int], unfolded: bool, width: int
    ) -> Line:
        mine = self.field.section == section and self.has_focus
        name = f"{number} {section} "
        line: Line = [("▌" if mine else " ", "accent"), (name, "accent" if mine else "title")]
        if unfolded:
            return [*line, ("─" * max(width - len(name) - 2, 0), "faint")]
        bad = sum(1 for i in indices if self.fields[i].path in self.problems)
        given = [self.values.get(self.fields[i].path, "") for i in indices]
        said = " ".join(
            f"{self.fields[i].label} {v}" for i, v in zip(indices, given, strict=True) if v
        )
        if bad:
            line.append((f"{bad} wrong  ", "error"))
        line.append((shorten(printable(said), max(width - cells(line) - 1, 0)), "dim"))
        return line

    def _field_lines(self, index: int, width: int, here: bool) -> list[Line]:
        field = self.fields[index]
        value = self.values.get(field.path, "")
        lines: list[Line] = []
        sel = " sel" if here else ""
        label = (" " + field.label)[: LABEL - 1].ljust(LABEL)
        wrong = self.problems.get(field.path)
        line: Line = [
            (
                "!" if wrong else "▌" if here and self.has_focus else " ",
                "error" if wrong else "accent",
            ),
            (label, ("title" if here else "dim") + sel),
        ]
        room = width - LABEL - 2
        if here and self.has_focus:
            line += self._editor(value, field, room)
        elif value:
            line.append((self._fitted_value(field, value, room), "value" + sel))
        else:
            text = field.default or ("" if field.path in self.problems else "not set")
            line.append((shorten(printable(text), room), "dim" + sel))
        note = self.notes.get(field.path)
        if note and not (here and self.has_focus):
            line.append(("  " + printable(note), "dim"))
        if here:
            used = cells(line)
            line.append((" " * max(width - used - 1, 0), sel))
        lines.append(line)
        if here:
            about = self._about(field)
            for part in wrap(about, room)[:3] if about else ():
                lines.append([(" " * (LABEL + 1), ""), (part, "dim")])
        if wrong:
            for part in wrap(printable(wrong), room)[:3]:
                lines.append([(" " * (LABEL + 1), ""), (part, "error")])
        return lines

    def _fitted_value(self, field: Field, value: str, room: int) -> str:
        """A value in so many cells: of a path the end tells more than its beginning."""
        value = printable(value)
        if field.path.endswith("path") and width_of(value) > room:
            return "…" + tail_of(value, room - 1)
        return shorten(value, room)

    def _editor(self, value: str, field: Field, room: int) -> Line:
        """The text with its caret, scrolled so that the caret shows."""
        if self.selected:
            return [(self._fitted_value(field, value, room), "caret")]
        at = min(self.caret, len(value))
        start = max(at - room + 2, 0)
        shown = value[start:]
        at -= start
        before, under, after = shown[:at], shown[at : at + 1], shown[at + 1 :]
        line: Line = [(before, "value sel")]
        if not under and self.ghost:
            line += [(self.ghost[:1], "caret"), (self.ghost[1:], "dim sel")]
        elif not value and field.default:
            line += [(field.default[:1], "caret"), (field.default[1:], "dim sel")]
        else:
            line += [(under or " ", "caret"), (after[: max(room - at - 2, 0)], "value sel")]
        return [(printable(text), style) for text, style in line if text]

    def _about(self, field: Field) -> str:
        if self.ghost:
            right = "right arrow" if self.look.ascii else "→"
            last = (self.text + self.ghost)[self.text.rfind("/") + 1 :]
            return f"{right} takes {printable(last)}"
        if field.path == "backbone.name":
            return "pgdn and pgup go through the list beside"
        if field.choices:
            words = " | ".join(field.choices)
            return f"space: {words}" if self._complete_choice() else words
        hint = field.help
        if field.many:
            hint += "  (items apart by spaces)"
        if field.path.endswith("lr.initial"):
            hint = f"{hint.rstrip('.')}; 1e-3, 1e-4 makes a sweep"
        elif "." in field.path and not field.path.endswith("path"):
            hint = f"{hint.rstrip('.')}; commas make a sweep"
        return printable(hint)

    def on_click(self, event: events.Click) -> None:
        if 0 <= event.y < len(self._rows):
            index = self._rows[event.y]
            if index is not None:
                self.go(index, select=False)
