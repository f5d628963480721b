"""`tlui dataset check|list` and `tlui cache ls|rm` as a person types them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from tlui.cli import cache, dataset
from tlui.data.cache import obtain
from tlui.errors import TluiError

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    app = typer.Typer()
    app.command("check")(dataset.check)
    app.command("list")(dataset.list_datasets)
    app.command("ls")(cache.list_entries)
    app.command("rm")(cache.remove_entries)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_clean_folder(run: Run, photos: Path) -> None:
    result = run("check", photos)
    assert result.exit_code == 0
    assert "ok: 32 images, all readable, none in two splits" in result.stdout
    assert "width 48-48 (median 48)" in result.stdout


def test_leakage_and_damage_exit_with_1(run: Run, photos: Path) -> None:
    shutil.copy(photos / "train/red/00.png", photos / "test/red/x.png")
    result = run("check", photos)
    assert result.exit_code == 1
    assert "train: train/red/00.png [red] = test: test/red/x.png [red]" in result.stdout
    (photos / "test/red/x.png").write_bytes(b"\x1b[31m")
    result = run("check", photos)
    assert result.exit_code == 1
    assert "test/red/x.png: not an image: starts with bytes 1b 5b 33 31" in result.stdout


@pytest.mark.parametrize("inside", ["", "train", "a b/c/train"])
def test_photos_without_class_folders_are_looked_at_all_the_same(
    run: Run, photos: Path, tmp_path: Path, inside: str
) -> None:
    loose = tmp_path / "loose"
    (loose / inside).mkdir(parents=True)
    for i, photo in enumerate(sorted((photos / "train" / "red").iterdir())):
        shutil.copy(photo, loose / inside / f"{i}.png")
    shutil.copy(loose / inside / "0.png", loose / inside / "twin.png")
    (loose / inside / "empty.jpg").touch()
    (loose / inside / "notes.txt").write_text("x")
    result = run("check", loose)
    assert result.exit_code == 1
    where = f"{inside}/" if inside else ""
    for line in (
        "(no class)        14",
        "sizes    width 48-48 (median 48), height 40-40 (median 40)",
        "formats  PNG 13",
        "skipped  not an image 1",
        "no class folders: training needs a folder of photos for each class.",
        f"  {where}empty.jpg: 0 bytes",
        f"  {where}0.png = {where}twin.png",
    ):
        assert line in result.stdout
    report = json.loads(run("check", loose, "--json").stdout)
    assert report["images"] == 14 and report["classes"] == ["(no class)"]
    assert len(report["bad"]) == len(report["duplicates"]) == 1
    assert "no class folders" in report["problems"][0]


def test_photos_beside_a_split_without_train(run: Run, photos: Path) -> None:
    shutil.rmtree(photos / "train")
    result = run("check", photos)
    assert result.exit_code == 1
    assert (
        "(no class)         8" in result.stdout and "has test but no train folder" in result.stdout
    )


def test_a_folder_without_a_photo(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run("check", tmp_path / "empty")
    assert isinstance(result.exception, TluiError) and "no class folders" in str(result.exception)


def test_names_cannot_move_the_cursor(run: Run, photos: Path) -> None:
    (photos / "train" / "red").rename(photos / "train" / "\x1b[2Jred")
    (photos / "test" / "red").rename(photos / "test" / "\x1b[2Jred")
    result = run("check", photos)
    assert result.exit_code == 0 and "\x1b" not in result.stdout
    assert "\\x1b[2Jred" in result.stdout


def test_json(run: Run, photos: Path) -> None:
    os.rename(photos / "train/red/00.png", os.fsencode(photos / "train/red/") + b"\xff.png")  # noqa: PTH104
    shutil.rmtree(photos / "test" / "red")
    result = run("check", photos, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["counts"]["test"] == [4, 0] and report["imbalance"]["test"] is None
    assert '"red" has images in train' in report["problems"][0]


def test_a_preset_that_skips_bad_images(run: Run, photos: Path, tmp_path: Path) -> None:
    (photos / "train/red/bad.png").write_bytes(b"")
    preset = tmp_path / "p.toml"
    preset.write_text(
        f"""version = 1
name = "p"
[dataset]
source = "folder"
path = "{photos}"
bad_images = "skip"
[backbone]
name = "SmallConvNet"
weights = "none"
[[phase]]
freeze = "none"
epochs = 1
lr = {{ policy = "constant", initial = 1e-3 }}
"""
    )
    result = run("check", preset)
    assert result.exit_code == 0 and "(training skips them)" in result.stdout
    assert run("check", preset, "--set", 'dataset.bad_images="fail"').exit_code == 1


def test_names_from_the_config(run: Run, photos: Path) -> None:
    result = run("check", "intl")
    assert isinstance(result.exception, TluiError) and result.exception.code == 2
    assert 'did you mean "intel"' in str(result.exception)
    result = run("check", "intel")
    assert "where it lies is not known" in str(result.exception)
    Path(os.environ["TLUI_CONFIG"]).write_text(f'[datasets]\nmine = "{photos}"\n')
    result = run("check", "mine")
    assert result.exit_code == 0 and result.stdout.startswith("mine (folder)")
    listing = run("list")
    assert "kaggle.com" in listing.stdout and f"in {photos}" in listing.stdout
    names = [row["name"] for row in json.loads(run("list", "--json").stdout)]
    assert {"intel", "oregon-wildlife", "food-101", "pcam", "mine", "digits"} == set(names)


def test_cache_listing_and_removal(run: Run, photos: Path) -> None:
    from pydantic import TypeAdapter

    from tlui.data.store import open_images
    from tlui.data.table import open_dataset
    from tlui.recipe.sources import Dataset

    assert "nothing is cached" in run("ls").stdout
    given = TypeAdapter(Dataset).validate_python({"source": "folder", "path": str(photos)})
    table = open_dataset(given)
    images = open_images(table, "train", 32, "crop")
    test = open_images(table, "test", 32, "crop")
    test.close()
    text = run("ls").stdout
    assert text.count("photos") >= 2 and "24 at 32 px" in text and "in use" in text
    rows = json.loads(run("ls", "--json").stdout)["entries"]
    assert sorted(row["images"] for row in rows) == [8, 24]
    result = run("rm", "photos")
    assert result.exit_code == 1 and "a run is using it" in result.output
    assert len(json.loads(run("ls", "--json").stdout)["entries"]) == 1
    images.close()
    assert run("rm", json.loads(run("ls", "--json").stdout)["entries"][0]["key"][:8]).exit_code == 0
    assert "nothing is cached" in run("ls").stdout
    assert images.batch([0]).any()  # what is open stays readable


def test_cache_listing_fits_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(os.environ["TLUI_CACHE"])
    about = {"dataset": "oregon-wildlife", "images": 12345, "size": 224}
    for kind in ("features", "images"):
        obtain(kind, f"{kind:_<20}", lambda folder: about, 0, root=root).close()
    monkeypatch.setattr("tlui.cli.terminal.is_terminal", lambda: True)
    for width, named in ((80, "oregon-wildlife"), (70, "oregon")):
        monkeypatch.setenv("COLUMNS", str(width))
        lines = run("ls").stdout.splitlines()[:3]
        assert all(len(line) <= width for line in lines), lines
        assert all(named in line and line.endswith("12,345 at 224 px") for line in lines[1:])


def test_cache_removal_takes_nothing_that_was_not_named(run: Run, tmp_path: Path) -> None:
    root = Path(os.environ["TLUI_CACHE"])
    for key in ("ab1", "ab2", "cd"):
        obtain("features", key, lambda folder: {"dataset": "ab"}, 0, root=root).close()
    assert run("rm", "ab1").stdout.startswith("freed ")
    obtain("features", "ab1", lambda folder: {"dataset": "abc"}, 0, root=root).close()
    for words, said in (
        ((), "say which"),
        (("ab", "--all"), "say which"),
        (("",), "nothing cached is called ''"),
        (("a",), "'a' is the beginning of 2 keys: ab"),
        (("cd", "xyz"), "nothing cached is called 'xyz'"),
    ):
        error = run("rm", *words).exception
        assert isinstance(error, TluiError) and error.code == 2 and said in str(error)
    keys = [row["key"] for row in json.loads(run("ls", "--json").stdout)["entries"]]
    assert sorted(keys) == ["ab1", "ab2", "cd"]
    assert run("rm", "ab").exit_code == 0  # a dataset: all of its own
    assert run("rm", "--all").exit_code == 0
    assert "nothing is cached" in run("ls").stdout
