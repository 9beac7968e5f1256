"""Thresholds and shapes of saliency maps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from paddleseg_u2net.matting.shapes import drop_specks, feather, fill_holes, find_threshold, grow

RNG = np.random.default_rng(0)


def soft(shape: tuple[int, int] = (41, 53)) -> np.ndarray:
    noise = cv2.GaussianBlur(RNG.random(shape, dtype=np.float32), (0, 0), 2)
    return ((noise - noise.min()) / (noise.max() - noise.min())).astype(np.float32)


def test_otsu_equals_scikit_image():
    saliency = np.concatenate([RNG.normal(0.2, 0.05, 3000), RNG.normal(0.7, 0.1, 1000)]).clip(0, 1)
    saliency = saliency.astype(np.float32).reshape(40, 100)
    levels = (saliency * 255 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(
        saliency >= find_threshold(saliency, "otsu"), levels > threshold_otsu(levels)
    )


def test_adaptive_is_twice_the_mean_and_at_most_1():
    assert find_threshold(np.full((2, 2), 0.25, np.float32), "adaptive") == 0.5
    assert find_threshold(np.full((2, 2), 0.75, np.float32), "adaptive") == 1
    assert find_threshold(np.ones((1, 1), np.float32), 0.3) == 0.3


@pytest.mark.parametrize("how", [-0.01, 1.01, 128, float("nan"), "0.5", "otsus"])
def test_other_thresholds_are_refused(how):
    with pytest.raises(ValueError, match="expected a number from 0 to 1, otsu or adaptive, got .*. Fix: 0.5"):
        find_threshold(np.ones((2, 2), np.float32), how)


def test_holes_are_those_of_scipy():
    saliency = soft()
    filled = fill_holes(saliency)
    np.testing.assert_array_equal(filled >= 0.5, ndimage.binary_fill_holes(saliency >= 0.5))
    unchanged = (saliency >= 0.5) | (filled < 0.5)
    np.testing.assert_array_equal(filled[unchanged], saliency[unchanged])
    assert (filled != saliency).any()


@pytest.mark.parametrize("value", [0, 0.49, 0.5, 1])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_plain_maps_keep_their_values(shape, value):
    saliency = np.full(shape, value, np.float32)
    for changed in (
        fill_holes(saliency),
        drop_specks(saliency, 1) if value != 0.49 else saliency,
        grow(saliency, 3),
    ):
        np.testing.assert_array_equal(changed, saliency)
    np.testing.assert_allclose(feather(saliency, 2.5), saliency, atol=1e-6)


def test_small_objects_are_dropped_with_their_edges():
    saliency = np.zeros((30, 40), np.float32)
    saliency[2:10, 2:10], saliency[1:11, 1] = 1, 0.2  # 64 pixels, and a soft edge
    saliency[20:23, 20:23], saliency[23, 20:23] = 0.9, 0.3  # 9 pixels, and a soft edge
    saliency[15, 30] = 0.05  # faint, of no object
    kept = saliency.copy()
    kept[20:24, 20:23] = 0
    np.testing.assert_array_equal(drop_specks(saliency, 10), kept)
    np.testing.assert_array_equal(drop_specks(saliency, 9), saliency)
    assert not (drop_specks(saliency, 65) >= 0.1).any()


@pytest.mark.parametrize("pixels", [-3, -1, 0, 1, 4])
def test_growth_is_the_maximum_or_minimum_of_a_disc(pixels):
    saliency = soft()
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(pixels) + 1,) * 2).astype(bool)
    change = ndimage.grey_dilation if pixels > 0 else ndimage.grey_erosion
    expected = change(saliency, footprint=disc, mode="nearest") if pixels else saliency
    np.testing.assert_array_equal(grow(saliency, pixels), expected)


def test_feathering_is_a_gaussian():
    edge = np.zeros((21, 60), np.float32)
    edge[:, 30:] = 1
    expected = ndimage.gaussian_filter(edge.astype(np.float64), 3, mode="nearest", truncate=4)
    np.testing.assert_allclose(feather(edge, 3), expected, atol=2e-3)
    assert feather(edge, 0) is edge
    with pytest.raises(ValueError, match="expected 0 or more pixels, got -3. Fix: 3"):
        feather(edge, -3)
