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

from paddleseg_u2net.data.inspection import Inspection, PairRecord, inspect
from paddleseg_u2net.data.masks import IGNORE, RawMask, read_raw
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data_check.duplicates import Match, matches

OVERLAP = 0.8  # intersection over union below which two masks of one image differ
COMPARED = 8  # sampled pixels of foreground that make this a measurement


@dataclass(frozen=True)
class SurveyedDataset:
    """A data set and what reading it has shown."""

    inspection: Inspection

    @property
    def dataset(self) -> DatasetSpec:
        """What was requested."""
        return self.inspection.spec

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.dataset.name

    @functools.cached_property
    def seen(self) -> list[PairRecord]:
        """Those whose image can be read."""
        return [record for record in self.inspection.records if record.thumb is not None]

    @functools.cached_property
    def thumbs(self) -> np.ndarray:
        """(N, 16, 16, 3) uint8, of `seen`."""
        return np.stack([record.thumb for record in self.seen if record.thumb is not None])

    def measured(self) -> Iterator[tuple[PairRecord, Any]]:
        """Each record whose mask can be read, with what the mask holds."""
        for record, content in zip(self.inspection.records, self.inspection.contents, strict=True):
            if content is not None:
                yield record, content


class Leak(NamedTuple):
    """An image of one set that shows the same as one of another, or of its own."""

    first: SurveyedDataset
    second: SurveyedDataset
    records: tuple[PairRecord, PairRecord]
    mirrored: bool = False


class DatasetSurvey:
    """All data sets of one visit; what several checks need is found once."""

    def __init__(self, datasets: Sequence[SurveyedDataset]):
        self.datasets = [
            surveyed for surveyed in datasets if surveyed.inspection.records or surveyed.dataset.faults
        ]

    @property
    def records(self) -> Iterator[PairRecord]:
        """Those of all sets."""
        return itertools.chain.from_iterable(surveyed.inspection.records for surveyed in self.datasets)

    @property
    def _apart(self) -> list[tuple[SurveyedDataset, SurveyedDataset]]:
        """Sets that must not share images: those to train on and each other one; val may well be test."""
        pairs = itertools.combinations([surveyed for surveyed in self.datasets if surveyed.seen], 2)
        return [pair for pair in pairs if "train" in {surveyed.dataset.mode for surveyed in pair}]

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
        return [leak for leak in found if leak.records[0].digest != leak.records[1].digest]

    @functools.cached_property
    def twins(self) -> list[Leak]:
        """Different files of one set that show the same; each image that does is named."""
        datasets = [surveyed for surveyed in self.datasets if surveyed.seen]
        found = [
            _leak(surveyed, surveyed, match) for surveyed in datasets for match in matches(surveyed.thumbs)
        ]
        return [twin for twin in found if twin.records[0].pair.image != twin.records[1].pair.image]


def _by_content(surveyed: SurveyedDataset) -> dict[bytes, list[PairRecord]]:
    found = defaultdict(list)
    for record in surveyed.seen:
        found[record.digest].append(record)
    return found


def _leak(one: SurveyedDataset, other: SurveyedDataset, match: Match) -> Leak:
    return Leak(one, other, (one.seen[match.first], other.seen[match.second]), match.mirrored)


def examine(datasets: Sequence[DatasetSpec]) -> DatasetSurvey:
    """Read all files of several data sets once."""
    return DatasetSurvey([SurveyedDataset(inspect(spec)) for spec in datasets])


# -- masks of pictures that show the same ---------------------------------------------------------------


def overlap(leak: Leak) -> float:
    """Intersection over union of two masks, the edges left out; 1 where they cannot be compared.

    Samples that agree are believed. Where they do not, or hold too little, both masks are read once more:
    wires and vessels fall between the points of a sample.
    """
    sides = list(zip((leak.first, leak.second), leak.records, strict=True))
    if not all(_has_mask(surveyed, record) for surveyed, record in sides):
        return 1.0
    turn = -1 if leak.mirrored else 1
    first, second = (_ids(surveyed, record, sampled=True) for surveyed, record in sides)
    alike, objects = first == second[:, ::turn], (first > 0) | (second[:, ::turn] > 0)
    if objects.sum() >= COMPARED and alike[objects].mean() >= OVERLAP:
        return float(alike[objects].mean())
    first, second = (_ids(surveyed, record) for surveyed, record in sides)
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


def _has_mask(surveyed: SurveyedDataset, record: PairRecord) -> bool:
    """Whether the mask can be laid over its image and read as the others are."""
    sound = record.mask_levels is not None and record.index not in surveyed.inspection.contradictions
    return sound and not record.mismatch


def _ids(surveyed: SurveyedDataset, record: PairRecord, sampled: bool = False) -> np.ndarray:
    """Class ids uint8 of a mask, 0 where it does not count."""
    assert record.mask_levels is not None
    assert record.mask_sample is not None
    assert record.pair.mask is not None
    raw = RawMask(record.mask_sample, record.mask_levels.kind) if sampled else read_raw(record.pair.mask)
    decoded = surveyed.inspection.encoding.decode(raw)
    decoded[decoded == IGNORE] = 0
    return decoded if decoded.dtype == np.uint8 else (decoded >= 0.5).astype(np.uint8)
