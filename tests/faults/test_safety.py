"""A shared server: what is private stays private, what strangers wrote executes nothing, links
lead nowhere, and nothing reaches the terminal but text."""

from __future__ import annotations

import json
import os
import pickle
import stat
from pathlib import Path

import numpy as np
import pytest
from factory import CLASSES, make_run
from faults.real import FOLDER_PRESET, PRESET, tlui
from scheduler.bench import Bench

from tlui.errors import TluiError
from tlui.runs.directory import Home
from tlui.runs.files import write_json
from tlui.runs.status import Status, write_status
from tlui.trainer.checkpoint import Checkpoint, Checkpoints

EVIL = "evil\x1b]0;owned\x07\x1b[2J[red]x[bold]\u202e\x9b31m"


class Bomb:
    """Leaves a file behind when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def open_to_others(*folders: Path) -> list[str]:
    """What group or others could read below some folders, themselves included."""
    found = []
    for folder in folders:
        for path in [folder, *folder.rglob("*")]:
            mode = path.lstat().st_mode
            if not stat.S_ISLNK(mode) and mode & 0o077:
                found.append(f"{path.relative_to(folder.parent)} {stat.filemode(mode)}")
    return found


@pytest.mark.timeout(300)
def test_a_real_run_with_odd_names_is_private_and_prints_only_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything on the way is oddly named: home, preset, dataset, class folders and photos."""
    from PIL import Image

    odd = os.fsdecode(b"sp ace\nline caf\xe9 " + b"x" * 180)
    data, home = tmp_path / "data" / odd, tmp_path / "homes" / odd
    for split in ("train", "test"):
        for shade, name in enumerate((EVIL, os.fsdecode(b"caf\xe9 \n"))):
            folder = data / split / name
            folder.mkdir(parents=True)
            for i in range(4):
                photo = Image.new("RGB", (16, 16), (shade * 200, 10 * i, 30))
                photo.save(folder / f"{i} \x1b[31m{'n' * 150}.png")
    preset = tmp_path / odd / "odd \x1b[2J name.toml"
    preset.parent.mkdir()
    preset.write_text(FOLDER_PRESET % '"data"')
    (tmp_path / odd / "data").symlink_to(data)
    link = tmp_path / f"lin k ünï {'y' * 180}"
    link.symlink_to(data)
    monkeypatch.setenv("TLUI_HOME", os.fsdecode(home))

    before = os.umask(0)
    try:
        bad_name = tlui("run", preset, "--name", EVIL)
        bad_path = tlui("run", preset, cwd=tmp_path / odd)
        bad_line = tlui("run", preset, "--set", 'dataset.path="a\\nb"')
        where = f"dataset.path={json.dumps(str(link))}"
        options = ("--name", "[b]x[/b]", "--set", "dataset.validation=0.25", "--set", where)
        done = tlui("run", preset, *options)
    finally:
        os.umask(before)
    assert bad_name.returncode == 2 and "control characters" in bad_name.stderr
    # from a folder that is not UTF-8: no preset can hold that path
    assert bad_path.returncode == 2 and "not a path that can be used" in bad_path.stderr
    assert bad_line.returncode == 2 and "is not a path" in bad_line.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = Home.at(home)
    assert run.observe().state == "finished"
    assert open_to_others(home, tmp_path / "cache") == []
    assert {p.name for p in run.path.iterdir()} >= {
        *("trainer.log", "model.keras", "predictions", "tensorboard", "checkpoints", "result.json")
    }
    classes = json.loads(run.classes.read_text())["classes"]
    assert classes == sorted(classes) and EVIL in classes
    with np.load(run.predictions / "test.npz", allow_pickle=False) as file:
        assert len(file["file"]) == 8

    export = tmp_path / odd / "out.csv"
    for arguments in (
        ["ls"],
        ["show", run.id],
        ["compare", run.id, run.id],
        ["plot", run.id],
        ["watch", run.id],
        ["queue"],
        ["export", "-o", export],
        ["dataset", "check", preset],
        ["preset", "check", preset],
        ["resume", run.id],
        ["rm", "--yes", run.id],
    ):
        shown = tlui(*arguments)
        text = shown.stdout + shown.stderr
        assert "bug in tlui" not in text, (arguments, text)
        for bad in ("\x1b", "\x07", "\x9b", "\u202e"):
            assert bad not in text, (arguments, text)
    assert export.stat().st_size and not run.path.exists()


@pytest.mark.parametrize("view", ["ls", "show", "compare", "plot", "queue", "export", "watch"])
def test_text_of_strangers_is_never_raw(home: Home, view: str) -> None:
    """Names, classes, reasons, alerts and settings that hold escape sequences and markup."""
    from tlui.runs.events import EventWriter

    run = make_run(home, name=EVIL, preset=EVIL, experiment=EVIL, reason=EVIL, device=EVIL)
    write_json(run.classes, {"version": 1, "classes": [EVIL, *CLASSES[1:]]})
    result = run.read_result()
    assert result is not None
    for part in result["splits"].values():
        part["classes"][0]["name"] = EVIL
    write_json(run.result, {**result, "skipped_images": [{"name": EVIL, "reason": EVIL}]})
    writer = EventWriter(run.events)
    writer.write("alert", kind=EVIL, message=EVIL)
    writer.write("log", level=EVIL, message=EVIL)
    writer.close()
    queued = make_run(home, name=EVIL + "2", state="queued", config={"tags": [EVIL]})
    arguments = {"compare": [run.id, queued.id], "plot": [run.id], "show": [run.id]}
    arguments["watch"] = [run.id]
    for more in ([], ["--json"]):
        if more and view in ("plot", "export", "watch"):
            continue
        done = tlui(view, *arguments.get(view, []), *more, FORCE_COLOR="")
        text = done.stdout + done.stderr
        assert "bug in tlui" not in text, text
        if view != "export":  # a CSV is data for other programs, not for the terminal
            for bad in ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\u202e"):
                assert bad not in text, text


class TestLinks:
    def test_status_and_events_are_not_written_through_links(self, bench: Bench) -> None:
        """Whoever can put a link into a run directory cannot have another file overwritten."""
        precious = bench.home.path / "precious"
        precious.write_text("precious")
        run = bench.add("finish")
        run.status.unlink()
        run.status.symlink_to(precious)
        write_status(run.status, Status("queued"))
        assert not run.status.is_symlink()
        for path in (run.events, run.result):
            path.symlink_to(precious)
        bench.start()
        bench.quiet()
        assert precious.read_text() == "precious"

    def test_a_log_that_is_a_link_is_not_written(self, bench: Bench) -> None:
        precious = bench.home.path / "precious"
        precious.write_text("precious")
        run = bench.add("finish")
        run.log.symlink_to(precious)
        assert bench.start() == []
        assert precious.read_text() == "precious" and bench.state(run) == "failed"
        assert f"{run.log}: Too many levels of symbolic links" in run.observe().reason

    @pytest.mark.parametrize("folder", ["claims", "queue"])
    def test_a_link_in_the_place_of_the_queues_folders(
        self, bench: Bench, tmp_path: Path, folder: str
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (bench.home.path / folder).symlink_to(elsewhere)
        with pytest.raises(TluiError, match="link"):
            bench.add("finish")
            bench.start()
        assert list(elsewhere.iterdir()) == []
        (bench.home.path / folder).unlink()

    def test_a_claim_that_is_a_link_is_refused(self, bench: Bench) -> None:
        run = bench.add("finish")
        bench.start()
        bench.ended(run)
        bench.quiet()
        control_target = bench.home.path / "precious"
        control_target.write_text("{}")
        claims = bench.home.path / "claims"
        (claims / "run-00000000").symlink_to(control_target)
        with pytest.raises(TluiError, match="symbolic link"):
            bench.start()
        assert control_target.read_text() == "{}"
        (claims / "run-00000000").unlink()

    def test_rm_never_follows_a_link(self, home: Home, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "precious").write_text("precious")
        run = make_run(home)
        (run.path / "link").symlink_to(outside)
        (run.checkpoints / "best.npz").symlink_to(outside / "precious")
        (home.runs / "0badcafe").symlink_to(outside)
        assert tlui("rm", "--yes", run.id).returncode == 0
        assert not run.path.exists()
        assert tlui("rm", "--yes", "0badcafe").returncode != 0
        assert (outside / "precious").read_text() == "precious"


def test_exports_never_overwrite_unless_told(home: Home, tmp_path: Path) -> None:
    run = make_run(home)
    target = tmp_path / "precious.csv"
    target.write_text("precious")
    link = tmp_path / "link.csv"
    link.symlink_to(target)
    for path in (target, link):
        for more in ([], ["--epochs", run.id]):
            done = tlui("export", "-o", path, *more)
            assert done.returncode != 0 and "--force" in done.stderr
            assert target.read_text() == "precious"
    assert tlui("export", "-o", target, "--force").returncode == 0
    assert run.id in target.read_text()


class TestPickles:
    """Weights, checkpoints and predictions from a stranger execute nothing."""

    def bomb(self, tmp_path: Path) -> tuple[np.ndarray, Path]:
        went_off = tmp_path / "went-off"
        return np.array([Bomb(went_off)], dtype=object), went_off

    def test_the_bomb_is_one(self, tmp_path: Path) -> None:
        array, went_off = self.bomb(tmp_path)
        pickle.loads(pickle.dumps(array))  # noqa: S301 - shows that the tests below test something
        assert went_off.exists()

    def test_checkpoints_and_predictions(self, home: Home, tmp_path: Path) -> None:
        array, went_off = self.bomb(tmp_path)
        run = make_run(home)
        run.predictions.mkdir()
        for path in (
            *(run.checkpoints / name for name in ("last.npz", "best.npz", "last-previous.npz")),
            run.predictions / "test.npz",
        ):
            np.savez(path, **{"head/logits/kernel": array, "state.json": array, "files": array})
        found, notes = Checkpoints(run.checkpoints).load()
        assert found is None and len(notes) == 2
        assert Checkpoints(run.checkpoints).load_best() is None
        Checkpoints(run.checkpoints).write(Checkpoint({}, {"epoch": 1}))
        np.savez(
            run.checkpoints / "moved.npz", **{"head/logits/kernel": array, "state.json": array}
        )
        found, notes = Checkpoints(run.checkpoints).load()
        assert found is not None and found.state["epoch"] == 1 and len(notes) == 1
        for command in (["show", run.id], ["ls"], ["export"], ["compare", run.id, run.id]):
            tlui(*command)
        assert not went_off.exists()

    @pytest.mark.parametrize("kind", ["keras", "npz", "h5"])
    def test_weights(self, home: Home, tmp_path: Path, kind: str) -> None:
        """A model with a Lambda layer, and files of pickles, given as `weights`."""
        from training import digits_experiment, train
        from training import make_run as make_real

        array, went_off = self.bomb(tmp_path)
        path = tmp_path / f"evil.{kind}"
        if kind == "keras":
            import keras

            where = str(went_off)
            code = keras.layers.Lambda(lambda x: (__import__("pathlib").Path(where).touch(), x)[1])
            model = keras.Sequential([keras.Input((16, 16, 3)), code, keras.layers.Flatten()])
            model.save(path)
            went_off.unlink(missing_ok=True)
        elif kind == "npz":
            np.savez(path, weights=array)
        else:
            path.write_bytes(pickle.dumps(array))
        run = make_real(
            home, digits_experiment(backbone={"name": "SmallConvNet", "weights": str(path)})
        )
        outcome = train(run)
        assert outcome.state == "failed" and str(path) in outcome.reason, outcome
        assert not went_off.exists()
        run.model.write_bytes(path.read_bytes())
        child = make_real(home, digits_experiment(start_from={"run": run.id}))
        assert train(child).state == "failed"
        assert not went_off.exists()


def test_a_preset_is_only_data(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "evil.toml"
    text = PRESET.replace('"SmallConvNet"', "\"__import__('os').system('touch went-off')\"")
    path.write_text(text)
    done = tlui("preset", "check", path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert not (Path.cwd() / "went-off").exists()
