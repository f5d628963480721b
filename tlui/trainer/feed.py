"""Where a phase's batches come from: photos through the pipeline.

A feed gives an epoch as a course of steps over a learner, and splits to evaluate on. What the
loop sees of a course is how many steps are done; whether they ran one by one, several in a call
of the graph, or from tables that lie in memory, is the feed's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tlui.recipe.schema import Augment
from tlui.trainer.pipeline import ImageSource, batches, steps_in
from tlui.trainer.step import Learner

Rate = Callable[[int], float]
"""Learning rate of a step of the epoch, counted from 0."""


class Feed(Protocol):
    """What the loop asks of wherever batches come from."""

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        ...

    @property
    def waited(self) -> float:
        """Seconds the loop has waited for batches; stays 0 where that is not known."""
        ...

    @property
    def elsewhere(self) -> float:
        """Seconds of training that did not pass in courses of this feed, or (less than 0) that
        passed there for other runs."""
        ...

    def course(self, learner: Learner, epoch: int, start: int, rate: Rate) -> Iterator[int]:
        """Train one epoch from step `start`; yields the steps done after every graph call."""
        ...

    def evaluation(self, split: str) -> Any | None:
        """Batches (index, x, y, label) of a split in natural order, or None where it is empty."""
        ...


@dataclass
class ImageFeed:
    """Photos: decoded, augmented and batched by the pipeline."""

    images: Mapping[str, ImageSource]
    """By split; `train` always."""
    batch_size: int
    evaluation_batch_size: int
    size: int
    seed: int
    classes: int
    augment: Augment
    steps_per_execution: int = 1
    device: str = ""
    """Where photos are sent while the step before theirs runs; "" leaves that to the step."""
    waited: float = 0.0
    elsewhere: float = field(init=False, default=0.0)
    steps: int = field(init=False)

    def __post_init__(self) -> None:
        self.steps = steps_in(len(self.images["train"]), self.batch_size)

    def course(self, learner: Learner, epoch: int, start: int, rate: Rate) -> Iterator[int]:
        iterator = iter(self.epoch(epoch, start))
        if self.device and self.steps_per_execution == 1:
            iterator = ahead(iterator, self.device)
        done = start
        while done < self.steps:
            count = min(self.steps_per_execution, self.steps - done)
            if count == 1:
                began = time.perf_counter()
                batch = next(iterator)
                self.waited += time.perf_counter() - began
                learner.step(batch, rate(done))
            else:
                rates = np.array([rate(step) for step in range(done, done + count)], np.float32)
                learner.steps(iterator, rates)
            done += count
            yield done

    def evaluation(self, split: str) -> Any | None:
        images = self.images.get(split)
        if images is None or not len(images):
            return None
        return self.natural(images, self.evaluation_batch_size)

    def epoch(self, epoch: int, start: int = 0, in_order: bool = False) -> Any:
        """Batches of the training images, changed as an epoch sees them, from step `start` on.

        Args:
            in_order: Their natural order rather than the epoch's.
        """
        return batches(
            self.images["train"],
            batch_size=self.batch_size,
            size=self.size,
            seed=self.seed,
            epoch=epoch,
            start_step=start,
            in_order=in_order,
            augment=self.augment,
            classes=self.classes,
        )

    def natural(self, images: ImageSource, batch_size: int) -> Any:
        """Batches (index, x, y, label) of images in natural order, unchanged."""
        return batches(
            images,
            batch_size=batch_size,
            size=self.size,
            seed=self.seed,
            epoch=None,
            classes=self.classes,
        )


def ahead(batches: Iterator[tuple[Any, ...]], device: str) -> Iterator[tuple[Any, ...]]:
    """The same batches (index, x, …); the next one's x is on its way to a device when one is
    given."""
    held = None
    for index, x, *rest in batches:
        with tf.device(device):
            sent = index, tf.identity(x), *rest
        if held is not None:
            yield held
        held = sent
    if held is not None:
        yield held
