"""The presets that come with tlui."""

from __future__ import annotations

from pathlib import Path


def bundled_presets() -> list[Path]:
    """Their files, the quickstart first; [] where they were not installed."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "presets", package.parent / "presets"):
        found = sorted(folder.glob("*.toml"), key=lambda p: (p.stem != "quickstart", p.stem))
        if found:
            return found
    return []
