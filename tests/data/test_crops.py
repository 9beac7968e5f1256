"""Square crops around a foreground."""

from __future__ import annotations

import numpy as np
import pytest

from paddleseg_u2net.data.crops import square_around


def mask(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Foreground of boxes (top, left, bottom, right)."""
    found = np.zeros(size, bool)
    for top, left, bottom, right in boxes:
        found[top:bottom, left:right] = True
    return found


def bounds(crop) -> tuple[int, int, int, int]:
    rows, columns = crop
    return rows.start, columns.start, rows.stop, columns.stop


@pytest.mark.parametrize(
    ("foreground", "margin", "min_size", "expected"),
    [
        (mask((100, 100), (40, 44, 60, 56)), 0, 1, (40, 40, 60, 60)),  # the longer side
        (mask((100, 100), (40, 44, 60, 56)), 0.5, 1, (30, 30, 70, 70)),
        (mask((100, 100), (50, 50, 51, 51)), 0, 1, (50, 50, 51, 51)),  # one pixel
        (mask((100, 100), (49, 49, 51, 51)), 0.5, 20, (40, 40, 60, 60)),  # at least 20
        (mask((100, 100), (10, 20, 12, 22), (30, 44, 34, 60)), 0, 1, (2, 20, 42, 60)),  # several objects
        (mask((100, 100), (0, 0, 10, 10)), 0.5, 1, (0, 0, 20, 20)),  # moved inside at each border
        (mask((100, 100), (90, 90, 100, 100)), 0.5, 1, (80, 80, 100, 100)),
        (mask((30, 100), (10, 40, 20, 60)), 1, 1, (0, 20, 30, 80)),  # lower than the side
        (mask((20, 10), (3, 3, 5, 5)), 0.5, 64, (0, 0, 20, 10)),  # smaller than the smallest crop
        (mask((7, 9), (0, 0, 7, 9)), 2, 1, (0, 0, 7, 9)),  # all of it
    ],
)
def test_crop_is_a_square_inside_the_image(foreground, margin, min_size, expected):
    assert bounds(square_around(foreground, margin, min_size)) == expected


def test_shift_is_measured_in_margins():
    foreground = mask((100, 100), (40, 40, 60, 60))
    assert bounds(square_around(foreground, 0.5, shift=(1, -1))) == (40, 20, 80, 60)
    assert bounds(square_around(foreground, 0, shift=(1, 1))) == (40, 40, 60, 60)


def test_empty_foreground_has_no_crop():
    assert square_around(np.zeros((5, 5), bool), 0.5) is None
