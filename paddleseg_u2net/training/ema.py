"""Exponential moving average (EMA) of the weights."""

from __future__ import annotations

import copy

import paddle

EMA_DECAY = 0.999


def frozen_copy(network: paddle.nn.Layer) -> paddle.nn.Layer:
    """Return a copy of a network in eval mode whose parameters have no gradients."""
    ema = copy.deepcopy(network)
    ema.eval()
    for parameter in ema.parameters():
        parameter.stop_gradient = True
    return ema


def update_average(ema: paddle.nn.Layer, network: paddle.nn.Layer, step: int) -> None:
    """Move averaged weights and BatchNorm statistics towards the current ones.

    Args:
        ema: network with the averaged values; changed in place.
        network: network with the current values.
        step: number of steps done, from 1; the decay grows with it up to `EMA_DECAY`.

    Source: paddleseg 2.8.0 utils/ema.py.
    """
    decay = min(1 - 1 / (step + 1), EMA_DECAY)
    current = network.state_dict()
    with paddle.no_grad():
        for key, value in ema.state_dict().items():
            new = current[key].detach()
            value.set_value(value * decay + new * (1 - decay) if paddle.is_floating_point(value) else new)
