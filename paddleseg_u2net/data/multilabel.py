"""Masks of several labels that may overlap (`use_multilabel`).

A mask file holds one mask of 0 and 1 for each label, beside each other in the order of the labels: it is as
many times as wide as its image as there are labels.

Source: PaddleSeg, configs/multilabelseg/README.md, section 3.1.
"""

from __future__ import annotations

import numpy as np

from paddleseg_u2net.data.masks import IGNORE


def split_labels(mask: np.ndarray, labels: int) -> np.ndarray:
    """Stack the masks that lie beside each other.

    Args:
        mask: (H, labels * W).
        labels: their number.

    Returns:
        (H, W, labels).
    """
    return np.stack(np.split(mask, labels, axis=1), axis=-1)


def as_classes(labels: np.ndarray) -> np.ndarray:
    """One value for each pixel, for pictures.

    Args:
        labels: (H, W, labels) uint8: 0, 1 or `IGNORE`.

    Returns:
        (H, W) uint8: 0 without a label, else the number of the first label, from 1; `IGNORE` where a label is
        ignored.
    """
    present = labels == 1
    numbers = np.where(present.any(axis=-1), present.argmax(axis=-1) + 1, 0).astype(np.uint8)
    numbers[(labels == IGNORE).any(axis=-1)] = IGNORE
    return numbers
