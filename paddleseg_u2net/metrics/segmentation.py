"""Measures of class maps: mIoU, accuracy, kappa, Dice, per-class scores, area under the ROC curve."""

from __future__ import annotations

import numpy as np


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Element-wise quotient, 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)


def area_scores(areas: np.ndarray) -> dict[str, float | np.ndarray]:
    """Scores of class areas, in [0, 1] (Kappa in [-1, 1]).

    Args:
        areas: (3, classes): intersection, predicted and true pixels of each class; or means over images.

    Returns:
        `mIoU`, `Acc`, `Kappa`, `Dice`; per class `class_IoU`, `class_Precision`, `class_Recall`, (classes,).

    Source: paddleseg 2.8.0 utils/metrics.py.
    """
    intersection, predicted, true = np.asarray(areas, np.float64)
    total = max(predicted.sum(), 1)
    accuracy = intersection.sum() / total
    chance = (predicted * true).sum() / total**2
    class_iou = _ratio(intersection, predicted + true - intersection)
    return {
        "mIoU": float(class_iou.mean()),
        "Acc": float(accuracy),
        # where prediction and truth are one and the same class, chance already explains all agreement
        "Kappa": float((accuracy - chance) / (1 - chance)) if chance < 1 else 0.0,
        "Dice": float(_ratio(2 * intersection, predicted + true).mean()),
        "class_IoU": class_iou,
        "class_Precision": _ratio(intersection, predicted),
        "class_Recall": _ratio(intersection, true),
    }


class SegmentationMeasures:
    """Accumulates areas over images; scores are of the whole data set, not means over images.

    A class that occurs neither in a mask nor in a prediction scores 0, as in PaddleSeg.

    Args:
        num_classes: number of classes.
        ignore_index: mask value of ignored pixels; None if no pixel is ignored.
    """

    def __init__(self, num_classes: int, ignore_index: int | None = None):
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.images = 0
        self.areas = np.zeros((3, num_classes), np.int64)  # intersection, predicted, true

    def update(self, prediction: np.ndarray, mask: np.ndarray) -> None:
        """Add one image.

        Args:
            prediction: (H, W) integer, class ids.
            mask: (H, W) integer, class ids.
        """
        prediction, mask = np.asarray(prediction).ravel(), np.asarray(mask).ravel()
        if self.ignore_index is not None:
            valid = mask != self.ignore_index
            prediction, mask = prediction[valid], mask[valid]
        for row, values in enumerate((mask[prediction == mask], prediction, mask)):
            self.areas[row] += np.bincount(values, minlength=self.num_classes)
        self.images += 1

    def merge(self, other: SegmentationMeasures) -> None:
        """Add the images of another accumulator."""
        self.areas += other.areas
        self.images += other.images

    def compute(self) -> dict[str, float | np.ndarray]:
        """The scores; see `area_scores`."""
        return area_scores(self.areas)


class RocMeasure:
    """Area under the ROC curve over all pixels, from histograms of the scores.

    For saliency and for two classes it is the area under one curve; for more, the mean over the classes that
    occur, each against the rest. Memory does not grow with the number of images.

    Args:
        num_classes: channels of the probabilities; 1 for saliency.
        ignore_index: mask value of ignored pixels; None if no pixel is ignored.
        bins: number of histogram bins of the probabilities.
    """

    def __init__(self, num_classes: int, ignore_index: int | None = None, bins: int = 1 << 14):
        self.classes = range(num_classes) if num_classes > 2 else range(num_classes - 1, num_classes)
        self.positive = 1 if num_classes == 1 else None
        self.ignore_index, self.bins = ignore_index, bins
        # pixels of other classes, pixels of the class
        self.counts = np.zeros((len(self.classes), 2, bins), np.int64)

    def update(self, probabilities: np.ndarray, mask: np.ndarray) -> None:
        """Add one image.

        Args:
            probabilities: (C, H, W) float in [0, 1].
            mask: (H, W) integer, class ids.
        """
        valid = np.ones(mask.shape, bool) if self.ignore_index is None else mask != self.ignore_index
        for row, channel in enumerate(self.classes):
            level = np.minimum((probabilities[channel][valid] * self.bins).astype(np.int64), self.bins - 1)
            member = mask[valid] == (channel if self.positive is None else self.positive)
            joint = np.bincount(level + self.bins * member, minlength=2 * self.bins)
            self.counts[row] += joint.reshape(2, self.bins)

    def merge(self, other: RocMeasure) -> None:
        """Add the images of another accumulator."""
        self.counts += other.counts

    def compute(self) -> dict[str, float]:
        """`Auc_roc` in [0, 1]; NaN if no class has pixels both inside and outside it."""
        areas = []
        for others, members in self.counts.astype(np.float64):
            pairs = others.sum() * members.sum()
            if pairs:
                below = np.cumsum(others) - others
                areas.append((members * (below + others / 2)).sum() / pairs)
        return {"Auc_roc": float(np.mean(areas)) if areas else float("nan")}
