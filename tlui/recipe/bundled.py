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


def first_command() -> str:
    """What one types to see a first lab, in any folder."""
    import shlex

    found = bundled_presets()
    return f"tlui run {shlex.quote(str(found[0])) if found else 'PRESET'}"
