"""Charts as coordinates, which the template draws as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 340, 220  # of the view box, in pixels at the usual width of a chart
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 10, 36  # margins
MOST_POINTS = 500  # of a line; more are not seen
MOST_DOTS = 40  # of a line whose points are marked
COLORS = 8  # classes k0 … k7 of the style sheet
LOG_RATIO = 10  # of the largest to the smallest loss, above which the axis is logarithmic
BINS = 20


class Dot(NamedTuple):
    """A marked point and what browsers show when the pointer rests on it."""

    x: float
    y: float
    text: str


class Line(NamedTuple):
    """A line of a chart: its text in the legend, the data of the SVG path, its points if they are few."""

    label: str
    path: str
    color: int
    dashed: bool
    dots: list[Dot]


class Chart(NamedTuple):
    """A chart: positions and texts of the ticks of both axes, and lines."""

    title: str
    x_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: list[Line]


class Histogram(NamedTuple):
    """Bars as x, y, height and text; the number of values in the highest; the ends of the x axis."""

    highest: int
    bars: list[tuple[float, float, float, str]]
    low: float
    high: float


class Series(NamedTuple):
    """The values of a line.

    Args:
        label: text in the legend.
        x: finite numbers.
        y: finite numbers, one for each of `x`.
        dashed: drawn dashed, in the colour of the line before it.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False


def line_chart(
    title: str,
    x_label: str,
    series: Iterable[Series],
    *,
    may_be_log: bool = False,
    x_range: tuple[float, float] | None = None,
) -> Chart | None:
    """Lay out a chart of some lines; None if none has a value.

    Args:
        title: above the chart.
        x_label: below its x axis.
        series: the lines; those without a value are left out.
        may_be_log: use a logarithmic y axis if the values are positive and span more than LOG_RATIO.
        x_range: of the x axis; by default that of the values.
    """
    series = [_thinned(one) for one in series if one.x]
    if not series:
        return None
    values = [y for one in series for y in one.y]
    low, high = min(values), max(values)
    log = may_be_log and low > 0 and high > LOG_RATIO * low
    y_ticks = _log_ticks(low, high) if log else _ticks(low, high)
    low, high = min(low, y_ticks[0]), max(high, y_ticks[-1])
    if log:
        low, high = math.log10(low), math.log10(high)
    steps = [x for one in series for x in one.x]
    x_low, x_high = x_range or (min(steps), max(steps))

    def x_of(x: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * _share(x, x_low, x_high), 1)

    def y_of(y: float) -> float:
        return round(
            HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _share(math.log10(y) if log else y, low, high), 1
        )

    lines: list[Line] = []
    color = -1
    for one in series:
        color += not one.dashed or color < 0
        points = [(x_of(x), y_of(y)) for x, y in zip(one.x, one.y, strict=True)]
        texts = [f"{x_label} {x:g}: {y:.5g}" for x, y in zip(one.x, one.y, strict=True)]
        dots = [Dot(*point, text) for point, text in zip(points, texts, strict=True)]
        path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
        lines.append(
            Line(one.label, path, color % COLORS, one.dashed, dots if len(dots) <= MOST_DOTS else [])
        )
    x_shown = [tick for tick in _ticks(x_low, x_high) if x_low <= tick <= x_high]
    return Chart(
        title,
        x_label,
        [(x_of(tick), f"{tick:g}") for tick in x_shown],
        [(y_of(tick), f"{tick:g}") for tick in y_ticks],
        lines,
    )


def histogram(values: Sequence[float]) -> Histogram:
    """The numbers of finite values that fall into each of BINS bins; no bars without a value."""
    if not values:
        return Histogram(0, [], 0, 1)
    ticks = _ticks(min(values), max(values))
    low, high = ticks[0], ticks[-1]
    counts = [0] * BINS
    for value in values:
        counts[min(int(_share(value, low, high) * BINS), BINS - 1)] += 1
    width = (high - low) / BINS
    step, room = (WIDTH - LEFT - RIGHT) / BINS, HEIGHT - TOP - BOTTOM
    heights = [round(room * count / max(counts), 1) for count in counts]
    bars = [
        (
            round(LEFT + index * step, 1),
            round(HEIGHT - BOTTOM - height, 1),
            height,
            f"{low + index * width:.4g} to {low + (index + 1) * width:.4g}: {count}",
        )
        for index, (height, count) in enumerate(zip(heights, counts, strict=True))
    ]
    return Histogram(max(counts), bars, low, high)


def _thinned(series: Series) -> Series:
    """At most MOST_POINTS points, evenly spread, the last one included."""
    step = math.ceil(len(series.x) / MOST_POINTS)
    chosen = slice((len(series.x) - 1) % step, None, step)
    return series._replace(x=series.x[chosen], y=series.y[chosen])


def _share(value: float, low: float, high: float) -> float:
    """Where a value lies between two others; in the middle if these are equal."""
    return (value - low) / (high - low) if high > low else 0.5


def _ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten, some `count` of them, from at or below `low` on."""
    span = (high - low) or abs(high) or 1.0
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in (1, 2, 2.5, 5, 10) if nice * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, max(last, first + 1) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten and their multiples by 2 and 5, from at or below `low` to at or above `high`."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    all_ticks = [nice * 10.0**power for power in powers for nice in (1, 2, 5)]
    first = max(index for index, tick in enumerate(all_ticks) if tick <= low * 1.001)
    last = min(index for index, tick in enumerate(all_ticks) if tick >= high * 0.999)
    chosen = all_ticks[first : last + 1]
    return chosen if len(chosen) <= 7 else [10.0**power for power in powers]
