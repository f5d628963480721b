"""Submitting, finding and cancelling jobs, against a Slurm that is a table in memory."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tlui.cli import main
from tlui.cli.follow import follow
from tlui.cli.plain import PlainView
from tlui.errors import TluiError
from tlui.recipe import placement
from tlui.recipe.preset import parse_preset
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.status import Status, read_status, write_status
from tlui.scheduler import backends, control, order
from tlui.scheduler.backends import dependencies, handover, slurm
from tlui.scheduler.backends.slurm import Answer, SlurmBackend
from tlui.scheduler.create import create_runs
from tlui.scheduler.queue import places
from tlui.scheduler.start import start

PRESET = """
version = 1
name = "lab"
[dataset]
source = "digits"
[backbone]
name = "SmallConvNet"
weights = "none"
[[phase]]
freeze = "none"
lr = { policy = "constant", initial = 1e-3 }
[run]
on = "slurm"
"""
LAB = """
[[experiment]]
name = "head"
sweep = { "train.seed" = [1, 2, 3] }
[[experiment]]
name = "full"
start_from = { experiment = "head", pick = "PICK" }
sweep = { "train.seed" = [1, 2, 3] }
"""


class FakeSlurm:
    """What sbatch, squeue and scancel do, as far as tlui can tell."""

    def __init__(self) -> None:
        self.next = 1
        self.jobs: dict[str, list[str]] = {}
        """Job or task -> [state, reason, comment]."""
        self.submitted: list[tuple[list[str], str]] = []
        self.asked: list[list[str]] = []
        self.refuses = ""
        self.down = False
        self.leaving = 0
        """After so many more questions no job is completing any more."""

    def __call__(self, arguments: Sequence[str], given: bytes) -> Answer:
        self.asked.append(list(arguments))
        if self.down:
            return Answer(1, "", "Unable to contact slurm controller")
        return getattr(self, arguments[0])(list(arguments[1:]), given.decode())

    def sbatch(self, words: list[str], script: str) -> Answer:
        if self.refuses and any(self.refuses in word for word in words):
            return Answer(1, "", "sbatch: error: invalid\nsbatch: error: partition")
        flags = dict(word[2:].partition("=")[::2] for word in words)
        number, self.next = self.next, self.next + 1
        tasks = [str(number)]
        if array := flags.get("array"):
            last = int(array.partition("%")[0].partition("-")[2])
            tasks = [f"{number}_{i}" for i in range(last + 1)]
        for task in tasks:
            self.jobs[task] = ["PENDING", "Resources", flags["comment"]]
        self.submitted.append((words, script))
        return Answer(0, f"{number}\n", "")

    def squeue(self, words: list[str], _: str) -> Answer:
        assert f"--user={os.geteuid()}" in words, "other people's jobs are none of ours"
        self.leaving -= 1
        for job in self.jobs.values():
            if job[0] == "COMPLETING" and self.leaving == 0:
                job[0] = "COMPLETED"
        rows = [f"{job}|{s}|{reason}|{comment}" for job, (s, reason, comment) in self.jobs.items()]
        return Answer(0, "\n".join(rows), "")

    def scancel(self, words: list[str], _: str) -> Answer:
        job = self.jobs[words[-1]]
        if "--state=PENDING" in words and job[0] != "PENDING":
            return Answer(0, "", "")
        if not any(word.startswith("--signal") for word in words):
            job[0] = "CANCELLED"
        return Answer(0, "", "")

    def scontrol(self, words: list[str], _: str) -> Answer:
        what, job = words
        self.jobs[job][1] = {"uhold": "JobHeldUser", "release": "Resources"}[what]
        return Answer(0, "", "")

    def of(self, run: RunDirectory) -> str:
        """The job of a run."""
        found = [
            job
            for job, (_, _, comment) in self.jobs.items()
            if run.id in comment
            and int(job.partition("_")[2] or 0) == comment.split().index(run.id) - 1
        ]
        return found[-1]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """The only Slurm there is; asked anew each time."""
    fake = FakeSlurm()
    monkeypatch.setitem(backends.BACKENDS, "slurm", lambda: SlurmBackend(fake))
    return fake


def make(home: Home, more: str = "", text: str = PRESET) -> dict[str, RunDirectory]:
    """The queued runs of a preset, by name."""
    runs = create_runs(home, parse_preset(text + more))
    return {run.read_meta()["name"]: run for run in runs}


def words_of(cluster: FakeSlurm, run: RunDirectory) -> list[str]:
    return next(words for words, script in cluster.submitted if run.id in script)


def state(run: RunDirectory) -> str:
    return run.observe().state


def test_every_backend_has_words_for_people() -> None:
    assert {"local", *backends.BACKENDS} == set(placement.BACKENDS)
    with pytest.raises(TluiError, match="one of: local, slurm"):
        backends.backend("pbs")


class TestSubmitting:
    def test_points_with_the_same_resources_are_one_array(
        self, home: Home, cluster: FakeSlurm
    ) -> None:
        runs = make(home, LAB.replace("PICK", "best"))
        start(home)
        heads = [run for name, run in runs.items() if name.startswith("head")]
        fulls = [run for name, run in runs.items() if name.startswith("full")]
        assert len(cluster.submitted) == 2
        first = words_of(cluster, heads[0])
        assert "--array=0-2" in first and "--job-name=tlui-head" in first
        assert f"--comment=tlui {' '.join(run.id for run in heads)}" in first
        assert not any(word.startswith("--dependency") for word in first)
        assert "--dependency=afterany:1_0:1_1:1_2" in words_of(cluster, fulls[0])
        assert start(home) == [] and len(cluster.submitted) == 2, "submitted once"
        assert all(handover.noted_job(run)["job"] == cluster.of(run) for run in runs.values())

    def test_a_child_of_the_matching_point_waits_for_that_alone(
        self, home: Home, cluster: FakeSlurm
    ) -> None:
        runs = make(home, LAB.replace("PICK", "match"))
        start(home)
        assert len(cluster.submitted) == 4
        waits = [
            word
            for words, _ in cluster.submitted
            for word in words
            if word.startswith("--dependency")
        ]
        assert waits == [f"--dependency=afterany:1_{i}" for i in range(3)]
        assert len(runs) == 6

    def test_other_resources_are_another_job(self, home: Home, cluster: FakeSlurm) -> None:
        make(home, '[slurm]\ngpus = 0\n[sweep]\n"slurm.cpus" = [1, 2]\n')
        start(home)
        assert [w for words, _ in cluster.submitted for w in words if "cpus-per" in w] == [
            "--cpus-per-task=1",
            "--cpus-per-task=2",
        ]

    def test_a_long_sweep_is_several_arrays(
        self, home: Home, cluster: FakeSlurm, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert len("--comment=tlui") + 9 * slurm.MOST_TASKS <= 1024, "what a comment may hold"
        monkeypatch.setattr(slurm, "MOST_TASKS", 3)
        runs = make(home, '[sweep]\n"train.seed" = [1, 2, 3, 4, 5, 6, 7]\n')
        start(home)
        comments = [w for words, _ in cluster.submitted for w in words if w.startswith("--comment")]
        assert [len(comment.split()) - 1 for comment in comments] == [3, 3, 1]
        assert {cluster.of(run) for run in runs.values()} == set(cluster.jobs)

    def test_what_a_preset_asks_for_becomes_single_arguments(
        self, home: Home, cluster: FakeSlurm
    ) -> None:
        (run,) = make(
            home,
            """
            [slurm]
            partition = "gpu"
            gpus = "a100:2"
            cpus = 8
            mem = "16G"
            time = "2-12:00:00"
            signal = 300
            extra = ["--account=vision", "--constraint=a100&nvlink"]
            """,
        ).values()
        start(home)
        words = words_of(cluster, run)
        assert words[0].startswith("--")
        for word in [
            "--partition=gpu",
            "--gres=gpu:a100:2",
            "--cpus-per-task=8",
            "--mem=16G",
            "--time=2-12:00:00",
            "--signal=B:USR1@300",
            "--account=vision",
            "--constraint=a100&nvlink",
            "--requeue",
        ]:
            assert word in words
        assert not any("gpu" in line or "vision" in line for line in cluster.submitted[0][1:])

    @pytest.mark.parametrize(
        ("given", "word"),
        [
            ("", "--gres=gpu:1"),
            ("[slurm]\ngpus = 0", None),
            ("[train]\ndevices = 2", "--gres=gpu:2"),
            ('[slurm]\nextra = ["--gpus-per-node=3"]', None),
        ],
    )
    def test_gpus(self, home: Home, cluster: FakeSlurm, given: str, word: str | None) -> None:
        (run,) = make(home, given).values()
        start(home)
        assert [w for w in words_of(cluster, run) if w.startswith("--gres")] == (
            [word] * bool(word)
        )

    def test_most_at_once(self, home: Home, cluster: FakeSlurm) -> None:
        make(home, '[slurm]\nat_once = 2\n[sweep]\n"train.seed" = [1, 2, 3]\n')
        start(home)
        assert "--array=0-2%2" in cluster.submitted[0][0]

    def test_a_refusal_is_said_in_the_run_and_fails_no_other(
        self, home: Home, cluster: FakeSlurm
    ) -> None:
        lab = LAB.replace("PICK", "best").replace(
            'name = "head"', 'name = "head"\nslurm = { partition = "nope" }'
        )
        runs = make(home, lab + '[[experiment]]\nname = "alone"\n')
        cluster.refuses = "nope"
        with pytest.raises(TluiError, match="invalid sbatch: error: partition"):
            start(home)
        head = next(run for name, run in runs.items() if name.startswith("head"))
        full = next(run for name, run in runs.items() if name.startswith("full"))
        assert state(head) == state(full) == "queued"
        assert "partition" in head.observe().reason and "not in Slurm" in full.observe().reason
        told = next(place.reason for place in places(home) if place.run == head)
        assert told.startswith("Slurm refused it: ") and told.count("refused") == 1, told
        assert told.endswith(f"(tlui resume {head.id} submits it again)")
        assert len(cluster.submitted) == 1, "the third experiment"
        start(home)
        assert len(cluster.submitted) == 1, "not tried again unasked"
        cluster.refuses = ""
        for run in runs.values():
            if run.observe().reason:
                control.resume(home, run)
        start(home)
        assert len(cluster.submitted) == 3
        assert state(head) == "queued" and not head.observe().reason

    def test_a_damaged_preset_keeps_no_other_run_from_slurm(
        self, home: Home, cluster: FakeSlurm
    ) -> None:
        (damaged,), (sound,) = make(home).values(), make(home).values()
        damaged.preset.write_text("this is no preset")
        with pytest.raises(TluiError, match=r"preset\.toml: line 1"):
            start(home)
        assert [job[2] for job in cluster.jobs.values()] == [f"tlui {sound.id}"]
        assert f"{damaged.preset}: line 1" in damaged.observe().reason
        assert start(home) == [], "said once"

    def test_a_job_whose_submitter_died_is_not_submitted_twice(
        self, home: Home, cluster: FakeSlurm
    ) -> None:
        (run,) = make(home).values()
        start(home)
        (run.path / "job.json").unlink()
        start(home)
        assert len(cluster.submitted) == 1
        assert handover.noted_job(run)["job"] == "1"

    def test_who_follows_a_refused_run_is_told_and_let_go(
        self, home: Home, cluster: FakeSlurm, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (run,) = make(home, '[slurm]\npartition = "nope"').values()
        cluster.refuses = "nope"
        assert follow(home, [run], PlainView(ascii=True)) == 1
        assert f"({run.id}) stays queued" in "".join(capsys.readouterr())

    def test_a_held_run_is_not_submitted(self, home: Home, cluster: FakeSlurm) -> None:
        (run,) = make(home).values()
        control.hold(home, run)
        start(home)
        assert not cluster.submitted
        control.release(home, run)
        start(home)
        assert len(cluster.submitted) == 1

    def test_a_submitted_run_is_held_and_released_with_its_job(
        self, home: Home, cluster: FakeSlurm
    ) -> None:
        _, run, _ = make(home, '[sweep]\n"train.seed" = [1, 2, 3]\n').values()
        start(home)
        for _ in range(2):
            control.hold(home, run)
            assert [job[1] for job in cluster.jobs.values()] == [
                *("Resources", "JobHeldUser", "Resources")
            ]
        for _ in range(2):
            control.release(home, run)
            assert {job[1] for job in cluster.jobs.values()} == {"Resources"}
        start(home)
        assert len(cluster.submitted) == 1 and state(run) == "queued"

    def test_a_job_that_found_its_run_held_is_followed_by_another(
        self, home: Home, cluster: FakeSlurm
    ) -> None:
        (run,) = make(home).values()
        start(home)
        cluster.down = True
        control.hold(home, run)
        with pytest.raises(TluiError, match="Unable to contact"):
            control.release(home, run)
        cluster.down = False
        control.hold(home, run)
        cluster.jobs["1"][0] = "FAILED"
        start(home)
        control.release(home, run)
        start(home)
        assert cluster.of(run) == "2" and state(run) == "queued"

    def test_a_parent_that_trains_here_is_waited_for(self, home: Home, cluster: FakeSlurm) -> None:
        lab = LAB.replace("PICK", "best").replace(
            'name = "head"', 'name = "head"\nrun.on = "local"'
        )
        runs = make(home, lab)
        heads = [run for name, run in runs.items() if name.startswith("head")]
        for run in heads:
            order.hold(home, run.id)
        start(home)
        assert not cluster.submitted
        for run in heads:
            write_status(run.status, Status("finished"))
        start(home)
        assert len(cluster.submitted) == 1

    def test_a_mute_slurm_is_said(self, home: Home, cluster: FakeSlurm) -> None:
        (run,) = make(home).values()
        cluster.down = True
        with pytest.raises(TluiError, match="Unable to contact"):
            start(home)
        cluster.down = False
        start(home)
        assert handover.noted_job(run)["job"] == "1", "never taken for a refusal"


class TestHints:
    @pytest.mark.parametrize(
        ("said", "hint"),
        [
            ("PENDING", "waits"),
            ("RUNNING", "runs"),
            ("COMPLETING", "runs"),
            ("REQUEUE_HOLD", "waits"),
            ("FAILED", "ended"),
            ("NODE_FAIL", "ended"),
        ],
    )
    def test_states(self, home: Home, cluster: FakeSlurm, said: str, hint: str) -> None:
        (run,) = make(home).values()
        start(home)
        cluster.jobs["1"][0] = said
        assert backends.hints([run])[run.id].state == hint

    def test_a_number_given_to_another_job_is_not_ours(
        self, home: Home, cluster: FakeSlurm
    ) -> None:
        (run,) = make(home).values()
        start(home)
        cluster.jobs = {"1": ["RUNNING", "None", "tlui ffffffff"], "2": ["RUNNING", "", "(null)"]}
        hint = backends.hints([run])[run.id]
        assert hint.state == "gone" and hint.vanished
        assert hint.reason == "Slurm no longer knows job 1"
        (place,) = places(home)
        assert place.state == "queued"
        assert f"tlui resume {run.id} submits it again" in place.reason

    def test_the_live_job_of_a_run_counts(self, home: Home, cluster: FakeSlurm) -> None:
        (run,) = make(home).values()
        comment = f"tlui {run.id}"
        cluster.jobs = {
            "9": ["PENDING", "Resources", comment],
            "4": ["CANCELLED", "None", comment],
            "5_[1-3]": ["PENDING", "", comment],
            "6_7": ["RUNNING", "", comment],
        }
        assert backends.hints([run])[run.id].job == "9"

    def test_squeue_is_not_asked_more_often_than_it_changes(self, home: Home) -> None:
        now = [100.0]
        fake = FakeSlurm()
        backend = SlurmBackend(fake, lambda: now[0])
        runs = list(make(home, '[sweep]\n"train.seed" = [1, 2, 3]\n').values())
        for run in runs:
            backend.state([run])
        assert len(fake.asked) == 1
        now[0] += slurm.FRESH_SECONDS + 1
        fake.down = True
        assert backend.state(runs)[runs[0].id].state == "unknown"
        now[0] += slurm.MUTE_SECONDS - 1
        assert backend.state(runs)[runs[0].id].state == "unknown"
        assert len(fake.asked) == 2
        now[0] += 2
        fake.down = False
        assert backend.state(runs)[runs[0].id].state == "gone"


class TestStoppingAndResuming:
    def test_a_waiting_task_is_cancelled_alone(self, home: Home, cluster: FakeSlurm) -> None:
        first, second, _ = make(home, '[sweep]\n"train.seed" = [1, 2, 3]\n').values()
        start(home)
        control.stop(home, second)
        assert state(second) == "stopped" and state(first) == "queued"
        assert [job[0] for job in cluster.jobs.values()] == ["PENDING", "CANCELLED", "PENDING"]
        control.resume(home, second)
        start(home)
        assert cluster.of(second) == "2"

    @pytest.mark.parametrize(
        ("mode", "signal"),
        [("stop", "--signal=USR2"), ("interrupt", "--signal=USR2"), ("kill", None)],
    )
    def test_a_running_run_is_asked_and_signalled(
        self, home: Home, cluster: FakeSlurm, mode: control.Mode, signal: str | None
    ) -> None:
        (run,) = make(home).values()
        start(home)
        cluster.jobs["1"][0] = "RUNNING"
        write_status(run.status, Status("running", owner=elsewhere()))
        control.stop(home, run, mode)
        assert (run.requests / ("kill-0" if mode == "kill" else mode)).exists()
        sent = cluster.asked[-1]
        assert sent[0] == "scancel" and sent[-1] == "1"
        assert sent[1:-1] == (["--batch", signal] if signal else [])

    def test_no_device_of_this_machine_is_chosen_for_a_job(
        self, home: Home, cluster: FakeSlurm, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (run,) = make(home).values()
        write_status(run.status, Status("interrupted", attempt=1))
        assert main.run(["resume", run.id, "--device", "cpu", "--detach"]) == 2
        assert "what a job of slurm gets" in capsys.readouterr().err
        assert state(run) == "interrupted" and not cluster.submitted

    def test_a_stop_reaches_the_run_without_slurm(self, home: Home, cluster: FakeSlurm) -> None:
        (run,) = make(home).values()
        start(home)
        write_status(run.status, Status("running", owner=elsewhere()))
        cluster.down = True
        control.stop(home, run)
        assert (run.requests / "stop").exists()

    def test_a_queued_run_whose_job_vanished_is_submitted_again(
        self, home: Home, cluster: FakeSlurm
    ) -> None:
        (run,) = make(home).values()
        start(home)
        with pytest.raises(TluiError, match="is queued already: Slurm job 1 waits"):
            control.resume(home, run)
        cluster.jobs.clear()
        start(home)
        assert len(cluster.submitted) == 1
        control.resume(home, run)
        start(home)
        assert cluster.of(run) == "2" and state(run) == "queued"

    def test_a_run_whose_node_died_is_resumed_when_slurm_says_so(
        self, home: Home, cluster: FakeSlurm
    ) -> None:
        (run,) = make(home).values()
        start(home)
        write_status(run.status, Status("running", owner=elsewhere(), attempt=1))
        os.utime(run.status, (1, 1))
        cluster.jobs["1"][0] = "RUNNING"
        assert state(run) == "stale"
        with pytest.raises(TluiError, match="it is stale"):
            control.resume(home, run)
        cluster.jobs["1"][0] = "NODE_FAIL"
        control.resume(home, run)
        start(home)
        assert state(run) == "queued" and cluster.of(run) == "2"

    def test_a_run_resumed_while_its_job_leaves_gets_another(
        self, home: Home, cluster: FakeSlurm, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (run,) = make(home).values()
        start(home)
        write_status(run.status, Status("stopped", attempt=1))
        cluster.jobs["1"][0] = "COMPLETING"
        with monkeypatch.context() as impatient:
            impatient.setattr(handover, "LEAVING_SECONDS", 0.0)
            with pytest.raises(TluiError, match="its job is there: Slurm job 1 is completing"):
                control.resume(home, run)
        assert state(run) == "stopped"
        cluster.leaving = 2
        control.resume(home, run)
        start(home)
        assert state(run) == "queued" and cluster.of(run) == "2"

    def test_resuming_a_parent_submits_children_whose_jobs_are_gone(
        self, home: Home, cluster: FakeSlurm
    ) -> None:
        runs = make(home, LAB.replace("PICK", "match"))
        start(home)
        names = list(runs)
        parent = runs[next(n for n in names if n.startswith("head"))]
        child = next(run for run in runs.values() if parent.id in dependencies([run])[run.id])
        write_status(parent.status, Status("interrupted", attempt=1))
        cluster.jobs[cluster.of(parent)][0] = "FAILED"
        cluster.jobs[cluster.of(child)][0] = "COMPLETED"
        control.resume(home, parent)
        start(home)
        assert len(cluster.submitted) == 6
        assert f"--dependency=afterany:{cluster.of(parent)}" in cluster.submitted[-1][0]
        assert cluster.jobs[cluster.of(child)][0] == "PENDING"


class TestScript:
    """What is handed to sbatch, run by a real shell."""

    def run(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        folder: str,
        tree: Path | None = None,
        **env: str,
    ):
        python = tmp_path / "my python; echo x"
        python.write_text('#!/bin/sh\nprintf "%s\\0" "$CUDA_VISIBLE_DEVICES" "$PYTHONPATH" "$@"\n')
        python.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(python))
        monkeypatch.setattr(slurm, "source_tree", lambda: tree)
        home = Home(tmp_path / folder)
        script = slurm.script(home, ["aaaaaaaa", "bbbbbbbb", "cccccccc"])
        done = subprocess.run(
            ["/bin/sh"], input=script, capture_output=True, cwd=tmp_path, env=env, check=True
        )
        return done.stdout.split(b"\0")[:-1], os.fsencode(home.path)

    @pytest.mark.parametrize(
        "folder",
        ["a b", "it's", "$(touch owned)", "`touch owned`; touch owned", "new\nline", "\udcff%j\\"],
    )
    def test_no_path_is_a_command(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
    ) -> None:
        (_, path, *words), home = self.run(
            tmp_path, monkeypatch, folder, SLURM_ARRAY_TASK_ID="1", PYTHONPATH="/theirs"
        )
        assert words == [b"-P", b"-m", b"tlui.scheduler.backends.slurm_node", home, b"bbbbbbbb"]
        assert path == b"/theirs"
        assert not (tmp_path / "owned").exists()

    def test_a_source_tree_goes_in_front_of_the_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tree = Path("/it's; touch owned")
        (_, path, *_), _ = self.run(
            tmp_path, monkeypatch, "h", tree, SLURM_ARRAY_TASK_ID="0", PYTHONPATH="/theirs"
        )
        assert path == b"/it's; touch owned:/theirs"
        (_, path, *_), _ = self.run(tmp_path, monkeypatch, "h", tree, SLURM_ARRAY_TASK_ID="0")
        assert path == b"/it's; touch owned"
        assert not (tmp_path / "owned").exists()

    def test_a_job_without_gpus_sees_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (devices, *_), _ = self.run(tmp_path, monkeypatch, "h", SLURM_ARRAY_TASK_ID="0")
        assert devices == b"-1"
        (devices, *_), _ = self.run(
            tmp_path, monkeypatch, "h", SLURM_ARRAY_TASK_ID="0", CUDA_VISIBLE_DEVICES="1,3"
        )
        assert devices == b"1,3"

    @pytest.mark.parametrize("folder", ["%j", "back\\slash", "new\nline"])
    def test_a_path_that_slurm_would_expand_is_not_given_to_it(
        self, tmp_path: Path, folder: str
    ) -> None:
        assert slurm.output(Home(tmp_path / folder)) == os.devnull
        assert slurm.output(Home(tmp_path / "h")) == f"{tmp_path}/h/slurm/%j.log"

    @pytest.mark.parametrize(
        ("name", "plain"),
        [
            ("head-1e-4", "tlui-head-1e-4"),
            ("--wrap=x; rm", "tlui-wrap-x-rm"),
            ("日本", "tlui-run"),
            ("x" * 200, "tlui-" + "x" * 59),
        ],
    )
    def test_job_names_are_plain(self, name: str, plain: str) -> None:
        assert backends.base.job_name(name) == plain


def test_jobs_inherit_no_devices_and_no_other_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\nenv\n")
    sbatch.chmod(sbatch.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    gone = ("CUDA_VISIBLE_DEVICES", "TLUI_DEVICE", "SLURM_JOB_ID", "SBATCH_ARRAY_INX")
    kept = ("SLURM_CONF", "SBATCH_ACCOUNT", "KERAS_HOME")
    for name in (*gone, *kept):
        monkeypatch.setenv(name, "7")
    names = {line.partition("=")[0] for line in slurm.command(["sbatch"]).out.splitlines()}
    assert names.isdisjoint(gone) and names.issuperset(kept)


def test_a_machine_without_slurm_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TluiError, match="login node"):
        slurm.command(["sbatch"])


def elsewhere():
    """A process of another host."""
    from tlui.runs.process import identify

    return replace(identify(), host="node7.cluster", boot_id="other")


def test_the_attempt_decides_whether_a_run_has_a_job(home: Home, cluster: FakeSlurm) -> None:
    (run,) = make(home).values()
    assert handover.has_no_job(run)
    start(home)
    assert not handover.has_no_job(run)
    status = read_status(run.status)
    assert status is not None
    write_status(run.status, replace(status, state="interrupted", attempt=1))
    assert not handover.has_no_job(run), "it is not queued"
    write_status(run.status, replace(status, state="queued", attempt=1))
    assert handover.has_no_job(run)
