"""Gradient accumulation: one optimizer step from several batches."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import paddle
from paddle import Tensor

Batch = Mapping[str, Tensor]


def grouped(batches: Iterable[Batch], count: int) -> Iterator[list[Batch]]:
    """Yield the batches of each optimizer step; a last group that is not full is left out."""
    stream = iter(batches)
    while len(group := list(itertools.islice(stream, count))) == count:
        yield group


def mean_gradients(
    add_gradients: Callable[[Batch], tuple[Tensor, list[Tensor]]], model: Any, batches: Sequence[Batch]
) -> tuple[Tensor, list[Tensor]]:
    """Give the parameters the mean of the gradients of some batches.

    Args:
        add_gradients: adds the gradients of one batch; see `PaddleGradients`.
        model: network, as wrapped for several processes; these exchange gradients once, at the last batch.
        batches: of one optimizer step.

    Returns:
        Mean loss and mean parts of the loss per output, scalars.
    """
    *others, last = batches
    with model.no_sync() if others and hasattr(model, "no_sync") else contextlib.nullcontext():
        results = [add_gradients(batch) for batch in others]
    results.append(add_gradients(last))
    if not others:
        return results[0]
    count = len(results)
    with paddle.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.scale_(1 / count)
        losses, parts = zip(*results, strict=True)
        mean_parts = [paddle.add_n(list(values)) / count for values in zip(*parts, strict=True)]
        return paddle.add_n(list(losses)) / count, mean_parts
