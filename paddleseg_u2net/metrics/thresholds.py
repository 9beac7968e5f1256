"""F-measure and E-measure of one map over thresholds, as PySODMetrics computes them: from counts alone."""

from __future__ import annotations

import numpy as np

from paddleseg_u2net.metrics.pair import EPSILON, Pair


def precision_recall_f(pair: Pair, beta_squared: float = 0.3) -> np.ndarray:
    """Precision, recall and F of one map at 256 thresholds, from high to low; 0 where nothing is found.

    Args:
        pair: the map and its mask; F of an empty mask is 0.
        beta_squared: weight of precision.

    Returns:
        (3, 256) float64.

    Source: Achanta et al. 2009; `Fmeasure.cal_pr`, py_sod_metrics/sod_metrics.py of PySODMetrics 1.6.2.
    """
    return _precision_recall_f(pair, pair.positives, beta_squared)


def adaptive_f(pair: Pair, beta_squared: float = 0.3) -> float:
    """F at twice the map's mean.

    Source: `Fmeasure.cal_adaptive_fm`, py_sod_metrics/sod_metrics.py of PySODMetrics 1.6.2.
    """
    return float(_precision_recall_f(pair, pair.adaptive_positives, beta_squared)[2, 0])


def _precision_recall_f(pair: Pair, positives: np.ndarray, beta_squared: float) -> np.ndarray:
    false, true = positives
    precision, recall = true / np.maximum(true + false, 1), true / max(pair.foreground, 1)
    numerator = (1 + beta_squared) * precision * recall
    return np.stack([precision, recall, numerator / np.where(true, beta_squared * precision + recall, 1)])


def e_curve(pair: Pair) -> np.ndarray:
    """E-measure, how well pixels and their means align, at 256 thresholds, from high to low.

    A map of one pixel that is right scores 1 / eps, as in PySODMetrics, for the sum is divided by the number
    of pixels less 1.

    Returns:
        (256,) float64.

    Source: Fan et al. 2018 (arXiv:1805.10421), equations 2-5; `Emeasure.cal_em_with_cumsumhistogram`,
    py_sod_metrics/sod_metrics.py of PySODMetrics 1.6.2.
    """
    return _e(pair, pair.positives)


def adaptive_e(pair: Pair) -> float:
    """E-measure at twice the map's mean.

    Source: `Emeasure.cal_adaptive_em`, py_sod_metrics/sod_metrics.py of PySODMetrics 1.6.2.
    """
    return float(_e(pair, pair.adaptive_positives)[0])


def _e(pair: Pair, positives: np.ndarray) -> np.ndarray:
    size, found = pair.mask.size, positives.sum(axis=0)
    if pair.foreground in (0, size):
        aligned = found if pair.foreground else size - found
    else:
        counts = np.stack([positives, np.array([[size - pair.foreground], [pair.foreground]]) - positives])
        saliency = np.array([[1], [0]]) - found / size  # (found or not, threshold), less its mean
        mask = np.array([0, 1]) - pair.foreground / size
        saliency, mask = (
            saliency[:, None],
            mask[:, None],
        )  # (found or not, background or foreground, threshold)
        alignment = 2 * saliency * mask / (saliency**2 + mask**2 + EPSILON)
        aligned = ((alignment + 1) ** 2 / 4 * counts).sum(axis=(0, 1))
    return aligned / (size - 1 + EPSILON)
