"""An experiment as pydantic models: what a preset may say, with types, ranges and defaults.

`Experiment` is one fully resolved training: no sweep, no other experiment to look up but by run.
Reading a preset file, merging a lab and expanding a sweep is `tlui.recipe.preset`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
)

from tlui.recipe import catalogue
from tlui.recipe.layers import wrong_at
from tlui.recipe.lr import LearningRate, NonNegative, Rate
from tlui.recipe.optimizers import Adam, Optimizer
from tlui.recipe.placement import RunPlacement, Slurm
from tlui.recipe.sources import BatchSize, Dataset, SplitName
from tlui.recipe.strict import Refused, Table, rule


def _backbone_name(given: str) -> str:
    if given not in catalogue.BACKBONES:
        raise ValueError(catalogue.unknown("backbone", given, catalogue.BACKBONES))
    return given


def _weights(given: str) -> str:
    if given == "run:":
        raise ValueError('write it as "run:ID". Received: "run:"')
    return given


class Backbone(Table):
    """The pretrained part of the network."""

    name: Annotated[str, AfterValidator(_backbone_name)]
    """A name of keras.applications (MobileNetV2, EfficientNetB0 …) or SmallConvNet."""
    alpha: Annotated[float, Field(gt=0, le=10)] = 1.0
    """Width multiplier; MobileNet, MobileNetV2 and MobileNetV3 only."""
    weights: Annotated[str, Field(min_length=1), AfterValidator(_weights)] = "imagenet"
    """`imagenet`, `none`, a file (.h5, .keras), or `run:ID`: the backbone of another run."""

    @staticmethod
    @rule("name", "alpha")
    def _has_alpha(name: str, alpha: float) -> Iterator[Refused]:
        if not catalogue.BACKBONES[name].alphas and alpha != 1.0:
            yield Refused(f"{name} has no alpha. Received: {alpha:g}", "alpha")

    @staticmethod
    @rule("name", "weights")
    def _has_weights(name: str, weights: str) -> Iterator[Refused]:
        if weights == "imagenet" and not catalogue.BACKBONES[name].imagenet:
            yield Refused(
                f'{name} has no ImageNet weights; set backbone.weights = "none", a file or run:ID',
                "weights",
            )

    @staticmethod
    @rule("name", "alpha", "weights")
    def _has_weights_for_alpha(name: str, alpha: float, weights: str) -> Iterator[Refused]:
        spec = catalogue.BACKBONES[name]
        if weights == "imagenet" and spec.imagenet and spec.alphas and alpha not in spec.alphas:
            known = ", ".join(f"{a:g}" for a in spec.alphas)
            yield Refused(
                f"{name} has ImageNet weights for alpha {known}. Received: {alpha:g}", "alpha"
            )


_WEIGHTS_OF_CLASSES = TypeAdapter(
    dict[str, PositiveFloat], config=ConfigDict(strict=True, allow_inf_nan=False)
)


def _class_weights(given: Any) -> Any:
    """Each form by itself, so that a wrong value is one problem and not one for each form."""
    if isinstance(given, dict):
        return _WEIGHTS_OF_CLASSES.validate_python(given)
    if not isinstance(given, str):
        raise ValueError(f'must be "none", "balanced" or a table of weights. Received: {given}')
    words = ("none", "balanced")
    if given not in words:
        raise ValueError(catalogue.unknown("way to weigh classes", given, words))
    return given


ClassWeights = Annotated[
    Union[Literal["none", "balanced"], dict[str, float]], BeforeValidator(_class_weights)
]


class Head(Table):
    """What stands on the backbone: pooling, hidden layers, dropout, output."""

    pooling: Literal["avg", "max", "flatten"] = "avg"
    hidden: list[PositiveInt] = []
    """Units of the hidden dense layers (ReLU), in order."""
    dropout: Rate = 0.0
    """Dropout before every dense layer."""
    output: Literal["softmax", "sigmoid"] = "softmax"
    """`sigmoid` is a single unit, for two classes."""
    label_smoothing: Rate = 0.0
    class_weights: ClassWeights = "none"
    """`balanced` is n / (classes * n_class); or a weight for each class name."""


class Augment(Table):
    """Random changes to training images: a function of (seed, epoch, index). Off by default."""

    flip: Literal["none", "horizontal", "vertical", "both"] = "none"
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Degrees either way."""
    zoom: Rate = 0.0
    """Largest relative change of scale either way."""
    shift: Rate = 0.0
    """Largest move along each axis, as a share of the side."""
    fill: Literal["constant", "nearest", "reflect", "wrap"] = "reflect"
    """What rotation, zoom and shift put where no pixel was; `constant` is black."""
    brightness: Rate = 0.0
    """Largest change, as a share of the range 0-255."""
    contrast: Rate = 0.0
    """Contrast factor in [1 - c, 1 + c], about the mean of each channel."""
    crop_from: Annotated[int, Field(ge=8, le=4096)] | None = None
    """Resize to this side first, then crop `image_size` at random (at the centre to evaluate)."""
    noise: Rate = 0.0
    """Standard deviation of Gaussian noise, as a share of the range 0-255."""
    cutout: Rate = 0.0
    """Side of a black square, as a share of the image's side (DeVries & Taylor, 1708.04552)."""
    mixup: NonNegative = 0.0
    """Beta(a, a) parameter of mixup (Zhang et al., arXiv:1710.09412); 0 is off."""
    cutmix: NonNegative = 0.0
    """Beta(a, a) parameter of CutMix (Yun et al., arXiv:1905.04899); 0 is off."""
    views: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Augmented versions of each image, which the epochs take in turn: epoch e sees the version of
    epoch 1 + (e - 1) mod views. A frozen backbone then computes their features once. 0 is a new
    version in every epoch."""

    @staticmethod
    @rule("mixup", "cutmix")
    def _one_mix(mixup: float, cutmix: float) -> Iterator[Refused]:
        if mixup and cutmix:
            yield Refused("mixup and cutmix cannot both be on; choose one")

    @staticmethod
    @rule("views", "mixup")
    def _views_or_mixup(views: int, mixup: float) -> Iterator[Refused]:
        if views and mixup:
            yield Refused(_VIEWS.format(mix="mixup"))

    @staticmethod
    @rule("views", "cutmix")
    def _views_or_cutmix(views: int, cutmix: float) -> Iterator[Refused]:
        if views and cutmix:
            yield Refused(_VIEWS.format(mix="cutmix"))


_VIEWS = (
    "views keeps versions of single images and {mix} mixes two of them; set views = 0 or {mix} = 0"
)


class EarlyStopping(Table):
    """End a phase when the monitored metric no longer improves."""

    patience: PositiveInt
    """Epochs without improvement."""
    min_delta: NonNegative = 0.0


METRICS = ("loss", "accuracy", "precision", "recall", "f1")
"""What every epoch computes for train and val."""
MONITORS = tuple(f"{split}_{m}" for split in ("val", "train") for m in METRICS)


def _monitor(given: str) -> str:
    if given not in MONITORS:
        raise ValueError(catalogue.unknown("monitored metric", given, MONITORS))
    return given


class Train(Table):
    """What holds for every phase."""

    batch_size: BatchSize = 32
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    """Seed of weights, shuffle, dropout and augmentation."""
    monitor: Annotated[str, AfterValidator(_monitor)] = "val_accuracy"
    """The metric that picks the best epoch: `SPLIT_METRIC`, such as val_loss or val_f1."""
    early_stopping: EarlyStopping | None = None
    mixed_precision: bool = False
    """float16 compute on GPU (bfloat16 on CPU) with float32 weights."""
    devices: Annotated[int, Field(ge=1, le=64)] = 1
    """GPUs trained on at once, the batch shared out (MirroredStrategy)."""
    steps_per_execution: PositiveInt = 1
    """Steps run in one call of the graph; a stop waits for them."""
    features: Literal["exact", "folded"] = "exact"
    """How a frozen backbone and the final evaluation compute: `folded` is faster, its numbers
    differ in the last digits (up to 5e-5)."""

    @staticmethod
    @rule("batch_size", "devices")
    def _shared_out(batch_size: int, devices: int) -> Iterator[Refused]:
        if batch_size % devices:
            yield Refused(
                f"must be a multiple of devices. "
                f"Received: batch_size={batch_size}, devices={devices}",
                "batch_size",
            )


def _freeze(given: Any) -> Any:
    if not isinstance(given, str) or given in catalogue.REGIMES:
        return given
    if re.fullmatch(r"top:[1-9]\d*|from:.+", given):
        return given
    known = [*catalogue.REGIMES, *catalogue.REGIMES_WITH_ARGUMENT]
    raise ValueError(catalogue.unknown("freezing regime", given, known))


class Phase(Table):
    """A stretch of training with its own freezing regime, LR policy, optimizer and epochs."""

    freeze: Annotated[str, BeforeValidator(_freeze)] = "backbone"
    """`backbone` | `none` | `batchnorm` | `top:N` | `from:LAYER`: see the catalogue."""
    batchnorm: Literal["auto", "inference", "train"] = "auto"
    """How the backbone's BatchNorm runs. `auto`: inference when transferring (its moving
    statistics stay put), train when the backbone starts from random weights."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 10
    optimizer: Optimizer = Adam(name="adam")
    lr: LearningRate


class StartFrom(Table):
    """Warm start: every weight of another run that fits."""

    experiment: str | None = None
    """An experiment of the same lab."""
    run: str | None = None
    """A run: id, name or @last."""
    pick: Literal["best", "match"] = "best"
    """Which point of the other's sweep: the best by its monitored metric, or the one with the
    same values on the axes both share."""
    weights: Literal["best", "last"] = "best"
    """Which checkpoint of that run."""
    head: Literal["auto", "keep", "new"] = "auto"
    """`auto` keeps the head when the classes are the same, else starts a new one."""

    @staticmethod
    @rule("experiment", "run")
    def _one(experiment: str | None, run: str | None) -> Iterator[Refused]:
        if (experiment is None) == (run is None):
            yield Refused("give either experiment or run")


class Evaluate(Table):
    """What is measured when training is over."""

    weights: Literal["best", "last"] = "best"
    """The checkpoint that is evaluated and saved as model.keras."""
    splits: Annotated[list[SplitName], Field(min_length=1)] = ["train", "val", "test"]
    batch_size: BatchSize | None = None
    """Where not given, that of training."""


class Origin(Table):
    """Where a run's configuration came from; written by tlui into a run's own preset.toml."""

    preset: str
    """Name of the preset."""
    experiment: str
    """Name of the experiment within it."""
    sweep: dict[str, Any] = {}
    """The sweep point: dotted path -> value."""


class Experiment(Table):
    """One training, fully resolved."""

    version: Literal[1] = 1
    """Of the preset's format."""
    name: str = Field(min_length=1, max_length=200)
    """What the run is called."""
    description: str = ""
    """A line for whoever reads the table of runs."""
    tags: list[str] = []
    """Words to filter runs by."""
    dataset: Dataset
    """A table saying which images: a name such as "intel", or source and path."""
    backbone: Backbone
    """A table with the name of a network, such as "MobileNetV2"."""
    head: Head = Head()
    augment: Augment = Augment()
    train: Train = Train()
    phase: Annotated[list[Phase], Field(min_length=1)]
    """At least one [[phase]] table with freeze, epochs and lr."""
    start_from: StartFrom | None = None
    evaluate: Evaluate = Evaluate()
    run: RunPlacement = RunPlacement()
    slurm: Slurm | None = None
    origin: Origin | None = None

    @staticmethod
    @rule("backbone.name", "dataset.image_size")
    def _large_enough(name: str, size: int) -> Iterator[Refused]:
        least = catalogue.BACKBONES[name].least
        if size < least:
            yield Refused(
                f"{name} needs images of at least {least} px. Received: {size}",
                "dataset",
                "image_size",
            )

    @staticmethod
    @rule("backbone.name", "backbone.alpha", "phase.*.freeze")
    def _has_layers(name: str, alpha: float, freeze: str) -> Iterator[Refused]:
        if ":" in freeze and (complaint := wrong_at(freeze, name, alpha)):
            yield Refused(complaint, "phase", "*", "freeze")

    @staticmethod
    @rule("augment.crop_from", "dataset.image_size")
    def _room_to_crop(crop_from: int | None, size: int) -> Iterator[Refused]:
        if crop_from is not None and crop_from < size:
            yield Refused(
                f"must be at least dataset.image_size, {size}. Received: {crop_from}",
                "augment",
                "crop_from",
            )

    @staticmethod
    @rule("head.output", "dataset.classes")
    def _two_for_sigmoid(output: str, classes: list[str] | None) -> Iterator[Refused]:
        if output == "sigmoid" and classes is not None and len(classes) != 2:
            yield Refused(
                f'"sigmoid" is for two classes; the dataset has {len(classes)}', "head", "output"
            )

    @staticmethod
    @rule("head.class_weights", "dataset.classes")
    def _weight_for_each(weights: Any, classes: list[str] | None) -> Iterator[Refused]:
        if not isinstance(weights, dict) or classes is None:
            return
        without = [name for name in classes if name not in weights]
        for name in weights:
            if name not in classes:
                text = catalogue.unknown("class", name, classes)
                yield Refused(text, "head", "class_weights", name)
                # one that is misspelt is not missing as well
                near = catalogue.nearest(name, classes)
                without = [one for one in without if one != near]
        if without:
            yield Refused(f"gives no weight for {', '.join(without[:5])}", "head", "class_weights")

    @property
    def epochs(self) -> int:
        """Epochs of all phases."""
        return sum(phase.epochs for phase in self.phase)

    @property
    def learns_little(self) -> bool:
        """Whether all that ever learns is a small head on a backbone that stays as it is."""
        still = ("auto", "inference") if self.transfers else ("inference",)
        return (
            all(p.freeze == "backbone" and p.batchnorm in still for p in self.phase)
            and self.head.pooling != "flatten"
            and max(self.head.hidden, default=0) <= 1024
        )

    @property
    def transfers(self) -> bool:
        """Whether the backbone starts from trained weights (what `batchnorm = "auto"` asks)."""
        return self.backbone.weights != "none" or self.start_from is not None
