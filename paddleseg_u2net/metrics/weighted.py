"""Weighted F-measure: errors count by where they are."""

from __future__ import annotations

from functools import lru_cache

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
    background = (~pair.mask).astype(np.uint8)
    distance = cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    weights = _weights(half)
    # float32 holds the distance only roughly, but its square is a whole number
    squared = np.minimum(distance * distance + 0.5, len(weights) - 1).astype(np.int32)
    return float(np.vdot(pair.saliency, weights[squared]))


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
    box = _box(pair.mask, reach)
    mask = pair.mask[box]
    error = np.abs(pair.saliency[box] - mask)
    offset = np.arange(-reach, reach + 1)
    window = np.exp(-(offset**2) / (2 * sigma**2))
    window /= window.sum()
    spread = _spread(error, mask, reach)
    around = cv2.sepFilter2D(spread, cv2.CV_64F, window, window, borderType=cv2.BORDER_CONSTANT)
    return float(np.minimum(error, around)[mask].sum())


def _box(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """The rows and columns of the foreground, and a margin around: nothing farther off has an effect."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return slice(max(y - margin, 0), y + height + margin), slice(max(x - margin, 0), x + width + margin)


def _spread(error: np.ndarray, mask: np.ndarray, reach: int) -> np.ndarray:
    """The error; on the background near the foreground, that of the nearest foreground pixel.

    Of two as near, the one in the column more to the left is taken, then the upper one: what scipy's
    `distance_transform_edt` does, which PySODMetrics uses (`_VoronoiFT` in ni_morphology.c walks so).
    Only pixels whose window holds foreground are filled, and their offsets tried from near to far.
    """
    farthest = int(np.hypot(reach, reach))
    padded_error, padded_mask = np.pad(error, farthest), np.pad(mask, farthest)
    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    near = cv2.dilate(mask.astype(np.uint8), window).astype(bool) & ~mask
    inner = (slice(farthest, -farthest),) * 2
    band = np.zeros_like(padded_mask)
    band[inner] = near
    width = padded_mask.shape[1]
    errors, inside, rest = padded_error.ravel(), padded_mask.ravel(), np.flatnonzero(band)
    steps = range(-farthest, farthest + 1)
    offsets = sorted((dy * dy + dx * dx, dx, dy) for dy in steps for dx in steps)
    for _, dx, dy in offsets[1:]:
        source = rest + (dy * width + dx)
        hit = inside[source]
        errors[rest[hit]] = errors[source[hit]]
        rest = rest[~hit]
        if not rest.size:
            break
    return padded_error[inner]
