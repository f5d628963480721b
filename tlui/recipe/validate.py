"""Documents against the models, typed as strictly as TOML is written."""

from __future__ import annotations

import copy
import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tlui.recipe.catalogue import BACKBONES, nearest
from tlui.recipe.fields import Loc, inside
from tlui.recipe.problems import sentences
from tlui.recipe.schema import Experiment

Model = TypeVar("Model", bound=BaseModel)


def check(
    model: type[Model], document: dict[str, Any], *, guessed: bool = False
) -> tuple[Model | None, list[tuple[Loc, str]]]:
    """The document as a model, or every problem with its place in the document.

    Goes through JSON because pydantic's strict mode then means what TOML means: `"10"` is not a
    number, `true` is not 1, and a table is a table. Never raises.

    Args:
        model: What the document should be.
        document: As TOML was read.
        guessed: Whether a word in it is our guess, so that missing and unknown keys say nothing.
    """
    try:
        text = json.dumps(document, default=_odd)
        return model.model_validate_json(text, strict=True), []
    except ValidationError as error:
        found = sentences(error, model, document, values_only=guessed)
        mended = _mended(document, error)
        if mended is not None:
            known = {loc for loc, _ in found}
            more = check(model, mended, guessed=True)[1]
            found += [(loc, text) for loc, text in more if loc not in known]
        return None, found
    except (RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return None, [((), reason)]


def _mended(document: dict[str, Any], error: ValidationError) -> dict[str, Any] | None:
    """The document with the likeliest source, policy, optimizer and backbone in place of words
    that are none; None where there is nothing to mend.

    What the rest of the table may say depends on that word: without it nothing there would be
    checked, and the next mistake would only show when this one is corrected.
    """
    mended = copy.deepcopy(document)
    changed = False
    for item in error.errors(include_url=False):
        loc: Loc = item["loc"]
        if item["type"] == "union_tag_invalid":
            loc = (*loc, item["ctx"]["discriminator"].strip("'"))
            words = [w for w in item["ctx"]["expected_tags"].split("'") if w.strip(", ")]
        elif loc == ("backbone", "name") and item["type"] == "value_error":
            words = list(BACKBONES)
        else:
            continue
        table: Any = mended
        for part in loc[:-1]:
            table = inside(table, part)
        if isinstance(table, dict) and (near := nearest(table.get(str(loc[-1])), words)):
            table[str(loc[-1])] = near
            changed = True
    return mended if changed else None


def check_experiment(document: dict[str, Any]) -> tuple[Experiment | None, list[tuple[Loc, str]]]:
    """The same for one experiment."""
    return check(Experiment, document)


def _odd(value: Any) -> Any:
    """Dates and times, which no setting takes, as what no setting takes."""
    return {"date": str(value)}
