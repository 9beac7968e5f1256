"""Measures of saliency maps: mean absolute error and the F-measure of the U²-Net paper."""

from __future__ import annotations

import numpy as np

BETA_SQUARED = 0.3
THRESHOLDS = 255
EPSILON = 1e-8


def stretch(saliency: np.ndarray) -> np.ndarray:
    """Min-max a map to [0, 1]; a constant map becomes 0.

    Source: `normPRED`, u2net_test.py:25@ac7e1c8, which divides by zero on a constant map.
    """
    low, high = saliency.min(), saliency.max()
    return (saliency - low) / (high - low) if high > low else np.zeros_like(saliency)


def mean_absolute_error(saliency: np.ndarray, mask: np.ndarray) -> float:
    """Mean of |saliency - mask|; both in [0, 1], of one shape."""
    return float(np.abs(saliency.astype(np.float64) - mask).mean())


def precision_recall(saliency: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Precision and recall of one map at 255 thresholds, from high to low.

    Args:
        saliency: float in [0, 1], any shape; divided by its maximum here.
        mask: as saliency; foreground is what exceeds 128/255 of its maximum.

    Returns:
        (2, 255) float64.

    Source: measures.py:75-107 of xuebinqin/Binary-Segmentation-Evaluation-Tool@2a010f5.
    """
    level = saliency.astype(np.float64) / (saliency.max() + EPSILON) * 255
    level = np.minimum(level.astype(np.int64), THRESHOLDS - 1)  # the last bin is closed: [254, 255]
    foreground = mask.astype(np.float64) / (mask.max() + EPSILON) * 255 > 128
    counts = np.bincount(level.ravel() + THRESHOLDS * foreground.ravel(), minlength=2 * THRESHOLDS)
    false, true = counts.reshape(2, THRESHOLDS)[:, ::-1].cumsum(axis=1)
    return np.stack([true / (true + false + EPSILON), true / (foreground.sum() + EPSILON)])


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
        self.absolute_error = 0.0
        self.curves = np.zeros((2, THRESHOLDS))

    def update(self, saliency: np.ndarray, mask: np.ndarray) -> None:
        """Add one image: saliency and mask, float in [0, 1], of one shape."""
        if self.minmax:
            saliency = stretch(saliency)
        self.absolute_error += mean_absolute_error(saliency, mask)
        self.curves += precision_recall(saliency, mask)
        self.images += 1

    def merge(self, other: SaliencyMeasures) -> None:
        """Add what another accumulator has seen."""
        self.images += other.images
        self.absolute_error += other.absolute_error
        self.curves += other.curves

    def compute(self) -> dict[str, float]:
        """`MAE` and `maxF`, in [0, 1]."""
        precision, recall = self.curves / max(self.images, 1)
        f = (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall + EPSILON)
        return {"MAE": self.absolute_error / max(self.images, 1), "maxF": float(f.max())}
