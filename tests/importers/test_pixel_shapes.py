"""Shapes of Supervisely and normalized polygons against masks that were drawn by hand."""

from __future__ import annotations

import base64
import io
import zlib

import numpy as np
import pytest
from annotation_files import RING
from PIL import Image

from paddleseg_u2net.bounds import MAX_PIXELS
from paddleseg_u2net.importers import pixel_shapes
from paddleseg_u2net.importers.pixel_shapes import RASTERIZERS

POLYGON_WITH_HOLE = """
.......
.#####.
.#...#.
.#...#.
.#...#.
.#####.
"""


def drawn(text: str) -> np.ndarray:
    return np.array([[char == "#" for char in line] for line in text.split()])


def draw(kind: str, shape, height: int = 6, width: int = 7) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    window = RASTERIZERS[kind](shape, height, width)
    window.crop(mask)[:] = window.inside
    return mask


def test_polygon_of_pixels_has_its_outline_and_its_holes_have_theirs():
    square = [[1, 1], [5, 1], [5, 5], [1, 5]]
    hole = [[2, 2], [4, 2], [4, 4], [2, 4]]
    np.testing.assert_array_equal(
        draw("pixel polygon", {"exterior": square, "interior": [hole]}), drawn(POLYGON_WITH_HOLE)
    )
    assert draw("pixel polygon", {"exterior": square}).sum() == 25
    # fractions are cut off, and what lies outside the image is clipped
    moved = [[1.9, 1.9], [5.5, 1], [5.1, 5], [1, 5.9]]
    assert draw("pixel polygon", {"exterior": moved, "interior": []}).sum() == 25
    assert draw("pixel polygon", {"exterior": [[-9, -9], [99, -9], [99, 99], [-9, 99]]}).all()


def test_rectangle_of_pixels_has_both_corners_rounded_in_any_order():
    expected = np.zeros((6, 7), bool)
    expected[2:5, 1:4] = True
    for corners in ([[1, 2], [3, 4]], [[3, 4], [1, 2]], [[3, 2], [1, 4]], [[0.6, 1.6], [3.4, 3.9]]):
        np.testing.assert_array_equal(draw("pixel rectangle", {"exterior": corners}), expected)
    assert draw("pixel rectangle", {"exterior": [[-5, -5], [50, 50]]}).all()
    assert not draw("pixel rectangle", {"exterior": [[10, 10], [50, 50]]}).any()


def png(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    if options:
        image.putpalette([0, 0, 0, 255, 255, 255])
    image.save(file, "PNG", **options)
    return file.getvalue()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_bitmap_of_the_documentation_is_a_ring():
    expected = np.zeros((6, 7), bool)
    expected[1:4, 2:5] = True
    expected[2, 3] = False
    np.testing.assert_array_equal(draw("compressed bitmap", {"data": RING, "origin": [2, 1]}), expected)


def test_bitmaps_of_all_forms_are_equal():
    ring = np.ones((3, 3), np.uint8)
    ring[1, 1] = 0
    with_alpha = np.dstack([ring * 0, ring * 0, ring * 0, ring * 255])
    for data in (
        png(ring),
        png(ring, transparency=0),
        png(ring.astype(bool)),
        png(with_alpha),
        png(ring * 255),
    ):
        for form in (data, zlib.compress(data)):
            mask = draw("compressed bitmap", {"data": text(form), "origin": [2, 1]})
            np.testing.assert_array_equal(mask[1:4, 2:5], ring == 1)
            assert mask.sum() == 8
    assert draw("compressed bitmap", {"data": RING, "origin": [-1, -1]}).sum() == 3
    assert draw("compressed bitmap", {"data": RING, "origin": [6, 5]}).sum() == 1
    assert not draw("compressed bitmap", {"data": RING, "origin": [60, 50]}).any()


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("pixel polygon", {"exterior": [[1, 1], [2, 2]]}, "exterior: expected 3 or more points"),
        ("pixel polygon", {}, "exterior: expected"),
        ("pixel polygon", {"exterior": [[1, 1]] * 3, "interior": 5}, "interior: expected a list"),
        ("pixel polygon", {"exterior": [[1, 1]] * 3, "interior": [[1]]}, "interior: expected x and y"),
        ("pixel polygon", {"exterior": [[1e99, 1]] * 3}, "exterior: expected 3 or more points inside"),
        ("pixel rectangle", {"exterior": [[1, 1]]}, "exterior: expected 2 or more points"),
        ("compressed bitmap", {"data": RING}, "origin: expected"),
        ("compressed bitmap", {"data": "%", "origin": [0, 0]}, "data: cannot be read"),
        ("compressed bitmap", {"data": text(b"no zlib"), "origin": [0, 0]}, "data: cannot be read: zlib"),
        ("compressed bitmap", {"data": text(zlib.compress(b"no")), "origin": [0, 0]}, "data: cannot be read"),
        ("compressed bitmap", {"origin": [0, 0]}, "data: cannot be read"),
        ("normalized polygon", [0, 0, 1, 1], "expected 3 or more points"),
    ],
)
def test_broken_shapes_are_named(kind, shape, message):
    with pytest.raises(ValueError, match=message):
        RASTERIZERS[kind](shape, 6, 7)


def test_bitmap_that_expands_without_end_is_rejected(monkeypatch):
    large = io.BytesIO()
    Image.new("1", (MAX_PIXELS // 64 + 1, 64)).save(large, "PNG")
    with pytest.raises(ValueError, match="data: 1048577 x 64 pixels, more than 67 million"):
        draw("compressed bitmap", {"data": text(zlib.compress(large.getvalue())), "origin": [0, 0]})
    monkeypatch.setattr(pixel_shapes, "MAX_BYTES", 1000)
    bomb = {"data": text(zlib.compress(b"\x89PNG" + bytes(100000))), "origin": [0, 0]}
    with pytest.raises(ValueError, match="more than 1000 bytes after decompression"):
        draw("compressed bitmap", bomb)


def test_polygon_of_very_many_holes_is_rejected():
    shape = {"exterior": [[1, 1], [3, 1], [3, 3]], "interior": [[[1, 1]] * 3] * 10_000}
    draw("pixel polygon", shape)
    shape["interior"].append([[1, 1]] * 3)
    with pytest.raises(ValueError, match="interior: expected a list of at most 10000 outlines"):
        draw("pixel polygon", shape)


def test_normalized_polygon_has_the_pixels_whose_centres_lie_inside():
    expected = np.zeros((6, 8), bool)
    expected[3:6, 2:4] = True
    corners = [0.25, 0.5, 0.5, 0.5, 0.5, 1, 0.25, 1]
    np.testing.assert_array_equal(draw("normalized polygon", corners, 6, 8), expected)
