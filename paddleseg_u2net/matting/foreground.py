"""The colours of the foreground alone, without those of the background that shine through at its edge."""

from __future__ import annotations

import cv2
import numpy as np

from paddleseg_u2net.matting.tiles import check_pair, enlarged, planes_of, tiles_of, widened, window_mean

COARSE = 480  # longest side in pixels at which the first pass takes its means
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
    count less; the radii grow with the image; the means of the first pass are taken at a low resolution.
    """
    check_pair(image, alpha)
    longest = max(alpha.shape)
    means = _coarse_means(image, alpha, first_radius)
    radius = max(1, round(second_radius * longest))
    colors = np.zeros_like(image)
    for part in tiles_of(*alpha.shape):
        levels = (alpha[part] * 255 + 0.5).astype(np.uint8)  # as in the file of a cut-out
        colors[part] = _where(levels == 255, image[part])
        mixed = (levels > 0) & (levels < 255)
        left, top, width, height = cv2.boundingRect(mixed.view(np.uint8))
        if not width:
            continue
        within = slice(top, top + height), slice(left, left + width)
        rows, columns = (
            slice(own.start + new.start, own.start + new.stop) for own, new in zip(part, within, strict=True)
        )
        outer, inner = widened((rows, columns), radius, alpha.shape)
        found = _fused(planes_of(image[outer]), alpha[outer], enlarged(means, alpha.shape, outer), radius)
        colors[rows, columns] += _where(mixed[within], cv2.merge(list(found))[inner])
    return colors


def _where(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The pixels of (h, w, 3) uint8 where the mask (h, w) bool is set, and 0 elsewhere."""
    image = np.ascontiguousarray(image)
    return cv2.bitwise_and(image, image, mask=np.ascontiguousarray(mask).view(np.uint8))


def _fused(image: np.ndarray, alpha: np.ndarray, means: np.ndarray, radius: int) -> np.ndarray:
    """Correct the means of the first pass, and do the second pass: (3, h, w) uint8.

    Args:
        image: (3, h, w) float32 in 0 .. 255.
        alpha: (h, w) float32.
        means: (6, h, w) float32, of the foreground and of the background.
        radius: of the windows of the second pass.
    """
    foreground, background = means[:3], means[3:]
    foreground = _corrected(image, alpha, foreground, background)
    foreground = _weighted_mean(foreground, alpha, radius)
    background = _weighted_mean(background, 1 - alpha, radius)
    return (_corrected(image, alpha, foreground, background) + 0.5).astype(np.uint8)


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
    longest = max(alpha.shape)
    height, width = (max(1, round(side * min(1, COARSE / longest))) for side in alpha.shape)
    low = planes_of(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    share = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA)
    radius = max(1, round(first_radius * max(height, width)))
    return np.concatenate([_weighted_mean(low, share, radius), _weighted_mean(low, 1 - share, radius)])
