"""Shapes of annotations -> pixels: polygons, rectangles, circles, RLE, pictures.

The pixel of row i and column j covers [j, j + 1) x [i, i + 1) in the coordinates of COCO and LabelMe. It
belongs to a shape where its centre (j + 0.5, i + 0.5) does: a square of 10 x 10 has 100 pixels, and two that
share an edge share none. A polygon that crosses itself is filled by the even-odd rule.
"""

from __future__ import annotations

import base64
import io
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paddleseg_u2net.io.images import MAX_PIXELS, check_size, pillow

FARTHEST = 1e7  # coordinates beyond are no pixels


class Window(NamedTuple):
    """Part of a mask: (h, w) bool whose upper left pixel is at row `top` and column `left`."""

    top: int
    left: int
    inside: np.ndarray

    def of(self, mask: np.ndarray) -> np.ndarray:
        """The view of a mask that this covers."""
        height, width = self.inside.shape
        return mask[self.top : self.top + height, self.left : self.left + width]


def _points(numbers: Any, least: int) -> np.ndarray:
    """(N, 2) float64: x and y of each point, from a flat list or one of pairs."""
    try:
        points = np.asarray(numbers, np.float64).reshape(-1, 2)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"expected x and y of each point as numbers, got {short(numbers)}") from None
    if len(points) < least or not (np.abs(points) < FARTHEST).all():
        raise ValueError(f"expected {least} or more points inside an image, got {short(numbers)}")
    return points


def short(value: Any) -> str:
    """A value of a file as a message shows it."""
    text = repr(value.tolist() if isinstance(value, array) else value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _covered(low: Any, high: Any, length: int) -> tuple[Any, Any]:
    """Half-open range of the pixels whose centres lie in [low, high), for one range or many."""
    first, last = np.clip(np.ceil(np.array([low, high]) - 0.5), 0, length).astype(int)
    return first, last


def fill_polygon(numbers: Any, height: int, width: int) -> Window:
    """The pixels whose centres lie in a polygon.

    Args:
        numbers: x and y of 3 or more corners, flat or in pairs; the last is joined to the first.
        height: of the mask, in pixels.
        width: of the mask.

    Raises:
        ValueError: not numbers, or too few.
    """
    corners = _points(numbers, 3)
    left, right = _covered(corners[:, 0].min(), corners[:, 0].max(), width)
    top, bottom = _covered(corners[:, 1].min(), corners[:, 1].max(), height)
    height, width = bottom - top, right - left
    corners = corners - [left, top]
    (x0, y0), (x1, y1) = corners.T, np.concatenate([corners[1:], corners[:1]]).T
    first, last = _covered(np.minimum(y0, y1), np.maximum(y0, y1), height)
    if (crossings := int((last - first).sum())) > MAX_PIXELS:
        raise ValueError(f"its outline crosses {crossings} rows, more than {MAX_PIXELS}")
    edge = np.repeat(np.arange(len(corners)), last - first)
    row = np.arange(crossings) - np.repeat(np.cumsum(last - first) - last, last - first)
    column = x0[edge] + (row + 0.5 - y0[edge]) / (y1 - y0)[edge] * (x1 - x0)[edge]
    column = np.clip(np.ceil(column - 0.5), 0, width).astype(int)
    # how often the outline is crossed left of a pixel's centre: odd inside
    crossed = np.bincount(row * (width + 1) + column, minlength=height * (width + 1)).astype(np.uint8)
    crossed = crossed.reshape(height, width + 1)[:, :width]
    return Window(top, left, (np.cumsum(crossed, axis=1, dtype=np.uint8) & 1).view(bool))


def fill_polygons(polygons: Any, height: int, width: int) -> Window:
    """The pixels in any of several polygons, which are one object; arguments as `fill_polygon`."""
    if len(polygons) == 1:
        return fill_polygon(polygons[0], height, width)
    inside = np.zeros((height, width), bool)
    for index, polygon in enumerate(polygons):
        try:
            part = fill_polygon(polygon, height, width)
        except ValueError as error:
            raise ValueError(f"polygon {index}: {error}") from None
        part.of(inside)[part.inside] = True
    return Window(0, 0, inside)


def fill_rectangle(points: Any, height: int, width: int) -> Window:
    """The pixels between two opposite corners, or in a polygon of four."""
    corners = _points(points, 2)
    if len(corners) == 2:
        (x0, y0), (x1, y1) = corners
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    return fill_polygon(corners, height, width)


def fill_circle(points: Any, height: int, width: int) -> Window:
    """The pixels of a circle, given by its centre and a point on it."""
    center, rim = _points(points, 2)[:2]
    radius = float(np.hypot(*(rim - center)))
    left, right = _covered(center[0] - radius, center[0] + radius, width)
    top, bottom = _covered(center[1] - radius, center[1] + radius, height)
    across = np.arange(left, right) + 0.5 - center[0]
    down = np.arange(top, bottom)[:, None] + 0.5 - center[1]
    return Window(top, left, across**2 + down**2 <= radius**2)


def decode_counts(text: str) -> list[int]:
    """The run lengths of COCO's compressed RLE.

    A number is written in characters of 6 bits above '0': 5 bits of it, lowest first, and a sixth where more
    follow; its last character's fifth bit is the sign. From the fourth on it is the difference to the run
    two before.

    Source: rleToString, rleFrString in common/maskApi.c of cocodataset/cocoapi.
    """
    runs: list[int] = []
    value = bits = 0
    for character in text:
        code = ord(character) - ord("0")
        if not 0 <= code < 64 or bits > 40:
            raise ValueError(f"counts: '{character}' does not belong to a compressed RLE")
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << bits
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = bits = 0
    if bits:
        raise ValueError("counts: ends within a number")
    return runs


def fill_rle(shape: Any, height: int, width: int) -> Window:
    """The pixels of COCO's RLE: runs of outside and inside in turn, down the columns, from the left.

    Args:
        shape: `size` [H, W], and `counts` as a list of runs or as compressed text.
        height: of the mask, in pixels.
        width: of the mask.

    Raises:
        ValueError: another size, or runs that do not add up to it.
    """
    size, counts = shape.get("size"), shape.get("counts")
    if size != [height, width]:
        raise ValueError(f"size: expected {[height, width]} (H, W), got {short(size)}")
    runs = decode_counts(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(isinstance(run, int) and run >= 0 for run in runs):
        raise ValueError(f"counts: expected run lengths or compressed text, got {short(counts)}")
    if sum(runs) != height * width:
        raise ValueError(f"counts: add up to {sum(runs)} pixels, expected {height * width}")
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return Window(0, 0, inside.reshape(width, height).T)


def fill_bitmap(shape: Any, height: int, width: int) -> Window:
    """The pixels of a picture that LabelMe stores as base64 of a PNG, at its upper left point."""
    try:
        left, top = np.round(_points(shape.get("points"), 1)[0]).astype(int).tolist()
        data = base64.b64decode(shape.get("mask") or "", validate=True)
        with pillow().open(io.BytesIO(data)) as picture:
            check_size(Path("mask"), picture.size, MAX_PIXELS)
            inside = np.asarray(picture) > 0
    except (OSError, SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"mask: cannot be read: {error}") from None
    if inside.ndim != 2 or min(left, top) < 0:
        raise ValueError("mask: expected a grey picture inside the image")
    return Window(top, left, inside[: max(height - top, 0), : max(width - left, 0)])


FILLED: dict[str, Callable[[Any, int, int], Window]] = {
    "polygons": fill_polygons,
    "polygon": fill_polygon,
    "rectangle": fill_rectangle,
    "circle": fill_circle,
    "rle": fill_rle,
    "mask": fill_bitmap,
}
