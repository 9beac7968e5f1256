"""Pictures -> which of them show the same: copies, re-encoded, resized or mirrored. Light.

A thumbnail of each is kept, never the picture. Two show the same where their thumbnails, each with its own
brightness and contrast taken out, lie within `ALIKE`, and so do their details (the thumbnail less its blur).
docs/doctor.md says what that finds and what it leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

SIDE = 16  # of a thumbnail
ALIKE, DETAIL_ALIKE = 0.15, 0.26  # distances of unit vectors: 0 for the same, 1.4 for unrelated ones
FREQUENCIES = 4  # per axis, that the search looks at; those left out can only add to a distance
NEIGHBOURS = 8  # nearest ones of each picture that are compared, which bounds time and memory
FLAT = 2.0  # standard deviation of a thumbnail below which it shows nothing, in levels of 255


class Match(NamedTuple):
    """Two pictures that show the same, by their indices, and whether one is mirrored."""

    first: int
    second: int
    mirrored: bool


def thumbnail(image: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, C) uint8 -> (16, 16) or (16, 16, C) uint8, each pixel a mean of its area."""
    # means of any area are several times slower than these two steps, and no better for the purpose
    image = cv2.resize(image, (8 * SIDE, 8 * SIDE))
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def sample(values: np.ndarray, side: int = SIDE) -> np.ndarray:
    """(H, W) or (H, W, C) -> (side, side, …), pixels picked on an even grid and never mixed."""
    return cv2.resize(values, (side, side), interpolation=cv2.INTER_NEAREST_EXACT)


def matches(first: np.ndarray, second: np.ndarray | None = None) -> Iterator[Match]:
    """Find the pictures that show the same, mirrored ones too.

    Args:
        first: (N, 16, 16, 3) uint8 thumbnails.
        second: those of another set; None to look within the first.

    Yields:
        Each pair once, the nearest of each picture first; of very many alike, those nearest.
    """
    seen = set()
    others = first if second is None else second
    if not len(first) or not len(others):
        return
    for mirrored in (False, True):
        looked = others[:, :, ::-1] if mirrored else others
        for i, j in _near(first, looked):
            key = (i, j) if second is not None else (min(i, j), max(i, j))
            itself = i == j and second is None
            if not itself and key not in seen and alike(first[i], looked[j]):
                seen.add(key)
                yield Match(*key, mirrored)


def _near(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[int, int]]:
    """Index pairs of thumbnails that may be alike, by a tree over few low frequencies."""
    from scipy.spatial import cKDTree

    kept, asked = (np.flatnonzero(stack.reshape(len(stack), -1).std(1) >= FLAT) for stack in (first, second))
    if not len(kept) or not len(asked):
        return
    tree = cKDTree(_low_frequencies(first[kept]))
    found = tree.query(_low_frequencies(second[asked]), k=NEIGHBOURS, distance_upper_bound=ALIKE)[1]
    rows, ranks = np.nonzero(found < len(kept))
    for j, i in zip(asked[rows], kept[found[rows, ranks]], strict=True):
        yield int(i), int(j)


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two thumbnails show the same, as a whole and in their details."""
    pair = np.stack([one, other]).astype(np.float32)
    details = np.stack([thumb - cv2.GaussianBlur(thumb, (0, 0), 2) for thumb in pair])
    return _distance(pair) <= ALIKE and _distance(details) <= DETAIL_ALIKE


def _distance(pair: np.ndarray) -> float:
    first, second = _unit(pair)
    return float(np.linalg.norm(first - second))


def _unit(stack: np.ndarray) -> np.ndarray:
    """(N, …) -> (N, M) float32, mean 0 and length 1 each."""
    flat = stack.reshape(len(stack), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _low_frequencies(stack: np.ndarray) -> np.ndarray:
    """(N, 16, 16, 3) -> (N, 15): the first coefficients of the cosine transform of the brightness.

    The transform keeps lengths, so two thumbnails are never further apart here than as a whole.
    """
    angles = np.outer(np.arange(FREQUENCIES), np.arange(SIDE) + 0.5) * math.pi / SIDE
    waves = (
        np.cos(angles)
        * np.where(np.arange(FREQUENCIES) > 0, math.sqrt(2 / SIDE), math.sqrt(1 / SIDE))[:, None]
    )
    found = np.empty((len(stack), FREQUENCIES**2), np.float32)
    for start in range(0, len(stack), 4096):  # in blocks, as the floats of all would take much room
        block = _unit(stack[start : start + 4096]).reshape(-1, SIDE, SIDE, stack.shape[-1]).sum(-1)
        block /= math.sqrt(stack.shape[-1])
        found[start : start + 4096] = (waves @ block @ waves.T).reshape(len(block), -1)
    return found[:, 1:]
