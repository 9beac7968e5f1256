"""Log lines of training in PaddleSeg's format, and records for VisualDL."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.training.meter import Meter
from paddleseg_u2net.training.saving import DIVERGED

log = logging.getLogger(__name__)

NAMES = {"model": "model", "ema_model": "EMA model"}


class TrainingLog:
    """Context manager that logs training steps and evaluations, and records their values for VisualDL.

    Args:
        iters: steps of the whole run.
        folder: of the VisualDL records; None writes none.
    """

    def __init__(self, iters: int, folder: Path | None):
        self.iters, self.folder = iters, folder
        self.writer: Any = None

    def __enter__(self) -> TrainingLog:
        if self.folder is not None:
            from visualdl import LogWriter

            self.writer = LogWriter(str(self.folder))
        return self

    def __exit__(self, *exception: object) -> None:
        if self.writer is not None:
            self.writer.close()

    def record(self, tag: str, value: float, step: int) -> None:
        """Write one value for VisualDL, if asked for."""
        if self.writer is not None:
            self.writer.add_scalar(tag, float(value), step)

    def steps(self, meter: Meter, step: int, epoch: int, learning_rate: float) -> None:
        """Log the mean losses and times of the steps that a meter has counted.

        Args:
            meter: losses and times.
            step: number of the last step, from 1.
            epoch: its epoch, from 1.
            learning_rate: of the last step.

        Raises:
            FloatingPointError: a loss is NaN or infinite.
        """
        losses = meter.losses()
        if not np.isfinite(losses).all():
            raise FloatingPointError(f"iter {step}: the loss is {losses[0]}. {DIVERGED}")
        log.info(
            "[TRAIN] epoch: %d, iter: %d/%d, loss: %.4f, lr: %.6f, batch_cost: %.4f, reader_cost: %.5f, "
            "ips: %.4f samples/sec | ETA %s",
            epoch,
            step,
            self.iters,
            losses[0],
            learning_rate,
            meter.batch_cost,
            meter.reader_cost,
            meter.samples_per_second,
            duration((self.iters - step) * meter.batch_cost),
        )
        values = {
            "loss": losses[0],
            **{f"loss_{index}": value for index, value in enumerate(losses[1:])},
            "lr": learning_rate,
            "batch_cost": meter.batch_cost,
            "reader_cost": meter.reader_cost,
        }
        for name, value in values.items():
            self.record(f"Train/{name}", value, step)

    def scores(self, network: str, report: list[str], values: Mapping[str, Any], step: int) -> None:
        """Log an evaluation.

        Args:
            network: `model` or `ema_model`.
            report: log lines.
            values: score by name; the scalar ones are recorded.
            step: at which the network was evaluated.
        """
        for line in report:
            log.info(line)
        prefix = "Ema_" if network == "ema_model" else ""
        for name, value in values.items():
            if np.ndim(value) == 0:
                self.record(f"Evaluate/{prefix}{name}", value, step)

    def best(self, network: str, metric: str, score: float, step: int) -> None:
        """Log the best score of `model` or `ema_model` so far, and its step."""
        log.info(
            "[EVAL] The %s with the best validation %s (%.4f) was saved at iter %d.",
            NAMES[network],
            metric,
            score,
            step,
        )


def duration(seconds: float) -> str:
    """Format a time as HH:MM:SS.

    Example:
        >>> duration(100 * 3600 + 62)
        '100:01:02'
    """
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"
