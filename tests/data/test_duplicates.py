"""Images that show the same picture are found by their thumbnails."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from paddleseg_u2net.data import duplicates
from paddleseg_u2net.data.duplicates import (
    MAX_DETAIL_DISTANCE,
    MAX_DISTANCE,
    MAX_MATCHES,
    Match,
    find_matches,
    find_turned,
    same_picture,
)
from paddleseg_u2net.data.thumbnails import THUMBNAIL_SIDE, sample, thumbnail

RNG = np.random.default_rng(0)


def scene(seed: int, size=(120, 160)) -> np.ndarray:
    """A smooth random picture with a few circles, (H, W, 3) uint8."""
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
def test_only_copies_are_found(name, mirrored):
    scenes = [scene(seed) for seed in range(30)]
    copy = COPIES[name](scenes[7])
    copy = copy[:, ::-1].copy() if mirrored else copy
    others = np.stack([thumbnail(scene(100)), thumbnail(copy), thumbnail(scene(101))])
    own = np.stack([thumbnail(image) for image in scenes])
    assert list(find_matches(own, others)) == [Match(7, 1, mirrored)]
    assert list(find_matches(np.concatenate([own, others]))) == [Match(7, 31, mirrored)]


def lit(image: np.ndarray, strength: float) -> np.ndarray:
    """The image, darkened from the left."""
    return (image * np.linspace(1 - strength, 1, image.shape[1])[:, None]).astype(np.uint8)


def test_index_finds_what_brute_force_finds():
    """The tree over a few frequencies loses no match."""
    rng = np.random.default_rng(0)
    thumbs = np.stack([thumbnail(lit(scene(seed % 40), rng.uniform(0, 0.3))) for seed in range(80)])
    table = same_picture(thumbs, thumbs)
    expected = {(i, j) for i in range(80) for j in range(i + 1, 80) if table[i, j]}
    assert 20 < len(expected) < 40
    assert {match[:2] for match in find_matches(thumbs) if not match.mirrored} == expected


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """By definition: of thumbnails with mean 0 and length 1."""
    first, second = (
        (x - x.mean()) / np.linalg.norm(x - x.mean()) for x in (one.astype(float), other.astype(float))
    )
    return float(np.linalg.norm(first - second))


def test_images_that_differ_in_detail_only_do_not_match():
    """Like photographs of two retinas: the same shape, different vessels."""
    base = np.tile(np.linspace(25, 225, 256)[:, None], (256, 1, 3))
    vessels = [
        np.kron(np.random.default_rng(s).normal(0, 5, (16, 16, 1)), np.ones((16, 16, 1))) for s in (1, 2)
    ]
    one, other = (thumbnail((base + texture).clip(0, 255).astype(np.uint8)) for texture in vessels)
    assert distance(one, other) < MAX_DISTANCE
    np.testing.assert_array_equal(same_picture(np.stack([one, other]), one[None]), [[True], [False]])


def test_images_with_equal_details_that_differ_as_a_whole_do_not_match():
    one, other = thumbnail(scene(1, (256, 256))), thumbnail(lit(scene(1, (256, 256)), 0.6))
    assert distance(one, other) > MAX_DISTANCE
    assert not same_picture(one[None], other[None]).any()


def test_images_without_contrast_match_nothing():
    flat = np.full((5, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3), 77, np.uint8)
    assert list(find_matches(flat)) == []
    assert list(find_matches(flat, np.stack([thumbnail(scene(0))]))) == []
    assert list(find_matches(flat[:0])) == list(find_matches(flat, flat[:0])) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (16, 16), (37, 61)])
def test_thumbnail_of_mirrored_image_is_mirrored(size):
    image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    assert thumbnail(image).shape == (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)
    np.testing.assert_allclose(
        thumbnail(image[:, ::-1].copy()).astype(int), thumbnail(image)[:, ::-1].astype(int), atol=1
    )


def test_samples_hold_stored_values_only():
    values = RNG.choice(np.array([0, 7, 300], np.uint16), (41, 33))
    assert set(np.unique(sample(values))) <= {0, 7, 300}
    np.testing.assert_array_equal(
        sample(np.arange(256, dtype=np.uint8).reshape(THUMBNAIL_SIDE, THUMBNAIL_SIDE)).ravel(), range(256)
    )


def test_number_of_comparisons_grows_slower_than_quadratically(monkeypatch):
    """Comparing all pairs of 3,000 images would take minutes."""
    thumbs = np.kron(RNG.integers(0, 256, (2048, 4, 4, 3)), np.ones((1, 4, 4, 1))).astype(np.uint8)
    thumbs[1000] = thumbs[17][:, ::-1]
    distances, compared = duplicates._distances, []

    def count(first, second):
        compared.append(len(first) * len(second))
        return distances(first, second)

    monkeypatch.setattr(duplicates, "_distances", count)
    sums = []
    for images in (1024, 2048):
        compared.clear()
        assert list(find_matches(thumbs[:images])) == [Match(17, 1000, True)]
        sums.append(sum(compared))
    assert sums[1] < 3 * sums[0]


def by_definition(one: np.ndarray, other: np.ndarray) -> bool:
    details = [
        thumb - cv2.GaussianBlur(thumb, (0, 0), 2) for thumb in (one.astype(float), other.astype(float))
    ]
    return distance(one, other) <= MAX_DISTANCE and distance(*details) <= MAX_DETAIL_DISTANCE


def test_table_equals_the_definition_for_each_pair():
    stacks = [copies_of(scene(0), 40, noise) for noise in (10, 20)]
    table = same_picture(*stacks)
    assert 0.2 < table.mean() < 0.8
    assert table.tolist() == [[by_definition(one, other) for other in stacks[1]] for one in stacks[0]]


def copies_of(image: np.ndarray, count: int, noise: float) -> np.ndarray:
    """Thumbnails of copies with noise of increasing strength, up to `noise`."""
    thumb = thumbnail(image).astype(float)
    return np.stack(
        [(thumb + RNG.normal(0, noise * k / count, thumb.shape)).clip(0, 255) for k in range(count)]
    ).astype(np.uint8)


def indices(found: list[Match]) -> tuple[set[int], set[int]]:
    return {match.first for match in found}, {match.second for match in found}


@pytest.mark.parametrize("mirrored", [False, True])
def test_every_copy_in_two_sets_is_found(mirrored):
    """Copies with much noise are among the nearest of no other copy."""
    sides = [np.concatenate([copies_of(scene(3), 300, 35), copies_of(scene(4), 2, 0)]) for _ in range(2)]
    sides[1] = sides[1][:, :, ::-1] if mirrored else sides[1]
    table = same_picture(sides[0], sides[1][:, :, ::-1] if mirrored else sides[1])
    found = list(find_matches(*sides))
    assert indices(found) == (set(np.flatnonzero(table.any(1))), set(np.flatnonzero(table.any(0))))
    assert len(found) < 2 * 302 * MAX_MATCHES < table.sum()
    assert all(table[match[:2]] and match.mirrored == mirrored for match in found)


def test_every_copy_in_one_set_is_found():
    thumbs = copies_of(scene(3), 300, 35)
    table = same_picture(thumbs, thumbs) & ~np.eye(300, dtype=bool)
    found = list(find_matches(thumbs))
    assert set.union(*indices(found)) == set(np.flatnonzero(table.any(1)))
    assert len(found) < 300 * MAX_MATCHES < table.sum()


def test_copy_is_found_among_many_that_differ_in_detail_only():
    """Like fundus photographs of two cameras; for half of them, others are nearer as a whole."""
    one = np.tile(np.linspace(25, 225, THUMBNAIL_SIDE)[:, None, None], (1, THUMBNAIL_SIDE, 3))
    base = np.stack([one, one.transpose(1, 0, 2)])[np.arange(200) % 2]
    first = (base + RNG.normal(0, 6, (200, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 1))).clip(0, 255).astype(np.uint8)
    light = np.linspace(1 - RNG.uniform(0, 0.15, 200), 1, THUMBNAIL_SIDE, axis=1)[:, None, :, None]
    second = (first * light).astype(np.uint8)
    expected = {(int(i), int(j)) for i, j in np.argwhere(same_picture(first, second))}
    assert expected == {(i, i) for i in range(200)}
    assert {match[:2] for match in find_matches(first, second)} == expected


def test_clusters_lose_no_match(monkeypatch):
    """A thumbnail may match members of a cluster without matching the one that leads it."""
    monkeypatch.setattr(duplicates, "WIDE_BLOCK", 1)
    monkeypatch.setattr(duplicates, "MAX_MATCHES", 100)
    first, second = (
        np.stack(
            [thumbnail(lit(scene(3), strength)) for strength in RNG.permutation(np.linspace(0, 0.9, 50))]
        )
        for _ in range(2)
    )
    for row, found in zip(same_picture(second, first), duplicates._cluster_pairs(first, second), strict=True):
        assert found.tolist() == np.flatnonzero(row).tolist()


def test_each_of_hundreds_of_equal_pictures_is_reported():
    thumbs = np.stack([thumbnail(scene(3))] * 500)
    found = list(find_matches(thumbs[:200], thumbs[200:]))
    assert indices(found) == (set(range(200)), set(range(300)))
    assert len(found) <= 500 * MAX_MATCHES
    assert set.union(*indices(list(find_matches(thumbs)))) == set(range(500))


def test_turned_copies_of_equal_pictures_are_found():
    """Three groups of equal thumbnails: a picture, the same turned by 90 degrees, and another one."""
    one = thumbnail(scene(3))
    thumbs = np.stack([one, np.rot90(one), thumbnail(scene(4))])[np.arange(60) % 3]
    pairs = set(find_turned(thumbs))
    assert {index for pair in pairs for index in pair} == {n for n in range(60) if n % 3 < 2}
    assert all({first % 3, second % 3} == {0, 1} for first, second in pairs)


def nearly_equal(count: int, noise: float, grain: float) -> np.ndarray:
    """A bright square with grain, which looks the same when turned apart from the grain, with more noise."""
    rng = np.random.default_rng(5)
    picture = np.pad(np.full((8, 8, 3), 150.0), ((4, 4), (4, 4), (0, 0)))
    picture += 50 + grain * rng.choice([-1, 1], picture.shape)
    return (picture + noise * rng.uniform(-1, 1, (count, *picture.shape))).round().astype(np.uint8)


@pytest.mark.parametrize("search", [find_matches, find_turned])
@pytest.mark.parametrize(
    ("noise", "grain", "growth"),
    [(0, 0, 1), (4, 0, 2.5), (4, 40, 2.5)],
    ids=["equal", "nearly equal", "unlike when turned"],
)
def test_comparisons_of_nearly_equal_pictures_grow_with_their_number_only(
    monkeypatch, search, noise, grain, growth
):
    compared = []

    def count(first, second, *reach):
        compared.append(len(first) * len(second))
        return same_picture(first, second, *reach)

    monkeypatch.setattr(duplicates, "same_picture", count)
    monkeypatch.setattr(duplicates, "BLOCK", 8)
    monkeypatch.setattr(duplicates, "WIDE_BLOCK", 16)
    sums = []
    for number in (80, 160):
        compared.clear()
        found = list(search(nearly_equal(number, noise, grain)))
        assert bool(found) == (search is find_matches or not grain)
        sums.append(sum(compared))
    assert sums[1] <= growth * sums[0]
