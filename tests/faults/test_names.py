"""Names nobody would choose, wherever a person can choose one: they work, or are named with the
reason."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from faults.real import FOLDER_PRESET, tlui
from faults.test_data import quoted

from tlui.runs.directory import Home
from tlui.runs.text import printable

NAMES = {
    "spaces": " two  spaces ",
    "newline": "new\nline",
    "not UTF-8": os.fsdecode(b"caf\xe9 \xff"),
    "200 characters": "n" * 200,
    "200 others": "ü" * 120,
    "escapes": "\x1b[2J\x1b]0;owned\x07",
    "markup": "[red]x[bold] {0} %s $HOME `id`",
    "quotes": 'it\'s "so" \\ and',
    "dashes": "--force",
    "right to left": "\u202eabc\u2066",
    "dots": "...",
    "tilde": "~root",
}
PLACES = ("home", "dataset", "class", "photo", "preset", "weights", "export", "cache")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights that fits: a short training's own."""
    folder = tmp_path_factory.mktemp("weights")
    photos(folder / "data")
    (folder / "p.toml").write_text(FOLDER_PRESET % quoted(folder / "data"))
    done = tlui("run", folder / "p.toml", TLUI_HOME=str(folder / "home"))
    assert done.returncode == 0, done.stderr
    (run,) = Home.at(folder / "home")
    return run.model


def photos(data: Path, class_name: str = "a", photo: str = "") -> None:
    from PIL import Image

    shade = 0
    for split, name in itertools.product(("train", "test"), (class_name, "b")):
        folder = data / split / name
        folder.mkdir(parents=True)
        for i in range(6):
            shade += 5
            picture = Image.new("RGB", (16, 16), (200 if name == "b" else 0, shade, 30))
            picture.save(folder / f"{i}{photo}.png")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("where", ["", *(pytest.param(p, marks=pytest.mark.slow) for p in PLACES)])
def test_every_name_in_every_place(
    tmp_path: Path, request: pytest.FixtureRequest, where: str
) -> None:
    """Short: a few, as far as the dataset's check. Long: trained, listed and exported."""
    every = list(itertools.product(NAMES, PLACES))
    cases = [case for case in every if case[1] == where] or random.Random(4).sample(every, 4)
    outcomes: Counter[str] = Counter()
    refused: list[str] = []
    for number, (kind, place) in enumerate(cases):
        name, folder = NAMES[kind], tmp_path / str(number)

        def at(which: str, usual: str, name: str = name, place: str = place) -> str:
            return name if place == which else usual

        data = folder / at("dataset", "data")
        photos(data, at("class", "a"), at("photo", "")[:150])
        preset = folder / (at("preset", "p")[:100] + ".toml")
        text = FOLDER_PRESET % quoted(data)
        if place == "weights":
            given = folder / (name[:100] + ".keras")
            if where:
                shutil.copy(request.getfixturevalue("weights"), given)
            text = text.replace('weights = "none"', f"weights = {quoted(given)}")
        preset.write_bytes(text.encode("utf-8", "surrogateescape"))
        places = {
            "TLUI_HOME": str(folder / at("home", "home")),
            "TLUI_CACHE": str(folder / at("cache", "cache")),
        }
        table = folder / at("export", "table.csv")
        commands = [["dataset", "check", preset], ["ls"]]
        if where:
            commands = [["run", preset], ["ls"], ["show", "@last"], ["export", "-o", table]]
        for number, command in enumerate(commands):
            done = tlui(*command, cwd=folder, **places)
            said = done.stdout + done.stderr
            case = (kind, place, command, said)
            assert "Traceback" not in said and "bug in tlui" not in said, case
            assert not any(raw in said for raw in ("\x1b", "\x07", "\u202e", "\u2066")), case
            if done.returncode == 0:
                outcomes["works"] += number == 0
                continue
            assert done.returncode in (1, 2) and number == 0, case
            assert place in ("dataset", "weights", "preset", "photo", "class"), case
            hidden = place == "class" and 'needs two classes or more. Found: "b"' in said
            assert hidden or printable(name)[:100] in said or printable(preset) in said, case
            outcomes["named"] += 1
            refused.append(f"{kind} as {place}: {' '.join(said.split())[-140:]}")
            break
        else:
            if where:
                assert table.stat().st_size > 0
                (row,) = json.loads(tlui("ls", "--json", **places).stdout)
                assert row["state"] == "finished", (kind, place)
    print(f"\n{outcomes.total()} odd names {where}: {dict(outcomes)}", *refused, sep="\n  ")
