"""An image in tiles, and maps of low resolution enlarged one tile at a time.

Tiles keep the memory of float32 arrays small whatever the size of the photograph. Each tile reads as far
beyond its border as its filters reach, so the result does not depend on where the tiles lie.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

TILE = 128  # side of a tile in pixels; its arrays fit into the cache of a processor
Part = tuple[slice, slice]


def tiles_of(height: int, width: int, side: int = TILE) -> Iterator[Part]:
    """Yield the rows and columns of each tile; those at the right and at the bottom may be smaller."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield slice(top, min(top + side, height)), slice(left, min(left + side, width))


def boxes_of(mask: np.ndarray, side: int = TILE) -> Iterator[Part]:
    """Yield the rows and columns of the bounding box in each tile that has pixels of a mask.

    Args:
        mask: (H, W) bool or uint8.
        side: of the tiles.
    """
    for rows, columns in tiles_of(mask.shape[0], mask.shape[1], side):
        left, top, width, height = cv2.boundingRect(np.ascontiguousarray(mask[rows, columns]).view(np.uint8))
        if width:
            top, left = rows.start + top, columns.start + left
            yield slice(top, top + height), slice(left, left + width)


def widened(part: Part, halo: int, shape: tuple[int, ...]) -> tuple[Part, Part]:
    """A tile with its neighbourhood inside the image, and where the tile lies in that."""
    outer = tuple(
        slice(max(own.start - halo, 0), min(own.stop + halo, extent))
        for own, extent in zip(part, shape[:2], strict=True)
    )
    inner = tuple(
        slice(own.start - out.start, own.stop - out.start) for own, out in zip(part, outer, strict=True)
    )
    return (outer[0], outer[1]), (inner[0], inner[1])


def needed(low: np.ndarray, shape: tuple[int, ...], part: Part) -> Part:
    """The rows and columns of `low` (C, h, w) that `enlarged` reads for a tile."""
    (rows, below, _), (columns, right, _) = _positions(low, shape, part)
    return slice(rows[0], below[-1] + 1), slice(columns[0], right[-1] + 1)


def enlarged(low: np.ndarray, shape: tuple[int, ...], part: Part) -> np.ndarray:
    """One tile of maps of low resolution that are enlarged bilinearly, as `cv2.resize` does.

    Args:
        low: (C, h, w) float32.
        shape: (H, W) of the whole enlarged maps.
        part: rows and columns of the tile in them.

    Returns:
        (C, rows, columns) float32.
    """
    if low.shape[1:] == shape:
        return low[(slice(None), *part)]
    (above, below, down), (left, right, along) = _positions(low, shape, part)
    first = above[0]
    rows = low[:, first : below[-1] + 1]  # few, so these are enlarged in width first
    # `take` makes contiguous arrays, which all later steps are faster with than with those of an index
    before, after = rows.take(left, axis=2), rows.take(right, axis=2)
    rows = before + (after - before) * along
    upper, result = rows.take(above - first, axis=1), rows.take(below - first, axis=1)
    result -= upper
    result *= down[:, None]
    result += upper
    return result


def _positions(low: np.ndarray, shape: tuple[int, ...], part: Part) -> list[tuple[np.ndarray, ...]]:
    """For each axis: the samples before and after the centre of each pixel, and the share of the latter."""
    found = []
    for own, extent, small in zip(part, shape, low.shape[1:], strict=True):
        centres = ((np.arange(own.start, own.stop) + 0.5) * (small / extent) - 0.5).clip(0, small - 1)
        before = centres.astype(np.intp)
        after = np.minimum(before + 1, small - 1)
        found.append((before, after, (centres - before).astype(np.float32)))
    return found


def planes_of(image: np.ndarray) -> np.ndarray:
    """The channels of an image one after another: (H, W, 3) -> (3, H, W) float32 in 0 .. 255."""
    return np.stack(cv2.split(np.ascontiguousarray(image)), dtype=np.float32, casting="unsafe")


def masked(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The pixels of (H, W, 3) uint8 where a mask (H, W) of bool or uint8 is not 0, and 0 elsewhere."""
    image = np.ascontiguousarray(image)
    return cv2.bitwise_and(image, image, mask=np.ascontiguousarray(mask).view(np.uint8))


def window_mean(planes: np.ndarray, radius: int) -> np.ndarray:
    """Mean over a square window around each pixel, of (C, H, W) float32; the border mirrors the image."""
    side = (2 * radius + 1, 2 * radius + 1)
    return np.stack([cv2.blur(plane, side, borderType=cv2.BORDER_REFLECT) for plane in planes])


def check_pair(image: np.ndarray, alpha: np.ndarray) -> None:
    """Raise TypeError unless these are an (H, W, 3) uint8 image and its (H, W) float32 alpha."""
    fits = image.shape == (*alpha.shape, 3) and image.dtype == np.uint8 and alpha.dtype == np.float32
    if not fits or not image.size:
        raise TypeError(
            f"expected an image (H, W, 3) uint8 and alpha (H, W) float32 with pixels, got {image.dtype} "
            f"{image.shape} and {alpha.dtype} {alpha.shape}"
        )
