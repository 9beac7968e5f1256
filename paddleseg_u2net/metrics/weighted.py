"""Weighted F-measure: errors count by where they are."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from itertools import product

import cv2
import numpy as np

from paddleseg_u2net.metrics.pair import EPSILON, Pair

BLOCK = 1 << 14  # pixels at once, so that what is made of them stays in the cache


def weighted_f(pair: Pair, beta: float = 1.0, size: int = 7, sigma: float = 5.0, half: float = 5.0) -> float:
    """Weighted F of one map; 0 where the mask is empty.

    Args:
        pair: the map and its mask.
        beta: weight of precision (not squared, as in the authors' code).
        size: width in pixels of the window in which errors on the foreground make up for each other; odd.
        sigma: of the window's Gaussian, in pixels.
        half: distance in pixels from the foreground at which a false detection costs 1.5.

    Source: Margolin et al. 2014, equations 8-12, and the authors' WFb.m; `WeightedFmeasure.cal_wfm`,
    py_sod_metrics/sod_metrics.py of PySODMetrics 1.6.2.
    """
    if not pair.foreground:
        return 0.0
    distance = _distance(pair.mask)
    missed, false = _missed(pair, distance, size, sigma), _falsely_found(pair, distance, half)
    true = pair.foreground - missed
    recall, precision = 1 - missed / pair.foreground, true / (true + false + EPSILON)
    return float((1 + beta) * recall * precision / (recall + beta * precision + EPSILON))


def _distance(mask: np.ndarray) -> np.ndarray:
    """Distance to the foreground in pixels, float32: its square is a whole number but for rounding."""
    # rows of 2 ** k pixels share few lines of the cache; 16 more make this up to a third faster
    background = cv2.copyMakeBorder((~mask).view(np.uint8), 0, 0, 0, 16, cv2.BORDER_CONSTANT, value=(1,))
    return cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[:, :-16]


def _squared(distance: np.ndarray) -> np.ndarray:
    """Exact squares of distances, intp."""
    return np.rint(distance * distance).astype(np.intp)


def _falsely_found(pair: Pair, distance: np.ndarray, half: float) -> float:
    """Sum of the map over the background; each pixel weighs more, up to 2, the farther off it is."""
    height, width = distance.shape
    weights, rows, total = _weights(half), max(1, BLOCK // width), 0.0
    for top in range(0, height, rows):
        block = slice(top, top + rows)
        cost = weights.take(_squared(distance[block]), mode="clip")
        total += float(np.vdot(pair.saliency[block], cost))
    return total


@lru_cache
def _weights(half: float) -> np.ndarray:
    """What a false detection costs, by its squared distance from the foreground; no more changes beyond."""
    bits = np.finfo(np.float64).nmant + 1
    weights = 2 - np.exp(np.log(0.5) / half * np.sqrt(np.arange(np.ceil((half * bits) ** 2) + 1)))
    weights[0] = 0  # the foreground itself
    return weights


def _missed(pair: Pair, distance: np.ndarray, size: int, sigma: float) -> float:
    """Sum over the foreground of the error, or of the error around where that is smaller."""
    reach = size // 2
    frame = int(np.hypot(reach, reach))  # no pixel of a window is farther from the window's foreground
    box, inner = _box(pair.mask, reach), (slice(frame, -frame),) * 2
    mask = np.pad(pair.mask[box], frame)
    error = np.pad(pair.saliency[box], frame)
    own = error[mask] = 1 - error[mask]
    near = np.zeros_like(mask)  # never outside the image
    near[inner] = (distance[box] > 0) & (distance[box] < frame + 1)
    _spread(error, mask, np.flatnonzero(near), _squared(distance[box][near[inner]]), frame)
    offset = np.arange(-reach, reach + 1)
    gaussian = np.exp(-(offset**2) / (2 * sigma**2))
    gaussian /= gaussian.sum()
    around = cv2.sepFilter2D(error, cv2.CV_64F, gaussian, gaussian, borderType=cv2.BORDER_CONSTANT)
    return float(np.minimum(own, around[mask]).sum())


def _box(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """The rows and columns of the foreground, and a margin around: nothing farther off has an effect."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return slice(max(y - margin, 0), y + height + margin), slice(max(x - margin, 0), x + width + margin)


def _spread(error: np.ndarray, mask: np.ndarray, near: np.ndarray, squared: np.ndarray, frame: int) -> None:
    """Give background pixels near the foreground the error of the nearest foreground pixel, in place.

    Of two as near, the one in the column more to the left is taken, then the upper one: what scipy's
    `distance_transform_edt` does, which PySODMetrics uses (`_VoronoiFT` in ni_morphology.c walks so).

    Args:
        error: float64.
        mask: bool; without foreground in the outer `frame` pixels, so that no offset leaves the array.
        near: positions of the pixels to fill, in the flat arrays.
        squared: of each, the squared distance to the foreground.
        frame: in pixels; no offset is longer in rows or columns.
    """
    errors, inside, width = error.ravel(), mask.ravel(), mask.shape[1]
    for ring, offsets in _rings(frame).items():
        pixels = near[squared == ring]
        sources = np.array([[dy * width + dx] for dx, dy in offsets]) + pixels  # (offset, pixel)
        first = inside[sources].argmax(axis=0)
        errors[pixels] = errors[sources[first, np.arange(pixels.size)]]


@lru_cache
def _rings(frame: int) -> dict[int, list[tuple[int, int]]]:
    """Offsets (dx, dy) by their squared length, below `frame` + 1; in a ring, from left to right and down."""
    rings = defaultdict(list)
    for dx, dy in product(range(-frame, frame + 1), repeat=2):
        if 0 < (squared := dx * dx + dy * dy) < (frame + 1) ** 2:
            rings[squared].append((dx, dy))
    return rings
