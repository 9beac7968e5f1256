"""Rasterize the shapes of Supervisely, whose coordinates are pixels, and polygons in shares of a side.

A corner (x, y) is the pixel of column x and row y, and the outline belongs to the shape: a rectangle from
(0, 0) to (9, 9) has 100 pixels.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from paddleseg_u2net.importers import rasterize
from paddleseg_u2net.importers.rasterize import Window, as_points, fill_polygon
from paddleseg_u2net.io.images import opened

MAX_BYTES = 64 << 20  # of the PNG in a compressed bitmap
MAX_RINGS = 10000  # outlines of one polygon


def fill_normalized_polygon(numbers: Any, height: int, width: int) -> Window:
    """Find the pixels of a polygon whose x and y are shares of the width and height; see `fill_polygon`."""
    return fill_polygon(as_points(numbers, 3) * [width, height], height, width)


def fill_pixel_polygon(shape: Any, height: int, width: int) -> Window:
    """Find the pixels of a polygon of Supervisely: its exterior, without its interiors.

    Args:
        shape: `exterior`, a list of [x, y]; `interior`, a list of such lists, whose outlines belong to the
            holes. Fractions are cut off, as Supervisely does for polygons.
        height: height of the mask in pixels.
        width: width of the mask in pixels.

    Returns:
        A window of the size of the mask.

    Raises:
        ValueError: too few points, or values that are not numbers.

    Source: `Polygon._draw_impl` in supervisely/geometry/polygon.py of supervisely/supervisely.
    """
    inside = np.zeros((height, width), np.uint8)
    interior = shape.get("interior") or []
    if not isinstance(interior, list) or len(interior) > MAX_RINGS:
        raise ValueError(f"interior: expected a list of at most {MAX_RINGS} outlines")
    cv2.fillPoly(inside, [_corners("exterior", shape.get("exterior"), 3)], 1)
    cv2.fillPoly(inside, [_corners("interior", hole, 3) for hole in interior], 0)
    return Window(0, 0, inside.view(bool))


def _corners(name: str, points: Any, least: int, to_whole: Any = np.trunc) -> np.ndarray:
    """(N, 2) int32 of a list of [x, y]; `to_whole` says what becomes of fractions."""
    try:
        return to_whole(as_points(points, least)).astype(np.int32)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def fill_pixel_rectangle(shape: Any, height: int, width: int) -> Window:
    """Find the pixels of a rectangle of Supervisely: `exterior` holds two opposite corners, both inside.

    Fractions are rounded.

    Source: `Rectangle._draw_contour_impl` in supervisely/geometry/rectangle.py of supervisely/supervisely.
    """
    corners = _corners("exterior", shape.get("exterior"), 2, np.rint)
    left, top = np.clip(corners.min(0), 0, [width, height]).tolist()
    right, bottom = np.clip(corners.max(0) + 1, 0, [width, height]).tolist()
    return Window(top, left, np.ones((bottom - top, right - left), bool))


def fill_compressed_bitmap(shape: Any, height: int, width: int) -> Window:
    """Find the pixels of a bitmap of Supervisely.

    Args:
        shape: `data`, the base64 text of a PNG, compressed again by zlib or not; `origin`, [x, y] of its
            upper left pixel. With an alpha channel that decides, otherwise what is not black is inside.
        height: height of the mask in pixels.
        width: width of the mask in pixels.

    Returns:
        The window of the bitmap, clipped to the mask.

    Raises:
        ValueError: not such data, or too large.

    Source: `Bitmap.base64_2_data` in supervisely/geometry/bitmap.py of supervisely/supervisely.
    """
    left, top = _corners("origin", shape.get("origin"), 1)[0].tolist()
    try:
        data = _decompress(base64.b64decode(shape.get("data") or "", validate=True))
    except (TypeError, ValueError) as error:
        raise ValueError(f"data: cannot be read: {error}") from None
    with opened(Path("data"), data, "cannot be read: ") as picture:
        if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
            picture = picture.convert("RGBA").getchannel("A")
        values = np.asarray(picture.convert("RGB") if picture.mode == "P" else picture)
    inside: np.ndarray = np.asarray(values > 0 if values.ndim == 2 else (values > 0).any(2))
    inside = inside[max(-top, 0) :, max(-left, 0) :]
    top, left = max(top, 0), max(left, 0)
    return Window(top, left, inside[: max(height - top, 0), : max(width - left, 0)])


def _decompress(data: bytes) -> bytes:
    """Undo the compression by zlib, if there is any."""
    if data.startswith(b"\x89PNG"):
        return data
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise ValueError(f"zlib: {error}") from None
    if stream.unconsumed_tail:
        raise ValueError(f"more than {MAX_BYTES} bytes after decompression")
    return content


# all kinds of shapes, those of `rasterize` among them
RASTERIZERS: dict[str, Callable[[Any, int, int], Window]] = {
    **rasterize.RASTERIZERS,
    "normalized polygon": fill_normalized_polygon,
    "pixel polygon": fill_pixel_polygon,
    "pixel rectangle": fill_pixel_rectangle,
    "compressed bitmap": fill_compressed_bitmap,
}
