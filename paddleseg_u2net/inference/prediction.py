"""The probabilities that a model gives for one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Prediction:
    """The probabilities of one image, and what follows from them.

    Args:
        probabilities: (C, H, W) float32 in [0, 1]; one channel for saliency; of classes they sum to 1.
        multilabel: the channels are labels that overlap.
        grid: height and width of the photograph as the network saw it; None where that is not known.
    """

    probabilities: np.ndarray
    multilabel: bool = False
    grid: tuple[int, int] | None = None

    @property
    def labels(self) -> np.ndarray:
        """(C, H, W) bool: whether a pixel has a label, which is where its probability exceeds 0.5."""
        return self.probabilities > 0.5

    @property
    def saliency(self) -> np.ndarray:
        """(H, W) float32 in [0, 1]: the probability that a pixel is not background (class 0).

        Of labels the largest of their probabilities.
        """
        if self.multilabel:
            return self.probabilities.max(axis=0)
        single = len(self.probabilities) == 1
        return self.probabilities[0] if single else 1 - self.probabilities[0]

    @property
    def classes(self) -> np.ndarray:
        """(H, W) uint8 class ids; for saliency 1 where it is at least 0.5.

        Of labels the number of the most probable one, from 1; 0 where a pixel has none.
        """
        if self.multilabel:
            numbers = self.probabilities.argmax(axis=0) + 1
            return (numbers * self.labels.any(axis=0)).astype(np.uint8)
        if len(self.probabilities) == 1:
            return (self.probabilities[0] >= 0.5).astype(np.uint8)
        return self.probabilities.argmax(axis=0).astype(np.uint8)

    @property
    def array(self) -> np.ndarray:
        """What a model is asked for: `saliency`; `classes` of several; `labels` that overlap."""
        if self.multilabel:
            return self.labels
        return self.saliency if len(self.probabilities) == 1 else self.classes
