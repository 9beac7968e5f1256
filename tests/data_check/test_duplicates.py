"""Which pictures show the same."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from paddleseg_u2net.data.inspection import THUMBNAIL_SIDE, sample, thumbnail
from paddleseg_u2net.data_check.duplicates import (
    ALIKE,
    DETAIL_ALIKE,
    ENOUGH,
    Match,
    alike,
    matches,
)

RNG = np.random.default_rng(0)


def scene(seed: int, size=(120, 160)) -> np.ndarray:
    """A smooth random picture with a few shapes, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(
        rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC
    )
    for _ in range(6):
        centre = [int(n) for n in rng.integers(10, 110, 2)]
        cv2.circle(image, centre, int(rng.integers(5, 25)), rng.integers(0, 256, 3).tolist(), -1)
    return image


def encoded(image: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


COPIES = {
    "itself": lambda x: x,
    "JPEG": lambda x: encoded(x, 25),
    "half": lambda x: cv2.resize(x, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "larger": lambda x: cv2.resize(x, None, fx=1.7, fy=1.7, interpolation=cv2.INTER_CUBIC),
    "square": lambda x: cv2.resize(x, (100, 100), interpolation=cv2.INTER_AREA),
    "darker": lambda x: (x * 0.6).astype(np.uint8),
}


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("name", COPIES)
def test_copies_are_found_and_nothing_else(name, mirrored):
    scenes = [scene(seed) for seed in range(30)]
    copy = COPIES[name](scenes[7])
    copy = copy[:, ::-1].copy() if mirrored else copy
    others = np.stack([thumbnail(scene(100)), thumbnail(copy), thumbnail(scene(101))])
    own = np.stack([thumbnail(image) for image in scenes])
    assert list(matches(own, others)) == [Match(7, 1, mirrored)]
    assert list(matches(np.concatenate([own, others]))) == [Match(7, 31, mirrored)]


def lit(image: np.ndarray, strength: float) -> np.ndarray:
    """The same from the left side darker."""
    return (image * np.linspace(1 - strength, 1, image.shape[1])[:, None]).astype(np.uint8)


def test_a_brute_force_search_finds_no_more():
    """The tree over a few frequencies loses none of those that are alike."""
    rng = np.random.default_rng(0)
    thumbs = np.stack([thumbnail(lit(scene(seed % 40), rng.uniform(0, 0.3))) for seed in range(80)])
    table = alike(thumbs, thumbs)
    expected = {(i, j) for i in range(80) for j in range(i + 1, 80) if table[i, j]}
    assert 20 < len(expected) < 40
    assert {match[:2] for match in matches(thumbs) if not match.mirrored} == expected


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """By its definition: each less its mean, of length one."""
    first, second = (
        (x - x.mean()) / np.linalg.norm(x - x.mean()) for x in (one.astype(float), other.astype(float))
    )
    return float(np.linalg.norm(first - second))


def test_pictures_alike_in_the_large_and_different_in_detail_are_told_apart():
    """As photographs of two eyes: one shape, other vessels."""
    base = np.tile(np.linspace(25, 225, 256)[:, None], (256, 1, 3))
    vessels = [
        np.kron(np.random.default_rng(s).normal(0, 5, (16, 16, 1)), np.ones((16, 16, 1))) for s in (1, 2)
    ]
    one, other = (thumbnail((base + texture).clip(0, 255).astype(np.uint8)) for texture in vessels)
    assert distance(one, other) < ALIKE
    np.testing.assert_array_equal(alike(np.stack([one, other]), one[None]), [[True], [False]])


def test_pictures_alike_in_detail_and_different_in_the_large_are_told_apart():
    one, other = thumbnail(scene(1, (256, 256))), thumbnail(lit(scene(1, (256, 256)), 0.6))
    assert distance(one, other) > ALIKE
    assert not alike(one[None], other[None]).any()


def test_pictures_without_content_are_alike_to_nothing():
    flat = np.full((5, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3), 77, np.uint8)
    assert list(matches(flat)) == []
    assert list(matches(flat, np.stack([thumbnail(scene(0))]))) == []
    assert list(matches(flat[:0])) == list(matches(flat, flat[:0])) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (16, 16), (37, 61)])
def test_thumbnails_of_any_size_mirror_exactly(size):
    image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    assert thumbnail(image).shape == (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)
    np.testing.assert_allclose(
        thumbnail(image[:, ::-1].copy()).astype(int), thumbnail(image)[:, ::-1].astype(int), atol=1
    )


def test_samples_are_stored_values():
    values = RNG.choice(np.array([0, 7, 300], np.uint16), (41, 33))
    assert set(np.unique(sample(values))) <= {0, 7, 300}
    np.testing.assert_array_equal(
        sample(np.arange(256, dtype=np.uint8).reshape(THUMBNAIL_SIDE, THUMBNAIL_SIDE)).ravel(), range(256)
    )


def test_time_grows_slower_than_the_square():
    """All pairs of 3,000 would take minutes at this cost per pair."""
    thumbs = np.kron(RNG.integers(0, 256, (3000, 4, 4, 3)), np.ones((1, 4, 4, 1))).astype(np.uint8)
    thumbs[2900] = thumbs[17][:, ::-1]
    started = time.process_time()
    assert list(matches(thumbs)) == [Match(17, 2900, True)]
    assert time.process_time() - started < 5


def by_definition(one: np.ndarray, other: np.ndarray) -> bool:
    details = [
        thumb - cv2.GaussianBlur(thumb, (0, 0), 2) for thumb in (one.astype(float), other.astype(float))
    ]
    return distance(one, other) <= ALIKE and distance(*details) <= DETAIL_ALIKE


def test_a_table_of_many_says_what_the_definition_says_of_each_pair():
    stacks = [copies_of(scene(0), 40, noise) for noise in (10, 20)]
    table = alike(*stacks)
    assert 0.2 < table.mean() < 0.8
    assert table.tolist() == [[by_definition(one, other) for other in stacks[1]] for one in stacks[0]]


def copies_of(image: np.ndarray, count: int, noise: float) -> np.ndarray:
    """Thumbnails of copies that differ by noise, each by another strength up to `noise`."""
    thumb = thumbnail(image).astype(float)
    return np.stack(
        [(thumb + RNG.normal(0, noise * k / count, thumb.shape)).clip(0, 255) for k in range(count)]
    ).astype(np.uint8)


def named(found: list[Match]) -> tuple[set[int], set[int]]:
    return {match.first for match in found}, {match.second for match in found}


@pytest.mark.parametrize("mirrored", [False, True])
def test_of_many_copies_in_two_sets_each_is_named(mirrored):
    """Those far from the picture are among the nearest of no other copy."""
    sides = [np.concatenate([copies_of(scene(3), 300, 35), copies_of(scene(4), 2, 0)]) for _ in range(2)]
    sides[1] = sides[1][:, :, ::-1] if mirrored else sides[1]
    table = alike(sides[0], sides[1][:, :, ::-1] if mirrored else sides[1])
    found = list(matches(*sides))
    assert named(found) == (set(np.flatnonzero(table.any(1))), set(np.flatnonzero(table.any(0))))
    assert len(found) < 2 * 302 * ENOUGH < table.sum()
    assert all(table[match[:2]] and match.mirrored == mirrored for match in found)


def test_of_many_copies_in_one_set_each_is_named():
    thumbs = copies_of(scene(3), 300, 35)
    table = alike(thumbs, thumbs) & ~np.eye(300, dtype=bool)
    found = list(matches(thumbs))
    assert set.union(*named(found)) == set(np.flatnonzero(table.any(1)))
    assert len(found) < 300 * ENOUGH < table.sum()


def test_a_copy_is_found_among_many_that_differ_in_detail_only():
    """As of fundus photographs; of half of them others are nearer in the large."""
    base = np.tile(np.linspace(25, 225, THUMBNAIL_SIDE)[:, None, None], (1, THUMBNAIL_SIDE, 3))
    first = (base + RNG.normal(0, 6, (200, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 1))).clip(0, 255).astype(np.uint8)
    light = np.linspace(1 - RNG.uniform(0, 0.15, 200), 1, THUMBNAIL_SIDE, axis=1)[:, None, :, None]
    second = (first * light).astype(np.uint8)
    expected = {(int(i), int(j)) for i, j in np.argwhere(alike(first, second))}
    assert expected == {(i, i) for i in range(200)}
    assert {match[:2] for match in matches(first, second)} == expected


def test_thousands_of_copies_of_one_picture_stay_cheap():
    thumbs = np.stack([thumbnail(scene(3))] * 5000)
    started = time.process_time()
    found = list(matches(thumbs[:2000], thumbs[2000:]))
    assert named(found) == (set(range(2000)), set(range(3000)))
    assert len(found) <= 5000 * ENOUGH
    assert set.union(*named(list(matches(thumbs)))) == set(range(5000))
    assert time.process_time() - started < 20
