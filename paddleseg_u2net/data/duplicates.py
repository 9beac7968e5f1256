"""Find images that show the same picture by their thumbnails: copies, re-encoded, resized or mirrored.

Two images show the same picture if their thumbnails, each normalized to mean 0 and length 1, are no further
apart than `MAX_DISTANCE`, and their details (the thumbnail minus its blur) no further than
`MAX_DETAIL_DISTANCE`. docs/data/check_dataset.md gives the copies this finds and those it misses.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from paddleseg_u2net.data.thumbnails import THUMBNAIL_SIDE

MAX_DISTANCE, MAX_DETAIL_DISTANCE = 0.15, 0.26  # of unit vectors: 0 for equal ones, 1.4 for unrelated ones
FREQUENCIES = 6  # per axis, in the index; the frequencies left out can only add to a distance
MAX_MATCHES = 8  # matches of an image that are reported if it has more
BLOCK = 256  # images that are searched together, which bounds memory
WIDE_BLOCK = 1024  # images that are compared with all others together
MIN_CONTRAST = 2.0  # standard deviation, of 255 levels; thumbnails below it match nothing


class Match(NamedTuple):
    """Two images that show the same picture, by their indices, and whether one is mirrored."""

    first: int
    second: int
    mirrored: bool


def find_matches(first: np.ndarray, second: np.ndarray | None = None) -> Iterator[Match]:
    """Find images that show the same picture, mirrored or not.

    Every image with a match in the other set is reported: with all its matches, or with `MAX_MATCHES` of
    them if there are more, which bounds the cost of thousands of copies of one picture.

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
    """For each thumbnail of `second`, all matches in `first`, or `MAX_MATCHES` of them.

    Equal thumbnails are compared once. A k-d tree over low frequencies yields the nearest candidates; the few
    thumbnails that have more candidates, and not enough matches among these, are compared with clusters.
    """
    from scipy.spatial import cKDTree

    left, right = _different(first), _different(second)
    if not left or not right:
        return
    kept, wanted = (stack[[same[0] for same in group]] for stack, group in ((first, left), (second, right)))
    waves, points = _low_frequencies(kept), _low_frequencies(wanted)
    tree, crowded = cKDTree(waves), []
    for start in range(0, len(wanted), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(wanted)))
        # (R, MAX_MATCHES) indices into `kept`; len(kept) where there is no further candidate
        near = tree.query(points[rows], MAX_MATCHES, distance_upper_bound=MAX_DISTANCE)[1]
        columns, places = np.unique(near, return_inverse=True)
        table = same_picture(wanted[rows], kept[columns[columns < len(kept)]])
        table = np.pad(table, ((0, 0), (0, 1)))  # a last column for `no candidate`, which never matches
        good = np.take_along_axis(table, places.reshape(near.shape), 1)
        ready = good.all(1) | (near[:, -1] == len(kept))
        for row in np.flatnonzero(ready & good.any(1)):
            yield from _members(left, near[row, good[row]], right[rows[row]])
        crowded += rows[~ready].tolist()
    if crowded:
        around = cKDTree(points[crowded]).query(waves, distance_upper_bound=MAX_DISTANCE)[0]
        columns = np.flatnonzero(np.isfinite(around))
        for row, matches in zip(crowded, _cluster_pairs(kept[columns], wanted[crowded]), strict=True):
            yield from _members(left, columns[matches], right[row])


def _different(stack: np.ndarray) -> list[list[int]]:
    """Return the indices of the images of each different thumbnail that has contrast."""
    found: dict[bytes, list[int]] = {}
    for index in np.flatnonzero(stack.std((1, 2, 3)) >= MIN_CONTRAST).tolist():
        found.setdefault(stack[index].tobytes(), []).append(index)
    return list(found.values())


def _members(
    left: Sequence[list[int]], matches: np.ndarray, images: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Pair each of some images with the first `MAX_MATCHES` images of the thumbnails that match theirs."""
    found = [index for match in matches.tolist() for index in left[match][:MAX_MATCHES]][:MAX_MATCHES]
    return itertools.product(found, images)


def _cluster_pairs(first: np.ndarray, second: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the indices in `first` of up to `MAX_MATCHES` matches of each thumbnail of `second`.

    A thumbnail is compared with the clusters of `first`, and with the members of those that it is near to: by
    the triangle inequality all others are too far away. So thousands of nearly equal pictures cost little.
    """
    leaders, numbers = _clusters(first)
    for start in range(0, len(second), WIDE_BLOCK):
        rows = second[start : start + WIDE_BLOCK]
        is_near = same_picture(rows, first[leaders], 2.001)  # a little more, for rounding
        columns = np.flatnonzero(np.any(is_near, axis=0, keepdims=True)[0, numbers])
        table = same_picture(rows, first[columns])
        yield from (columns[np.flatnonzero(row)[:MAX_MATCHES]] for row in table)


def _clusters(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of thumbnails of which every other one matches one, and the number of that one."""
    leaders, numbers = np.empty(0, int), np.empty(len(stack), int)
    for start in range(0, len(stack), WIDE_BLOCK):
        block = np.arange(start, min(start + WIDE_BLOCK, len(stack)))
        candidates = np.concatenate([leaders, block])
        table = same_picture(stack[block], stack[candidates])
        leads = np.arange(len(candidates)) < len(leaders)
        chosen = np.empty(len(block), int)
        for row, matches in enumerate(table):
            leads[len(leaders) + row] = not (matches & leads).any()
            chosen[row] = (matches & leads).argmax()
        numbers[block] = (leads.cumsum() - 1)[chosen]
        leaders = candidates[leads]
    return leaders, numbers


def same_picture(first: np.ndarray, second: np.ndarray, reach: float = 1) -> np.ndarray:
    """Compare every thumbnail of one stack with every one of another, as a whole and in their details.

    Args:
        first: (N, 16, 16, 3) uint8.
        second: (M, 16, 16, 3) uint8.
        reach: factor of the distances that are allowed.

    Returns:
        (N, M) bool.
    """
    table = np.empty((len(first), len(second)), bool)
    whole, details = _normalize(first), _normalize(_details(first))
    for start in range(0, len(second), 1024):  # in blocks: all as float32 would need much memory
        block = second[start : start + 1024]
        near = _distances(whole, _normalize(block)) <= reach * MAX_DISTANCE
        if near.any():
            near &= _distances(details, _normalize(_details(block))) <= reach * MAX_DETAIL_DISTANCE
        table[:, start : start + 1024] = near
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
    """(N, 16, 16, 3) -> (N, 35): the first coefficients of the cosine transform of the brightness.

    The transform keeps lengths, so a distance here is never larger than that of the whole thumbnails.
    """
    from scipy.fft import dctn

    found = np.empty((len(stack), FREQUENCIES**2), np.float32)
    for start in range(0, len(stack), 4096):  # in blocks: all as float32 would need much memory
        brightness = _normalize(stack[start : start + 4096]).reshape(-1, *stack.shape[1:]).sum(-1)
        waves = np.asarray(dctn(brightness / math.sqrt(stack.shape[-1]), axes=(1, 2), norm="ortho"))
        found[start : start + 4096] = waves[:, :FREQUENCIES, :FREQUENCIES].reshape(len(waves), -1)
    return found[:, 1:]
