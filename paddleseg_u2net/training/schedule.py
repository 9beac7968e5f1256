"""Learning rate schedules during training."""

from __future__ import annotations

from typing import Any

import paddle
from paddle import Tensor

from paddleseg_u2net.training.distributed import mean_over_ranks


def schedule_of(optimizer: paddle.optimizer.Optimizer) -> Any:
    """Return the learning rate schedule of an optimizer, or its constant learning rate."""
    return optimizer._learning_rate  # Paddle has no public accessor


def depends_on_step(schedule: Any) -> bool:
    """Whether a learning rate depends on the step number alone; that of ReduceOnPlateau follows the loss."""
    lr = paddle.optimizer.lr
    return isinstance(schedule, lr.LRScheduler) and not isinstance(schedule, lr.ReduceOnPlateau)


def advance(optimizer: paddle.optimizer.Optimizer, loss: Tensor, ranks: int) -> None:
    """Set the learning rate of the next step.

    Args:
        optimizer: its schedule, if any, is advanced.
        loss: of the step done, scalar; its mean over all processes decides where the schedule follows it.
        ranks: number of processes.
    """
    schedule = schedule_of(optimizer)
    if depends_on_step(schedule):
        schedule.step()
    elif isinstance(schedule, paddle.optimizer.lr.LRScheduler):
        metric: Any = mean_over_ranks(loss, ranks)  # Paddle's annotation says int, as for other schedules
        schedule.step(metric)
