"""The one table of keys: what each does, where, and how the footer and the help say it.

Dispatch, footer, help, command palette and the README's table are all made from `KEYS`. A person
remaps any of it in their configuration: `[keys]` with `stop = "X"` or a list of keys. Nothing
here knows Textual. ctrl+a, b, j, o and s are never used: tmux, screen and flow control own them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tlui.errors import PresetError

FORBIDDEN = frozenset({"ctrl+a", "ctrl+b", "ctrl+j", "ctrl+o", "ctrl+s"})
FOOTER_MOST = 6

SCOPES: dict[str, str] = {
    "app": "Everywhere",
    "list": "Lists and tables",
    "runs": "Runs",
    "run": "One run",
    "chart": "Charts",
    "compare": "Compare",
    "board": "Leaderboard",
    "queue": "Queue and devices",
    "new": "New run",
}


@dataclass(frozen=True)
class Key:
    """One thing that can be done."""

    action: str
    keys: tuple[str, ...]
    """As they are typed: `?`, `ctrl+p`, `shift+left`; none where only the palette has it."""
    scope: str
    label: str
    """One or two words, for the footer."""
    help: str
    footer: Mapping[str, int] = field(default_factory=dict)
    """Scope -> place in its footer, from 1."""
    typing: bool = False
    """Whether it works while a text field has the keyboard."""


def _keys() -> list[Key]:
    return [
        Key("help", ("?", "f1"), "app", "help", "show every key that works here", typing=True),
        Key("palette", (":", "ctrl+p"), "app", "commands", "find and do anything by its name",
            {"queue": 7}, typing=True),
        Key("back", ("escape",), "app", "back", "out one layer: a field, a screen, a window",
            {"run": 5, "compare": 5, "board": 5, "new": 5}, typing=True),
        Key("quit", ("q", "ctrl+q", "ctrl+c"), "app", "quit",
            "leave; says what goes on running", typing=True),
        Key("next_pane", ("tab",), "app", "next pane", "next pane or field",
            {"run": 6, "compare": 6}, typing=True),
        Key("previous_pane", ("shift+tab",), "app", "previous pane", "previous pane or field",
            typing=True),
        *[
            Key(f"pane_{n}", (str(n),), "app", f"pane {n}", f"go to pane {n}")
            for n in (1, 2, 3, 4)
        ],
        Key("enlarge", ("+",), "app", "enlarge", "this pane alone; on a chart again: that alone"),
        Key("reduce", ("-",), "app", "reduce", "the other panes back"),
        Key("new", ("n",), "app", "new", "set up a new run", {"runs": 2, "queue": 6}),
        Key("leaderboard", ("b",), "app", "leaderboard", "best result by any two settings"),
        Key("queue", ("Q",), "app", "queue", "what runs where and what waits"),
        Key("start", ("ctrl+r",), "app", "start", "start what fits of what waits",
            {"run": 1, "queue": 2}),
        Key("export", ("e",), "app", "export", "write what is shown as CSV",
            {"compare": 4}),
        Key("theme", (), "app", "theme", "switch between dark and light"),
        # lists
        Key("up", ("up", "k"), "list", "up", "one row up"),
        Key("down", ("down", "j"), "list", "down", "one row down"),
        Key("page_up", ("pageup",), "list", "page up", "one page up"),
        Key("page_down", ("pagedown",), "list", "page down", "one page down"),
        Key("first", ("home", "g"), "list", "first", "to the first row"),
        Key("last", ("end", "G"), "list", "last", "to the last row"),
        Key("open", ("enter",), "list", "open", "open what the cursor is on",
            {"runs": 1, "board": 1, "queue": 1}),
        # runs
        Key("filter", ("/",), "runs", "filter",
            "show only some: dataset:intel cfg.lr>=1e-5 -state:failed", {"runs": 5}),
        Key("mark", ("space",), "runs", "mark", "mark or unmark for comparing", {"runs": 3}),
        Key("unmark_all", ("u",), "runs", "unmark all", "take all marks away"),
        Key("compare", ("=",), "runs", "compare", "compare the marked runs", {"runs": 4}),
        Key("sort", ("o",), "runs", "sort", "sort by the next column"),
        Key("sort_back", ("O",), "runs", "reverse", "turn the order round"),
        Key("hide", ("d",), "runs", "hide", "hide or show again"),
        Key("show_hidden", ("v",), "runs", "hidden", "show hidden runs too, or no longer"),
        Key("delete", ("D",), "runs", "delete", "delete for good; asks"),
        # runs and one run
        Key("pin", ("p",), "run", "pin", "pin to the top of the list, or unpin"),
        Key("clone", ("c",), "run", "clone", "set up a new run with the same settings",
            {"run": 4, "queue": 3}),
        Key("stop", ("x",), "run", "stop", "stop, evaluate and keep; asks", {"run": 1, "queue": 2}),
        Key("resume", ("R",), "run", "resume",
            "go on from the last checkpoint; where it waits, start what fits", {"run": 1}),
        Key("log", ("l",), "run", "log", "go to the log"),
        Key("copy", ("w",), "run", "copy path", "copy the run's folder (OSC 52)"),
        # charts
        Key("cursor_left", ("left",), "chart", "read values", "crosshair left, read values",
            {"run": 2, "compare": 2}),
        Key("cursor_right", ("right",), "chart", "read", "crosshair right"),
        Key("cursor_left_far", ("shift+left",), "chart", "", "crosshair 10 left"),
        Key("cursor_right_far", ("shift+right",), "chart", "", "crosshair 10 right"),
        Key("log_y", ("y",), "chart", "log y", "logarithmic or linear y", {"compare": 3, "run": 3}),
        Key("log_x", ("Y",), "chart", "log x", "logarithmic or linear x"),
        Key("smooth_more", ("s",), "chart", "smooth", "smooth more; the raw curve stays behind"),
        Key("smooth_less", ("S",), "chart", "less smooth", "smooth less"),
        Key("zoom_in", ("z",), "chart", "zoom", "zoom in on the crosshair"),
        Key("zoom_out", ("Z",), "chart", "zoom out", "zoom out"),
        Key("pan_left", ("[",), "chart", "pan", "move the zoomed window left"),
        Key("pan_right", ("]",), "chart", "pan", "move the zoomed window right"),
        Key("x_axis", ("t",), "chart", "x axis", "x by epoch, step or time"),
        # compare and leaderboard
        Key("metric", ("m",), "compare", "metric", "next metric", {"compare": 1, "board": 2}),
        Key("metric_back", ("M",), "compare", "metric back", "previous metric"),
        Key("row_field", ("r",), "board", "rows", "next setting for the rows",
            {"board": 3}),
        Key("column_field", ("f",), "board", "columns", "next setting for the columns",
            {"board": 4}),
        Key("best_or_mean", ("a",), "board", "best/mean", "best or mean of each cell"),
        # queue
        Key("sooner", ("shift+up", "K"), "queue", "sooner", "move up the queue", {"queue": 3}),
        Key("later", ("shift+down", "J"), "queue", "later", "move down the queue"),
        Key("hold", ("h",), "queue", "hold", "hold back, or let go", {"queue": 4}),
        Key("drop", ("D",), "queue", "drop", "take out of the queue; asks", {"queue": 5}),
        # the form
        Key("launch", ("ctrl+r",), "new", "launch", "start what fits now, queue the rest",
            {"new": 1}, typing=True),
        Key("enqueue", ("ctrl+t",), "new", "queue", "put in the queue without starting",
            {"new": 2}, typing=True),
        Key("load_preset", ("ctrl+n", "f3"), "new", "preset", "start from a preset",
            {"new": 3}, typing=True),
        Key("save_preset", ("f2",), "new", "save", "save as a preset", {"new": 4}, typing=True),
        Key("field_up", ("up",), "new", "field up", "previous field", typing=True),
        Key("field_down", ("down", "enter"), "new", "field down", "next field", typing=True),
        Key("choice_next", ("pagedown",), "new", "next choice", "next choice of a field",
            typing=True),
        Key("choice_back", ("pageup",), "new", "previous choice", "previous choice", typing=True),
    ]  # fmt: skip


KEYS: tuple[Key, ...] = tuple(_keys())

SHOWN = {
    "escape": "esc", "pageup": "pgup", "pagedown": "pgdn", "cursor_left": "←→",
    "up": "↑", "down": "↓", "left": "←", "right": "→",
    "shift+left": "shift+←", "shift+right": "shift+→", "shift+up": "shift+↑",
    "shift+down": "shift+↓",
}  # fmt: skip


class KeyTable:
    """`KEYS` with a person's own keys in place."""

    def __init__(self, own: Mapping[str, str | Sequence[str]] | None = None) -> None:
        """Take over the `[keys]` table of the configuration.

        Raises:
            PresetError: An action is not known, a key is forbidden, or two actions that can meet
                on one screen share a key; one line each.
        """
        problems: list[str] = []
        changed: dict[str, tuple[str, ...]] = {}
        known = {key.action for key in KEYS}
        for action, given in (own or {}).items():
            keys = (given,) if isinstance(given, str) else tuple(given)
            if action not in known:
                from tlui.recipe.catalogue import unknown

                problems.append(f"config.toml: keys.{action}: {unknown('action', action, known)}")
                continue
            for one in keys:
                if one.lower() in FORBIDDEN:
                    problems.append(
                        f"config.toml: keys.{action}: {one} belongs to tmux, screen or flow "
                        "control; choose another"
                    )
            changed[action] = keys
        self.keys = tuple(
            replace(key, keys=changed[key.action]) if key.action in changed else key for key in KEYS
        )
        problems += self._clashes(changed)
        if problems:
            raise PresetError(problems)

    def _clashes(self, changed: Mapping[str, object]) -> list[str]:
        problems = []
        for mine in self.keys:
            if mine.action not in changed:
                continue
            for other in self.keys:
                shared = set(mine.keys) & set(other.keys)
                meet = mine.scope == other.scope or any(
                    mine.scope in scopes and other.scope in scopes for scopes in TOGETHER
                )
                if other.action != mine.action and shared and meet:
                    problems.append(
                        f"config.toml: keys.{mine.action}: {shared.pop()} is already "
                        f"{other.action}; give that another key too"
                    )
        return problems

    def find(self, pressed: str, scopes: Sequence[str], typing: bool = False) -> Key | None:
        """What a key does, the first scope winning; None where it does nothing."""
        for scope in scopes:
            for key in self.keys:
                if key.scope == scope and pressed in key.keys and (key.typing or not typing):
                    return key
        return None

    def of(self, action: str) -> Key:
        """An action's entry. Raises KeyError where there is none."""
        for key in self.keys:
            if key.action == action:
                return key
        raise KeyError(action)

    def footer(self, screen: str, hide: Iterable[str] = ()) -> list[tuple[str, str]]:
        """`(key, word)` of at most six actions for a screen's scope, `? help` always last."""
        hidden = set(hide)
        chosen = sorted(
            (key for key in self.keys if screen in key.footer and key.action not in hidden),
            key=lambda key: key.footer[screen],
        )
        shown = [(shown_key(key), key.label) for key in chosen if key.keys][: FOOTER_MOST - 1]
        return [*shown, (shown_key(self.of("help")), "help")]

    def help(self, scopes: Sequence[str] | None = None) -> list[tuple[str, list[tuple[str, str]]]]:
        """Titles of scopes, each with `(keys, what they do)`; all scopes where none are given."""
        found = []
        for scope, title in SCOPES.items():
            if scopes is not None and scope not in scopes:
                continue
            rows = [
                (" ".join(SHOWN.get(k, k) for k in key.keys), key.help)
                for key in self.keys
                if key.scope == scope and key.keys
            ]
            found.append((title, rows))
        return found


TOGETHER: tuple[tuple[str, ...], ...] = (
    ("runs", "run", "list", "app"),
    ("chart", "run", "app"),
    ("list", "run", "app"),
    ("chart", "compare", "app"),
    ("board", "compare", "list", "app"),
    ("queue", "list", "run", "app"),
    ("new", "app"),
)
"""Scopes that are in force at the same time, on one screen or another; the first one wins."""


def shown_key(key: Key) -> str:
    """The first of an action's keys as the footer writes it."""
    if key.action == "cursor_left" and key.keys == ("left",):
        return SHOWN["cursor_left"]
    return SHOWN.get(key.keys[0], key.keys[0]) if key.keys else ""


def markdown(table: KeyTable | None = None) -> str:
    """The table for the README: one row an action."""
    table = table or KeyTable()
    lines = ["| where | key | what it does |", "| --- | --- | --- |"]
    for title, rows in table.help():
        for keys, text in rows:
            cell = " ".join(f"`{k}`" for k in keys.split(" "))
            lines.append(f"| {title} | {cell} | {text} |")
    return "\n".join(lines) + "\n"
