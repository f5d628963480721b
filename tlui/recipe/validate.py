"""One experiment's document against the models, typed as strictly as TOML is written."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from tlui.recipe.problems import Loc, sentences
from tlui.recipe.schema import Experiment


def check_experiment(document: dict[str, Any]) -> tuple[Experiment | None, list[tuple[Loc, str]]]:
    """The experiment, or every problem with its place in the document.

    Goes through JSON because pydantic's strict mode then means what TOML means: `"10"` is not a
    number, `true` is not 1, and a table is a table. Never raises.
    """
    try:
        text = json.dumps(document, default=_odd)
        return Experiment.model_validate_json(text, strict=True), []
    except ValidationError as error:
        return None, sentences(error, Experiment, document)
    except (RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return None, [((), reason)]


def _odd(value: Any) -> Any:
    """Dates and times, which no setting takes, as what no setting takes."""
    return {"date": str(value)}
