"""The colours of the foreground alone, without those of the background that shine through at its edge."""

from __future__ import annotations

import math

import cv2
import numpy as np

from paddleseg_u2net.matting.tiles import (
    boxes_of,
    check_pair,
    enlarged,
    masked,
    planes_of,
    widened,
    window_mean,
)

COARSE, FINE = 480, 1024  # longest side in pixels at which the first and the second pass take their means
FIRST_RADIUS = 0.1  # of the windows of the two passes, as shares of the longest side
SECOND_RADIUS = 0.006
TINY = 1e-5  # keeps windows without foreground, or without background, from dividing by zero


def foreground_colors(
    image: np.ndarray,
    alpha: np.ndarray,
    first_radius: float = FIRST_RADIUS,
    second_radius: float = SECOND_RADIUS,
) -> np.ndarray:
    """Estimate the colours that the foreground has where the background shines through.

    There are two passes, the first with large windows and the second with small ones. Each takes weighted
    means of the colours of foreground and background around each pixel, and then corrects the foreground's so
    that both, mixed by alpha, come closer to the photograph.

    Args:
        image: (H, W, 3) uint8, RGB.
        alpha: (H, W) float32 in [0, 1].
        first_radius: of the windows of the first pass, as a share of the image's longest side.
        second_radius: of those of the second pass.

    Returns:
        (H, W, 3) uint8, RGB: that of the image where alpha rounds to 255, 0 where it rounds to 0.

    Raises:
        TypeError: arrays of another type or shape.

    Source: Forte 2021, "Approximate Fast Foreground Colour Estimation" (ICIP), blur fusion with two passes.
    Differences: the weights of the means are the fourth powers of alpha and 1 - alpha, so that mixed colours
    count less; the radii grow with the image; the means are taken at lower resolutions.
    """
    check_pair(image, alpha)
    means = _fine_means(image, alpha, first_radius, second_radius)
    levels = cv2.convertScaleAbs(alpha, alpha=255)  # rounded, as in the file of a cut-out
    colors = masked(image, levels == 255)
    mixed = (levels > 0) & (levels < 255)
    for part in boxes_of(mixed):
        large = enlarged(means, alpha.shape, part)
        found = _corrected(planes_of(image[part]), alpha[part], large[:3], large[3:])
        colors[part] += masked(cv2.merge(list((found + 0.5).astype(np.uint8))), mixed[part])
    return colors


def _fine_means(
    image: np.ndarray, alpha: np.ndarray, first_radius: float, second_radius: float
) -> np.ndarray:
    """The means of the second pass: (6, h, w) float32 in 0 .. 255, of the foreground and of the background.

    They are 0 where alpha is 0 or 1 all around.
    """
    image, alpha = _reduced(image, alpha, FINE)
    coarse = _coarse_means(image, alpha, first_radius)
    radius = max(1, round(second_radius * max(alpha.shape)))
    means = np.zeros((6, *alpha.shape), np.float32)
    mixed = ((alpha > 0) & (alpha < 1)).view(np.uint8)
    for part in boxes_of(cv2.dilate(mixed, np.ones((3, 3), np.uint8))):  # all that `enlarged` reads
        outer, inner = widened(part, radius, alpha.shape)
        first, share = enlarged(coarse, alpha.shape, outer), alpha[outer]
        foreground = _corrected(planes_of(image[outer]), share, first[:3], first[3:])
        means[(slice(3), *part)] = _weighted_mean(foreground, share, radius)[(slice(None), *inner)]
        means[(slice(3, 6), *part)] = _weighted_mean(first[3:], 1 - share, radius)[(slice(None), *inner)]
    return means


def _reduced(image: np.ndarray, alpha: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and its alpha by a whole factor smaller, their longest side at most `longest` pixels.

    OpenCV takes means by whole factors in a third of the time.
    """
    factor = math.ceil(max(alpha.shape) / longest)
    height, width = (max(1, round(side / factor)) for side in alpha.shape)
    image, alpha = (cv2.resize(own, (width, height), interpolation=cv2.INTER_AREA) for own in (image, alpha))
    return image, alpha


def _corrected(
    image: np.ndarray, alpha: np.ndarray, foreground: np.ndarray, background: np.ndarray
) -> np.ndarray:
    """The foreground after one step towards `image = alpha · foreground + (1 - alpha) · background`."""
    rest = foreground - background
    rest *= -alpha
    rest += image
    rest -= background
    rest *= alpha
    rest += foreground
    return rest.clip(0, 255, out=rest)


def _weighted_mean(colors: np.ndarray, weight: np.ndarray, radius: int) -> np.ndarray:
    """Mean colour of the window around each pixel, weighted by the fourth power: (3, h, w) float32."""
    weight = np.square(np.square(weight))
    return window_mean(colors * weight, radius) / (window_mean(weight[None], radius) + TINY)


def _coarse_means(image: np.ndarray, alpha: np.ndarray, first_radius: float) -> np.ndarray:
    """Mean colours of foreground and background in large windows, (6, h, w) float32 in 0 .. 255."""
    image, share = _reduced(image, alpha, COARSE)
    low, radius = planes_of(image), max(1, round(first_radius * max(share.shape)))
    return np.concatenate([_weighted_mean(low, share, radius), _weighted_mean(low, 1 - share, radius)])
