"""The user's own configuration file: where datasets lie, the home, notifications, keys, cache.

`$TLUI_CONFIG`, or `config.toml` in the platform's configuration folder. A file that is not there
is an empty one; what is wrong in it is said with the wording of preset errors.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import tomli
from pydantic import BeforeValidator, Field, PositiveFloat

from tlui.errors import PresetError
from tlui.recipe.place import config_path as config_path
from tlui.recipe.place import endless
from tlui.recipe.problems import Problems, dotted, shown
from tlui.recipe.strict import Table


def _words(given: Any) -> Any:
    words = given if isinstance(given, list) else [given]
    if not words or not all(isinstance(word, str) and word for word in words):
        raise ValueError(f"must be text in quotes, or a list of such. Received: {shown(given)}")
    return given


def _address(given: Any) -> Any:
    if not isinstance(given, str) or not re.match(r"https?://[^\s/]", given):
        raise ValueError(f"must be an http:// or https:// address. Received: {shown(given)}")
    return given


Words = Annotated[str | list[str], BeforeValidator(_words)]
"""One word or several."""


class Notify(Table):
    """What happens when a run or the whole queue has ended."""

    command: Words | None = None
    """A program, with its arguments as a list; it gets the message in $TLUI_MESSAGE."""
    webhook: Annotated[str, BeforeValidator(_address)] | None = None
    """A URL that gets the message as JSON."""
    bell: bool = False
    """Ring the bell of a terminal that shows the app, or watches the run."""


class Cache(Table):
    """The image and feature caches."""

    limit_gb: PositiveFloat | None = None
    """Oldest entries go when the caches grow beyond this; default: half the free disk."""


class Config(Table):
    """Everything the configuration file may hold."""

    datasets: dict[str, Annotated[str, Field(min_length=1)]] = {}
    """Where datasets lie: `intel = "~/data/intel"`."""
    home: str | None = None
    """Where runs are kept, unless --home or $TLUI_HOME say otherwise; a relative path starts at the
    configuration's folder."""
    notify: Notify = Notify()
    keys: dict[str, Words] = {}
    """Keys of the app: `stop = "x"`."""
    cache: Cache = Field(default=Cache())


def load_config(path: Path | None = None) -> Config:
    """The user's configuration; defaults where there is no file.

    Raises:
        PresetError: With everything that is wrong in the file.
    """
    path = path or config_path()
    if not path.exists():
        return Config()
    return validated(read_toml(path), str(path))


def validated(document: dict[str, Any], where: str) -> Config:
    """A configuration from its TOML document. Raises PresetError with every problem."""
    from tlui.recipe.validate import check

    config, found = check(Config, document)
    if config is not None:
        return config
    problems = Problems(where)
    for loc, message in found:
        problems.add(dotted(loc), message)
    raise PresetError(problems.lines)


MOST_BYTES = 4_000_000
"""A TOML file larger than this is not one a person wrote."""


def read_toml(path: Path) -> dict[str, Any]:
    """The document in a TOML file. Raises PresetError naming file, line and column."""
    return parse_toml(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a small UTF-8 file, or of a pipe. Raises PresetError naming it and the reason."""
    problems = Problems(str(path))
    try:
        if what := endless(path):
            problems.add("", f"is {what}, not a file. Give a file, or pipe it into /dev/stdin")
            raise PresetError(problems.lines)
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) <= MOST_BYTES:
            return data.decode("utf-8")
        problems.add("", "is larger than 4 MB, so it is not a preset")
    except OSError as error:
        problems.add("", f"cannot be read: {error.strerror or error}")
    except UnicodeDecodeError as error:
        problems.add("", f"is not UTF-8 text (byte {error.start})")
    except ValueError:
        problems.add("", "is not a file name")
    raise PresetError(problems.lines)


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """The document in a TOML text. Raises PresetError naming `where`, line and column."""
    problems = Problems(where)
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        line, column = getattr(error, "lineno", None), getattr(error, "colno", None)
        place = f"line {line}, column {column}" if line else ""
        problems.add(place, f"not valid TOML: {getattr(error, 'msg', error)}")
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        problems.add("", f"not valid TOML: {reason}")
    raise PresetError(problems.lines)
