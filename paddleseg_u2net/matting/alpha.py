"""Alpha at the resolution of the photograph, from a map that a network predicted at a lower one."""

from __future__ import annotations

import cv2
import numpy as np

from paddleseg_u2net.matting.tiles import (
    boxes_of,
    check_pair,
    enlarged,
    needed,
    planes_of,
    tiles_of,
    widened,
    window_mean,
)

GRID = (320, 320)  # height and width of the input of U²-Net: the resolution that the map was predicted at
RADIUS = 2
EPSILON = 1e-4
UNEXPLAINED = 0.2  # of the variance of alpha: where colours leave this share unexplained, nothing is added
LOW_TILE = 64  # side of the tiles in which slopes are computed, at the resolution of the network
LEAST_VARIANCE = 1e-6  # of alpha, below which this share means nothing
LEAST_RANGE = 1 / 255  # neighbourhoods where alpha varies less have no edge


def refine_alpha(
    image: np.ndarray,
    alpha: np.ndarray,
    grid: tuple[int, int] = GRID,
    radius: int = RADIUS,
    epsilon: float = EPSILON,
) -> np.ndarray:
    """Add to alpha the detail of the photograph that was lost at the resolution of the network.

    In a small window alpha is taken for a linear function `a · I + b` of the colour `I`, fitted at the
    resolution of the network. What is added is `a` times the difference between the photograph and its copy
    reduced to that resolution and enlarged again. Alpha stays as it is where it is even, where colours do not
    explain it (as where the network's edge is beside the photograph's), and where the photograph is no larger
    than `grid`.

    Args:
        image: (H, W, 3) uint8, RGB.
        alpha: (H, W) float32 in [0, 1], enlarged bilinearly from `grid`.
        grid: height and width in pixels that alpha was predicted at.
        radius: of the windows, in those pixels.
        epsilon: variance of colours in [0, 1] below which a window counts as of one colour.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        TypeError: arrays of another type or shape.

    Source: the fit is the guided filter for colour of He et al. 2013 (TPAMI 35(6), equations 14 to 16), at
    low resolution as in He and Sun 2015 (arXiv:1505.00996). They return `a · I + b`, which is blurred where
    the fit is poor; here the result is the given alpha there, as `a` is weighted by the share of the variance
    that the fit explains.
    """
    check_pair(image, alpha)
    height, width = alpha.shape
    size = (min(width, grid[1]), min(height, grid[0]))
    if size == (width, height):
        return alpha.copy()
    low = planes_of(cv2.resize(image, size, interpolation=cv2.INTER_AREA)) / 255
    share = cv2.resize(alpha, size, interpolation=cv2.INTER_LINEAR)
    slopes = np.zeros_like(low)
    reach = 2 * radius  # of the windows of windows that a slope depends on
    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    uneven = cv2.dilate(share, window) - cv2.erode(share, window) >= LEAST_RANGE
    for part in boxes_of(uneven, LOW_TILE):
        outer, inner = widened(part, reach, share.shape)
        found = _slopes(low[(slice(None), *outer)], share[outer], radius, epsilon)[(slice(None), *inner)]
        slopes[(slice(None), *part)] = found * uneven[part]
    maps = np.concatenate([slopes, low])
    refined = alpha.copy()
    for part in tiles_of(height, width):
        rows, columns = needed(slopes, alpha.shape, part)
        if slopes[:, rows, columns].any():
            large = enlarged(maps, alpha.shape, part)
            detail = planes_of(image[part]) / 255 - large[3:]
            found = refined[part]
            found += (large[:3] * detail).sum(axis=0)
            found.clip(0, 1, out=found)
    return refined


def _slopes(image: np.ndarray, alpha: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """The slope of alpha by colour around each pixel, (3, h, w) float32.

    It is the smaller the less of the variance of alpha the colours explain.

    Args:
        image: (3, h, w) float32 in [0, 1].
        alpha: (h, w) float32 in [0, 1].
        radius: of the windows.
        epsilon: added to the variance of each channel.
    """
    mean, middle = window_mean(image, radius), window_mean(alpha[None], radius)
    covariance = window_mean(image * alpha, radius) - mean * middle
    products = window_mean(image[FIRST] * image[SECOND], radius) - mean[FIRST] * mean[SECOND]
    products[FIRST == SECOND] += epsilon
    slopes = _solve(products, covariance)
    variance = window_mean(np.square(alpha[None]), radius) - np.square(middle)
    unexplained = 1 - (slopes * covariance).sum(axis=0) / (variance + LEAST_VARIANCE)
    return window_mean(slopes * (1 - unexplained / UNEXPLAINED).clip(0, 1), radius)


FIRST, SECOND = np.triu_indices(3)  # the channels of the six different entries of a symmetric 3 x 3 matrix


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve a symmetric system for each pixel by its adjugate: (6, h, w), (3, h, w) -> (3, h, w)."""
    a, b, c, d, e, f = matrix  # [[a, b, c], [b, d, e], [c, e, f]]
    x, y, z = right
    first, second, third = d * f - e * e, c * e - b * f, b * e - c * d
    last = b * c - a * e
    solution = (
        first * x + second * y + third * z,
        second * x + (a * f - c * c) * y + last * z,
        third * x + last * y + (a * d - b * b) * z,
    )
    return np.stack(solution) / (a * first + b * second + c * third)
