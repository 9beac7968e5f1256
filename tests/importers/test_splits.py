"""Splits: exact counts, reproducible, stable, grouped, and stratified as by scikit-learn."""

from __future__ import annotations

import hashlib
import random
import re
import unicodedata
from collections import Counter

import numpy as np
import pytest

from paddleseg_u2net.importers import splits
from paddleseg_u2net.importers.splits import SplitItem, group_of, split

SHARES = (0.8, 0.2, 0.0)


def items(count: int, stratum=lambda index: "") -> list[SplitItem]:
    return [SplitItem(f"im/{index}.jpg", str(index), stratum(index)) for index in range(count)]


def named(found: list[SplitItem], parts: list[list[int]]) -> list[set[str]]:
    return [{found[index].name for index in part} for part in parts]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 17, 1000])
@pytest.mark.parametrize("shares", [SHARES, (0.7, 0.2, 0.1), (0.5, 0.5, 0), (1 / 3, 1 / 3, 1 / 3)])
def test_counts_are_the_rounded_shares_and_every_image_is_in_one_part(count, shares):
    parts = split(items(count), shares, 0)
    assert sorted(index for part in parts for index in part) == list(range(count))
    for part, share in zip(parts, shares, strict=True):
        assert abs(len(part) - share * count) <= 1
    assert parts[2] or not shares[2] * count >= 1


def test_split_depends_on_names_and_seed_only():
    found = items(200, lambda index: str(index % 3))
    first = named(found, split(found, SHARES, 7))
    shuffled = found[:]
    random.Random(0).shuffle(shuffled)
    assert named(shuffled, split(shuffled, SHARES, 7)) == first
    other = named(found, split(found, SHARES, 8))
    assert len(other[1] & first[1]) < 20  # 8 of 40 by chance


def test_order_is_that_of_a_sha256_of_seed_and_name():
    found = items(50)
    ordered = sorted(found, key=lambda item: hashlib.sha256(f"3\0name {item.name}".encode()).hexdigest())
    train, val, _ = named(found, split(found, SHARES, 3))
    assert train == {item.name for item in ordered[:40]}
    assert val == {item.name for item in ordered[40:]}


def test_split_equals_the_recorded_one():
    found = [SplitItem(f"clip{n % 4}/ü {n}.jpg", str(n), "ab"[n % 2]) for n in range(12)]
    frames = ["".join(f"{n:x}" for n in sorted(part)) for part in split(found, (0.6, 0.2, 0.2), 5)]
    assert frames == ["1234678", "09b", "5a"]
    groups = split(found, (0.5, 0.25, 0.25), 5, re.compile(r"clip\d"))
    assert [sorted({n % 4 for n in part}) for part in groups] == [[1, 2], [0], [3]]


def test_names_in_unicode_nfd_are_split_like_names_in_nfc():
    linux = [SplitItem(f"é{index}", str(index)) for index in range(50)]
    macos = [item._replace(name=unicodedata.normalize("NFD", item.name)) for item in linux]
    assert split(linux, SHARES, 0) == split(macos, SHARES, 0)


@pytest.mark.parametrize("strata", [1, 5])
def test_adding_an_image_moves_few_others(strata):
    found = items(1000, lambda index: str(index % strata))
    before = named(found[:-1], split(found[:-1], (0.7, 0.2, 0.1), 0))
    after = named(found, split(found, (0.7, 0.2, 0.1), 0))
    moved = sum(len(old - new) for old, new in zip(before, after, strict=True))
    assert moved <= 2 * strata


def test_copies_and_groups_stay_in_one_part_also_transitively():
    rng = np.random.default_rng(0)
    found = [SplitItem(f"v{rng.integers(60)}_{n}", str(rng.integers(250))) for n in range(300)]
    for pattern in (None, re.compile(r"^v\d+")):
        parts = split(found, (0.6, 0.2, 0.2), 0, pattern)
        digests = [{found[index].digest for index in part} for part in parts]
        assert not digests[0] & digests[1] | digests[0] & digests[2] | digests[1] & digests[2]
        if pattern:
            videos = [{found[index].name.split("_")[0] for index in part} for part in parts]
            assert not videos[0] & videos[1] | videos[0] & videos[2] | videos[1] & videos[2]
    chain = [
        SplitItem("a_1", "x"),
        SplitItem("a_2", "y"),
        SplitItem("b_1", "y"),
        SplitItem("b_2", "z"),
        SplitItem("c", "w"),
    ]
    for seed in range(20):
        parts = split(chain, (0.5, 0.5), seed, re.compile("^[ab]_"))
        assert sorted(map(len, parts)) in ([0, 5], [1, 4])
        assert any(set(range(4)) <= set(part) for part in parts)


def test_groups_miss_the_shares_by_at_most_half_of_a_group():
    sizes = range(1, 41)
    found = [SplitItem(f"v{size}_{frame}", f"{size} {frame}") for size in sizes for frame in range(size)]
    for seed in range(20):
        train, val, _ = split(found, SHARES, seed, re.compile(r"v\d+"))
        assert abs(len(train) - 0.8 * len(found)) <= max(sizes) / 2
        assert len(train) + len(val) == len(found)


def test_group_is_the_text_of_the_capture_groups_or_the_whole_match():
    assert group_of("a/clip3_0001.jpg", re.compile(r"clip\d+")) == "clip3"
    assert group_of("a/clip3_0001.jpg", re.compile(r"^(.*?)/.*(\d)_")) == "a\0" + "3"
    assert group_of("a", re.compile("(a)|(b)")) == "a\0"
    assert group_of("a", re.compile("b")) is None


def test_strata_are_divided_as_by_scikit_learn():
    from sklearn.model_selection import train_test_split

    labels = ["rare"] * 10 + ["seldom"] * 47 + ["often"] * 343
    found = [SplitItem(f"{n}", f"{n}", label) for n, label in enumerate(labels)]
    for seed in range(5):
        train, val, _ = split(found, SHARES, seed)
        expected = Counter(train_test_split(labels, test_size=0.2, stratify=labels, random_state=seed)[1])
        own = Counter(labels[index] for index in val)
        assert (len(train), len(val)) == (320, 80)
        assert all(abs(own[label] - expected[label]) <= 1 for label in expected)


def test_strata_of_one_image_each_are_split_randomly():
    found = [SplitItem(f"{n}", f"{n}", f"{n}") for n in range(500)]
    sides = [set(split(found, SHARES, seed)[1]) for seed in (0, 1)]
    assert [len(side) for side in sides] == [100, 100]
    assert len(sides[0] & sides[1]) < 40  # 20 by chance


def test_group_has_the_stratum_of_most_of_its_images():
    found = [SplitItem(name, "copy", stratum) for name, stratum in zip("abc", "xyy", strict=True)]
    assert [group.stratum for group in splits._join_groups(found, None)] == ["y"]
