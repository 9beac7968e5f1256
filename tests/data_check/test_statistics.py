"""Statistics of a data set."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_sets import load_sets, mask_of
from support import write_mask

from paddleseg_u2net.data_check.statistics import class_balance, suggest_size
from paddleseg_u2net.data_check.survey import examine


def test_class_balance_and_shares_count_pixels_that_are_not_ignored(data):
    ids = np.random.default_rng(0).choice(
        np.array([0, 1, 2, 250], np.uint8), (6, 32, 32), p=[0.5, 0.2, 0.1, 0.2]
    )
    for index in range(6):
        write_mask(mask_of(data, f"p{index}"), ids[index])
    dataset = examine(load_sets(data, 3, ignore_index=250)).datasets[0]
    rows = class_balance(dataset)
    for c in range(3):
        assert rows[c]["pixels"] == (ids[:4] == c).sum()
        assert rows[c]["share"] == pytest.approx((ids[:4] == c).sum() / (ids[:4] < 250).sum())
        assert rows[c]["images"] == 4
    shares = [content.share for content in dataset.contents]
    np.testing.assert_allclose(shares, [((m > 0) & (m < 250)).sum() / (m < 250).sum() for m in ids[:4]])


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(300, 400)] * 3, (384, 288)),
        ([(300, 400), (400, 300)] * 3, (352, 352)),
        ([(20, 20)], (256, 256)),
        ([(4000, 6000)] * 9 + [(6000, 4000)], (640, 416)),
        ([(1, 1000)], (8096, 0)),
    ],
)
def test_suggested_size_follows_median_area_and_shape(sizes, expected):
    width, height = suggest_size(sizes)
    assert width % 32 == height % 32 == 0
    assert min(width, height) >= 32
    if expected[1]:
        assert (width, height) == expected
