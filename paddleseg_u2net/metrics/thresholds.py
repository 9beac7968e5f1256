"""F-measure and E-measure of one map over thresholds, computed from pixel counts, as in PySODMetrics."""

from __future__ import annotations

import numpy as np

from paddleseg_u2net.metrics.map_and_mask import EPSILON, MapAndMask


def precision_recall_f(item: MapAndMask, beta_squared: float = 0.3) -> np.ndarray:
    """Precision, recall and F of one map at 256 thresholds, from high to low; 0 where no pixel is found.

    Args:
        item: the map and its mask; F is 0 if the mask is empty.
        beta_squared: weight of precision.

    Returns:
        (3, 256) float64.

    Source: Achanta et al. 2009; `Fmeasure.cal_pr`, py_sod_metrics/sod_metrics.py of PySODMetrics 1.6.2.
    """
    return _precision_recall_f(item, item.positives, beta_squared)


def adaptive_f(item: MapAndMask, beta_squared: float = 0.3) -> float:
    """F of one map at twice its mean.

    Source: `Fmeasure.cal_adaptive_fm`, py_sod_metrics/sod_metrics.py of PySODMetrics 1.6.2.
    """
    return float(_precision_recall_f(item, item.adaptive_positives, beta_squared)[2, 0])


def _precision_recall_f(item: MapAndMask, positives: np.ndarray, beta_squared: float) -> np.ndarray:
    false, true = positives
    precision, recall = true / np.maximum(true + false, 1), true / max(item.foreground, 1)
    numerator = (1 + beta_squared) * precision * recall
    return np.stack([precision, recall, numerator / np.where(true, beta_squared * precision + recall, 1)])


def e_curve(item: MapAndMask) -> np.ndarray:
    """E-measure (enhanced alignment) of one map at 256 thresholds, from high to low.

    The sum over pixels is divided by their number minus 1, so that a correct map of a single pixel scores
    1 / eps, as in PySODMetrics.

    Args:
        item: the map and its mask.

    Returns:
        (256,) float64.

    Source: Fan et al. 2018 (arXiv:1805.10421), equations 2-5; `Emeasure.cal_em_with_cumsumhistogram`,
    py_sod_metrics/sod_metrics.py of PySODMetrics 1.6.2.
    """
    return _e(item, item.positives)


def adaptive_e(item: MapAndMask) -> float:
    """E-measure of one map at twice its mean.

    Source: `Emeasure.cal_adaptive_em`, py_sod_metrics/sod_metrics.py of PySODMetrics 1.6.2.
    """
    return float(_e(item, item.adaptive_positives)[0])


def _e(item: MapAndMask, positives: np.ndarray) -> np.ndarray:
    size, found = item.mask.size, positives.sum(axis=0)
    if item.foreground in (0, size):
        aligned = found if item.foreground else size - found
    else:
        counts = np.stack([positives, np.array([[size - item.foreground], [item.foreground]]) - positives])
        saliency = np.array([[1], [0]]) - found / size  # (found or not, threshold), minus its mean
        mask = np.array([0, 1]) - item.foreground / size
        # both -> (found or not, background or foreground, threshold)
        saliency, mask = saliency[:, None], mask[:, None]
        alignment = 2 * saliency * mask / (saliency**2 + mask**2 + EPSILON)
        aligned = ((alignment + 1) ** 2 / 4 * counts).sum(axis=(0, 1))
    return aligned / (size - 1 + EPSILON)
