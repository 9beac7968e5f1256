"""Square crops around the foreground of a mask, for training and for two-pass prediction."""

from __future__ import annotations

import numpy as np

Crop = tuple[slice, slice]  # rows and columns


def square_around(
    foreground: np.ndarray, margin: float, min_size: int = 1, shift: tuple[float, float] = (0, 0)
) -> Crop | None:
    """The square crop around all foreground pixels.

    Its side is the longer side of their bounding box plus a margin on both sides. A square that exceeds the
    image is moved inside; along an axis on which the image is smaller than the side, the crop is as long as
    the image.

    Args:
        foreground: (H, W) bool.
        margin: width of the margin as a share of the longer side of the box, 0 or more.
        min_size: smallest side in pixels.
        shift: (down, right): how far the square is moved off the centre of the box, in widths of the margin.

    Returns:
        The rows and columns of the crop; None if there is no foreground.
    """
    if not foreground.any():
        return None
    bounds = [np.flatnonzero(foreground.any(axis=axis))[[0, -1]] + (0, 1) for axis in (1, 0)]
    longer = max(end - start for start, end in bounds)
    side = max(round(longer * (1 + 2 * margin)), min_size)
    slices = []
    for extent, (start, end), step in zip(foreground.shape, bounds, shift, strict=True):
        length = min(side, extent)
        first = round((start + end - side) / 2 + step * margin * longer)
        first = min(max(first, 0), extent - length)
        slices.append(slice(first, first + length))
    return slices[0], slices[1]
