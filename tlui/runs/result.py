"""A result.json as readers may rely on it: what has another type than it must have is left out."""

from __future__ import annotations

from typing import Any

from tlui.runs.number import is_number

SPLIT_NUMBERS = ("images", "inference_seconds", "images_per_second", "batch_size")
CLASS_NUMBERS = ("precision", "recall", "f1", "support")
NUMBERS = (
    *("train_seconds", "test_inference_seconds", "images_per_second", "peak_memory_mb"),
    *("peak_gpu_memory_mb", "trainable_parameters", "total_parameters"),
)


def sound(given: dict[str, Any]) -> dict[str, Any]:
    """A result without its damaged parts; what it holds beside those that are known stays."""
    found = _numeric(given, NUMBERS)
    for name in ("metrics", "splits", "best", "versions"):
        if not isinstance(found.get(name), dict):
            found.pop(name, None)
    if "metrics" in found:
        found["metrics"] = {k: v for k, v in found["metrics"].items() if is_number(v)}
    if "splits" in found:
        parts = found["splits"].items()
        found["splits"] = {name: _split(part) for name, part in parts if isinstance(part, dict)}
    if "best" in found:
        found["best"] = _numeric(found["best"], ("epoch", "value"))
    if not isinstance(found.get("skipped_images"), list):
        found.pop("skipped_images", None)
    return found


def _split(given: dict[str, Any]) -> dict[str, Any]:
    found = _numeric(given, SPLIT_NUMBERS)
    if not _is_matrix(found.get("confusion")):
        found.pop("confusion", None)
    classes = found.get("classes")
    if isinstance(classes, list) and all(isinstance(one, dict) for one in classes):
        found["classes"] = [_numeric(one, CLASS_NUMBERS) for one in classes]
    else:
        found.pop("classes", None)
    return found


def _numeric(given: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """A copy without those of the named entries that are no numbers."""
    return {k: v for k, v in given.items() if k not in names or v is None or is_number(v)}


def _is_matrix(given: Any) -> bool:
    return (
        isinstance(given, list)
        and all(isinstance(row, list) and len(row) == len(given) for row in given)
        and all(is_number(value) for row in given for value in row)
    )
