"""Batches of training data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paddle
from paddle import Tensor

from paddleseg_u2net.data.dataset import Dataset, ErrorReturningDataset, collate
from paddleseg_u2net.data.multi_scale import ResizedDataset, SizedBatches
from paddleseg_u2net.data.sampler import BatchStream
from paddleseg_u2net.environment.distributed import Rank
from paddleseg_u2net.environment.processes import end_with_parent
from paddleseg_u2net.models.checkpoint import Progress
from paddleseg_u2net.training.settings import TrainingSettings

# what Paddle raises after a worker has died: while the main thread computes, and while it waits for a batch
WORKER_DIED = r"DataLoader process \(pid\s+\d+\) exited[^.(]*|Blocking queue is killed"


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
    """
    order: Any = BatchStream(
        length=len(data),
        batch_size=settings.batch_size,
        seed=progress.seed,
        start=progress.samples,
        batches=max(settings.iters - progress.iter, 0) * settings.accumulate,
        rank=rank.index,
        ranks=rank.count,
    )
    source: Any = data
    if data.spec.multi_scale:
        order, source = SizedBatches(order, data.spec.multi_scale), ResizedDataset(data)
    samples: Any = ErrorReturningDataset(source)  # Paddle's annotations are narrower than what it accepts
    stack: Any = collate
    for batch in paddle.io.DataLoader(
        samples,
        batch_sampler=order,
        collate_fn=stack,
        num_workers=settings.num_workers,
        worker_init_fn=end_with_parent,
    ):
        if "fault" in batch:  # see `collate`
            raise ValueError(bytes(batch["fault"].numpy()).decode())
        yield batch


@contextmanager
def worker_deaths_named() -> Iterator[None]:
    """Turn Paddle's errors about a worker process that died into one that says what to do.

    Paddle raises them in the main thread, whatever it is doing, as soon as the system reports the death; what
    is raised in the backward of a PyLayer, as that of the oneDNN engine, becomes an OSError.

    Raises:
        ChildProcessError: a worker process died.
    """
    try:
        yield
    except (SystemError, RuntimeError, OSError) as error:
        found = re.search(WORKER_DIED, str(error))
        if not found:
            raise
        raise ChildProcessError(
            f"A process that loads data died ({found[0]}), often because memory ran out. The checkpoints "
            "saved before are intact. Fix: a smaller --num_workers or --batch_size, and --resume_model"
        ) from error
