"""Complete but untrained run directories, made through the real writers.

    run = make_run(home, name="head-1e-4", state="finished", epochs=5,
                   config={"phase.0.lr.initial": 1e-4}, metrics={"test_accuracy": 0.87})

Everything a trained run holds is there: run.json, preset.toml, status.json, events.jsonl,
result.json, env.json, classes.json. No weights, no predictions.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.events import EventWriter
from tlui.runs.files import write_json
from tlui.runs.process import Identity, identify
from tlui.runs.status import LIVE, Status, write_status

CLASSES = ["buildings", "forest", "glacier"]
CONFIG: dict[str, Any] = {
    "tags": [],
    "dataset.source": "folder",
    "dataset.name": "intel",
    "dataset.path": "~/data/intel",
    "dataset.image_size": 96,
    "dataset.validation": 0.15,
    "dataset.bad_images": "skip",
    "backbone.name": "MobileNetV2",
    "backbone.alpha": 0.35,
    "backbone.weights": "imagenet",
    "head.pooling": "avg",
    "head.hidden": [],
    "head.dropout": 0.2,
    "head.output": "softmax",
    "train.batch_size": 32,
    "train.seed": 1,
    "train.monitor": "val_accuracy",
    "train.mixed_precision": False,
    "phase.0.freeze": "backbone",
    "phase.0.batchnorm": "auto",
    "phase.0.epochs": 5,
    "phase.0.optimizer.name": "adam",
    "phase.0.lr.policy": "constant",
    "phase.0.lr.initial": 1e-4,
    "phase.0.lr.per": "epoch",
}
PER_EPOCH = ("loss", "accuracy", "precision", "recall", "f1")


def dead_identity() -> Identity:
    """A process of this host and boot that has ended."""
    here = identify()
    return Identity(here.host, here.boot_id, here.namespace, 2**22 + 1, 1)


def epoch_metrics(epoch: int, epochs: int, top: float = 0.87) -> dict[str, float]:
    """A believable learning curve that ends at `top` in val_accuracy; `epoch` from 1."""
    done = 1 - math.exp(-3 * epoch / max(epochs, 1))
    val = 0.3 + (top - 0.3) * done / (1 - math.exp(-3))
    train = min(val + 0.02 * done, 0.999)
    found: dict[str, float] = {}
    for split, accuracy in (("train", train), ("val", val)):
        found[f"{split}_loss"] = round(2.0 * (1 - accuracy) + 0.05, 5)
        found[f"{split}_accuracy"] = round(accuracy, 5)
        for shift, name in enumerate(("precision", "recall", "f1")):
            found[f"{split}_{name}"] = round(accuracy - 0.001 * shift, 5)
    return found


def write_epochs(
    writer: EventWriter,
    epochs: Iterable[int],
    of: int,
    *,
    steps: int = 4,
    top: float = 0.87,
    lr: float = 1e-4,
) -> dict[str, Any]:
    """Append the step and epoch records of some epochs (from 1); the last epoch's record."""
    last: dict[str, Any] = {}
    for epoch in epochs:
        found = epoch_metrics(epoch, of, top)
        for step in range(1, steps + 1):
            writer.write(
                "step",
                phase=0,
                epoch=epoch,
                step=step,
                steps=steps,
                global_step=(epoch - 1) * steps + step,
                loss=found["train_loss"] + 0.01 * (steps - step),
                accuracy=found["train_accuracy"],
                lr=lr,
                images_per_second=148.0,
            )
        last = {
            "phase": 0,
            "epoch": epoch,
            "epochs": of,
            "global_step": epoch * steps,
            "seconds": 1.5,
            "lr": lr,
            "images_per_second": 148.0,
            "best": True,
            **found,
        }
        writer.write("epoch", **last)
    return last


def learning(freeze: str) -> int:
    """Parameters of MobileNetV2 with a head for six classes that learn under a regime."""
    return 7686 if freeze == "backbone" else 2_231_558


def make_result(
    metrics: dict[str, Any] | None = None,
    top: float = 0.87,
    *,
    freeze: str = "backbone",
    epochs: int = 5,
) -> dict[str, Any]:
    """A result.json for the three classes; `metrics` are put over the made-up ones."""
    found: dict[str, Any] = {}
    splits: dict[str, Any] = {}
    for split, off, n in (("train", 0.05, 120), ("val", 0.0, 30), ("test", -0.01, 60)):
        accuracy = round(min(top + off, 0.999), 5)
        found |= {
            f"{split}_loss": round(2 * (1 - accuracy) + 0.05, 5),
            f"{split}_accuracy": accuracy,
            f"{split}_precision": accuracy,
            f"{split}_recall": accuracy,
            f"{split}_f1": round(accuracy - 0.002, 5),
            f"{split}_weighted_f1": round(accuracy - 0.001, 5),
            f"{split}_roc_auc": 0.98,
        }
        each = n // len(CLASSES)
        splits[split] = {
            "images": n,
            "confusion": [[each - 2, 1, 1], [0, each, 0], [1, 3, each - 4]],
            "classes": [
                {"name": name, "precision": 0.9, "recall": 0.88, "f1": 0.89, "support": each}
                for name in CLASSES
            ],
            "inference_seconds": n / 100,
            "images_per_second": 100.0,
            "batch_size": 32,
            "device": "cpu",
        }
    return {
        "version": 1,
        "metrics": found | (metrics or {}),
        "splits": splits,
        "best": {"epoch": epochs, "monitor": "val_accuracy", "value": found["val_accuracy"]},
        "train_seconds": 84.5,
        "test_inference_seconds": 0.6,
        "images_per_second": 148.0,
        "trainable_parameters": learning(freeze),
        "total_parameters": 2265670,
        "phases": [
            {
                "freeze": freeze,
                "trainable_parameters": learning(freeze),
                "total_parameters": 2265670,
                "epochs": epochs,
            }
        ],
        "peak_memory_mb": 812.5,
        "peak_gpu_memory_mb": None,
        "skipped_images": [],
        "evaluated": "best",
        "device": "cpu",
        "versions": {"python": "3.11.2", "tensorflow": "2.21.0", "keras": "3.15.0"},
    }


def make_run(
    home: Home,
    *,
    name: str = "head-1e-4",
    preset: str = "intel-regimes",
    experiment: str = "head",
    state: str = "finished",
    epochs: int = 5,
    done: int | None = None,
    config: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    top: float = 0.87,
    reason: str = "",
    created: float | None = None,
    owner: Identity | None = None,
    device: str = "cpu",
    steps: int = 4,
) -> RunDirectory:
    """A run directory as training leaves it.

    Args:
        home: The store.
        state: What status.json says. A live state is owned by `owner`, this process by default
            (use `dead_identity()` for a killed one); only `finished` and `stopped` have results.
        epochs: Epochs asked for.
        done: Epochs trained; by default all of a finished run, none of a queued one, else half.
        config: Leaves over `CONFIG`; None removes one.
        metrics: Put over the made-up metrics of result.json.
        top: val_accuracy after the last epoch.
        created: Unix time; now by default.
    """
    leaves = {**CONFIG, "phase.0.epochs": epochs, **(config or {})}
    leaves = {k: v for k, v in leaves.items() if v is not None}
    meta = {"name": name, "preset": preset, "experiment": experiment, "config": leaves}
    run = home.create(f"# {name}\nversion = 1\nname = {json.dumps(name)}\n", meta)
    if created is not None:
        write_json(run.meta, {**run.read_meta(), "created": created}, sync=False)
    if state == "queued":
        return run
    start = created if created is not None else time.time()
    if done is None:
        done = epochs if state == "finished" else epochs // 2
    freeze = str(leaves.get("phase.0.freeze"))
    writer = EventWriter(run.events)
    writer.write("open", version=1, attempt=1, epoch=0, step=0)
    writer.write("state", state="running")
    writer.write(
        "phase",
        phase=0,
        freeze=freeze,
        epochs=epochs,
        first_epoch=1,
        trainable_parameters=learning(freeze),
        total_parameters=2265670,
        batchnorm="inference",
    )
    writer.write("log", level="info", message="training starts")
    lr = float(leaves.get("phase.0.lr.initial", 1e-4))
    last = write_epochs(writer, range(1, done + 1), epochs, steps=steps, top=top, lr=lr)
    writer.write("state", state=state)
    writer.close()
    write_json(run.env, {"version": 1, "host": "example", "versions": {"python": "3.11.2"}}, False)
    write_json(run.classes, {"version": 1, "classes": CLASSES}, sync=False)
    if state in ("finished", "stopped"):
        result = make_result(metrics, top, freeze=freeze, epochs=done)
        write_json(run.result, result, sync=False)
    best = epoch_metrics(done, epochs, top)["val_accuracy"] if done else None
    progress = {
        "phase": 0,
        "epoch": done,
        "epochs": epochs,
        "step": steps if done else 0,
        "steps": steps,
        "images_per_second": 148.0,
        "monitor": "val_accuracy",
        "last": last.get("val_accuracy"),
        "best": best,
    }
    write_status(
        run.status,
        Status(
            state,  # type: ignore[arg-type]
            reason=reason,
            owner=owner or identify(),
            heartbeat=done,
            device=device,
            attempt=1,
            started=start + 1,
            ended=None if state in LIVE else start + 90,
            exit_code=None if state in LIVE else 0,
            progress=progress,
        ),
        sync=False,
    )
    return run


def age(path: Path, seconds: float) -> None:
    """Make a file look `seconds` older than it is."""
    then = time.time() - seconds
    os.utime(path, (then, then))
