"""Whether an image shows an object at all: the probability of that, from its saliency map."""

from __future__ import annotations

import math

import cv2
import numpy as np

GRID = 64  # side of the reduced map
# logistic regression on `certainty`, fitted to maps of u2netp by tools/benchmarks/presence.py: photographs of
# MSRA10K against crops beside their objects, skies of CamVid and drawn scenes
INTERCEPT, SLOPE = -6.7, 9.39


def presence(saliency: np.ndarray) -> float:
    """Estimate the probability that an image shows a salient object.

    It is calibrated for maps of `u2netp`, and for images half of which show an object.

    Args:
        saliency: (H, W) float32 in [0, 1], not stretched; of classes, 1 minus the probability of background.

    Returns:
        A probability in [0, 1].
    """
    return 1 / (1 + math.exp(-(INTERCEPT + SLOPE * certainty(reduced(saliency)))))


def reduced(saliency: np.ndarray) -> np.ndarray:
    """Resize a saliency map (H, W) float32 to (GRID, GRID) by the mean of each cell, whatever its size."""
    return cv2.resize(saliency, (GRID, GRID), interpolation=cv2.INTER_AREA)


def certainty(cells: np.ndarray) -> float:
    """The mean of a saliency map, weighted by the saliency itself; in [0, 1].

    It is 1 if each cell is 0 or 1, low if the map is faint or blurred, and does not depend on how large the
    object is, or where. 0 for a map of zeros.

    Args:
        cells: float32 in [0, 1], of any shape.
    """
    total = float(cells.sum())
    return float(np.square(cells).sum()) / total if total > 0 else 0.0


def without_object(probabilities: np.ndarray, multilabel: bool = False) -> np.ndarray:
    """The probabilities of an image without objects, of the same shape.

    Args:
        probabilities: (C, H, W) float32; see `Prediction`.
        multilabel: see `Prediction`.
    """
    empty = np.zeros_like(probabilities)
    if len(probabilities) > 1 and not multilabel:
        empty[0] = 1  # class 0 is the background
    return empty
