"""Stops a run whose loss is NaN or infinite, and names the images of that step."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import Tensor

from paddleseg_u2net.data.dataset import Dataset
from paddleseg_u2net.data.sampler import BatchStream
from paddleseg_u2net.environment.distributed import Rank
from paddleseg_u2net.models.checkpoint import Progress
from paddleseg_u2net.training.saving import DIVERGED

SHOWN = 32  # images named


class LossCheck:
    """Finds the first step whose loss is not finite.

    Args:
        data: training data.
        batch_size: images per step and process.
        progress: of the run, before the first step that is added.
        rank: of this process, which names its own images.
        every_step: check each loss when it is added. On a GPU this would wait for the device in every step,
            so that the losses are kept there, and checked before each log line and checkpoint.
    """

    def __init__(self, data: Dataset, batch_size: int, progress: Progress, rank: Rank, every_step: bool):
        self.data, self.batch_size, self.rank, self.every_step = data, batch_size, rank, every_step
        self.seed, self.samples = progress.seed, progress.samples
        self.unchecked: list[tuple[int, int, int, Tensor]] = []  # step, samples before and after it, loss

    def add(self, loss: Tensor, progress: Progress) -> None:
        """Add the loss of a step, a scalar; see `check`.

        Args:
            loss: of the step that `progress` ends with.
            progress: of the run after the step.
        """
        self.unchecked.append((progress.iter, self.samples, progress.samples, loss))
        self.samples = progress.samples
        if self.every_step:
            self.check()

    def check(self) -> None:
        """Check the losses added since the last check.

        Raises:
            FloatingPointError: one is NaN or infinite; the message names the images of the first such step.
        """
        if not self.unchecked:
            return
        losses = paddle.stack([loss.astype("float32").reshape([]) for *_, loss in self.unchecked]).numpy()
        wrong = np.flatnonzero(~np.isfinite(losses))
        if len(wrong):
            step, before, after, _ = self.unchecked[wrong[0]]
            raise FloatingPointError(
                f"iter {step}: the loss is {losses[wrong[0]]}. {DIVERGED}; or correct these images and "
                f"masks, if they are unusual:\n{self._images(before, after)}"
            )
        self.unchecked.clear()

    def _images(self, before: int, after: int) -> str:
        """The images that this process drew between two numbers of samples, one a line."""
        per_batch = self.batch_size * self.rank.count
        order = BatchStream(
            length=len(self.data),
            batch_size=self.batch_size,
            seed=self.seed,
            start=before,
            batches=(after - before) // per_batch,
            rank=self.rank.index,
            ranks=self.rank.count,
        )
        indices = dict.fromkeys(index for keys in order for index, _ in keys)
        names = [f"  {self.data.spec.pairs[index].image_place}" for index in indices]
        hidden = len(names) - SHOWN
        return "\n".join([*names[:SHOWN], *([f"  … and {hidden} more"] if hidden > 0 else [])])
