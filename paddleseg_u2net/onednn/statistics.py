"""Mean and variance of large feature maps, for BatchNorm.

oneDNN's BatchNorm adds the pixels of a channel one after the other in float32. Over large maps its rounding
is ten times that of Paddle, so that more ReLUs change sign. Here it measures each row of pixels as a channel
of its own, then the rows of a channel. A row stays in the processor's cache, so this takes little time.
"""

from __future__ import annotations

from paddleseg_u2net.models.architecture import BN_EPSILON
from paddleseg_u2net.onednn import operations as ops
from paddleseg_u2net.onednn.arena import Value
from paddleseg_u2net.onednn.library import channel_block
from paddleseg_u2net.onednn.memory import F32, Desc
from paddleseg_u2net.onednn.steps import Steps

LARGE = 256  # pixels of a map


def needs_rows(maps: Desc, data_type: int) -> bool:
    """Whether oneDNN's own statistics of maps (N, C, H, W) are too inexact; bfloat16 rounds more anyway."""
    _, channels, height, width = maps.shape
    return data_type == F32 and height * width >= LARGE and channels % channel_block() == 0


def append_statistics(steps: Steps, maps: Value) -> tuple[Value, Value]:
    """Append the computation of the mean and the biased variance (C,) over N, H and W.

    The variance is the mean of the rows' variances plus the variance of the rows' means.

    Args:
        steps: receives the operations.
        maps: (N, C, H, W) in blocks of channels, in which the rows of a block follow one another.
    """
    n, c, h, w = maps.desc.shape
    row_mean, row_variance = _append_moments(steps, maps, (n, c * h, 1, w))
    mean, between = _append_moments(steps, row_mean, (1, c, 1, h))
    within, _ = _append_moments(steps, row_variance, (1, c, 1, h))
    vector = mean.desc
    steps.emit(ops.add(vector, vector, vector), src=between, src1=within, dst=between)
    return mean, between


def _append_moments(steps: Steps, values: Value, shape: tuple[int, int, int, int]) -> tuple[Value, Value]:
    """Append the mean and biased variance of each channel of values, which are seen as maps of a shape."""
    maps, vector = steps.maps(shape), Desc.plain(shape[1:2])
    mean, variance = Value.new(vector), Value.new(vector)
    source, unused = Value(maps, values.storage), Value.new(maps)
    steps.emit(ops.norm(maps, BN_EPSILON), src=source, dst=unused, mean=mean, variance=variance)
    return mean, variance
