"""The U²-Net author's code for saliency maps: min-max stretching, precision, recall and F-measure."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

THRESHOLDS = 255
EPSILON = 1e-8
COUNTABLE = 1 << 24  # pixels: float32, in which OpenCV counts, holds integers exactly up to here


def stretch(saliency: np.ndarray) -> np.ndarray:
    """Stretch a map linearly to [0, 1]; a constant map becomes 0.

    Args:
        saliency: float, any shape.

    Source: `normPRED`, u2net_test.py:25@ac7e1c8, which divides by zero on a constant map.
    """
    low, high = saliency.min(), saliency.max()
    return (saliency - low) / (high - low) if high > low else np.zeros_like(saliency)


def by_level(function: Callable[[np.ndarray], np.ndarray], array: np.ndarray) -> np.ndarray:
    """Apply an element-wise function; for an 8-bit array it is computed for 256 levels and looked up."""
    if array.dtype != np.uint8:
        return function(array)
    table = function(np.arange(256))
    stored = table.view(np.uint8) if table.dtype == bool else table  # OpenCV has no bool
    return cv2.LUT(array, stored).reshape(array.shape).view(table.dtype)


def histograms(level: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(2, 256) int64: how many pixels of background and of foreground have each level.

    Args:
        level: uint8, any shape.
        mask: bool, same shape as level.
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
        mask: same type and shape as saliency; a pixel is foreground if it exceeds 128/255 of the maximum.

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
    """`precision_recall` of an 8-bit map, computed from its `histograms` and its maximum."""
    bins = _bins(np.arange(256), highest)
    return _curves(np.stack([np.bincount(bins, row, THRESHOLDS) for row in counts]))


def _bins(values: np.ndarray, highest: np.floating | np.uint8) -> np.ndarray:
    """The bin of each value, 0 .. 254, uint8; the last bin includes its upper end: [254, 255]."""
    level = values.astype(np.float64) / (highest + EPSILON) * 255
    return level.clip(0, THRESHOLDS - 1).astype(np.uint8)


def _curves(counts: np.ndarray) -> np.ndarray:
    """Precision and recall from background and foreground counts of the bins, (2, 255)."""
    false, true = counts[:, ::-1].cumsum(axis=1)
    return np.stack([true / (true + false + EPSILON), true / (true[-1] + EPSILON)])


def f_measure(precision: np.ndarray, recall: np.ndarray, beta_squared: float = 0.3) -> np.ndarray:
    """F-measure at each threshold.

    Args:
        precision: float in [0, 1], any shape.
        recall: same shape as precision.
        beta_squared: weight of precision.

    Source: measures.py:157-159 of xuebinqin/Binary-Segmentation-Evaluation-Tool@2a010f5.
    """
    return (1 + beta_squared) * precision * recall / (beta_squared * precision + recall + EPSILON)
