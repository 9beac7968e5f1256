"""Weighted F-measure: errors count by where they are."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from itertools import product

import cv2
import numpy as np

from paddleseg_u2net.metrics.pair import EPSILON, Pair


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
    missed = _missed(pair, size, sigma)
    true, false = pair.foreground - missed, _falsely_found(pair, half)
    recall, precision = 1 - missed / pair.foreground, true / (true + false + EPSILON)
    return float((1 + beta) * recall * precision / (recall + beta * precision + EPSILON))


def _falsely_found(pair: Pair, half: float) -> float:
    """Sum of the map over the background; each pixel weighs more, up to 2, the farther off it is."""
    background = (~pair.mask).view(np.uint8)
    # rows of 2 ** k pixels share few lines of the cache; 16 more make this a third faster
    background = cv2.copyMakeBorder(background, 0, 0, 0, 16, cv2.BORDER_CONSTANT, value=(1,))
    distance = cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[:, :-16]
    weights = _weights(half)
    # float32 holds the distance only roughly, but its square is a whole number
    squared = np.rint(np.square(distance, out=distance), out=distance).astype(np.intp)
    return float(np.vdot(pair.saliency, weights.take(squared, mode="clip")))


@lru_cache
def _weights(half: float) -> np.ndarray:
    """What a false detection costs, by its squared distance from the foreground; no more changes beyond."""
    bits = np.finfo(np.float64).nmant + 1
    weights = 2 - np.exp(np.log(0.5) / half * np.sqrt(np.arange(np.ceil((half * bits) ** 2) + 1)))
    weights[0] = 0  # the foreground itself
    return weights


def _missed(pair: Pair, size: int, sigma: float) -> float:
    """Sum over the foreground of the error, or of the error around where that is smaller."""
    reach = size // 2
    frame = int(np.hypot(reach, reach))
    box = _box(pair.mask, reach)
    mask = np.pad(pair.mask[box], frame)
    error, inner = np.zeros(mask.shape), (slice(frame, -frame),) * 2
    np.abs(np.subtract(pair.saliency[box], pair.mask[box], out=error[inner]), out=error[inner])
    own = error[mask]
    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    near = np.zeros_like(mask)  # nothing lies outside the image
    near[inner] = cv2.dilate(pair.mask[box].view(np.uint8), window) > mask[inner]
    _spread(error, mask, near, frame)
    offset = np.arange(-reach, reach + 1)
    gaussian = np.exp(-(offset**2) / (2 * sigma**2))
    gaussian /= gaussian.sum()
    around = cv2.sepFilter2D(error, cv2.CV_64F, gaussian, gaussian, borderType=cv2.BORDER_CONSTANT)
    return float(np.minimum(own, around[mask]).sum())


def _box(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """The rows and columns of the foreground, and a margin around: nothing farther off has an effect."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return slice(max(y - margin, 0), y + height + margin), slice(max(x - margin, 0), x + width + margin)


def _spread(error: np.ndarray, mask: np.ndarray, near: np.ndarray, frame: int) -> None:
    """Give background pixels near the foreground the error of the nearest foreground pixel, in place.

    Of two as near, the one in the column more to the left is taken, then the upper one: what scipy's
    `distance_transform_edt` does, which PySODMetrics uses (`_VoronoiFT` in ni_morphology.c walks so).

    Args:
        error: float64.
        mask: bool; without foreground in the outer `frame` pixels, so that no offset leaves the array.
        near: bool, the pixels to fill; none farther than `frame` from the foreground.
        frame: in pixels.
    """
    errors, inside, rest, width = error.ravel(), mask.ravel(), np.flatnonzero(near), mask.shape[1]
    for offsets in _rings(frame):
        sources = np.array([[dy * width + dx] for dx, dy in offsets]) + rest  # (offset, pixel)
        hits = inside[sources]
        hit = hits.any(axis=0)
        nearest = sources[hits.argmax(axis=0), np.arange(rest.size)]
        errors[rest[hit]] = errors[nearest[hit]]
        rest = rest[~hit]
        if not rest.size:
            break


@lru_cache
def _rings(farthest: int) -> list[list[tuple[int, int]]]:
    """Offsets (dx, dy) of one distance each, from near to far; in a ring, from left to right and down."""
    rings = defaultdict(list)
    for dx, dy in product(range(-farthest, farthest + 1), repeat=2):
        rings[dx * dx + dy * dy].append((dx, dy))
    return [rings[squared] for squared in sorted(rings) if squared]
