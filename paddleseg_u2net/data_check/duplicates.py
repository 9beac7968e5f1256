"""Pictures -> which of them show the same: copies, re-encoded, resized or mirrored. Light.

A thumbnail of each is kept, never the picture. Two show the same where their thumbnails, each with its own
brightness and contrast taken out, lie within `ALIKE`, and so do their details (the thumbnail less its blur).
docs/doctor.md says what that finds and what it leaves out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np

from paddleseg_u2net.data.inspection import THUMBNAIL_SIDE

ALIKE, DETAIL_ALIKE = 0.15, 0.26  # distances of unit vectors: 0 for the same, 1.4 for unrelated ones
FREQUENCIES = 4  # per axis, that the search looks at; those left out can only add to a distance
ENOUGH = 8  # copies of a picture, from which on no more of it are looked for
BLOCK = 256  # pictures that are looked up together, which bounds memory
FLAT = 2.0  # standard deviation of a thumbnail below which it shows nothing, in levels of 255


class Match(NamedTuple):
    """Two pictures that show the same, by their indices, and whether one is mirrored."""

    first: int
    second: int
    mirrored: bool


def matches(first: np.ndarray, second: np.ndarray | None = None) -> Iterator[Match]:
    """Find the pictures that show the same, mirrored ones too.

    Each of either set that shows the same as any of the other is named: with all of them, or where there are
    `ENOUGH` or more with as many of the nearest, so that thousands of copies of one picture stay cheap.

    Args:
        first: (N, 16, 16, 3) uint8 thumbnails.
        second: those of another set; None to look within the first, where each counts as a copy of itself.

    Yields:
        Each pair once.
    """
    seen = set()
    for mirrored in (False, True):
        others = (first if second is None else second)[:, :, :: -1 if mirrored else 1]
        found = _pairs(first, others)
        if second is not None:  # a picture may be among the nearest of another whose nearest are others
            found = itertools.chain(found, ((i, j) for j, i in _pairs(others, first)))
        for pair in found:
            key = pair if second is not None else (min(pair), max(pair))
            if key not in seen and not (second is None and key[0] == key[1]):
                seen.add(key)
                yield Match(*key, mirrored)


def _pairs(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[int, int]]:
    """Indices of thumbnails that are alike: of each of the second all of the first, or the `ENOUGH` nearest.

    A tree over few low frequencies finds those that may be. More and more of them are compared until enough
    are alike or there are no more.
    """
    from scipy.spatial import cKDTree

    kept, asked = (np.flatnonzero(stack.std((1, 2, 3)) >= FLAT) for stack in (first, second))
    if not len(kept) or not len(asked):
        return
    tree, points = cKDTree(_low_frequencies(first[kept])), _low_frequencies(second[asked])
    for start in range(0, len(asked), BLOCK):
        rows, count = np.arange(start, min(start + BLOCK, len(asked))), ENOUGH
        while len(rows):
            near = tree.query(points[rows], count, distance_upper_bound=ALIKE)[1]  # (R, count); N for none
            columns, places = np.unique(near, return_inverse=True)
            table = alike(second[asked[rows]], first[kept[columns[columns < len(kept)]]])
            table = np.pad(table, ((0, 0), (0, 1)))  # no picture is alike to none
            good = np.take_along_axis(table, places.reshape(near.shape), 1)
            good &= good.cumsum(1) <= ENOUGH
            of_rows, ranks = np.nonzero(good)
            yield from zip(kept[near[of_rows, ranks]].tolist(), asked[rows[of_rows]].tolist(), strict=True)
            rows = rows[(good.sum(1) < ENOUGH) & (near[:, -1] < len(kept))]
            count = min(8 * count, len(kept) + 1)  # the last of all is none


def alike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, M) bool: which thumbnails of two stacks show the same, as a whole and in their details."""
    table = np.empty((len(first), len(second)), bool)
    whole, details = _unit(first), _unit(_details(first))
    for start in range(0, len(second), 1024):  # in blocks, as the floats of all would take much room
        block = second[start : start + 1024]
        table[:, start : start + 1024] = (_distances(whole, _unit(block)) <= ALIKE) & (
            _distances(details, _unit(_details(block))) <= DETAIL_ALIKE
        )
    return table


def _details(stack: np.ndarray) -> np.ndarray:
    """(N, 16, 16, 3) -> (N, 768) float32: thumbnails less their blur."""
    along: Any = cv2.sepFilter2D(np.eye(THUMBNAIL_SIDE), -1, np.ones(1), cv2.getGaussianKernel(17, 2))
    sharp = (np.eye(THUMBNAIL_SIDE**2) - np.kron(along, along)).astype(np.float32)
    planes = np.moveaxis(stack, 3, 1).reshape(-1, THUMBNAIL_SIDE**2).astype(np.float32)
    return (planes @ sharp.T).reshape(len(stack), -1)


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, L) and (M, L) -> (N, M)."""
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    return np.sqrt(np.maximum(squares, 0))


def _unit(stack: np.ndarray) -> np.ndarray:
    """(N, …) -> (N, M) float32, mean 0 and length 1 each."""
    flat = stack.reshape(len(stack), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _low_frequencies(stack: np.ndarray) -> np.ndarray:
    """(N, 16, 16, 3) -> (N, 15): the first coefficients of the cosine transform of the brightness.

    The transform keeps lengths, so two thumbnails are never further apart here than as a whole.
    """
    angles = np.outer(np.arange(FREQUENCIES), np.arange(THUMBNAIL_SIDE) + 0.5) * math.pi / THUMBNAIL_SIDE
    waves = (
        np.cos(angles)
        * np.where(np.arange(FREQUENCIES) > 0, math.sqrt(2 / THUMBNAIL_SIDE), math.sqrt(1 / THUMBNAIL_SIDE))[
            :, None
        ]
    )
    found = np.empty((len(stack), FREQUENCIES**2), np.float32)
    for start in range(0, len(stack), 4096):  # in blocks, as the floats of all would take much room
        block = (
            _unit(stack[start : start + 4096])
            .reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE, stack.shape[-1])
            .sum(-1)
        )
        block /= math.sqrt(stack.shape[-1])
        found[start : start + 4096] = (waves @ block @ waves.T).reshape(len(block), -1)
    return found[:, 1:]
