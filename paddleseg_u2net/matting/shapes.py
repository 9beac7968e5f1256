"""Thresholds of saliency maps, and changes of their shapes: holes, specks, margins, soft edges."""

from __future__ import annotations

import contextlib

import cv2
import numpy as np

TRACE = 0.1  # saliency from which pixels belong to an object or its soft edge
THRESHOLDS = ("otsu", "adaptive")
MOST_GROWTH, MOST_FEATHER = 500, 500  # pixels; beyond, the time grows without use


def check_threshold(how: float | str) -> None:
    """Raise ValueError unless `find_threshold` takes a value."""
    if how not in THRESHOLDS and (isinstance(how, str) or not 0 <= how <= 1):
        found = f"'{how[:40]}'" if isinstance(how, str) else how
        raise ValueError(f"expected a number from 0 to 1, {' or '.join(THRESHOLDS)}, got {found}. Fix: 0.5")


def parse_threshold(text: str) -> float | str:
    """Convert a text: a number from 0 to 1, or a method; ValueError if it is neither."""
    value: float | str = text
    with contextlib.suppress(ValueError):
        value = float(text)
    check_threshold(value)
    return value


def check_growth(grow: int, shrink: int, feather: float) -> None:
    """Raise ValueError unless edges may be moved and softened by so many pixels."""
    if grow and shrink:
        raise ValueError("--grow and --shrink: expected one of them. Fix: leave one out")
    for name, value, most in (
        ("grow", grow, MOST_GROWTH),
        ("shrink", shrink, MOST_GROWTH),
        ("feather", feather, MOST_FEATHER),
    ):
        if value > most:
            raise ValueError(f"--{name} {value}: expected at most {most} pixels. Fix: a smaller one")


def find_threshold(saliency: np.ndarray, how: float | str) -> float:
    """The saliency from which pixels are foreground.

    Args:
        saliency: (H, W) float32 in [0, 1].
        how: a number from 0 to 1; `otsu`, the one that best separates two groups of pixels (Otsu 1979); or
            `adaptive`, twice the mean, at most 1 (Achanta et al. 2009; as in PySODMetrics).

    Raises:
        ValueError: none of these.
    """
    check_threshold(how)
    if how == "adaptive":
        return min(2 * float(saliency.mean(dtype=np.float64)), 1.0)
    if how == "otsu":
        levels = (saliency * 255 + 0.5).astype(np.uint8)
        # foreground is above the level that OpenCV returns
        return (cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)[0] + 0.5) / 255
    return float(how)


def fill_holes(saliency: np.ndarray) -> np.ndarray:
    """Set to 1 what lies below 0.5 and is enclosed by pixels of at least 0.5.

    Args:
        saliency: (H, W) float32 in [0, 1].
    """
    ground = np.pad((saliency < 0.5).astype(np.uint8), 1, constant_values=1)
    labels = np.asarray(cv2.connectedComponents(ground, connectivity=4)[1])
    enclosed = (labels != labels[0, 0]) & (ground > 0)
    return np.where(enclosed[1:-1, 1:-1], np.float32(1), saliency)


def drop_specks(saliency: np.ndarray, smallest: int) -> np.ndarray:
    """Set to 0 the objects of fewer pixels of at least 0.5 than `smallest`, with their soft edges.

    Args:
        saliency: (H, W) float32 in [0, 1].
        smallest: number of pixels, from 1.
    """
    count, found = cv2.connectedComponents((saliency >= TRACE).astype(np.uint8), connectivity=8)
    labels = np.asarray(found, np.int32)
    areas = np.bincount(labels[saliency >= 0.5], minlength=count)
    kept = areas >= smallest
    kept[0] = True  # no object: faint pixels, which are nobody's edge
    return saliency * kept[labels]


def grow(alpha: np.ndarray, pixels: int) -> np.ndarray:
    """Move the edges of objects outwards, or inwards if `pixels` is negative.

    Args:
        alpha: (H, W) float32 in [0, 1].
        pixels: radius of the round neighbourhood whose maximum or minimum is taken.
    """
    if not pixels:
        return alpha
    side = 2 * abs(pixels) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    # beyond the border the nearest pixel counts, so that objects that are cut by it do not retreat from it
    change = cv2.dilate if pixels > 0 else cv2.erode
    return change(alpha, disc, borderType=cv2.BORDER_REPLICATE)


def feather(alpha: np.ndarray, sigma: float) -> np.ndarray:
    """Soften edges by a Gaussian.

    Args:
        alpha: (H, W) float32 in [0, 1].
        sigma: standard deviation in pixels, from 0, which changes nothing.
    """
    if sigma < 0:
        raise ValueError(f"feather: expected 0 or more pixels, got {sigma}. Fix: {-sigma}")
    return cv2.GaussianBlur(alpha, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE) if sigma else alpha
