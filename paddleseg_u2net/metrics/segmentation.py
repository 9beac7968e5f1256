"""Measures of class maps: mIoU, accuracy, kappa, Dice, per-class scores, area under the ROC curve."""

from __future__ import annotations

import numpy as np

from paddleseg_u2net.metrics.protocol import AbsentClasses
from paddleseg_u2net.metrics.sums import ExactSum


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Element-wise quotient, 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)


def area_scores(
    areas: np.ndarray, absent: AbsentClasses = AbsentClasses.SKIP
) -> dict[str, float | np.ndarray]:
    """Scores of class areas, in [0, 1] (Kappa in [-1, 1]).

    Args:
        areas: (3, classes): intersection, predicted and true pixels of each class; or means over images.
        absent: whether classes without true and predicted pixels count in `mIoU` and `Dice`.

    Returns:
        `mIoU`, `Acc`, `Kappa`, `Dice`; per class `class_IoU`, `class_Dice`, `class_Precision`,
        `class_Recall`, (classes,), 0 for a class without true and predicted pixels. All are 0 without pixels.

    Source: paddleseg 2.8.0 utils/metrics.py; see `AbsentClasses` for the classes that count.
    """
    intersection, predicted, true = np.asarray(areas, np.float64)
    accuracy = intersection.sum() / max(predicted.sum(), 1)
    total = max(true.sum(), 1)  # differs from that of the predictions for labels that overlap
    agreement, chance = intersection.sum() / total, (predicted * true).sum() / total**2
    class_iou = _ratio(intersection, predicted + true - intersection)
    class_dice = _ratio(2 * intersection, predicted + true)
    occurs = predicted + true > 0
    counted = occurs if absent is AbsentClasses.SKIP and occurs.any() else np.ones_like(occurs)
    return {
        "mIoU": float(class_iou[counted].mean()),
        "Acc": float(accuracy),
        # where prediction and truth are one and the same class, chance already explains all agreement
        "Kappa": float((agreement - chance) / (1 - chance)) if chance < 1 else 0.0,
        "Dice": float(class_dice[counted].mean()),
        "class_IoU": class_iou,
        "class_Dice": class_dice,
        "class_Precision": _ratio(intersection, predicted),
        "class_Recall": _ratio(intersection, true),
    }


class SegmentationMeasures:
    """Counts the pixels of class maps; scores over all pixels, and means of the scores of single images.

    The mean over images of a class leaves out those in which it occurs neither in the mask nor in the
    prediction.

    Args:
        num_classes: number of classes.
        ignore_index: mask value of ignored pixels; None if no pixel is ignored.
        absent: whether a class in no mask and no prediction counts in the scores over all pixels.

    Attributes:
        images: number of images so far.
        confusion: (true class, predicted class) int64: number of pixels.
        occurrences: (classes,) int64: number of images in which a class is true or predicted somewhere.
    """

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None = None,
        absent: AbsentClasses = AbsentClasses.SKIP,
    ):
        self.num_classes, self.ignore_index, self.absent = num_classes, ignore_index, absent
        self.images = 0
        self.confusion = np.zeros((num_classes, num_classes), np.int64)
        self.occurrences = np.zeros(num_classes, np.int64)
        self._of_images = ExactSum()  # (2, classes): IoU and Dice

    @property
    def areas(self) -> np.ndarray:
        """(3, classes): intersection, predicted and true pixels of each class."""
        return _areas(self.confusion)

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
        joint = mask.astype(np.int64) * self.num_classes + prediction
        confusion = np.bincount(joint, minlength=self.num_classes**2).reshape(self.confusion.shape)
        scores = area_scores(_areas(confusion))
        self.confusion += confusion
        self.occurrences += (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
        self._of_images.add(np.stack([scores["class_IoU"], scores["class_Dice"]]))
        self.images += 1

    def merge(self, other: SegmentationMeasures) -> None:
        """Add the images of another accumulator."""
        self.confusion += other.confusion
        self.occurrences += other.occurrences
        self._of_images.merge(other._of_images)
        self.images += other.images

    def compute(self) -> dict[str, float | np.ndarray]:
        """The scores over all pixels; see `area_scores`."""
        return area_scores(self.areas, self.absent)

    def means_over_images(self) -> dict[str, np.ndarray]:
        """`class_IoU` and `class_Dice`, (classes,): means over the images in which the class occurs.

        NaN for a class that occurs in none.
        """
        total = np.broadcast_to(self._of_images.mean(1), (2, self.num_classes))
        means = np.full(total.shape, np.nan)
        np.divide(total, self.occurrences, out=means, where=self.occurrences > 0)
        return {"class_IoU": means[0], "class_Dice": means[1]}


def _areas(confusion: np.ndarray) -> np.ndarray:
    """(3, classes): intersection, predicted and true pixels of each class."""
    return np.stack([confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)])


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
