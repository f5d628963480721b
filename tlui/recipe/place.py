"""Where paths that a person writes lead, and where the user's configuration lies.

Standard library only, for commands that must start fast.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tlui.errors import TluiError


def config_path() -> Path:
    """Where the configuration file is, whether or not it exists."""
    given = os.environ.get("TLUI_CONFIG")
    if given:
        return Path(given)
    from platformdirs import user_config_dir

    return Path(user_config_dir("tlui")) / "config.toml"


def expanded(given: str | os.PathLike[str]) -> Path:
    """A path with the home folder in place of `~` or `~NAME`.

    Raises:
        TluiError: There is no user of that name.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError:
        who = Path(given).parts[0]
        raise TluiError(
            f"{os.fspath(given)}: no home folder {who} on this machine; write ./{who} for one here",
            2,
        ) from None


def endless(path: str | bytes | os.PathLike[str]) -> str:
    """What it is whose reading may wait or go on for ever; '' for a file, or the shell's pipe.

    Raises:
        OSError: There is nothing of that name.
    """
    mode, real = os.stat(path).st_mode, os.path.realpath(path)  # noqa: PTH116 - bytes
    if (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)) and os.fsdecode(real) != os.devnull:
        return "a terminal or another device"
    named = stat.S_ISFIFO(mode) and not os.fsdecode(real).startswith("/proc/")
    return "a named pipe" if named else ""
