"""Whatever a preset or a `--set` holds, what comes out is runs or a PresetError."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomli
import tomli_w
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tlui.errors import PresetError
from tlui.recipe.bundled import bundled_presets
from tlui.recipe.config import Config
from tlui.recipe.fields import all_paths
from tlui.recipe.preset import parse_preset
from tlui.recipe.toml import experiment_to_toml, load_experiment

TEXTS = {path.stem: path.read_text("utf-8") for path in bundled_presets()}
CONFIG = Config(datasets=dict.fromkeys(("intel", "food-101", "pcam"), "/data"))
presets = st.sampled_from(sorted(TEXTS))
many = settings(max_examples=200, deadline=None)
few = settings(max_examples=60, deadline=None)

scalars = st.one_of(
    st.integers(),
    st.integers(-2, 40),
    st.floats(),
    st.booleans(),
    st.dates(),
    st.text(max_size=8),
    st.sampled_from(["adam", "cosine", "top:3", "MobileNet", "intel", "head", "run:x", "~x/\0"]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=6) | st.sampled_from(["name", "policy"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
paths = st.one_of(
    st.sampled_from(all_paths()),
    st.sampled_from(
        ["phase.*.epochs", "phase.*.lr", "experiment.head.train.seed", "sweep", "name"]
    ),
    st.text(st.sampled_from("phase.0*lr\"'= experiment"), max_size=20),
)


def attempt(text: str, sets: list[str] | None = None, only: list[str] | None = None) -> None:
    try:
        preset = parse_preset(text, "fuzz.toml", sets or [], only or [], config=CONFIG)
    except PresetError as error:
        assert error.problems
        for line in error.problems:
            assert line.startswith("fuzz.toml: ")
            assert line.isprintable()
        return
    names = [point.name for point in preset.points]
    assert len(set(names)) == len(names)
    for i, point in enumerate(preset.points):
        assert set(point.parents) <= set(names[:i])


@given(st.text())
@few
def test_any_text(text: str) -> None:
    attempt(text)


@given(presets, st.data())
@many
def test_a_preset_with_a_piece_changed(name: str, data: st.DataObject) -> None:
    text = TEXTS[name]
    start = data.draw(st.integers(0, len(text)))
    end = min(len(text), start + data.draw(st.integers(0, 12)))
    attempt(text[:start] + data.draw(st.text(max_size=6)) + text[end:])


@given(presets, st.data())
@many
def test_a_preset_with_a_value_changed(name: str, data: st.DataObject) -> None:
    document: Any = tomli.loads(TEXTS[name])
    here = document
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(here[key], (dict, list)) or not here[key] or data.draw(st.booleans()):
            break
        here = here[key]
    if data.draw(st.booleans()):
        here[key] = data.draw(values)
    elif isinstance(here, dict):
        here[data.draw(st.text(max_size=5))] = here.pop(key)
    attempt(tomli_w.dumps(document))


@given(
    presets,
    st.lists(st.tuples(paths, values | st.text(max_size=10)), min_size=1, max_size=3),
    st.lists(st.text(max_size=5) | st.sampled_from(["head", "full-1e-4"]), max_size=2),
)
@example("food101-finetune", [("version", ""), ("dataset.classes", [{}])], [])
@many
def test_any_override(name: str, sets: list[tuple[str, Any]], only: list[str]) -> None:
    written = [
        f"{path}={tomli_w.dumps({'v': value}).partition('= ')[2] if i % 2 else value}"
        for i, (path, value) in enumerate(sets)
    ]
    attempt(TEXTS[name], written, only)


@given(st.binary(max_size=200))
@few
def test_a_runs_own_file(tmp_path_factory: Any, data: bytes) -> None:
    path: Path = tmp_path_factory.mktemp("run") / "preset.toml"
    path.write_bytes(data)
    try:
        load_experiment(path)
    except PresetError as error:
        assert all(line.startswith(str(path)) for line in error.problems)


def test_the_presets_are_read_at_all() -> None:
    assert len(TEXTS) == 6
    for text in TEXTS.values():
        config = Config(datasets={**CONFIG.datasets, "oregon-wildlife": "/data"})
        for point in parse_preset(text, config=config).points:
            assert experiment_to_toml(point.experiment)
