"""Documents against the models, typed as strictly as TOML is written."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tlui.recipe.problems import Loc, sentences
from tlui.recipe.schema import Experiment

Model = TypeVar("Model", bound=BaseModel)


def check(
    model: type[Model], document: dict[str, Any]
) -> tuple[Model | None, list[tuple[Loc, str]]]:
    """The document as a model, or every problem with its place in the document.

    Goes through JSON because pydantic's strict mode then means what TOML means: `"10"` is not a
    number, `true` is not 1, and a table is a table. Never raises.
    """
    try:
        text = json.dumps(document, default=_odd)
        return model.model_validate_json(text, strict=True), []
    except ValidationError as error:
        return None, sentences(error, model, document)
    except (RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return None, [((), reason)]


def check_experiment(document: dict[str, Any]) -> tuple[Experiment | None, list[tuple[Loc, str]]]:
    """The same for one experiment."""
    return check(Experiment, document)


def _odd(value: Any) -> Any:
    """Dates and times, which no setting takes, as what no setting takes."""
    return {"date": str(value)}
