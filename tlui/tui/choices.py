"""The choices of a form's field with what there is to know of each: what stands beside the form.

Backbones come with parameters, input size and whether their weights are at hand; regimes,
policies, optimizers and datasets with a sentence. Knows nothing of Textual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tlui.recipe.catalogue import (
    BACKBONES,
    DATASETS,
    OPTIMIZERS,
    POLICIES,
    REGIMES,
    REGIMES_WITH_ARGUMENT,
    weights_at_hand,
)
from tlui.runs import format
from tlui.tui.draft import Draft
from tlui.tui.form_fields import Field
from tlui.tui.lines import Line, pad, wrap

AT_HAND, TO_LOAD = "✓ at hand", "download"


@dataclass(frozen=True)
class Offer:
    """The choices of one field."""

    title: str
    heads: tuple[str, ...]
    """Titles of the numbers behind each choice; none where it has a sentence instead."""
    rows: Mapping[str, tuple[str, ...]]
    """Choice -> its numbers, or its one sentence."""
    chosen: str = ""
    """The choice that is typed, or the first one that begins so."""


def offer(draft: Draft, field: Field, text: str, ascii: bool = False) -> Offer | None:
    """What a field can hold; None where there is nothing to know beyond the words themselves."""
    heads: tuple[str, ...] = ()
    rows: dict[str, tuple[str, ...]]
    if field.path == "backbone.name":
        heads = ("params", "px", "weights")
        alpha, size = _number(draft, "backbone.alpha", 1.0), _number(draft, "image_size", 224)
        rows = {name: _backbone(name, alpha, int(size), ascii) for name in BACKBONES}
    elif field.path == "dataset.name":
        rows = {name: (one.title,) for name, one in DATASETS.items()}
    elif field.path.endswith(".freeze"):
        rows = {word: (about,) for word, about in {**REGIMES, **REGIMES_WITH_ARGUMENT}.items()}
    elif field.path.endswith("lr.policy"):
        rows = {word: (about,) for word, about in POLICIES.items()}
    elif field.path.endswith("optimizer.name"):
        rows = {word: (about,) for word, about in OPTIMIZERS.items()}
    else:
        return None
    return Offer(field.label, heads, rows, _nearest(text or field.default, list(rows)))


def _number(draft: Draft, path: str, default: float) -> float:
    """The first value of a field as a number."""
    path = path if "." in path else f"dataset.{path}"
    try:
        return float(draft.text(path).split(",")[0])
    except ValueError:
        return default


def _backbone(name: str, alpha: float, size: int, ascii: bool) -> tuple[str, ...]:
    spec = BACKBONES[name]
    alpha = alpha if alpha in spec.alphas else 1.0
    weights = format.missing(ascii)
    if spec.imagenet:
        weights = AT_HAND if weights_at_hand(name, alpha, size) else TO_LOAD
    return format.count(spec.parameters_at(alpha), ascii), str(spec.size), weights


def _nearest(text: str, words: list[str]) -> str:
    """The word that is typed last, or the first that begins like it."""
    last = text.rpartition(",")[2].strip().lower()
    begins = [word for word in words if last and word.split(":")[0].lower().startswith(last)]
    exact = [word for word in words if word.lower() == last]
    stem = [word for word in words if ":" in word and last.startswith(word.split(":")[0] + ":")]
    return next(iter(exact or stem or begins), "")


def offer_lines(given: Offer, width: int, height: int) -> list[Line]:
    """A heading and as many choices as have room, the chosen one among them and marked."""
    words = list(given.rows)
    name = min(max(len(word) for word in words) + 1, max(width // 2, 10))
    if not given.heads:
        return _sentences(given, width, height, name)
    sizes = [7, 5, max(width - name - 15, 1)]
    head: Line = [(pad(f"{len(words)} {given.title}s", name + 1), "title")]
    head += [
        (_cell(t, n, i), "dim") for i, (t, n) in enumerate(zip(given.heads, sizes, strict=True))
    ]
    room = max(height - 1, 1)
    at = words.index(given.chosen) if given.chosen in words else 0
    first = min(max(at - room // 2, 0), max(len(words) - room, 0))
    lines = [head]
    for word in words[first : first + room]:
        here = word == given.chosen
        line: Line = [("▌" if here else " ", "accent"), (pad(word, name), "title" if here else "")]
        for i, (text, size) in enumerate(zip(given.rows[word], sizes, strict=True)):
            style = "good" if text == AT_HAND else "dim" if i == 2 else "value" if here else ""
            line.append((_cell(text, size, i), style))
        lines.append(line)
    return lines


def _cell(text: str, width: int, column: int) -> str:
    return "  " + pad(text, max(width - 2, 0)) if column == 2 else pad(text, width, True)


def _sentences(given: Offer, width: int, height: int, name: int) -> list[Line]:
    """Each choice with its sentence; only the chosen one's wraps, so that all have room."""
    lines: list[Line] = [[(given.title, "title")]]
    for word, (about, *_) in given.rows.items():
        here = word == given.chosen
        parts = wrap(about, max(width - name - 2, 8))
        shown = parts[:3] if here else parts[:1]
        if not here and len(parts) > 1:
            shown = [pad(about, max(width - name - 2, 8))]
        for i, part in enumerate(shown):
            mark = "▌" if here and i == 0 else " "
            lines.append(
                [
                    (mark, "accent"),
                    (pad(word if i == 0 else "", name), "title" if here else ""),
                    (" " + part, "" if here else "dim"),
                ]
            )
    return lines[:height]
