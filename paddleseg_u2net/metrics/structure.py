"""S-measure: whether a map has the structure of its mask, by object and by quarter of the image."""

from __future__ import annotations

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
    foreground, background = pair.saliency[pair.mask], pair.saliency[~pair.mask]
    bright, dark = foreground.mean(), 1 - background.mean()
    return share * _evenness(foreground, bright) + (1 - share) * _evenness(background, dark)


def _evenness(values: np.ndarray, mean: float) -> float:
    deviation = values.std(ddof=1) if values.size > 1 else 0
    return 2 * mean / (mean**2 + 1 + deviation + EPSILON)


def _region_score(pair: Pair) -> float:
    """Similarity in the four quarters around the mask's centroid, weighted by their areas."""
    height, width = pair.mask.shape
    rows, columns = np.arange(height), np.arange(width)
    # the quarter above and left holds the centroid itself
    y = round(rows @ np.count_nonzero(pair.mask, axis=1) / pair.foreground) + 1
    x = round(columns @ np.count_nonzero(pair.mask, axis=0) / pair.foreground) + 1
    score = 0.0
    for vertical in (slice(0, y), slice(y, height)):
        for horizontal in (slice(0, x), slice(x, width)):
            saliency, mask = pair.saliency[vertical, horizontal], pair.mask[vertical, horizontal]
            if mask.size:
                score += mask.size / pair.mask.size * _similarity(saliency, mask)
    return score


def _similarity(saliency: np.ndarray, mask: np.ndarray) -> float:
    """SSIM of one quarter without its constants; 1 where both are constant."""
    x, y = saliency.mean(), np.count_nonzero(mask) / mask.size
    # less the means before squares are summed: the difference of two sums would lose what is small
    saliency, mask = saliency - x, mask - y
    degrees = saliency.size - 1 + EPSILON
    variances = (np.vdot(saliency, saliency) + np.vdot(mask, mask)) / degrees
    numerator = 4 * x * y * np.vdot(saliency, mask) / degrees
    denominator = (x**2 + y**2) * variances
    if numerator:
        return numerator / (denominator + EPSILON)
    return float(denominator == 0)
