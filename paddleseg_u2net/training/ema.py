"""Averages of weights: over the steps of a run, and over its processes."""

from __future__ import annotations

import paddle
import paddle.distributed as dist

EMA_DECAY = 0.999


def average_into(ema: paddle.nn.Layer, network: paddle.nn.Layer, step: int) -> None:
    """Move the averaged weights towards the current ones.

    Source: paddleseg 2.8.0 utils/ema.py.
    """
    decay = min(1 - 1 / (step + 1), EMA_DECAY)
    current = network.state_dict()
    with paddle.no_grad():
        for key, value in ema.state_dict().items():
            new = current[key].detach()
            value.set_value(value * decay + new * (1 - decay) if paddle.is_floating_point(value) else new)


def average_statistics(network: paddle.nn.Layer, ranks: int) -> None:
    """Give all ranks the mean BatchNorm statistics; each has seen its own images only."""
    for name, buffer in network.named_buffers():
        if name.endswith(("._mean", "._variance")):
            dist.all_reduce(buffer)
            buffer.set_value(buffer / ranks)
