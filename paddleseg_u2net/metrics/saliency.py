"""Measures of saliency maps: mean absolute error and the F-measure of the U²-Net paper."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from paddleseg_u2net.metrics.sums import ExactSum

THRESHOLDS = 255
EPSILON = 1e-8
COUNTABLE = 1 << 24  # pixels: OpenCV's histograms hold float32


def stretch(saliency: np.ndarray) -> np.ndarray:
    """Min-max a map to [0, 1]; a constant map becomes 0.

    Source: `normPRED`, u2net_test.py:25@ac7e1c8, which divides by zero on a constant map.
    """
    low, high = saliency.min(), saliency.max()
    return (saliency - low) / (high - low) if high > low else np.zeros_like(saliency)


def mean_absolute_error(saliency: np.ndarray, mask: np.ndarray) -> float:
    """Mean of |saliency - mask|; both in [0, 1], of one shape."""
    return float(np.abs(saliency.astype(np.float64) - mask).mean())


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
        every, true = (
            cv2.calcHist([level[part]], [0], where, [256], [0, 256]).ravel().astype(np.int64)
            for where in (None, inside[part])
        )
        counts += every - true, true
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


class SaliencyMeasures:
    """MAE, and maxF by the protocol of the U²-Net author.

    maxF is the largest F over thresholds of the *mean* precision and the *mean* recall over the images;
    averaging F per image instead gives lower numbers. MAE is of the maps as they are.

    Args:
        minmax: stretch each map first, as the paper's protocol does (`stretch`).

    Source: measures.py:28-31,157-159 of xuebinqin/Binary-Segmentation-Evaluation-Tool@2a010f5.
    """

    def __init__(self, minmax: bool = False):
        self.minmax = minmax
        self.images = 0
        self.absolute_error, self.curves = ExactSum(), ExactSum()

    def update(self, saliency: np.ndarray, mask: np.ndarray) -> None:
        """Add one image: saliency and mask, float in [0, 1], of one shape."""
        if self.minmax:
            saliency = stretch(saliency)
        self.absolute_error.add(mean_absolute_error(saliency, mask))
        self.curves.add(precision_recall(saliency, mask))
        self.images += 1

    def merge(self, other: SaliencyMeasures) -> None:
        """Add what another accumulator has seen."""
        self.images += other.images
        self.absolute_error.merge(other.absolute_error)
        self.curves.merge(other.curves)

    def compute(self) -> dict[str, float]:
        """`MAE` and `maxF`, in [0, 1]."""
        precision, recall = np.broadcast_to(self.curves.mean(self.images), (2, THRESHOLDS))
        maximum = float(f_measure(precision, recall).max())
        return {"MAE": float(self.absolute_error.mean(self.images)), "maxF": maximum}
