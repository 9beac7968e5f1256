"""Rasterize annotated shapes: polygons, rectangles, circles, ellipses, RLE and bitmaps.

The pixel in row i and column j covers [j, j + 1) x [i, i + 1) in COCO and LabelMe coordinates. It belongs to
a shape if its centre (j + 0.5, i + 0.5) lies inside: a 10 x 10 square has 100 pixels, and two squares with
a common edge have no pixel in common. A self-intersecting polygon is filled by the even-odd rule.
"""

from __future__ import annotations

import base64
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paddleseg_u2net.bounds import MAX_PIXELS
from paddleseg_u2net.io.images import opened

MAX_COORDINATE = 1e7  # larger values cannot be pixel coordinates


class Window(NamedTuple):
    """Pixels of one shape within a rectangular part of the mask.

    Args:
        top: row of the window's upper left pixel.
        left: column of the window's upper left pixel.
        inside: (h, w) bool, True for the pixels of the shape.
    """

    top: int
    left: int
    inside: np.ndarray

    def crop(self, mask: np.ndarray) -> np.ndarray:
        """Return the part of a mask that the window covers, as a view."""
        height, width = self.inside.shape
        return mask[self.top : self.top + height, self.left : self.left + width]


def as_points(numbers: Any, least: int) -> np.ndarray:
    """Convert a flat list, or a list of pairs, to (N, 2) float64 with x and y of each point.

    Raises:
        ValueError: fewer points than `least`, or values that are no coordinates of an image.
    """
    try:
        points = np.asarray(numbers, np.float64).reshape(-1, 2)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"expected x and y of each point as numbers, got {abbreviate(numbers)}") from None
    if len(points) < least or not (np.abs(points) < MAX_COORDINATE).all():
        raise ValueError(f"expected {least} or more points inside an image, got {abbreviate(numbers)}")
    return points


def abbreviate(value: Any) -> str:
    """Return the representation of a value, cut to at most 60 characters, for a message."""
    text = repr(value.tolist() if isinstance(value, array) else value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _covered(low: Any, high: Any, length: int) -> tuple[Any, Any]:
    """Return first and end index of the pixels whose centres lie in [low, high), for one range or many."""
    first, last = np.clip(np.ceil(np.array([low, high]) - 0.5), 0, length).astype(int)
    return first, last


def fill_polygon(numbers: Any, height: int, width: int) -> Window:
    """Find the pixels whose centres lie inside a polygon.

    Args:
        numbers: x and y of 3 or more corners, flat or in pairs; the last corner is joined to the first.
        height: height of the mask in pixels.
        width: width of the mask in pixels.

    Returns:
        The window around the polygon, clipped to the mask.

    Raises:
        ValueError: too few points, values that are not numbers, or an outline that crosses too many rows.
    """
    corners = as_points(numbers, 3)
    left, right = _covered(corners[:, 0].min(), corners[:, 0].max(), width)
    top, bottom = _covered(corners[:, 1].min(), corners[:, 1].max(), height)
    height, width = bottom - top, right - left
    corners = corners - [left, top]
    (x0, y0), (x1, y1) = corners.T, np.concatenate([corners[1:], corners[:1]]).T
    first, last = _covered(np.minimum(y0, y1), np.maximum(y0, y1), height)
    if (crossings := int((last - first).sum())) > MAX_PIXELS:
        raise ValueError(f"its outline crosses {crossings} pixel rows, expected at most {MAX_PIXELS}")
    edge = np.repeat(np.arange(len(corners)), last - first)
    row = np.arange(crossings) - np.repeat(np.cumsum(last - first) - last, last - first)
    column = x0[edge] + (row + 0.5 - y0[edge]) / (y1 - y0)[edge] * (x1 - x0)[edge]
    column = np.clip(np.ceil(column - 0.5), 0, width).astype(int)
    # a pixel is inside if the outline crosses its row an odd number of times to the left of its centre
    crossed = np.bincount(row * (width + 1) + column, minlength=height * (width + 1)).astype(np.uint8)
    crossed = crossed.reshape(height, width + 1)[:, :width]
    return Window(top, left, (np.cumsum(crossed, axis=1, dtype=np.uint8) & 1).view(bool))


def fill_outlines(outlines: Any, height: int, width: int) -> Window:
    """Find the pixels of an object that consists of several polygons or COCO RLEs."""
    if len(outlines) == 1:
        return _fill_outline(outlines[0], height, width)
    inside = np.zeros((height, width), bool)
    for index, outline in enumerate(outlines):
        try:
            part = _fill_outline(outline, height, width)
        except ValueError as error:
            raise ValueError(f"outline {index}: {error}") from None
        part.crop(inside)[part.inside] = True
    return Window(0, 0, inside)


def _fill_outline(outline: Any, height: int, width: int) -> Window:
    return (fill_rle if isinstance(outline, dict) else fill_polygon)(outline, height, width)


def fill_rectangle(points: Any, height: int, width: int) -> Window:
    """Find the pixels of a rectangle given by two opposite corners or by all four."""
    corners = as_points(points, 2)
    if len(corners) == 2:
        (x0, y0), (x1, y1) = corners
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    return fill_polygon(corners, height, width)


def fill_circle(points: Any, height: int, width: int) -> Window:
    """Find the pixels of a circle given by its centre and a point on it."""
    center, rim = as_points(points, 2)[:2]
    radius = float(np.hypot(*(rim - center)))
    left, right = _covered(center[0] - radius, center[0] + radius, width)
    top, bottom = _covered(center[1] - radius, center[1] + radius, height)
    across = np.arange(left, right) + 0.5 - center[0]
    down = np.arange(top, bottom)[:, None] + 0.5 - center[1]
    return Window(top, left, across**2 + down**2 <= radius**2)


def fill_ellipse(points: Any, height: int, width: int) -> Window:
    """Find the pixels of an ellipse.

    Args:
        points: 2: opposite corners of the upright rectangle around it; 3: its centre, the end of one axis,
            and a point as far from the centre as the end of the other axis; 4: the corners of the rectangle
            around it, which may be rotated; more: corners of its outline.
        height: height of the mask in pixels.
        width: width of the mask in pixels.

    Raises:
        ValueError: fewer points, values that are not numbers, or an axis of length 0.
    """
    corners = as_points(points, 2)
    if len(corners) > 4:
        return fill_polygon(corners, height, width)
    if len(corners) == 2:
        (x0, y0), (x1, y1) = corners
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    if len(corners) == 3:
        center, (x, y) = corners[0], corners[1] - corners[0]
        length = np.hypot(*(corners[2] - center)) / max(np.hypot(x, y), 1e-9)
        one, other = np.array([x, y]), np.array([-y, x]) * length
    else:
        center = corners.mean(axis=0)
        one = (corners[1] + corners[2] - corners[0] - corners[3]) / 4
        other = (corners[2] + corners[3] - corners[0] - corners[1]) / 4
    area = one[0] * other[1] - one[1] * other[0]
    if not area:
        raise ValueError(f"expected an ellipse with two axes, got {abbreviate(points)}")
    reach = np.hypot(one, other)  # half of the width and height of the upright rectangle around it
    left, right = _covered(center[0] - reach[0], center[0] + reach[0], width)
    top, bottom = _covered(center[1] - reach[1], center[1] + reach[1], height)
    x = np.arange(left, right) + 0.5 - center[0]
    y = np.arange(top, bottom)[:, None] + 0.5 - center[1]
    along = (x * other[1] - y * other[0]) / area
    across = (y * one[0] - x * one[1]) / area
    return Window(top, left, along**2 + across**2 <= 1)


def decode_counts(text: str) -> list[int]:
    """Decode COCO's compressed RLE to run lengths.

    Each character stands for 6 bits, counted from '0': 5 bits of the number, lowest first, and one bit that
    is set if more characters follow. The highest of the 5 bits of the last character is the sign. From the
    fourth number on, the difference to the run two positions earlier is stored.

    Args:
        text: the `counts` of a compressed RLE.

    Returns:
        The run lengths as stored; in a broken file they can be negative or add up to a wrong sum.

    Raises:
        ValueError: a character outside the format, or a text that ends within a number.

    Source: rleToString, rleFrString in common/maskApi.c of cocodataset/cocoapi.
    """
    runs: list[int] = []
    value = bits = 0
    for character in text:
        code = ord(character) - ord("0")
        if not 0 <= code < 64 or bits > 40:
            raise ValueError(f"counts: '{character}' is not valid in a compressed RLE")
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << bits
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = bits = 0
    if bits:
        raise ValueError("counts: the compressed RLE ends within a number")
    return runs


def fill_rle(shape: Any, height: int, width: int) -> Window:
    """Find the pixels of a COCO RLE, whose runs of background and object alternate in column-major order.

    Args:
        shape: `size` as [H, W], and `counts` as a list of run lengths or as compressed text.
        height: height of the mask in pixels.
        width: width of the mask in pixels.

    Returns:
        A window of the size of the mask.

    Raises:
        ValueError: a size other than that of the mask, or runs that do not add up to it.
    """
    size, counts = shape.get("size"), shape.get("counts")
    if size != [height, width]:
        raise ValueError(f"size: expected {[height, width]} (H, W), got {abbreviate(size)}")
    runs = decode_counts(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(isinstance(run, int) and run >= 0 for run in runs):
        raise ValueError(f"counts: expected run lengths or compressed text, got {abbreviate(counts)}")
    if sum(runs) != height * width:
        raise ValueError(f"counts: the runs add up to {sum(runs)} pixels, expected {height * width}")
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return Window(0, 0, inside.reshape(width, height).T)


def fill_bitmap(shape: Any, height: int, width: int) -> Window:
    """Find the pixels of a bitmap, which LabelMe stores as a base64 PNG with its upper left point."""
    try:
        left, top = np.round(as_points(shape.get("points"), 1)[0]).astype(int).tolist()
        data = base64.b64decode(shape.get("mask") or "", validate=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"mask: cannot be read: {error}") from None
    with opened(Path("mask"), data, "cannot be read: ") as picture:
        inside = np.asarray(picture) > 0
    if inside.ndim != 2 or min(left, top) < 0:
        raise ValueError("mask: expected a grey bitmap inside the image")
    return Window(top, left, inside[: max(height - top, 0), : max(width - left, 0)])


RASTERIZERS: dict[str, Callable[[Any, int, int], Window]] = {
    "outlines": fill_outlines,
    "polygon": fill_polygon,
    "rectangle": fill_rectangle,
    **dict.fromkeys(("oriented_rectangle", "rotation", "quadrilateral"), fill_polygon),
    "circle": fill_circle,
    "ellipse": fill_ellipse,
    "rle": fill_rle,
    "mask": fill_bitmap,
}
