"""Where the user's configuration lies; standard library only, for commands that must start fast."""

from __future__ import annotations

import os
from pathlib import Path


def config_path() -> Path:
    """Where the configuration file is, whether or not it exists."""
    given = os.environ.get("TLUI_CONFIG")
    if given:
        return Path(given)
    from platformdirs import user_config_dir

    return Path(user_config_dir("tlui")) / "config.toml"
