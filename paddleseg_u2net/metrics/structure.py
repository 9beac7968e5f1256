"""S-measure: structural similarity of a map and its mask, per object and per quarter of the image."""

from __future__ import annotations

from itertools import product

import numpy as np

from paddleseg_u2net.metrics.map_and_mask import EPSILON, MapAndMask


def s_measure(item: MapAndMask, alpha: float = 0.5) -> float:
    """S-measure of one map; for an empty or full mask, the mean value of the right class.

    Args:
        item: the map and its mask.
        alpha: weight of the object score; the region score has the rest.

    Source: Fan et al. 2017 (arXiv:1708.00786), equations 1-9; `Smeasure`, py_sod_metrics/sod_metrics.py of
    PySODMetrics 1.6.2. One difference: where the centroid of the mask lies in the last row or column, its
    score is NaN; here an empty quarter has weight 0.
    """
    if item.foreground in (0, item.mask.size):
        mean = float(item.saliency.mean())
        return mean if item.foreground else 1 - mean
    score = alpha * _object_score(item) + (1 - alpha) * _region_score(item)
    return max(0.0, float(score))


def _object_score(item: MapAndMask) -> float:
    """How bright and uniform the map is on the foreground, and how dark and uniform on the background."""
    share = item.foreground / item.mask.size
    values, (background, foreground) = item.values
    return share * _uniformity(values, foreground) + (1 - share) * _uniformity(1 - values, background)


def _uniformity(values: np.ndarray, counts: np.ndarray) -> float:
    """How close values are to 1: their mean, lowered by their standard deviation."""
    size = counts.sum()
    mean = counts @ values / size
    deviation = np.sqrt(counts @ (values - mean) ** 2 / max(size - 1, 1))
    return 2 * mean / (mean**2 + 1 + deviation + EPSILON)


def _region_score(item: MapAndMask) -> float:
    """Similarity in the four quarters around the mask's centroid, weighted by their areas."""
    height, width = item.mask.shape
    rows, columns = np.arange(height), np.arange(width)
    # the centroid itself belongs to the upper left quarter
    y = round(rows @ np.count_nonzero(item.mask, axis=1) / item.foreground) + 1
    x = round(columns @ np.count_nonzero(item.mask, axis=0) / item.foreground) + 1
    score = 0.0
    for box in product((slice(0, y), slice(y, height)), (slice(0, x), slice(x, width))):
        if size := item.mask[box].size:
            score += size / item.mask.size * _similarity(item, box)
    return score


def _similarity(item: MapAndMask, box: tuple[slice, slice]) -> float:
    """SSIM of one quarter without the stabilizing constants; 1 where map and mask are both constant.

    As in PySODMetrics, the map is constant if its mean, in float64 and summed in numpy's order, equals its
    only value.
    """
    values, counts = item.value_counts(box)
    every, size, count = counts.sum(axis=0), counts.sum(), counts[1].sum()
    x, y = item.saliency[box].mean(), count / size
    centred = values - x  # before squaring: a difference of two sums would lose small variances
    # exactly 0 for a constant mask, without a rounding error
    together = counts[1] @ centred - y * (every @ centred) if 0 < count < size else 0
    numerator = 4 * x * y * together / (size - 1 + EPSILON)
    denominator = (x**2 + y**2) * (every @ centred**2 + y * (size - count)) / (size - 1 + EPSILON)
    if numerator:
        return numerator / (denominator + EPSILON)
    return float(denominator == 0)
