"""tlui run, queue, stop and resume: what they accept, refuse and print. No trainer is started
but where a test says so: runs are held back or their home is empty."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tlui.cli import main
from tlui.runs.directory import Home
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
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["--set", "train.batch_sise=3"], "batch_size"),
            (["--device", "tpu"], "auto, cpu, gpu or gpu:N"),
            (["--only", "nothing"], "nothing"),
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

    def test_a_run_that_is_not_there(self, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
        for command in ("watch", "stop", "resume"):
            assert main.run([command, "abcdef01"]) == 2
        assert main.run(["stop"]) == 2
        assert "name the runs to stop, or give --all" in capsys.readouterr().err


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
