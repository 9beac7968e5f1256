"""Images with more than 8 bits: the range that is used decides what white is."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
import tifffile

from paddleseg_u2net.io.bands import read_picture
from paddleseg_u2net.io.depth import _announced, to_8bit, white_of
from paddleseg_u2net.io.images import read_image

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("bits", range(9, 17))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_bits_in_16_bit_files_are_scaled_by_the_range_they_use(tmp_path, bits, suffix):
    white = 2**bits - 1
    stored = RNG.integers(0, white + 1, (20, 30, 3)).astype(np.uint16)
    stored[0, 0] = white
    cv2.imwrite(str(tmp_path / f"a{suffix}"), stored[..., ::-1])
    expected = stored.astype(np.float64) / white * 255
    assert np.abs(read_image(tmp_path / f"a{suffix}") - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize(
    ("top", "white"), [(0, 255), (1, 255), (255, 255), (256, 511), (1000, 1023), (4095, 4095), (4096, 8191)]
)
def test_white_is_the_fewest_bits_that_hold_the_largest_value(top, white):
    assert white_of(top) == white


@pytest.mark.parametrize(
    ("stored", "white", "expected"),
    [
        ([0, 1000], 4095, [0, 62]),  # 1000 / 4095 * 255 = 62.3
        ([0, 1000], 511, [0, 255]),
        ([0, 400, 65535, 65535, 65535], 511, [0, 200, 255, 255, 255]),  # without data
        ([0, 511, 600, 1000], 511, [0, 255, 255, 255]),
        ([0, 900, 600, 1000], 511, [0, 224, 150, 249]),  # most are brighter: as without the 511
        ([0, 900, 600, 1000], None, [0, 224, 150, 249]),  # 900 / 1023 * 255 = 224.3
    ],
)
def test_a_given_white_counts_unless_most_of_the_image_is_brighter(stored, white, expected):
    assert to_8bit(np.array([stored], np.uint16), white).tolist() == [expected]


def test_8_bits_are_not_scaled():
    image = np.array([[0, 1000]], np.uint16)
    assert to_8bit(image.astype(np.uint8), 4095).tolist() == [[0, 232]]  # 8 bits: white is 255


def test_signed_files_are_read_if_nothing_is_negative(tmp_path):
    values = np.array([[0, 511], [1023, 700]], np.int16)
    tifffile.imwrite(tmp_path / "a.tif", values)
    assert read_image(tmp_path / "a.tif")[..., 0].tolist() == [[0, 127], [255, 174]]
    tifffile.imwrite(tmp_path / "b.tif", values - 20)
    with pytest.raises(ValueError, match=r"b.tif: holds negative values, down to -20. Fix: shift them"):
        read_image(tmp_path / "b.tif")


def test_what_was_assumed_is_logged_once_for_each_white(tmp_path, caplog):
    caplog.set_level("INFO")
    _announced.clear()
    for name, top in (("a", 3900), ("b", 4000), ("c", 900)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((4, 4), top, np.uint16))
        read_picture(tmp_path / f"{name}.png")
    cv2.imwrite(str(tmp_path / "d.png"), np.full((4, 4), 60000, np.uint16))
    read_picture(tmp_path / "d.png", white=4095)
    cv2.imwrite(str(tmp_path / "e.png"), np.array([[0, 900], [5, 3]], np.uint16))
    read_picture(tmp_path / "e.png", white=700)
    lines = re.findall(r"(\w).png: 16-bit file, (.*) \(logged once", caplog.text)
    assert lines == [
        ("a", "white is 4095 (12 bits): its largest value is 3900"),
        ("c", "white is 1023 (10 bits): its largest value is 900"),
        ("d", "white is 65535 (16 bits): most of its values are above the 4095 of the training data"),
        ("e", "white is 700 (10 bits): as in the training data; larger values, up to 900, become white too"),
    ]
