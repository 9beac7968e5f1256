"""Measures of labels that may overlap: each label is compared with its own mask."""

from __future__ import annotations

import numpy as np

from paddleseg_u2net.metrics.protocol import AbsentClasses
from paddleseg_u2net.metrics.segmentation import RocMeasure, SegmentationMeasures, area_scores
from paddleseg_u2net.metrics.sums import ExactSum


class LabelMeasures(SegmentationMeasures):
    """As `SegmentationMeasures`, of the pixels that have a label; pixels without it do not count.

    `Acc` is the share of predicted labels that are true.

    Args:
        labels: their number.
        ignore_index: mask value of ignored pixels.
        absent: see `SegmentationMeasures`.

    Source: PaddleSeg's evaluation with `use_multilabel`: areas of the pixels above 0.5, per label.
    """

    def __init__(self, labels: int, ignore_index: int, absent: AbsentClasses = AbsentClasses.SKIP):
        super().__init__(labels, ignore_index, absent)
        self._areas = np.zeros((3, labels), np.int64)
        self._of_images = ExactSum()

    @property
    def areas(self) -> np.ndarray:
        """(3, labels): intersection, predicted and true pixels of each label."""
        return self._areas

    def update(self, prediction: np.ndarray, mask: np.ndarray) -> None:
        """Add one image.

        Args:
            prediction: (labels, H, W) bool.
            mask: (H, W, labels) uint8: 0, 1 or the ignored value.
        """
        true, valid = (mask == 1).transpose(2, 0, 1), (mask != self.ignore_index).transpose(2, 0, 1)
        found = prediction & valid
        areas = np.stack([array.sum(axis=(1, 2)) for array in (found & true, found, true)])
        scores = area_scores(areas)
        self._areas += areas
        self.occurrences += (areas[1] + areas[2]) > 0
        self._of_images.add(np.stack([scores["class_IoU"], scores["class_Dice"]]))
        self.images += 1

    def merge(self, other: SegmentationMeasures) -> None:
        """Add the images of another accumulator."""
        super().merge(other)
        self._areas += other.areas


class LabelRoc:
    """Mean area under the ROC curve of the labels; see `RocMeasure`.

    Args:
        labels: their number.
        ignore_index: mask value of ignored pixels.
    """

    def __init__(self, labels: int, ignore_index: int):
        self.curves = [RocMeasure(1, ignore_index) for _ in range(labels)]

    def update(self, probabilities: np.ndarray, mask: np.ndarray) -> None:
        """Add one image: (labels, H, W) float in [0, 1], and (H, W, labels) uint8."""
        for number, curve in enumerate(self.curves):
            curve.update(probabilities[number : number + 1], mask[..., number])

    def merge(self, other: LabelRoc) -> None:
        """Add the images of another accumulator."""
        for own, theirs in zip(self.curves, other.curves, strict=True):
            own.merge(theirs)

    def compute(self) -> dict[str, float]:
        """`Auc_roc` in [0, 1]; NaN if no label has pixels both with and without it."""
        areas = np.array([curve.compute()["Auc_roc"] for curve in self.curves])
        found = areas[~np.isnan(areas)]
        return {"Auc_roc": float(found.mean()) if found.size else float("nan")}
