"""An experiment as pydantic models: what a preset may say, with types, ranges and defaults.

`Experiment` is one fully resolved training: no sweep, no other experiment to look up but by run.
Reading a preset file, merging a lab and expanding a sweep is `tlui.recipe.preset`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Union

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from tlui.recipe import catalogue
from tlui.recipe.lr import LearningRate, NonNegative
from tlui.recipe.placement import RunPlacement, Slurm
from tlui.recipe.sources import BatchSize, Dataset, SplitName
from tlui.recipe.strict import Refused, Table

Rate = Annotated[float, Field(ge=0, lt=1)]


def _backbone_name(given: str) -> str:
    if given not in catalogue.BACKBONES:
        raise ValueError(catalogue.unknown("backbone", given, catalogue.BACKBONES))
    return given


class Backbone(Table):
    """The pretrained part of the network."""

    name: Annotated[str, AfterValidator(_backbone_name)]
    """A name of keras.applications (MobileNetV2, EfficientNetB0 …) or SmallConvNet."""
    alpha: PositiveFloat = 1.0
    """Width multiplier; MobileNet, MobileNetV2 and MobileNetV3 only."""
    weights: Annotated[str, Field(min_length=1)] = "imagenet"
    """`imagenet`, `none`, a file (.h5, .keras), or `run:ID`: the backbone of another run."""

    @model_validator(mode="after")
    def _known(self) -> Backbone:
        spec = catalogue.BACKBONES[self.name]
        if not spec.alphas and self.alpha != 1.0:
            raise Refused(f"{self.name} has no alpha. Received: {self.alpha:g}", "alpha")
        if self.weights == "run:":
            raise Refused('write it as "run:ID". Received: "run:"', "weights")
        if self.weights == "imagenet":
            if not spec.imagenet:
                raise Refused(
                    f'{self.name} has no ImageNet weights; set backbone.weights = "none", '
                    "a file or run:ID",
                    "weights",
                )
            if spec.alphas and self.alpha not in spec.alphas:
                known = ", ".join(f"{a:g}" for a in spec.alphas)
                raise Refused(
                    f"{self.name} has ImageNet weights for alpha {known}. Received: {self.alpha:g}",
                    "alpha",
                )
        return self


def _class_weights(given: Any) -> Any:
    """Checked as a whole, so that a wrong value is one problem and not one for each form."""
    if isinstance(given, str):
        if given not in ("none", "balanced"):
            words = ("none", "balanced")
            raise ValueError(catalogue.unknown("way to weigh classes", given, words))
    elif not isinstance(given, dict):
        raise ValueError(f'must be "none", "balanced" or a table of weights. Received: {given}')
    else:
        for name, weight in given.items():
            number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
            if not number or not 0 < weight < float("inf"):
                raise Refused(f"must be greater than 0. Received: {weight}", name)
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

    @model_validator(mode="after")
    def _one_mix(self) -> Augment:
        if self.mixup and self.cutmix:
            raise ValueError("mixup and cutmix cannot both be on; choose one")
        if self.views and (self.mixup or self.cutmix):
            mix = "mixup" if self.mixup else "cutmix"
            raise ValueError(
                f"views keeps versions of single images and {mix} mixes two of them; "
                f"set views = 0 or {mix} = 0"
            )
        return self


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
    """How a frozen backbone computes: `folded` is faster, its numbers differ in the last digits
    (up to 5e-5)."""

    @model_validator(mode="after")
    def _shared_out(self) -> Train:
        if self.batch_size % self.devices:
            raise Refused(
                f"must be a multiple of devices. "
                f"Received: batch_size={self.batch_size}, devices={self.devices}",
                "batch_size",
            )
        return self


class OptimizerBase(Table):
    clipnorm: PositiveFloat | None = None
    """Clip each variable's gradient to this L2 norm."""
    clipvalue: PositiveFloat | None = None
    global_clipnorm: PositiveFloat | None = None
    """Clip all gradients together to this L2 norm."""

    @model_validator(mode="after")
    def _one_clip(self) -> OptimizerBase:
        given = [n for n in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(self, n)]
        if len(given) > 1:
            raise ValueError(f"only one of {' and '.join(given)} may be set")
        return self


class Adam(OptimizerBase):
    """Kingma & Ba 2014, arXiv:1412.6980."""

    name: Literal["adam"]
    beta_1: Rate = 0.9
    beta_2: Rate = 0.999
    epsilon: PositiveFloat = 1e-7


class AdamW(OptimizerBase):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2017, arXiv:1711.05101)."""

    name: Literal["adamw"]
    beta_1: Rate = 0.9
    beta_2: Rate = 0.999
    epsilon: PositiveFloat = 1e-7
    weight_decay: NonNegative = 0.004


class SGD(OptimizerBase):
    """Stochastic gradient descent, with momentum and Nesterov's variant."""

    name: Literal["sgd"]
    momentum: Rate = 0.0
    nesterov: bool = False


class RMSprop(OptimizerBase):
    """Hinton, lecture 6e of Neural Networks for Machine Learning (2012)."""

    name: Literal["rmsprop"]
    rho: Rate = 0.9
    momentum: Rate = 0.0
    epsilon: PositiveFloat = 1e-7


Optimizer = Annotated[
    Union[Adam, AdamW, SGD, RMSprop],
    Field(discriminator="name"),
    BeforeValidator(lambda given: {"name": given} if isinstance(given, str) else given),
]


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

    @model_validator(mode="after")
    def _one(self) -> StartFrom:
        if (self.experiment is None) == (self.run is None):
            raise ValueError("give either experiment or run")
        return self


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

    @model_validator(mode="after")
    def _agree(self) -> Experiment:
        least = catalogue.BACKBONES[self.backbone.name].least
        size = self.dataset.image_size
        if size < least:
            raise Refused(
                f"{self.backbone.name} needs images of at least {least} px. Received: {size}",
                "dataset",
                "image_size",
            )
        if self.augment.crop_from is not None and self.augment.crop_from < size:
            raise Refused(
                f"must be at least dataset.image_size, {size}. Received: {self.augment.crop_from}",
                "augment",
                "crop_from",
            )
        classes = self.dataset.classes
        if classes is not None:
            self._agree_with(classes)
        return self

    def _agree_with(self, classes: list[str]) -> None:
        """What the head says, against class names that the preset gives."""
        if self.head.output == "sigmoid" and len(classes) != 2:
            raise Refused(
                f'"sigmoid" is for two classes; the dataset has {len(classes)}', "head", "output"
            )
        weights = self.head.class_weights
        if isinstance(weights, dict):
            for name in weights:
                if name not in classes:
                    text = catalogue.unknown("class", name, classes)
                    raise Refused(text, "head", "class_weights", name)
            missing = [name for name in classes if name not in weights]
            if missing:
                raise Refused(
                    f"gives no weight for {', '.join(missing[:5])}", "head", "class_weights"
                )

    @property
    def epochs(self) -> int:
        """Epochs of all phases."""
        return sum(phase.epochs for phase in self.phase)

    @property
    def transfers(self) -> bool:
        """Whether the backbone starts from trained weights (what `batchnorm = "auto"` asks)."""
        return self.backbone.weights != "none" or self.start_from is not None
