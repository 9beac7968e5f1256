"""Coordinates of charts."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from paddleseg_u2net.reports.charts import BINS, MOST_POINTS, Series, histogram, line_chart


def points(line) -> np.ndarray:
    return np.array(re.findall(r"([\d.]+) ([\d.]+)", line.path), float)


def test_points_lie_on_the_scale_of_the_ticks():
    x, y = list(range(10)), np.random.default_rng(0).uniform(0.2, 0.9, 10).tolist()
    chart = line_chart("t", "step", [Series("a", x, y)])
    at, values = zip(*((position, float(text)) for position, text in chart.y_ticks), strict=True)
    found = np.interp(points(chart.lines[0])[:, 1], at[::-1], values[::-1])
    np.testing.assert_allclose(found, y, atol=0.003)
    assert values[0] <= min(y) < max(y) <= values[-1]
    assert [dot.text for dot in chart.lines[0].dots] == [f"step {i}: {v:.5g}" for i, v in enumerate(y)]


def test_losses_of_several_decades_get_a_logarithmic_axis():
    y = [500.0, 40.0, 3.0, 0.2]
    chart = line_chart("t", "step", [Series("", [1, 2, 3, 4], y)], may_be_log=True)
    at, values = zip(*((position, math.log10(float(text))) for position, text in chart.y_ticks), strict=True)
    found = np.interp(points(chart.lines[0])[:, 1], at[::-1], values[::-1])
    np.testing.assert_allclose(found, np.log10(y), atol=0.03)
    steps = np.diff(points(chart.lines[0])[:, 1])
    assert steps.max() < 1.5 * steps.min()


@pytest.mark.parametrize("y", [[0.0], [1e-9, 1e-9], [-2.0, 5.0], [1e300, -1e300], [0.1 + 1e-16, 0.1]])
@pytest.mark.parametrize("may_be_log", [False, True])
def test_every_range_of_values_stays_inside(y, may_be_log):
    chart = line_chart("t", "x", [Series("", list(range(len(y))), y)], may_be_log=may_be_log)
    found = points(chart.lines[0])
    assert len(found) == len(y)
    assert ((found >= 0) & (found <= (340, 220))).all()
    assert 2 <= len(chart.y_ticks) <= 8


def test_lines_without_a_value_are_left_out():
    assert line_chart("t", "x", [Series("", [], [])]) is None
    chart = line_chart("t", "x", [Series("", [], []), Series("b", [1], [2.0])])
    assert [line.label for line in chart.lines] == ["b"]


def test_moving_average_is_dashed_in_the_colour_of_its_model():
    lines = [Series(name, [0, 1], [0.0, 1.0], dashed) for name, dashed in (("a", 0), ("b", 1), ("c", 0))]
    assert [(line.color, line.dashed) for line in line_chart("t", "x", lines).lines] == [
        (0, 0),
        (0, 1),
        (1, 0),
    ]


def test_long_lines_are_thinned_and_keep_their_last_point():
    count = 7 * MOST_POINTS + 3
    (line,) = line_chart("t", "x", [Series("", list(range(count)), list(range(count)))]).lines
    found = points(line)
    assert MOST_POINTS * 0.8 < len(found) <= MOST_POINTS
    assert found[-1, 0] == 328
    assert line.dots == []


def test_histogram_counts_as_numpy_does():
    values = np.random.default_rng(0).uniform(0.013, 0.077, 200).tolist()
    found = histogram(values)
    counts = np.histogram(values, BINS, (found.low, found.high))[0]
    assert 0 <= found.low <= min(values) < max(values) <= found.high < 0.1
    assert [int(text.rpartition(" ")[2]) for *_, text in found.bars] == counts.tolist()
    heights = [height for _, _, height, _ in found.bars]
    np.testing.assert_allclose(heights, 174 * counts / counts.max(), atol=0.06)
    assert found.highest == counts.max()
    assert histogram([]).bars == []
    for same in ([0.5], [0.0, 0.0], [1.0, 1.0, 1.0]):
        assert sorted(height for _, _, height, _ in histogram(same).bars)[-2:] == [0, 174]
