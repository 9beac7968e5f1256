"""Colours of the foreground: the published formula in float64, known colours, tiles and borders."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from paddleseg_u2net.matting import foreground as module
from paddleseg_u2net.matting.foreground import foreground_colors
from paddleseg_u2net.matting.tiles import boxes_of

RNG = np.random.default_rng(0)


def soft_disk(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2, x - width / 2)
    return ((0.35 * min(height, width) - distance) / 12 + 0.5).clip(0, 1).astype(np.float32)


def mixed(alpha: np.ndarray, foreground, background) -> np.ndarray:
    share = alpha[..., None]
    return (np.asarray(foreground) * share + np.asarray(background) * (1 - share) + 0.5).astype(np.uint8)


def test_known_colors_are_found():
    alpha = soft_disk(300, 400)
    found = foreground_colors(mixed(alpha, (200, 40, 90), (20, 220, 160)), alpha).astype(int)
    wrong = np.abs(found - (200, 40, 90)).max(2)
    assert wrong[alpha > 0.1].max() <= 6
    assert wrong[alpha > 0.5].max() <= 2


def test_formula_is_that_of_blur_fusion():
    """Forte 2021, equations 4 to 7, in float64, with the weights that the docstring names."""
    image, alpha = RNG.integers(0, 256, (90, 120, 3), np.uint8), soft_disk(90, 120)
    colors, share = image.astype(np.float64), alpha.astype(np.float64)[..., None]

    def mean(values, weight, radius):
        size = (2 * radius + 1, 2 * radius + 1, 1)
        return uniform_filter(values * weight**4, size) / (uniform_filter(weight**4, size) + 1e-5)

    foreground = background = colors
    for radius in (round(module.FIRST_RADIUS * 120), round(module.SECOND_RADIUS * 120)):
        foreground, background = mean(foreground, share, radius), mean(background, 1 - share, radius)
        rest = colors - share * foreground - (1 - share) * background
        foreground = (foreground + share * rest).clip(0, 255)
    levels = (alpha * 255 + 0.5).astype(np.uint8)
    partial_alpha = (levels > 0) & (levels < 255)
    difference = np.abs(foreground_colors(image, alpha)[partial_alpha] - foreground[partial_alpha])
    assert partial_alpha.any()
    assert difference.max() <= 0.51


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (333, 517)])
def test_removed_background_is_black_and_opaque_pixels_stay(shape):
    image = RNG.integers(1, 256, (*shape, 3), np.uint8)
    alpha = RNG.choice([0, 0.0019, 0.002, 0.3, 0.998, 0.9981, 1], shape).astype(np.float32)
    found = foreground_colors(image, alpha)
    levels = (alpha * 255 + 0.5).astype(np.uint8)
    assert found.dtype == np.uint8
    assert not found[levels == 0].any()
    np.testing.assert_array_equal(found[levels == 255], image[levels == 255])


@pytest.mark.parametrize("value", [0, 0.4, 1])
@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (50, 3)])
def test_even_alpha(shape, value):
    image = np.full((*shape, 3), (10, 100, 250), np.uint8)
    found = foreground_colors(image, np.full(shape, value, np.float32))
    assert np.abs(found.astype(int) - (image if value else 0)).max() <= 1


@pytest.mark.parametrize("shape", [(700, 523), (333, 1000), (1, 900), (900, 1)])
def test_tiles_give_what_the_whole_image_gives(monkeypatch, shape):
    image = RNG.integers(0, 256, (*shape, 3), np.uint8)
    alpha = cv2.resize(RNG.random((9, 9), np.float32), shape[::-1])
    found = []
    for side in (10000, 64):
        monkeypatch.setattr(module, "boxes_of", partial(boxes_of, side=side))
        found.append(foreground_colors(image, alpha).astype(int))
    difference = np.abs(found[0] - found[1])  # running sums of OpenCV differ in the last bit
    assert difference.max() <= 1
    assert np.count_nonzero(difference) < 1e-4 * difference.size


def test_wrong_arrays_are_named():
    with pytest.raises(TypeError, match=r"got uint8 \(4, 5, 3\) and float64 \(4, 5\)"):
        foreground_colors(np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5)))


def test_means_at_a_lower_resolution_change_little(monkeypatch):
    alpha = soft_disk(1500, 2000)
    image = mixed(alpha, cv2.resize(RNG.integers(0, 256, (6, 8, 3), np.uint8), (2000, 1500)), (20, 220, 160))
    low = foreground_colors(image, alpha).astype(int)
    monkeypatch.setattr(module, "FINE", 2000)
    difference = np.abs(low - foreground_colors(image, alpha))
    assert 0 < (difference * alpha[..., None]).max() <= 6
    assert difference[(alpha > 0) & (alpha < 1)].mean() < 1
