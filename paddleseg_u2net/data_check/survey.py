"""Data sets, each file read once -> what that has shown, and which pictures show the same. Light."""

from __future__ import annotations

import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from paddleseg_u2net.data.dataset import Dataset, Examination
from paddleseg_u2net.data.inspection import Look
from paddleseg_u2net.data.masks import IGNORE, RawMask, read_raw
from paddleseg_u2net.data_check.duplicates import Match, matches

OVERLAP = 0.8  # intersection over union below which two masks of one image differ
COMPARED = 8  # sampled pixels of foreground that make this a measurement


@dataclass(frozen=True)
class Chart:
    """A data set and what reading it has shown."""

    dataset: Dataset
    examination: Examination

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.dataset.name

    @functools.cached_property
    def seen(self) -> list[Look]:
        """Those whose image can be read."""
        return [look for look in self.examination.looks if look.thumb is not None]

    @functools.cached_property
    def thumbs(self) -> np.ndarray:
        """(N, 16, 16, 3) uint8, of `seen`."""
        return np.stack([look.thumb for look in self.seen if look.thumb is not None])

    def measured(self) -> Iterator[tuple[Look, Any]]:
        """Each look whose mask can be read, with what the mask holds."""
        for look, content in zip(self.examination.looks, self.examination.masks, strict=True):
            if content is not None:
                yield look, content


class Leak(NamedTuple):
    """An image of one set that shows the same as one of another, or of its own."""

    first: Chart
    second: Chart
    looks: tuple[Look, Look]
    mirrored: bool = False


class Patient:
    """All data sets of one visit; what several checks need is found once."""

    def __init__(self, charts: Sequence[Chart]):
        self.charts = [chart for chart in charts if chart.examination.looks or chart.examination.list_faults]

    @property
    def looks(self) -> Iterator[Look]:
        """Those of all sets."""
        return itertools.chain.from_iterable(chart.examination.looks for chart in self.charts)

    @property
    def _apart(self) -> list[tuple[Chart, Chart]]:
        """Sets that must not share images: those to train on and each other one; val may well be test."""
        pairs = itertools.combinations([chart for chart in self.charts if chart.seen], 2)
        return [pair for pair in pairs if "train" in {chart.dataset.mode for chart in pair}]

    @functools.cached_property
    def same_files(self) -> list[Leak]:
        """Images of equal content in a set to train on and another, each of them named."""
        found = []
        for one, other in self._apart:
            known, asked = _by_content(one), _by_content(other)
            for first, second in ((known[digest], asked[digest]) for digest in known if digest in asked):
                for k in range(max(len(first), len(second))):
                    found.append(Leak(one, other, (first[k % len(first)], second[k % len(second)])))
        return found

    @functools.cached_property
    def same_pictures(self) -> list[Leak]:
        """Different files of such two sets that show the same; each image that does is named."""
        found = []
        for one, other in self._apart:
            found += [_leak(one, other, match) for match in matches(one.thumbs, other.thumbs)]
        return [leak for leak in found if leak.looks[0].digest != leak.looks[1].digest]

    @functools.cached_property
    def twins(self) -> list[Leak]:
        """Different files of one set that show the same; each image that does is named."""
        charts = [chart for chart in self.charts if chart.seen]
        found = [_leak(chart, chart, match) for chart in charts for match in matches(chart.thumbs)]
        return [twin for twin in found if twin.looks[0].pair.image != twin.looks[1].pair.image]


def _by_content(chart: Chart) -> dict[bytes, list[Look]]:
    found = defaultdict(list)
    for look in chart.seen:
        found[look.digest].append(look)
    return found


def _leak(one: Chart, other: Chart, match: Match) -> Leak:
    return Leak(one, other, (one.seen[match.first], other.seen[match.second]), match.mirrored)


def examine(datasets: Sequence[Dataset]) -> Patient:
    """Read all files of several data sets once."""
    return Patient([Chart(dataset, dataset.examine()) for dataset in datasets])


# -- masks of pictures that show the same ---------------------------------------------------------------


def overlap(leak: Leak) -> float:
    """Intersection over union of two masks, the edges left out; 1 where they cannot be compared.

    Samples that agree are believed. Where they do not, or hold too little, both masks are read once more:
    wires and vessels fall between the points of a sample.
    """
    sides = list(zip((leak.first, leak.second), leak.looks, strict=True))
    if not all(_has_mask(chart, look) for chart, look in sides):
        return 1.0
    turn = -1 if leak.mirrored else 1
    first, second = (_ids(chart, look, sampled=True) for chart, look in sides)
    alike, objects = first == second[:, ::turn], (first > 0) | (second[:, ::turn] > 0)
    if objects.sum() >= COMPARED and alike[objects].mean() >= OVERLAP:
        return float(alike[objects].mean())
    first, second = (_ids(chart, look) for chart, look in sides)
    return agreement(first, second[:, ::turn])


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Share of the objects' pixels where either mask holds what the other holds there or a pixel beside.

    Args:
        first: (H, W) uint8, class ids.
        second: (h, w), the same of any size; a pixel is one of the smaller mask.
    """
    height, width = (max(sides) for sides in zip(first.shape, second.shape, strict=True))
    window = [
        2 * math.ceil(max(sides) / min(sides)) + 1 for sides in zip(first.shape, second.shape, strict=True)
    ]
    first, second = (
        cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT) for ids in (first, second)
    )
    agree, around = np.ones((height, width), bool), np.ones(window, np.uint8)
    for value in {*np.unique(first), *np.unique(second)}:
        one, other = ((ids == value).astype(np.uint8) for ids in (first, second))
        agree &= (one <= cv2.dilate(other, around)) & (other <= cv2.dilate(one, around))
    objects = (first > 0) | (second > 0)
    return float(agree[objects].mean()) if objects.any() else 1.0


def _has_mask(chart: Chart, look: Look) -> bool:
    """Whether the mask can be laid over its image and read as the others are."""
    sound = look.survey is not None and look.survey.where not in chart.examination.contradictions
    return sound and not look.mismatch


def _ids(chart: Chart, look: Look, sampled: bool = False) -> np.ndarray:
    """Class ids uint8 of a mask, 0 where it does not count."""
    assert look.survey is not None
    assert look.mask_sample is not None
    assert look.pair.mask is not None
    raw = RawMask(look.mask_sample, look.survey.kind) if sampled else read_raw(look.pair.mask)
    decoded = chart.examination.encoding.decode(raw)
    decoded[decoded == IGNORE] = 0
    return decoded if decoded.dtype == np.uint8 else (decoded >= 0.5).astype(np.uint8)
