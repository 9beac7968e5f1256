"""Losses and times of a training run since its last log line."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import paddle
from paddle import Tensor


class Meter:
    """Adds up losses and times.

    Args:
        samples_per_batch: over all processes.
    """

    def __init__(self, samples_per_batch: int):
        self.samples_per_batch = samples_per_batch
        self.reset()

    def reset(self) -> None:
        """Start anew, after a log line."""
        self.total: Tensor | None = None
        self.batches, self.reading, self.working = 0, 0.0, 0.0
        self.since = time.perf_counter()
        self.restart()

    def restart(self) -> None:
        """Start the clock anew, so that an evaluation does not count as a slow step."""
        self.clock = time.perf_counter()

    def silent(self) -> bool:
        """Whether more than half a minute has passed since the last line."""
        return time.perf_counter() - self.since > 30

    def read(self, loader) -> Iterator[dict[str, Tensor]]:
        """The batches of a loader, the wait for each on the clock."""
        for batch in loader:
            if "fault" in batch:  # see `dataset.collate`
                raise ValueError(bytes(batch["fault"].numpy()).decode())
            self.reading += time.perf_counter() - self.clock
            yield batch

    def add(self, loss: Tensor, parts: list[Tensor]) -> None:
        """Count one step: its loss and the parts of it, scalars."""
        # kept as tensors: reading a value would wait for the device in every step
        values = paddle.stack([loss, *parts]).astype("float32")
        self.total = values if self.total is None else self.total + values
        self.batches += 1
        now = time.perf_counter()
        self.working += now - self.clock
        self.clock = now

    def losses(self) -> np.ndarray:
        """Mean of the loss and of its parts."""
        assert self.total is not None
        return self.total.numpy() / self.batches

    @property
    def batch_cost(self) -> float:
        """Seconds a step."""
        return self.working / self.batches

    @property
    def reader_cost(self) -> float:
        """Seconds a step that were spent waiting for data."""
        return self.reading / self.batches

    @property
    def samples_per_second(self) -> float:
        """Images a second, over all processes."""
        return self.samples_per_batch * self.batches / max(self.working, 1e-9)
