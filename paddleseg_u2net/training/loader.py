"""Batches of training data."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import paddle
from paddle import Tensor

from paddleseg_u2net.data.dataset import Dataset, ErrorReturningDataset, collate
from paddleseg_u2net.data.multi_scale import ResizedDataset, SizedBatches
from paddleseg_u2net.data.sampler import BatchStream
from paddleseg_u2net.environment.distributed import Rank
from paddleseg_u2net.environment.processes import start_worker
from paddleseg_u2net.models.checkpoint import Progress
from paddleseg_u2net.training.settings import TrainingSettings

T = TypeVar("T")
WORKER_DIED = "Blocking queue is killed"  # what Paddle raises where a batch will never come


def load_batches(
    data: Dataset, settings: TrainingSettings, progress: Progress, rank: Rank
) -> Iterator[dict[str, Tensor]]:
    """Yield the batches of the remaining steps of a run.

    Args:
        data: training data.
        settings: batch size, number of steps and of worker processes.
        progress: seed of the order, and how many samples were drawn before.
        rank: this process takes its own part of each step's images.

    Yields:
        `img` (N, C, h, w) float32, and `label` (N, 1, h, w) float32 or int64.

    Raises:
        ValueError: a sample cannot be loaded.
        ChildProcessError: a worker process died.
    """
    order: Any = BatchStream(
        length=len(data),
        batch_size=settings.batch_size,
        seed=progress.seed,
        start=progress.samples,
        batches=(settings.iters - progress.iter) * settings.accumulate,
        rank=rank.index,
        ranks=rank.count,
    )
    source: Any = data
    if data.spec.multi_scale:
        order, source = SizedBatches(order, data.spec.multi_scale), ResizedDataset(data)
    samples: Any = ErrorReturningDataset(source)  # Paddle's annotations are narrower than what it accepts
    stack: Any = collate
    loader = paddle.io.DataLoader(
        samples,
        batch_sampler=order,
        collate_fn=stack,
        num_workers=settings.num_workers,
        worker_init_fn=start_worker,
    )
    for batch in _until_a_worker_dies(_start(loader)):
        if "fault" in batch:  # see `collate`
            raise ValueError(bytes(batch["fault"].numpy()).decode())
        yield batch


def _start(loader: Any) -> Iterator[dict[str, Tensor]]:
    """Start the workers of a loader.

    Paddle would report a death in the middle of a step, whose weights could not be saved then; without its
    handler it does so where the next batch is taken, within 5 seconds.
    """
    before = signal.getsignal(signal.SIGCHLD)
    batches = iter(loader)
    if signal.getsignal(signal.SIGCHLD) is not before:
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
    return batches


def _until_a_worker_dies(batches: Iterator[T]) -> Iterator[T]:
    try:
        yield from batches
    except (SystemError, RuntimeError, OSError) as error:
        if WORKER_DIED not in str(error):
            raise
        raise ChildProcessError(
            "A process that loads data died, often because memory ran out. "
            "Fix: a smaller --num_workers or --batch_size"
        ) from error


@contextmanager
def saved_when_a_worker_dies(save: Callable[[], Path | None]) -> Iterator[None]:
    """Save a checkpoint where a worker process has died, and add to the message how to resume it.

    Args:
        save: saves one where there is something new to save; returns the newest, None without one.

    Raises:
        ChildProcessError: a worker process died.
    """
    try:
        yield
    except ChildProcessError as error:
        newest = save()
        raise ChildProcessError(f"{error}" + (f", and --resume_model {newest}" if newest else "")) from error
