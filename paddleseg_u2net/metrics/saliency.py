"""Saliency maps as the author of U²-Net stretches and measures them: precision, recall and F."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

THRESHOLDS = 255
EPSILON = 1e-8
COUNTABLE = 1 << 24  # pixels: OpenCV's histograms hold float32


def stretch(saliency: np.ndarray) -> np.ndarray:
    """Min-max a map to [0, 1]; a constant map becomes 0.

    Source: `normPRED`, u2net_test.py:25@ac7e1c8, which divides by zero on a constant map.
    """
    low, high = saliency.min(), saliency.max()
    return (saliency - low) / (high - low) if high > low else np.zeros_like(saliency)


def by_level(function: Callable[[np.ndarray], np.ndarray], array: np.ndarray) -> np.ndarray:
    """What a function makes of each pixel; of an 8-bit array, looked up among what it makes of 256 levels."""
    if array.dtype != np.uint8:
        return function(array)
    table = function(np.arange(256))
    stored = table.view(np.uint8) if table.dtype == bool else table  # OpenCV knows no bool
    return cv2.LUT(array, stored).reshape(array.shape).view(table.dtype)


def histograms(level: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(2, 256) int64: how many pixels of background and of foreground have each level.

    Args:
        level: uint8, any shape.
        mask: bool, as level.
    """
    level, inside = level.ravel(), mask.ravel().view(np.uint8)
    counts = np.zeros((2, 256), np.int64)
    for start in range(0, level.size, COUNTABLE):
        part = slice(start, start + COUNTABLE)
        joint = cv2.calcHist([level[part], inside[part]], [0, 1], None, [256, 2], [0, 256, 0, 2])
        counts += joint.T.astype(np.int64)
    return counts


def precision_recall(saliency: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Precision and recall of one map at 255 thresholds, from high to low.

    Args:
        saliency: float in [0, 1] or uint8, any shape; divided by its maximum here.
        mask: as saliency; foreground is what exceeds 128/255 of its maximum.

    Returns:
        (2, 255) float64.

    Source: measures.py:75-107 of xuebinqin/Binary-Segmentation-Evaluation-Tool@2a010f5.
    """
    white = mask.max() + EPSILON
    foreground = by_level(lambda values: values.astype(np.float64) / white * 255 > 128, mask)
    if saliency.dtype == np.uint8:
        return curves_of_levels(histograms(saliency, foreground), saliency.max())
    return _curves(histograms(_bins(saliency, saliency.max()), foreground)[:, :THRESHOLDS])


def curves_of_levels(counts: np.ndarray, highest: np.uint8) -> np.ndarray:
    """`precision_recall` of an 8-bit map, from its `histograms` and its maximum."""
    bins = _bins(np.arange(256), highest)
    return _curves(np.stack([np.bincount(bins, row, THRESHOLDS) for row in counts]))


def _bins(values: np.ndarray, highest: np.floating | np.uint8) -> np.ndarray:
    """Which of the 255 bins each value is in, uint8; the last bin is closed: [254, 255]."""
    level = values.astype(np.float64) / (highest + EPSILON) * 255
    return level.clip(0, THRESHOLDS - 1).astype(np.uint8)


def _curves(counts: np.ndarray) -> np.ndarray:
    """Precision and recall from background and foreground counts of the bins, (2, 255)."""
    false, true = counts[:, ::-1].cumsum(axis=1)
    return np.stack([true / (true + false + EPSILON), true / (true[-1] + EPSILON)])


def f_measure(precision: np.ndarray, recall: np.ndarray, beta_squared: float = 0.3) -> np.ndarray:
    """F of each threshold.

    Source: measures.py:157-159 of xuebinqin/Binary-Segmentation-Evaluation-Tool@2a010f5.
    """
    return (1 + beta_squared) * precision * recall / (beta_squared * precision + recall + EPSILON)
