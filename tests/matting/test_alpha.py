"""Refined alpha: its arithmetic against float64, drawn truth, tiles, borders and wrong arrays."""

from __future__ import annotations

import tracemalloc
from functools import partial

import cv2
import numpy as np
import pytest

from paddleseg_u2net.matting import alpha as module
from paddleseg_u2net.matting.alpha import _slopes, refine_alpha
from paddleseg_u2net.matting.tiles import enlarged, tiles_of

RNG = np.random.default_rng(0)


def reduced(alpha: np.ndarray, side: int = 320) -> np.ndarray:
    low = cv2.resize(alpha, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(low, alpha.shape[::-1], interpolation=cv2.INTER_LINEAR)


def strands(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A green disk with strands before a violet ground, and its alpha."""
    drawn = np.zeros((height, width), np.uint8)
    cv2.circle(drawn, (width // 2, height // 2), height // 5, (255,), -1, cv2.LINE_AA)
    for angle in np.linspace(0, 2 * np.pi, 40):
        tip = np.array([width / 2, height / 2]) + 0.42 * height * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(drawn, (width // 2, height // 2), tip.astype(int).tolist(), (255,), 2, cv2.LINE_AA)
    alpha = drawn.astype(np.float32) / 255
    colors = np.array([40, 200, 60]) * alpha[..., None] + np.array([150, 60, 170]) * (1 - alpha[..., None])
    return (colors + 0.5).astype(np.uint8), alpha


def test_strands_lost_at_the_resolution_of_the_network_come_back():
    image, truth = strands(720, 960)
    before = reduced(truth)
    after = refine_alpha(image, before)
    assert np.abs(after - truth).mean() < 0.15 * np.abs(before - truth).mean()


def test_slopes_are_those_of_ridge_regressions_weighted_by_explained_variance():
    image, alpha = RNG.random((3, 9, 11)).astype(np.float32), RNG.random((9, 11)).astype(np.float32)
    radius, epsilon = 1, 1e-3
    colors = np.pad(image.astype(np.float64), ((0, 0), (radius, radius), (radius, radius)), "symmetric")
    shares = np.pad(alpha.astype(np.float64), radius, "symmetric")
    expected = np.zeros((3, 9, 11))
    for y, x in np.ndindex(9, 11):
        window = np.s_[y : y + 2 * radius + 1, x : x + 2 * radius + 1]
        samples, values = colors[(slice(None), *window)].reshape(3, -1), shares[window].ravel()
        covariance = np.cov(samples, values, bias=True)
        slope = np.linalg.solve(covariance[:3, :3] + epsilon * np.eye(3), covariance[:3, 3])
        unexplained = 1 - slope @ covariance[:3, 3] / (covariance[3, 3] + module.LEAST_VARIANCE)
        expected[:, y, x] = slope * np.clip(1 - unexplained / module.UNEXPLAINED, 0, 1)
    padded = np.pad(expected, ((0, 0), (radius, radius), (radius, radius)), "symmetric")
    means = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2)).mean((3, 4))
    assert np.abs(means).max() > 0.5
    np.testing.assert_allclose(_slopes(image, alpha, radius, epsilon), means, atol=2e-3)


@pytest.mark.parametrize("shape", [(700, 523), (333, 1000), (1, 900), (900, 1)])
def test_tiles_give_what_the_whole_image_gives(monkeypatch, shape):
    image = RNG.integers(0, 256, (*shape, 3), np.uint8)
    alpha = reduced(image[..., 1].astype(np.float32) / 255)
    monkeypatch.setattr(module, "tiles_of", partial(tiles_of, side=max(shape)))
    whole = refine_alpha(image, alpha)
    monkeypatch.setattr(module, "tiles_of", partial(tiles_of, side=64))
    np.testing.assert_array_equal(refine_alpha(image, alpha), whole)
    assert np.abs(whole - alpha).max() > 0.01


@pytest.mark.parametrize("small", [(1, 1), (7, 5), (3, 320)])
def test_enlarging_a_tile_is_resizing_by_opencv(small):
    low = RNG.random((2, *small), np.float32)
    part = np.s_[100:250, 31:333]
    expected = [cv2.resize(plane, (400, 300), interpolation=cv2.INTER_LINEAR)[part] for plane in low]
    np.testing.assert_allclose(enlarged(low, (300, 400), part), expected, atol=1e-5)


@pytest.mark.parametrize("value", [0, 0.5, 1])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (500, 400)])
def test_even_alpha_stays(shape, value):
    image = RNG.integers(0, 256, (*shape, 3), np.uint8)
    alpha = np.full(shape, value, np.float32)
    np.testing.assert_array_equal(refine_alpha(image, alpha), alpha)


def test_photograph_no_larger_than_the_network_input_stays():
    image, truth = strands(200, 320)
    np.testing.assert_allclose(refine_alpha(image, truth), truth, atol=1e-6)


def test_photograph_without_contrast_leaves_alpha():
    _, truth = strands(400, 500)
    alpha = reduced(truth)
    np.testing.assert_allclose(refine_alpha(np.full((400, 500, 3), 90, np.uint8), alpha), alpha, atol=1e-4)


def test_result_is_in_range_and_the_given_arrays_stay():
    image, alpha = RNG.integers(0, 256, (640, 700, 3), np.uint8), reduced(RNG.random((640, 700), np.float32))
    kept = image.copy(), alpha.copy()
    refined = refine_alpha(image[::-1, ::-1], alpha[::-1, ::-1])  # views with negative strides too
    assert refined.dtype == np.float32
    assert refined.min() >= 0
    assert refined.max() <= 1
    np.testing.assert_array_equal(image, kept[0])
    np.testing.assert_array_equal(alpha, kept[1])


def test_memory_beside_the_result_does_not_grow_with_the_photograph():
    image, alpha = np.zeros((2000, 2000, 3), np.uint8), np.zeros((2000, 2000), np.float32)
    image[:, 900:], alpha[:, 1000:] = 255, 1
    tracemalloc.start()
    refine_alpha(image, alpha)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < alpha.nbytes + 24e6  # RGB in float32 would take 48 MB


@pytest.mark.parametrize(
    ("image", "alpha"),
    [
        (np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.float32)),
        (np.zeros((4, 5, 4), np.uint8), np.zeros((4, 5), np.float32)),
        (np.zeros((4, 5, 3), np.float32), np.zeros((4, 5), np.float32)),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8)),
        (np.zeros((0, 5, 3), np.uint8), np.zeros((0, 5), np.float32)),
    ],
)
def test_wrong_arrays_are_named(image, alpha):
    with pytest.raises(TypeError, match=r"expected an image \(H, W, 3\) uint8 and alpha .*, got "):
        refine_alpha(image, alpha)
