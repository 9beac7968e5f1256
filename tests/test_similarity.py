"""Which pictures show the same."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from paddleseg_u2net.similarity import ALIKE, SIDE, Match, alike, matches, sample, thumbnail

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
    expected = {(i, j) for i in range(80) for j in range(i + 1, 80) if alike(thumbs[i], thumbs[j])}
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
    assert not alike(one, other)
    assert alike(one, one)


def test_pictures_alike_in_detail_and_different_in_the_large_are_told_apart():
    one, other = thumbnail(scene(1, (256, 256))), thumbnail(lit(scene(1, (256, 256)), 0.6))
    assert distance(one, other) > ALIKE
    assert not alike(one, other)


def test_pictures_without_content_are_alike_to_nothing():
    flat = np.full((5, SIDE, SIDE, 3), 77, np.uint8)
    assert list(matches(flat)) == []
    assert list(matches(flat, np.stack([thumbnail(scene(0))]))) == []
    assert list(matches(flat[:0])) == list(matches(flat, flat[:0])) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (16, 16), (37, 61)])
def test_thumbnails_of_any_size_mirror_exactly(size):
    image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    assert thumbnail(image).shape == (SIDE, SIDE, 3)
    np.testing.assert_allclose(
        thumbnail(image[:, ::-1].copy()).astype(int), thumbnail(image)[:, ::-1].astype(int), atol=1
    )


def test_samples_are_stored_values():
    values = RNG.choice(np.array([0, 7, 300], np.uint16), (41, 33))
    assert set(np.unique(sample(values))) <= {0, 7, 300}
    np.testing.assert_array_equal(
        sample(np.arange(SIDE**2, dtype=np.uint8).reshape(SIDE, SIDE)).ravel(), range(256)
    )


def test_time_grows_slower_than_the_square():
    """All pairs of 3,000 would take minutes at this cost per pair."""
    thumbs = np.kron(RNG.integers(0, 256, (3000, 4, 4, 3)), np.ones((1, 4, 4, 1))).astype(np.uint8)
    thumbs[2900] = thumbs[17][:, ::-1]
    started = time.process_time()
    assert list(matches(thumbs)) == [Match(17, 2900, True)]
    assert time.process_time() - started < 5


def test_many_copies_of_one_picture_stay_bounded():
    thumbs = np.stack([thumbnail(scene(3))] * 200)
    assert 100 <= len(list(matches(thumbs))) <= 200 * 9
