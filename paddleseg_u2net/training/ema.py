"""Exponential moving average (EMA) of the weights."""

from __future__ import annotations

import copy

import paddle
from paddle import Tensor

from paddleseg_u2net.training.settings import EMA_DECAY


def frozen_copy(network: paddle.nn.Layer) -> paddle.nn.Layer:
    """Return a copy of a network in eval mode whose parameters have no gradients."""
    ema = copy.deepcopy(network)
    ema.eval()
    for parameter in ema.parameters():
        parameter.stop_gradient = True
    return ema


def decay_at(step: int, decay: float = EMA_DECAY) -> float:
    """Share of the average that a step keeps.

    Early in a run the average covers about the last ninth of the steps, so that it leaves the first weights
    behind even where the run is short.

    Args:
        step: number of steps done, from 1.
        decay: upper limit, in (0, 1).

    Source: TensorFlow, tf.train.ExponentialMovingAverage with num_updates. paddleseg 2.8.0 utils/ema.py has
    1 - 1 / (step + 1) instead, which is the plain mean of all weights since the first step.
    """
    return min(decay, (1 + step) / (10 + step))


class MovingAverage:
    """Moves averaged weights and BatchNorm statistics towards the current ones.

    BatchNorm statistics are averaged like the weights, because those of the current weights do not suit the
    averaged ones.

    Args:
        ema: network with the averaged values, float32; changed in place.
        decay: share of the average that a step keeps late in the run; see `decay_at`.
    """

    def __init__(self, ema: paddle.nn.Layer, decay: float = EMA_DECAY):
        self.ema, self.decay = ema, decay
        # kept, as allocating it takes longer than the arithmetic
        self.scratch = {key: paddle.zeros_like(value) for key, value in ema.state_dict().items()}

    def update(self, network: paddle.nn.Layer, step: int) -> None:
        """Take the current values of a network into the average.

        Args:
            network: of the same class as `ema`.
            step: number of steps done, from 1.
        """
        share, current = decay_at(step, self.decay), network.state_dict()
        keys = []
        averages = self.ema.state_dict()
        with paddle.no_grad():
            for key, average in averages.items():
                value = current[key]
                if average.dtype == value.dtype == paddle.float32:
                    keys.append(key)
                elif paddle.is_floating_point(average):  # half precision
                    average.set_value(average * share + value.astype(average.dtype) * (1 - share))
                else:
                    average.set_value(value)
            columns = [[table[key] for key in keys] for table in (averages, current, self.scratch)]
            interpolate(columns[0], columns[1], columns[2], [1 - share] * len(keys))


def interpolate(
    values: list[Tensor], targets: list[Tensor], scratch: list[Tensor], shares: list[float]
) -> None:
    """Set each value to `(1 - share) * value + share * target`, in place and in one call for all.

    For a network of several hundred tensors, a call per tensor takes most of the time. Paddle's optimizer
    step for a list of tensors computes v = g + c * p, then p = p - rate * v. With g the target, c = -1 and
    rate = -share, this is the interpolation.

    Args:
        values: float32, changed in place.
        targets: of the same shapes.
        scratch: of the same shapes, zeros at first; overwritten. It counts times 0, so NaN would spread.
        shares: one per tensor.
    """
    if not values:
        return
    rates = {share: paddle.full([1], -share, "float32") for share in set(shares)}
    momentum, nesterov, master_weights, multi_precision, gradient_scale = 0.0, False, None, False, 1.0
    with paddle.no_grad():
        paddle._C_ops.merged_momentum_(
            values,
            targets,
            scratch,
            [rates[share] for share in shares],
            master_weights,
            momentum,
            nesterov,
            ["l2_decay"] * len(values),
            [-1.0] * len(values),
            multi_precision,
            gradient_scale,
        )
