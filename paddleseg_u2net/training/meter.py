"""Mean losses and times of the training steps since the last log line."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
import paddle
from paddle import Tensor

MAX_SILENCE = 30  # seconds between log lines
T = TypeVar("T")


class Meter:
    """Accumulates losses and times of training steps.

    Args:
        samples_per_step: images per step over all processes.
    """

    def __init__(self, samples_per_step: int):
        self.samples_per_step = samples_per_step
        self.reset()

    def reset(self) -> None:
        """Discard all steps, after a log line."""
        self.total: Tensor | None = None
        self.steps, self.reading, self.working = 0, 0.0, 0.0
        self.since = time.perf_counter()
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave out the time since the last step, for example that of an evaluation."""
        self.clock = time.perf_counter()

    @property
    def overdue(self) -> bool:
        """Whether the last log line is more than `MAX_SILENCE` ago."""
        return time.perf_counter() - self.since > MAX_SILENCE

    def timed(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield batches and measure the wait for each."""
        for batch in batches:
            self.reading += time.perf_counter() - self.clock
            yield batch

    def add(self, loss: Tensor, parts: list[Tensor]) -> None:
        """Count one step.

        Args:
            loss: scalar.
            parts: scalar per output.
        """
        # Kept as tensors: reading a value would wait for the device in every step
        values = paddle.stack([loss, *parts]).astype("float32")
        self.total = values if self.total is None else self.total + values
        self.steps += 1
        now = time.perf_counter()
        self.working += now - self.clock
        self.clock = now

    def losses(self) -> np.ndarray:
        """Mean of the loss and of each of its parts, (1 + outputs,) float32."""
        assert self.total is not None
        return self.total.numpy() / self.steps

    @property
    def batch_cost(self) -> float:
        """Seconds per step."""
        return self.working / self.steps

    @property
    def reader_cost(self) -> float:
        """Seconds per step spent waiting for data."""
        return self.reading / self.steps

    @property
    def samples_per_second(self) -> float:
        """Images per second over all processes."""
        return self.samples_per_step * self.steps / max(self.working, 1e-9)
