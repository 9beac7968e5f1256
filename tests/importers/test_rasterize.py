"""Shapes against scikit-image, Pillow, published COCO annotations and RLE written by hand."""

from __future__ import annotations

import numpy as np
import pytest
from annotation_files import encode_rle
from PIL import Image, ImageDraw

from paddleseg_u2net.importers.rasterize import (
    RASTERIZERS,
    decode_counts,
    fill_circle,
    fill_outlines,
    fill_polygon,
    fill_rectangle,
    fill_rle,
)

DOG = """510.66 423.01 511.72 420.03 510.45 416.0 510.34 413.02 510.77 410.26 510.77 407.5 510.34 405.16
511.51 402.83 511.41 400.49 510.24 398.16 509.39 397.31 504.61 399.22 502.17 399.64 500.89 401.66
500.47 402.08 499.09 401.87 495.79 401.98 490.59 401.77 488.79 401.77 485.39 398.58 483.9 397.31
481.56 396.35 478.48 395.93 476.68 396.03 475.4 396.77 473.92 398.79 473.28 399.96 473.49 401.87
474.56 403.47 473.07 405.59 473.39 407.71 476.68 409.41 479.23 409.73 481.56 410.69 480.4 411.85
481.35 414.93 479.86 418.65 477.32 420.03 476.04 422.58 479.02 422.58 480.29 423.01 483.79 419.93
486.66 416.21 490.06 415.57 492.18 416.85 491.65 420.24 492.82 422.9 493.56 424.39 496.43 424.6
498.02 423.01 498.13 421.31 497.07 420.03 497.07 415.15 496.33 414.51 501.1 411.96 502.06 411.32
503.02 415.04 503.33 418.12 501.1 420.24 498.98 421.63 500.47 424.39 505.03 423.32 506.2 421.31
507.69 419.5 506.31 423.32 510.03 423.01 510.45 423.01"""


PUBLISHED = {
    "bZk47fa0;F2OO01O00000000000000O2OYbS6": 261,
    "icR5?^a04M0000O01001O0000000000001NVgk5": 270,
    "[nT5<_a08B9O2O01O0O2O6K2M1N5K[Rk5": 284,
}


def full_mask(window, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    rows, columns = window.inside.shape
    mask[window.top : window.top + rows, window.left : window.left + columns] = window.inside
    return mask


def test_polygons_equal_those_of_scikit_image():
    polygon2mask = pytest.importorskip("skimage.draw").polygon2mask
    rng = np.random.default_rng(0)
    for corners in (3, 4, 5, 9, 40):  # most of them cross themselves, and reach beyond the image
        points = rng.uniform(-8, 40, (corners, 2))
        expected = polygon2mask((30, 34), points[:, ::-1] - 0.5)  # its pixel centres have integer coordinates
        assert expected.any()
        np.testing.assert_array_equal(full_mask(fill_polygon(points.tolist(), 30, 34), 30, 34), expected)
        np.testing.assert_array_equal(
            full_mask(fill_polygon(points.ravel().tolist(), 30, 34), 30, 34), expected
        )


def test_polygons_equal_those_of_pillow_except_for_its_outline():
    rng = np.random.default_rng(1)
    for _ in range(5):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        points = 50 + rng.uniform(20, 45, 12)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        picture = Image.new("1", (100, 100))
        ImageDraw.Draw(picture).polygon([tuple(point) for point in points], fill=1, outline=1)
        own, other = full_mask(fill_polygon(points, 100, 100), 100, 100), np.asarray(picture)
        share = np.linspace(0, 1, 200)[:, None, None]
        outline = (share * points + (1 - share) * np.roll(points, 1, axis=0)).reshape(-1, 2)
        differing = np.argwhere(own != other)[:, ::-1] + 0.5
        away = np.hypot(*(differing[:, None] - outline).transpose(2, 0, 1)).min(axis=1)
        assert away.max() < 1.5
        assert (own & other).sum() / (own | other).sum() > 0.93


def test_polygon_published_by_coco_has_the_published_area_and_box():
    window = fill_polygon([float(number) for number in DOG.split()], 427, 640)
    assert abs(window.inside.sum() - 702.1) < 3
    rows, columns = np.nonzero(full_mask(window, 427, 640))
    assert (columns.min(), rows.min()) == (473, 396)
    assert (columns.max() + 1 - 473, rows.max() + 1 - 396) == (39, 29)


def test_neighbouring_polygons_share_no_pixel():
    square = fill_polygon([2, 3, 12, 3, 12, 13, 2, 13], 20, 20)
    assert (square.top, square.left, square.inside.shape) == (3, 2, (10, 10))
    assert square.inside.all()
    pieces = [
        [0, 0, 20, 0, 7.5, 7.5],
        [20, 0, 20, 20, 7.5, 7.5],
        [20, 20, 0, 20, 7.5, 7.5],
        [0, 20, 0, 0, 7.5, 7.5],
    ]
    covered = sum(full_mask(fill_polygon(piece, 20, 20), 20, 20).astype(int) for piece in pieces)
    np.testing.assert_array_equal(covered, 1)


@pytest.mark.parametrize(
    "points", [[5, 5, 5, 5, 5, 5], [0, 3.6, 9, 3.6, 9, 4.4], [-9, -9, -5, -9, -5, -5], [30, 0, 40, 0, 40, 9]]
)
def test_polygon_without_a_pixel_centre_is_empty(points):
    assert not fill_polygon(points, 10, 10).inside.any()


def test_polygons_of_one_pixel_and_of_the_whole_image():
    assert fill_polygon([0, 0, 1, 0, 1, 1, 0, 1], 1, 1).inside.tolist() == [[True]]
    assert full_mask(fill_polygon([-9, -9, 99, -9, 99, 99, -9, 99], 4, 7), 4, 7).all()


def test_polygons_of_one_object_are_joined():
    parts = [[0, 0, 2, 0, 2, 2, 0, 2], [1, 1, 3, 1, 3, 3, 1, 3]]
    assert full_mask(fill_outlines(parts, 4, 4), 4, 4).sum() == 7
    with pytest.raises(ValueError, match="outline 1: expected 3 or more points"):
        fill_outlines([parts[0], [1, 1, 2, 2]], 4, 4)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "expected 3 or more points"),
        ([1, 2, 3, 4], "expected 3 or more points"),
        ([1, 2, 3, 4, 5], "expected x and y of each point as numbers"),
        (["a", "b"] * 3, "expected x and y of each point as numbers"),
        ([[1, 2], [3]], "expected x and y of each point as numbers"),
        ({"x": 1}, "expected x and y of each point as numbers"),
        (None, "expected x and y of each point as numbers, got None"),
        ([1, 2, 3, 4, 5, float("nan")], "expected 3 or more points inside an image"),
        ([1, 2, 3, 4, 5, 1e300], "expected 3 or more points inside an image"),
        ([0, 0, 1, 8192] * 10000, "its outline crosses"),
    ],
)
def test_invalid_polygons_are_rejected(points, message):
    with pytest.raises(ValueError, match=message):
        fill_polygon(points, 8192, 8192)


def test_rectangles_and_circles_have_the_expected_pixels():
    assert fill_rectangle([[8, 9], [2, 4]], 20, 20).inside.sum() == 30  # corners in any order
    rows, columns = np.mgrid[:40, :50] + 0.5
    expected = np.hypot(columns - 20.3, rows - 11.8) <= 13
    np.testing.assert_array_equal(
        full_mask(fill_circle([[20.3, 11.8], [20.3, 24.8]], 40, 50), 40, 50), expected
    )


def test_published_compressed_rle_is_decoded_and_encoded_again():
    assert decode_counts("52203") == [5, 2, 2, 2, 5]
    for text, area in PUBLISHED.items():
        assert sum(decode_counts(text)) == 574 * 640
        window = fill_rle({"size": [574, 640], "counts": text}, 574, 640)
        assert window.inside.sum() == area
        assert encode_rle(window.inside)[1] == text


def test_rle_is_column_major():
    expected = [[0, 0, 1], [1, 0, 1]]
    for counts in ([1, 1, 2, 2], "1121"):
        window = fill_rle({"size": [2, 3], "counts": counts}, 2, 3)
        assert window.inside.astype(int).tolist() == expected


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 1])
def test_rle_round_trip(share):
    mask = np.random.default_rng(0).random((37, 61)) < share
    for counts in encode_rle(mask):
        window = fill_rle({"size": [37, 61], "counts": counts}, 37, 61)
        np.testing.assert_array_equal(window.inside, mask)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({}, r"size: expected \[2, 3\]"),
        ({"size": [3, 2], "counts": [6]}, r"size: expected \[2, 3\] \(H, W\), got \[3, 2\]"),
        ({"size": [2, 3], "counts": [5]}, "add up to 5 pixels, expected 6"),
        ({"size": [2, 3], "counts": [8, -2]}, "expected run lengths or compressed text"),
        ({"size": [2, 3], "counts": [2.0, 4.0]}, "expected run lengths or compressed text"),
        ({"size": [2, 3]}, "expected run lengths or compressed text, got None"),
        ({"size": [2, 3], "counts": "11 21"}, "' ' is not valid"),
        ({"size": [2, 3], "counts": "11é"}, "'é' is not valid"),
        ({"size": [2, 3], "counts": "112Q"}, "ends within a number"),
        ({"size": [2, 3], "counts": "o" * 10**6}, "'o' is not valid"),
    ],
)
def test_invalid_rle_is_rejected(shape, message):
    with pytest.raises(ValueError, match=message):
        fill_rle(shape, 2, 3)


@pytest.mark.parametrize("angle", [0, 30, 117.5])
def test_ellipses_equal_those_of_scikit_image(angle):
    from skimage.draw import ellipse

    center, long, short = np.array([30.3, 24.6]), 20.2, 9.1
    turn = np.deg2rad(angle)
    one, other = (
        long * np.array([np.cos(turn), np.sin(turn)]),
        short * np.array([-np.sin(turn), np.cos(turn)]),
    )
    expected = np.zeros((50, 60), bool)
    row, column = center[::-1] - 0.5  # scikit-image puts the centre of the first pixel at 0
    expected[ellipse(row, column, short, long, shape=(50, 60), rotation=-turn)] = True
    corners = [center - one - other, center + one - other, center + one + other, center - one + other]
    forms = [corners, [center, center + one, center + other]]
    forms += [[corners[0], corners[2]]] if not angle else []
    for points in forms:
        window = RASTERIZERS["ellipse"]([point.tolist() for point in points], 50, 60)
        found = np.zeros((50, 60), bool)
        window.crop(found)[:] = window.inside
        np.testing.assert_array_equal(found, expected)


def test_ellipse_without_area_is_rejected():
    for points in ([[1, 1]], [[1, 1], [1, 5]], [[1, 1], [1, 1], [4, 4]]):
        with pytest.raises(ValueError, match="expected"):
            RASTERIZERS["ellipse"](points, 20, 20)


@pytest.mark.parametrize("kind", ["rotation", "oriented_rectangle", "quadrilateral"])
def test_rotated_boxes_are_drawn_as_their_outline(kind):
    from skimage.draw import polygon2mask

    corners = np.array([[10.2, 2.1], [20.4, 12.3], [12.6, 20.1], [2.4, 9.9]])
    window = RASTERIZERS[kind](corners.tolist(), 24, 24)
    found = np.zeros((24, 24), bool)
    window.crop(found)[:] = window.inside
    np.testing.assert_array_equal(found, polygon2mask((24, 24), corners[:, ::-1] - 0.5))


def test_outlines_may_be_polygons_and_rle_of_both_kinds():
    left, middle = np.zeros((4, 6), bool), np.zeros((4, 6), bool)
    left[:, 0], middle[1:3, 2] = True, True
    outlines = [{"size": [4, 6], "counts": encode_rle(mask)[n]} for n, mask in enumerate((left, middle))]
    outlines.append([5, 0, 6, 0, 6, 4, 5, 4])
    found = fill_outlines(outlines, 4, 6).inside
    expected = left | middle
    expected[:, 5] = True
    np.testing.assert_array_equal(found, expected)
