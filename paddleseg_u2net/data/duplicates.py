"""Find images that show the same picture by their thumbnails: copies, re-encoded, resized or mirrored.

Two images show the same picture if their thumbnails, each normalized to mean 0 and length 1, are no further
apart than `MAX_DISTANCE`, and their details (the thumbnail minus its blur) no further than
`MAX_DETAIL_DISTANCE`. docs/data/check_dataset.md gives the copies this finds and those it misses.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np

from paddleseg_u2net.data.thumbnails import THUMBNAIL_SIDE

MAX_DISTANCE, MAX_DETAIL_DISTANCE = 0.15, 0.26  # of unit vectors: 0 for equal ones, 1.4 for unrelated ones
FREQUENCIES = 4  # per axis, in the index; the frequencies left out can only add to a distance
MAX_MATCHES = 8  # the nearest matches of an image that are reported if it has more
BLOCK = 256  # images that are searched together, which bounds memory
MIN_CONTRAST = 2.0  # standard deviation, of 255 levels; thumbnails below it match nothing


class Match(NamedTuple):
    """Two images that show the same picture, by their indices, and whether one is mirrored."""

    first: int
    second: int
    mirrored: bool


def find_matches(first: np.ndarray, second: np.ndarray | None = None) -> Iterator[Match]:
    """Find images that show the same picture, mirrored or not.

    Every image with a match in the other set is reported: with all its matches, or with the nearest ones if
    there are `MAX_MATCHES` or more, which bounds the cost of thousands of copies of one picture.

    Args:
        first: (N, 16, 16, 3) uint8 thumbnails.
        second: (M, 16, 16, 3) uint8 thumbnails of another set; None to search within the first, where each
            image counts as one match of itself.

    Yields:
        Each match once.
    """
    seen = set()
    for mirrored in (False, True):
        others = (first if second is None else second)[:, :, :: -1 if mirrored else 1]
        found = _index_pairs(first, others)
        if second is not None:  # being among the nearest is not symmetric, so search in both directions
            found = itertools.chain(found, ((i, j) for j, i in _index_pairs(others, first)))
        for pair in found:
            key = pair if second is not None else (min(pair), max(pair))
            if key not in seen and not (second is None and key[0] == key[1]):
                seen.add(key)
                yield Match(*key, mirrored)


def find_turned(thumbs: np.ndarray) -> Iterator[tuple[int, int]]:
    """Find images of one set of which one is the other mirrored, upside down or turned by 90 degrees.

    Args:
        thumbs: (N, 16, 16, 3) uint8 thumbnails.

    Yields:
        Indices of two images; a pair may come more than once.
    """
    for turns in range(4):
        for step in (1, -1):
            if (turns, step) != (0, 1):
                turned = np.ascontiguousarray(np.rot90(thumbs[:, :, ::step], turns, (1, 2)))
                yield from (pair for pair in _index_pairs(thumbs, turned) if pair[0] != pair[1])


def _index_pairs(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[int, int]]:
    """For each thumbnail of `second`, all matches in `first`, or the `MAX_MATCHES` nearest.

    A k-d tree over low frequencies yields candidates. They are compared in growing numbers until enough of
    them match or none is left.
    """
    from scipy.spatial import cKDTree

    kept, wanted = (np.flatnonzero(stack.std((1, 2, 3)) >= MIN_CONTRAST) for stack in (first, second))
    if not len(kept) or not len(wanted):
        return
    tree, points = cKDTree(_low_frequencies(first[kept])), _low_frequencies(second[wanted])
    for start in range(0, len(wanted), BLOCK):
        rows, count = np.arange(start, min(start + BLOCK, len(wanted))), MAX_MATCHES
        while len(rows):
            # (R, count) indices into `kept`; len(kept) where there is no further candidate
            near = tree.query(points[rows], count, distance_upper_bound=MAX_DISTANCE)[1]
            columns, places = np.unique(near, return_inverse=True)
            table = same_picture(second[wanted[rows]], first[kept[columns[columns < len(kept)]]])
            table = np.pad(table, ((0, 0), (0, 1)))  # a last column for `no candidate`, which never matches
            good = np.take_along_axis(table, places.reshape(near.shape), 1)
            good &= good.cumsum(1) <= MAX_MATCHES
            of_rows, ranks = np.nonzero(good)
            yield from zip(kept[near[of_rows, ranks]].tolist(), wanted[rows[of_rows]].tolist(), strict=True)
            rows = rows[(good.sum(1) < MAX_MATCHES) & (near[:, -1] < len(kept))]
            count = min(8 * count, len(kept) + 1)  # one more than there are, so that the last is none


def same_picture(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compare every thumbnail of one stack with every one of another, as a whole and in their details.

    Args:
        first: (N, 16, 16, 3) uint8.
        second: (M, 16, 16, 3) uint8.

    Returns:
        (N, M) bool.
    """
    table = np.empty((len(first), len(second)), bool)
    whole, details = _normalize(first), _normalize(_details(first))
    for start in range(0, len(second), 1024):  # in blocks: all as float32 would need much memory
        block = second[start : start + 1024]
        table[:, start : start + 1024] = (_distances(whole, _normalize(block)) <= MAX_DISTANCE) & (
            _distances(details, _normalize(_details(block))) <= MAX_DETAIL_DISTANCE
        )
    return table


def _details(stack: np.ndarray) -> np.ndarray:
    """(N, 16, 16, 3) -> (N, 768) float32: thumbnails minus their blur."""
    along: Any = cv2.sepFilter2D(np.eye(THUMBNAIL_SIDE), -1, np.ones(1), cv2.getGaussianKernel(17, 2))
    sharp = (np.eye(THUMBNAIL_SIDE**2) - np.kron(along, along)).astype(np.float32)
    planes = np.moveaxis(stack, 3, 1).reshape(-1, THUMBNAIL_SIDE**2).astype(np.float32)
    return (planes @ sharp.T).reshape(len(stack), -1)


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, L) and (M, L) -> (N, M)."""
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    return np.sqrt(np.maximum(squares, 0))


def _normalize(stack: np.ndarray) -> np.ndarray:
    """(N, …) -> (N, L) float32, each with mean 0 and length 1."""
    flat = stack.reshape(len(stack), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _low_frequencies(stack: np.ndarray) -> np.ndarray:
    """(N, 16, 16, 3) -> (N, 15): the first coefficients of the cosine transform of the brightness.

    The transform keeps lengths, so a distance here is never larger than that of the whole thumbnails.
    """
    from scipy.fft import dctn

    found = np.empty((len(stack), FREQUENCIES**2), np.float32)
    for start in range(0, len(stack), 4096):  # in blocks: all as float32 would need much memory
        brightness = _normalize(stack[start : start + 4096]).reshape(-1, *stack.shape[1:]).sum(-1)
        waves = np.asarray(dctn(brightness / math.sqrt(stack.shape[-1]), axes=(1, 2), norm="ortho"))
        found[start : start + 4096] = waves[:, :FREQUENCIES, :FREQUENCIES].reshape(len(waves), -1)
    return found[:, 1:]
