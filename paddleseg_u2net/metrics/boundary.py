"""Boundary measures: relaxed F-measure, and IoU of the band inside the boundary."""

from __future__ import annotations

import cv2
import numpy as np

from paddleseg_u2net.metrics.map_and_mask import MapAndMask


def relaxed_boundary_f(
    item: MapAndMask, threshold: float = 0.5, radius: int = 3, beta_squared: float = 0.3, border: bool = False
) -> float:
    """F-measure of the one-pixel boundary, where a pixel counts as right if the other boundary is near.

    Args:
        item: the map and its mask.
        threshold: a pixel of the map is foreground if its value is at least this.
        radius: largest Euclidean distance between two boundary pixels that match, in pixels.
        beta_squared: weight of precision.
        border: whether the edge of the image is part of the boundary of an object that it cuts.

    Returns:
        In [0, 1]; 0 if either boundary is empty.

    Source: Qin et al. 2020 (arXiv:2005.09007), section 4.3: mask XOR eroded mask, rho 3. There is no public
    code, so the 3 x 3 square, `>=`, the border (as in MATLAB's imerode and OpenCV's default) and the score of
    an empty boundary are choices made here; docs/reproduce.md compares them.
    """
    disk = (np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) <= radius).astype(np.uint8)
    found, true = (_inner_band(mask, 1, border) for mask in (item.saliency >= threshold, item.mask))
    precision = _ratio(found & cv2.dilate(true, disk), found)
    recall = _ratio(true & cv2.dilate(found, disk), true)
    if not precision + recall:
        return 0.0
    return (1 + beta_squared) * precision * recall / (beta_squared * precision + recall)


def boundary_iou(
    item: MapAndMask, threshold: float = 0.5, dilation_ratio: float = 0.02, border: bool = True
) -> float:
    """IoU of the bands along the inside of both boundaries.

    Args:
        item: the map and its mask.
        threshold: a pixel of the map is foreground if its value is at least this.
        dilation_ratio: width of the band as a share of the diagonal of the image; at least one pixel.
        border: whether the edge of the image is part of the boundary of an object that it cuts.

    Returns:
        In [0, 1]; 0 if both bands are empty.

    Source: Cheng et al. 2021 (arXiv:2103.16562), equation 3; `mask_to_boundary`,
    boundary_iou/utils/boundary_utils.py of bowenc0221/boundary-iou-api.
    """
    width = max(1, round(dilation_ratio * float(np.hypot(*item.mask.shape))))
    found, true = (_inner_band(mask, width, border) for mask in (item.saliency >= threshold, item.mask))
    return _ratio(found & true, found | true)


def _inner_band(mask: np.ndarray, width: int, border: bool) -> np.ndarray:
    """The pixels that erosion by a square of side 2 * width + 1 removes from a mask, uint8."""
    mask = mask.astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    outside = 0 if border else 1
    return mask ^ cv2.erode(
        mask, kernel, iterations=width, borderType=cv2.BORDER_CONSTANT, borderValue=(outside,)
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> float:
    return np.count_nonzero(part) / max(np.count_nonzero(whole), 1)
