"""tlui run, queue, stop and resume: what they accept, refuse and print. No trainer is started
but where a test says so: runs are held back or their home is empty."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from factory import make_run

from tlui.cli import main
from tlui.runs.directory import Home
from tlui.runs.files import write_json
from tlui.scheduler import order
from tlui.scheduler.claims import CPU, Claims

PRESET = """
version = 1
name = "tiny"
dataset = { source = "digits" }
backbone = { name = "SmallConvNet", weights = "none" }
sweep = { "phase.0.lr.initial" = [1e-2, 1e-3, 1e-4] }
[[phase]]
epochs = 1
lr = { policy = "constant", initial = 1e-3 }
"""


@pytest.fixture
def preset(tmp_path: Path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(PRESET)
    return str(path)


@pytest.fixture
def busy(home: Home) -> Home:
    """A home whose CPU is taken, so that everything queued waits."""
    assert Claims(home).take("ffffffff", [CPU])
    return home


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def queued(home: Home) -> list[str]:
    return [entry.run for entry in order.entries(home)]


class TestRefusals:
    def test_a_sweep_over_data_that_cannot_be_trained_on(
        self, home: Home, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Once, before any run is made, instead of once for each run."""
        (photos / "test" / "green").mkdir()
        (photos / "test" / "green" / "1.png").write_bytes(
            (photos / "test" / "red" / "00.png").read_bytes()
        )
        path = tmp_path / "photos.toml"
        path.write_text(PRESET.replace('"digits"', f'"folder", path = "{photos}"'))
        assert main.run(["run", str(path)]) == 2
        said = capsys.readouterr().err
        assert said.count("green") == 1 and str(path) in said
        assert list(home) == []

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["--set", "train.batch_sise=3"], "batch_size"),
            (["--device", "tpu"], "auto, cpu, gpu or gpu:N"),
            (["--device", "gpu:77"], "--device gpu:77: asks for "),
            (["--only", "nothing"], "nothing"),
            (["--on", "slurm", "--device", "cpu", "--detach"], "this machine's devices"),
            (["--on", "slurm", "--per-device", "2"], "this machine's devices"),
            (["--per-device", "0"], "per-device"),
            (["--on", "moon"], "moon"),
        ],
    )
    def test_bad_usage_makes_nothing(
        self,
        home: Home,
        preset: str,
        capsys: pytest.CaptureFixture[str],
        arguments: list[str],
        says: str,
    ) -> None:
        assert main.run(["run", preset, *arguments]) == 2
        error = capsys.readouterr().err
        assert says in error and "Traceback" not in error
        assert list(home) == []

    def test_a_bad_preset_beside_a_good_one(
        self, home: Home, preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "bad.toml").write_text("name = 3\n")
        assert main.run(["run", preset, str(tmp_path / "bad.toml")]) == 2
        assert list(home) == []
        assert main.run(["run", str(tmp_path / "none.toml")]) == 2
        assert "none.toml" in capsys.readouterr().err

    def test_a_home_that_cannot_be_used(
        self, preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").write_text("")
        assert main.run(["run", preset, "--home", str(tmp_path / "file")]) == 1
        assert "choose another with --home" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("given", "place"),
        [
            ('start_from = { run = "REF" }', "start_from.run"),
            ('backbone.weights = "run:REF"', "backbone.weights"),
        ],
    )
    @pytest.mark.parametrize(
        ("reference", "says"),
        [
            ("head-le-3", 'there is no run "head-le-3"; did you mean: {head} head-1e-3 finished'),
            ("{head_}", 'there is no run "{head_}"; did you mean: {head} head-1e-3 finished'),
            ("twin", '"twin" may be any of these runs; give an id: {twin} twin finished'),
            ("head-1e-3", "run head-1e-3 ({head}) has no saved weights: neither best.npz nor"),
            ("lost", "run lost ({lost}) failed: no memory; tlui resume {lost} goes on with it"),
            ("@last", "run twin ({twin}) has no saved weights"),
            ("other", "run {other} has another backbone: MobileNetV2 at alpha 0.35. Received: "),
            ("saved", ""),
            ("later", ""),
        ],
    )
    def test_starting_from_a_run(
        self,
        preset: str,
        busy: Home,
        capsys: pytest.CaptureFixture[str],
        given: str,
        place: str,
        reference: str,
        says: str,
    ) -> None:
        mine = {"backbone.name": "SmallConvNet", "backbone.alpha": 1.0}
        made = {
            name: make_run(
                busy,
                name=name,
                state=state,
                epochs=1,
                created=1e9 + age,
                reason=reason,
                config=None if name == "other" else mine,
            )
            for age, (name, state, reason) in enumerate(
                [
                    ("head-1e-3", "finished", ""),
                    ("lost", "failed", "no memory"),
                    ("other", "finished", ""),
                    ("saved", "finished", ""),
                    ("later", "queued", ""),
                ]
            )
        }
        (made["saved"].checkpoints / "last.npz").touch()
        make_run(busy, name="twin", created=2e9, config=mine)
        ids = {name.partition("-")[0]: run.id for name, run in made.items()}
        ids["twin"] = make_run(busy, name="twin", created=3e9, config=mine).id
        ids["head_"] = ids["head"][:-1] + ("0" if ids["head"][-1] != "0" else "1")
        text = f"""
name = "from"
dataset = {{ source = "digits" }}
backbone.name = "SmallConvNet"
{"backbone.weights = 'none'" if place == "start_from.run" else ""}
{given.replace("REF", reference.format(**ids))}
[[phase]]
lr = {{ policy = "constant", initial = 1e-3 }}
"""
        Path(preset).write_text(text)
        before = {run.id for run in busy}
        for command in (
            ["preset", "check", "--no-count", preset],
            ["run", "--detach", preset],
            ["queue", "add", preset],
        ):
            code = main.run(command)
            said = capsys.readouterr().err
            if not says:
                assert code == 0, said
            else:
                assert code == 2
                assert f"{preset}: {place}: {says.format(**ids)}" in said
                assert {run.id for run in busy} == before and queued(busy) == []

    def test_all_presets_are_looked_at_before_any_run_is_made(
        self, preset: str, tmp_path: Path, busy: Home, capsys: pytest.CaptureFixture[str]
    ) -> None:
        gone = tmp_path / "gone.toml"
        gone.write_text(
            PRESET.replace('source = "digits"', 'source = "folder", path = "/no/photos"')
        )
        bad = tmp_path / "bad.toml"
        bad.write_text(PRESET.replace("epochs = 1", "epochs = 0"))
        assert main.run(["run", "--detach", preset, str(gone), str(bad)]) == 2
        said = capsys.readouterr().err
        assert f"{gone}: dataset.path: there is nothing at /no/photos" in said
        assert f"{bad}: phase[0].epochs: must be at least 1" in said
        assert list(busy) == [] and queued(busy) == []

    def test_a_run_that_is_not_there(self, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
        for command in ("watch", "stop", "resume"):
            assert main.run([command, "abcdef01"]) == 2
        assert main.run(["stop"]) == 2
        assert "name the runs to stop, or give --filter or --all" in capsys.readouterr().err


class TestQueue:
    def test_detach_queues_in_order_and_says_how_to_come_back(
        self, busy: Home, preset: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main.run(["run", preset, "--detach", "--name", "mine"]) == 0
        said = lines(capsys)
        ids = queued(busy)
        assert [line.split()[0] for line in said if "queued" in line] == ids and len(ids) == 3
        assert any(f"tlui watch {ids[0]}" in line for line in said)
        assert {busy.run(i).read_meta()["preset"] for i in ids} == {"mine"}

    def test_one_that_fails_at_once_is_told_and_counts(
        self, home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lost = make_run(home, name="lost", state="failed", reason="no memory")
        child = make_run(home, name="child", state="failed")
        write_json(child.meta, {**child.read_meta(), "parents": [lost.id]})
        assert main.run(["resume", "--detach", child.id]) == 1
        seen = capsys.readouterr()
        assert f"tlui: {child.id}: cannot start: lost ({lost.id}) failed: no memory" in seen.err
        assert "they go on by themselves" not in seen.out

    def test_showing_and_changing_it(
        self, busy: Home, preset: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main.run(["queue", "add", preset]) == 0
        first, second, third = queued(busy)
        assert main.run(["queue", "top", third]) == 0
        assert main.run(["queue", "down", first]) == 0
        assert main.run(["queue", "up", second]) == 0
        assert queued(busy) == [second, third, first]
        assert main.run(["queue", "hold", third]) == 0
        assert main.run(["queue", "drop", first]) == 0
        capsys.readouterr()
        assert main.run(["queue", "--json"]) == 0
        shown = {r["id"]: r for r in map(json.loads, lines(capsys))}
        assert "waits for the CPU, where ffffffff runs" in shown[second]["reason"]
        assert (shown[third]["state"], shown[third]["position"]) == ("held", 2)
        assert first not in shown and busy.run(first).observe().state == "stopped"
        assert main.run(["queue"]) == 0
        assert any("held back" in line for line in lines(capsys))
        assert main.run(["queue", "release", third]) == 0
        assert main.run(["queue", "hold", first]) == 1
        assert "is not queued, it is stopped" in capsys.readouterr().err

    def test_stop_all_drops_what_waits(
        self, busy: Home, preset: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main.run(["queue", "add", preset]) == 0
        assert main.run(["stop", "--all"]) == 0
        assert queued(busy) == []
        assert {run.observe().state for run in busy} == {"stopped"}

    def test_resume_queues_again(
        self, busy: Home, preset: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main.run(["queue", "add", preset]) == 0
        first = queued(busy)[0]
        assert main.run(["queue", "drop", first]) == 0
        assert main.run(["resume", first, "--detach"]) == 0
        assert queued(busy)[-1] == first

    def test_an_empty_queue_says_so(self, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
        assert main.run(["queue"]) == 0
        assert "nothing runs and nothing waits" in capsys.readouterr().out
