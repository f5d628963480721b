"""Whole runs on three digits: what they write, and how they end."""

import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import accuracy_score
from training import asking, digits_experiment, digits_run, make_run, start, train

from tlui.runs.directory import Home
from tlui.runs.events import EventReader
from tlui.runs.files import read_json, write_json
from tlui.runs.history import load
from tlui.runs.process import identify
from tlui.runs.status import Status, read_status, write_status
from tlui.trainer.checkpoint import read_whole_checkpoint
from tlui.trainer.signals import Requests


def events(run, kind):
    return [e for e in EventReader(run.events).read_all() if e["type"] == kind]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of two phases: from scratch, then the head alone on cached features."""
    lr = {"policy": "exponential", "initial": 2e-3, "k": 0.5}
    run = digits_run(
        Home.at(tmp_path_factory.mktemp("finished")),
        head={"dropout": 0.2},
        evaluate={"batch_size": 50},
        phase=[
            {"freeze": "none", "epochs": 4, "lr": lr},
            {"freeze": "backbone", "batchnorm": "inference", "epochs": 2, "lr": lr},
        ],
    )
    outcome = train(run)
    assert outcome.state == "finished", outcome
    return run


def test_env_says_where_the_run_was_asked_for(home):
    """Not where its trainer runs, whose folder and commit are anybody's."""
    run = digits_run(home, epochs=1)
    asked = {"folder": "/there", "git_commit": "c0ffee"}
    write_json(run.meta, {**run.read_meta(), **asked})
    assert train(run).state == "finished", run.log.read_text()
    env = read_json(run.env)
    assert {name: env[name] for name in asked} == asked


class TestResult:
    def test_it_has_learned(self, finished):
        metrics = finished.read_result()["metrics"]
        assert metrics["test_accuracy"] > 0.9
        assert metrics["test_roc_auc"] > 0.98

    def test_metrics_follow_from_the_stored_predictions(self, finished):
        result = finished.read_result()
        for split in ("train", "val", "test"):
            with np.load(finished.predictions / f"{split}.npz", allow_pickle=False) as file:
                predicted = file["probabilities"].argmax(1)
                accuracy = accuracy_score(file["label"], predicted)
                assert len(set(file["file"])) == len(file["label"])
                np.testing.assert_allclose(file["probabilities"].sum(1), 1, rtol=1e-5)
            assert result["metrics"][f"{split}_accuracy"] == pytest.approx(accuracy)
            part = result["splits"][split]
            assert np.trace(part["confusion"]) == round(accuracy * part["images"])
            assert [row["name"] for row in part["classes"]] == ["0", "1", "2"]
            assert part["batch_size"] == 50
            assert part["inference_seconds"] > 0

    def test_the_best_epochs_weights_are_evaluated(self, finished):
        result = finished.read_result()
        rows = load(finished).epochs
        best = max(rows, key=lambda row: row["val_accuracy"])
        assert result["evaluated"] == "best"
        assert result["best"]["epoch"] == best["epoch"]
        assert result["metrics"]["val_accuracy"] == pytest.approx(best["val_accuracy"])
        assert result["metrics"]["val_loss"] == pytest.approx(best["val_loss"], rel=1e-4)

    def test_parameters_and_epochs_of_each_phase(self, finished):
        phases = finished.read_result()["phases"]
        assert [p["epochs"] for p in phases] == [4, 2]
        assert phases[1]["trainable_parameters"] == 128 * 3 + 3
        assert phases[0]["trainable_parameters"] > phases[1]["trainable_parameters"]

    def test_the_saved_model_needs_plain_keras_only(self, finished):
        code = (
            "import sys, numpy as np, keras\n"
            "model = keras.saving.load_model(sys.argv[1])\n"
            "image = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3))\n"
            "found = model.predict(image.astype('float32'), verbose=0)\n"
            "assert found.shape == (4, 3) and abs(found.sum(1) - 1).max() < 1e-5\n"
            "assert not any(name.startswith('tlui') for name in sys.modules)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(finished.model)],
            cwd=finished.path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


class TestWhatIsSaid:
    def test_every_epoch_once_with_its_rate(self, finished):
        rows = load(finished).epochs
        assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
        assert [row["phase"] for row in rows] == [0, 0, 0, 0, 1, 1]
        expected = [2e-3 * np.exp(-0.5 * epoch) for epoch in (0, 1, 2, 3, 0, 1)]
        assert [row["lr"] for row in rows] == pytest.approx(expected)
        names = {f"{s}_{m}" for s in ("train", "val") for m in ("loss", "accuracy", "f1")}
        assert names <= rows[0].keys()

    def test_the_last_step_of_every_epoch(self, finished):
        steps = events(finished, "step")
        last = {e["epoch"]: e["step"] for e in steps}
        assert last == dict.fromkeys(range(1, 7), steps[0]["steps"])

    def test_status_and_environment(self, finished):
        status = read_status(finished.status)
        assert (status.state, status.exit_code, status.device) == ("finished", 0, "cpu")
        assert status.progress["epoch"] == status.progress["epochs"] == 6
        env = json.loads(finished.env.read_text())
        assert env["seed"] == 1
        assert env["versions"]["keras"]
        assert len(env["dataset_fingerprint"]) >= 16
        assert json.loads(finished.classes.read_text())["classes"] == ["0", "1", "2"]


class TestStopped:
    def test_what_there_is_gets_evaluated(self, home):
        run = digits_run(home, epochs=50)
        outcome = train(run, asking(run, (60, "stop")))
        assert (outcome.state, outcome.code) == ("stopped", 130)
        assert 1 <= len(load(run).epochs) < 50
        assert run.read_result()["metrics"]["test_accuracy"] >= 0
        assert run.model.exists()

    def test_by_a_file_in_requests_which_is_then_gone(self, home):
        run = digits_run(home, epochs=50)
        (run.requests / "stop").touch()
        outcome = train(run)
        assert (outcome.state, outcome.code) == ("stopped", 130)
        assert not (run.requests / "stop").exists()

    def test_in_the_middle_of_evaluation(self, home):
        run = digits_run(home, epochs=1)

        class AtEvaluation(Requests):
            def poll(self):
                if read_status(run.status).state == "evaluating":
                    self.ask("stop")
                return super().poll()

        outcome = train(run, AtEvaluation(run.requests))
        assert (outcome.state, outcome.code) == ("stopped", 130)
        assert not run.result.exists()
        assert train(run).state == "finished"
        assert len(load(run).epochs) == 1
        assert run.read_result()["metrics"]["test_accuracy"] >= 0


class TestEarlyStopping:
    def test_ends_the_phase_not_the_run(self, home):
        still = {"policy": "constant", "initial": 1e-12}
        run = digits_run(
            home,
            train={"early_stopping": {"patience": 2, "min_delta": 0.5}},
            phase=[{"epochs": 9, "lr": still}, {"epochs": 9, "lr": still}],
        )
        assert train(run).state == "finished"
        assert [row["phase"] for row in load(run).epochs] == [0, 0, 0, 1, 1, 1]
        kinds = {event["kind"] for event in events(run, "alert")}
        assert "lr_too_small" in kinds


class TestAlerts:
    def test_a_rate_that_falls_at_the_end_is_not_too_small(self, home):
        falling = {"policy": "piecewise", "initial": 1e-2, "boundaries": [2], "values": [1e-12]}
        run = digits_run(home, phase=[{"freeze": "none", "epochs": 6, "lr": falling}])
        assert train(run).state == "finished"
        assert len(load(run).epochs) == 6
        assert not [e for e in events(run, "alert") if e["kind"] == "lr_too_small"]


class TestDiverged:
    def test_keeps_the_last_finite_checkpoint(self, home):
        run = digits_run(
            home,
            phase=[
                {
                    "freeze": "none",
                    "batchnorm": "inference",
                    "epochs": 3,
                    "optimizer": "sgd",
                    "lr": {
                        "policy": "piecewise",
                        "initial": 1e-3,
                        "boundaries": [0.5],
                        "values": [1000],
                    },
                }
            ],
        )
        outcome = train(run)
        assert (outcome.state, outcome.code) == ("diverged", 3), outcome
        assert "learning rate" in outcome.advice
        assert "loss_not_finite" in {e["kind"] for e in events(run, "alert")}
        best = read_whole_checkpoint(run.checkpoints / "best.npz")
        assert best.state["epoch"] == 1
        assert all(np.isfinite(a).all() for a in best.arrays.values())


class TestCannotStart:
    def test_bad_data_is_said_in_its_own_words(self, home, photos):
        (photos / "train" / "red" / "00.png").write_bytes(b"not an image")
        experiment = digits_experiment(
            dataset={"source": "folder", "path": str(photos), "image_size": 16}
        )
        run = make_run(home, experiment)
        outcome = train(run)
        assert (outcome.state, outcome.code) == ("failed", 1)
        assert "00.png" in outcome.reason
        assert "Traceback" not in outcome.reason

    def test_bad_images_are_skipped_and_counted(self, home, photos):
        (photos / "train" / "red" / "00.png").write_bytes(b"not an image")
        dataset = {
            "source": "folder",
            "path": str(photos),
            "image_size": 16,
            "bad_images": "skip",
        }
        run = make_run(home, digits_experiment(dataset=dataset, epochs=1))
        assert train(run).state == "finished"
        (skipped,) = run.read_result()["skipped_images"]
        assert skipped["name"].endswith("00.png")
        assert skipped["reason"]

    def test_another_process_trains_it(self, home, capsys):
        from tlui.trainer.__main__ import main

        run = digits_run(home)
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
            write_status(run.status, Status("running", owner=identify(other.pid)))
            assert main([str(run.path)]) == 1
            assert read_status(run.status).owner.pid == other.pid
        assert str(other.pid) in capsys.readouterr().err

    def test_no_run_directory(self, tmp_path, capsys):
        from tlui.trainer.__main__ import main

        assert main([str(tmp_path)]) == 2
        assert "preset.toml" in capsys.readouterr().err


class TestUnwritableCheckpoints:
    def test_training_goes_on_and_says_so(self, home):
        run = digits_run(home, epochs=2)
        run.checkpoints.rmdir()
        run.checkpoints.write_text("in the way")
        assert train(run).state == "finished"
        assert "checkpoint" in {e["kind"] for e in events(run, "alert")}
        assert run.read_result()["evaluated"] == "best"


class TestOtherWays:
    def test_mixed_precision_keeps_float32_weights(self, home):
        run = digits_run(home, epochs=2, train={"mixed_precision": True})
        assert train(run).state == "finished"
        arrays = read_whole_checkpoint(run.checkpoints / "best.npz").network()
        assert {a.dtype for a in arrays.values()} == {np.dtype("float32")}
        assert load(run).epochs[-1]["train_accuracy"] > 0.8

    @pytest.mark.slow  # test_step has the same for bare steps
    def test_several_steps_in_a_call_give_the_same_weights(self, home):
        found = []
        for several in (1, 4):
            run = digits_run(home, epochs=1, train={"steps_per_execution": several})
            assert train(run).state == "finished"
            found.append(read_whole_checkpoint(run.checkpoints / "last.npz").network())
        for key, array in found[0].items():
            assert array.tobytes() == found[1][key].tobytes(), key

    def test_a_sigmoid_for_two_classes_without_val(self, home):
        dataset = {
            "source": "digits",
            "image_size": 16,
            "classes": ["3", "8"],
            "validation": 0.0,
        }
        run = digits_run(home, dataset=dataset, head={"output": "sigmoid"})
        assert train(run).state == "finished"
        result = run.read_result()
        assert result["best"]["monitor"] == "train_accuracy"
        assert "val" not in result["splits"]
        with np.load(run.predictions / "test.npz") as file:
            assert file["probabilities"].shape[1] == 2

    def test_starts_from_another_run(self, home):
        first = digits_run(home, epochs=2)
        assert train(first).state == "finished"
        run = digits_run(
            home,
            start_from={"run": first.id},
            phase=[
                {"freeze": "backbone", "epochs": 1, "lr": {"policy": "constant", "initial": 1e-12}}
            ],
        )
        assert train(run).state == "finished"
        a, b = first.read_result()["metrics"], run.read_result()["metrics"]
        assert b["test_accuracy"] == pytest.approx(a["test_accuracy"])
        assert b["test_loss"] == pytest.approx(a["test_loss"], rel=1e-3)


class TestProcess:
    def test_sigint_stops_and_evaluates(self, home):
        import signal

        from training import wait_for

        run = digits_run(home, epochs=400)
        process = start(run)
        wait_for(run, process, lambda e: e["type"] == "epoch")
        process.send_signal(signal.SIGHUP)
        wait_for(run, process, lambda e: e["type"] == "epoch" and e["epoch"] >= 3)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, run.log.read_text()
        assert read_status(run.status).state == "stopped"
        assert run.read_result()["metrics"]["test_accuracy"] >= 0
