"""Log lines of training in PaddleSeg's format; their values go to the history and the loggers of the run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.errors import counted
from paddleseg_u2net.models.checkpoint import BEST, Progress
from paddleseg_u2net.training.history import History
from paddleseg_u2net.training.loggers import Recorder
from paddleseg_u2net.training.meter import Meter

log = logging.getLogger(__name__)

NAMES = {"model": "model", "ema_model": "EMA model"}


class TrainingLog:
    """Context manager that logs training steps and evaluations, and records their values.

    Args:
        iters: steps of the whole run.
        recorders: functions that start a record each; see `loggers.chosen_loggers`.
    """

    def __init__(self, iters: int, recorders: Sequence[Callable[[], Recorder]] = ()):
        self.iters, self.openers = iters, recorders
        self.recorders: list[Recorder] = []
        self.trained, self.images, self.working = 0, 0, 0.0  # steps, images and seconds of all log lines

    def __enter__(self) -> TrainingLog:
        self.started = time.perf_counter()
        for start in self.openers:
            kind = getattr(start, "func", start)  # of a `partial`: the class of the recorder
            self._attempt(kind, lambda start=start: self.recorders.append(start()))
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        self._each(lambda recorder: recorder.close(failed=kind is not None))

    def _each(self, action: Callable[[Recorder], None]) -> None:
        """Call each recorder; a logger that fails is left out from then on."""
        calls = [(recorder, partial(action, recorder)) for recorder in self.recorders]
        self.recorders = [recorder for recorder, call in calls if self._attempt(type(recorder), call)]

    def _attempt(self, kind: Any, call: Callable[[], None]) -> bool:
        """Call a function of a recorder; False if that of a logger failed, without which training goes on."""
        try:
            call()
        except Exception as error:  # loggers raise whatever their network does
            if kind is History:
                raise
            log.warning("%s failed and gets no more values: %s", kind.__name__, str(error).strip())
            return False
        return True

    def picture(self, image: np.ndarray, step: int) -> None:
        """Record a preview, (H, W, 3) uint8 RGB, for the loggers."""
        self._each(lambda recorder: recorder.picture(image, step))

    def steps(self, meter: Meter, step: int, epoch: int, learning_rate: float) -> None:
        """Log the mean losses and times of the steps that a meter has counted.

        Args:
            meter: losses and times.
            step: number of the last step, from 1.
            epoch: its epoch, from 1.
            learning_rate: of the last step.
        """
        losses = meter.losses()
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
            "ips": meter.samples_per_second,
        }
        self._each(lambda recorder: recorder.record("train", values, step))
        self.images += meter.samples_per_step * meter.steps
        self.trained, self.working = self.trained + meter.steps, self.working + meter.working

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
        scalars = {name: float(value) for name, value in values.items() if np.ndim(value) == 0}
        self._each(lambda recorder: recorder.record(network, scalars, step))

    def best(self, network: str, metric: str, score: float, step: int) -> None:
        """Log the best score of `model` or `ema_model` so far, and its step."""
        log.info(
            "[EVAL] The %s with the best validation %s (%.4f) was saved at iter %d.",
            NAMES[network],
            metric,
            score,
            step,
        )

    def summary(self, progress: Progress, save_dir: Path) -> None:
        """Log how long the run took, and its best score and where that model is, in one line."""
        seconds = time.perf_counter() - self.started
        parts = [f"Trained {counted(self.trained, 'step')} in {duration(seconds)}"]
        if self.working:
            parts.append(f"{self.images / self.working:.2f} images/s without evaluations")
        for network, (score, step) in progress.best.items():
            best = f"best {progress.metric} of the {NAMES[network]} {score:.4f} at iter {step}"
            parts.append(f"{best} in {save_dir / BEST[network]}")
        log.info(", ".join(parts))


def duration(seconds: float) -> str:
    """Format a time as HH:MM:SS.

    Example:
        >>> duration(100 * 3600 + 62)
        '100:01:02'
    """
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"
