"""Small copies of images and masks, by which they are compared."""

from __future__ import annotations

import cv2
import numpy as np

THUMBNAIL_SIDE = 16
MASK_SIDE = 32  # of the sample kept of a mask
AS_MASK = 0.03  # mean difference, in 0 .. 1, below which an image equals its mask


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Shrink (H, W) or (H, W, C) uint8 to (16, 16) or (16, 16, C) uint8; a pixel is the mean of its area."""
    # one exact step of INTER_AREA is several times slower than these two, and no better for the purpose
    image = cv2.resize(image, (8 * THUMBNAIL_SIDE, 8 * THUMBNAIL_SIDE))
    return cv2.resize(image, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)


def sample(values: np.ndarray, side: int = THUMBNAIL_SIDE) -> np.ndarray:
    """Shrink (H, W) or (H, W, C) to (side, side, …) by picking pixels on an even grid; none are mixed."""
    return cv2.resize(values, (side, side), interpolation=cv2.INTER_NEAREST_EXACT)


def is_grey(thumb: np.ndarray | None) -> bool:
    """Whether a thumbnail, (16, 16, 3) uint8, has hardly any colour; False for None."""
    return thumb is not None and cv2.absdiff(thumb[..., 0], thumb[..., 1]).max() <= 8


def shows_its_mask(image: np.ndarray, stored: np.ndarray) -> bool:
    """Whether a grey image equals its mask, both scaled to 0 .. 1; False if either is constant.

    Args:
        image: (H, W, C) uint8.
        stored: (H, W), values of the mask.
    """
    pixels, mask = (sample(values, MASK_SIDE).astype(np.float32) for values in (image, stored))
    if not np.ptp(mask) or not np.ptp(pixels):
        return False
    difference = pixels[..., 0] / pixels.max() - mask / mask.max()
    return bool(np.abs(difference).mean() < AS_MASK)
