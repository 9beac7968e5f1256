"""S-measure: whether a map has the structure of its mask, by object and by quarter of the image."""

from __future__ import annotations

from itertools import product

import numpy as np

from paddleseg_u2net.metrics.pair import EPSILON, Pair


def s_measure(pair: Pair, alpha: float = 0.5) -> float:
    """S-measure of one map; of an empty or full mask, the mean of what is right.

    Args:
        pair: the map and its mask.
        alpha: weight of the object part, the rest being that of the regions.

    Source: Fan et al. 2017 (arXiv:1708.00786), equations 1-9; `Smeasure`, py_sod_metrics/sod_metrics.py of
    PySODMetrics 1.6.2, whose score is NaN where the centroid lies in the last row or column; here an empty
    quarter weighs nothing.
    """
    if pair.foreground in (0, pair.mask.size):
        mean = float(pair.saliency.mean())
        return mean if pair.foreground else 1 - mean
    score = alpha * _object_score(pair) + (1 - alpha) * _region_score(pair)
    return max(0.0, float(score))


def _object_score(pair: Pair) -> float:
    """How bright and even the map is on the foreground, how dark and even on the background."""
    share = pair.foreground / pair.mask.size
    values, (background, foreground) = pair.values
    return share * _evenness(values, foreground) + (1 - share) * _evenness(1 - values, background)


def _evenness(values: np.ndarray, counts: np.ndarray) -> float:
    """How near 1 values are, on average and without variation."""
    size = counts.sum()
    mean = counts @ values / size
    deviation = np.sqrt(counts @ (values - mean) ** 2 / max(size - 1, 1))
    return 2 * mean / (mean**2 + 1 + deviation + EPSILON)


def _region_score(pair: Pair) -> float:
    """Similarity in the four quarters around the mask's centroid, weighted by their areas."""
    height, width = pair.mask.shape
    rows, columns = np.arange(height), np.arange(width)
    # the quarter above and left holds the centroid itself
    y = round(rows @ np.count_nonzero(pair.mask, axis=1) / pair.foreground) + 1
    x = round(columns @ np.count_nonzero(pair.mask, axis=0) / pair.foreground) + 1
    score = 0.0
    for box in product((slice(0, y), slice(y, height)), (slice(0, x), slice(x, width))):
        if size := pair.mask[box].size:
            score += size / pair.mask.size * _similarity(pair, box)
    return score


def _similarity(pair: Pair, box: tuple[slice, slice]) -> float:
    """SSIM of one quarter without its constants; 1 where both are constant.

    The map counts as constant where its mean, in float64 and in numpy's order of sums, is its only value: so
    does PySODMetrics.
    """
    values, counts = pair.tally(box)
    every, size, count = counts.sum(axis=0), counts.sum(), counts[1].sum()
    x, y = pair.saliency[box].mean(), count / size
    centred = values - x  # before squares are summed: a difference of two sums would lose what is small
    # of a constant mask exactly 0, which rounding must not touch
    together = counts[1] @ centred - y * (every @ centred) if 0 < count < size else 0
    numerator = 4 * x * y * together / (size - 1 + EPSILON)
    denominator = (x**2 + y**2) * (every @ centred**2 + y * (size - count)) / (size - 1 + EPSILON)
    if numerator:
        return numerator / (denominator + EPSILON)
    return float(denominator == 0)
