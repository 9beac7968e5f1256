"""Inspect data sets and find the images that two of them, or two entries of one, have in common."""

from __future__ import annotations

import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from paddleseg_u2net.data.duplicates import find_matches
from paddleseg_u2net.data.inspection import Inspection, PairRecord, inspect_together
from paddleseg_u2net.data.masks import IGNORE, MaskContent, MaskEncoding, RawMask
from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.errors import Fault

MIN_OVERLAP = 0.8  # below this, two masks of the same picture differ
MIN_SAMPLES = 8  # foreground pixels that the small samples of two masks need for a reliable overlap


@dataclass(frozen=True)
class SurveyedDataset:
    """A data set and what inspecting its files found."""

    inspection: Inspection

    @property
    def spec(self) -> DatasetSpec:
        """What was requested."""
        return self.inspection.spec

    @property
    def name(self) -> str:
        """Name in messages and reports."""
        return self.spec.name

    @property
    def encoding(self) -> MaskEncoding:
        """How the masks are decoded."""
        return self.inspection.encoding

    @functools.cached_property
    def pairs(self) -> list[SurveyedPair]:
        """All pairs, whether they can be read or not."""
        return [SurveyedPair(self, record) for record in self.inspection.records]

    @functools.cached_property
    def readable(self) -> list[SurveyedPair]:
        """The pairs whose image can be read."""
        return [pair for pair in self.pairs if pair.record.thumb is not None]

    @functools.cached_property
    def contents(self) -> list[MaskContent]:
        """What each mask holds that can be read and decoded."""
        return [content for content in self.inspection.contents if content]


@dataclass(frozen=True, eq=False)
class SurveyedPair:
    """One pair of a surveyed data set."""

    dataset: SurveyedDataset
    record: PairRecord

    @property
    def files(self) -> Pair:
        """The image, the mask, and the list line that names them."""
        return self.record.pair

    @property
    def contradiction(self) -> Fault | None:
        """The fault of a mask that does not fit the encoding of its data set."""
        return self.dataset.inspection.contradictions.get(self.record.index)

    @property
    def has_other_palette(self) -> bool:
        """Whether the contradiction is a palette of other colours than those of the other masks."""
        return self.record.index in self.dataset.inspection.agreement.palettes.faults

    @property
    def content(self) -> MaskContent | None:
        """What the mask holds; None if it cannot be read or decoded."""
        return self.dataset.inspection.contents[self.record.index]


@dataclass(frozen=True)
class ImageMatch:
    """Two images that show the same picture; one of them may be mirrored."""

    first: SurveyedPair
    second: SurveyedPair
    mirrored: bool = False


class DatasetSurvey:
    """Surveyed data sets that are checked together; results that several checks need are computed once.

    Args:
        datasets: those without any pair or fault are dropped.
    """

    def __init__(self, datasets: Sequence[SurveyedDataset]):
        self.datasets = [dataset for dataset in datasets if dataset.pairs or dataset.spec.faults]

    @property
    def pairs(self) -> Iterator[SurveyedPair]:
        """The pairs of all data sets."""
        return itertools.chain.from_iterable(dataset.pairs for dataset in self.datasets)

    def reworded(self, advice: Any) -> Any:
        """A named tuple whose `fix` names settings as the running command takes them."""
        specs = [dataset.spec for dataset in self.datasets[:1]]
        return advice._replace(fix=specs[0].fix_as(advice.fix)) if specs else advice

    @functools.cached_property
    def shared_files(self) -> list[ImageMatch]:
        """Equal image files in a training set and in another set, see `find_shared_files`."""
        return find_shared_files([dataset.readable for dataset in self.datasets])

    @functools.cached_property
    def shared_pictures(self) -> list[ImageMatch]:
        """Different files of two such sets that show the same picture, see `find_shared_pictures`."""
        return find_shared_pictures([dataset.readable for dataset in self.datasets])

    @functools.cached_property
    def duplicates(self) -> list[ImageMatch]:
        """Different files of one data set that show the same picture; each such image occurs."""
        found = []
        for pairs in (dataset.readable for dataset in self.datasets if dataset.readable):
            found += [
                ImageMatch(pairs[i], pairs[j], mirrored)
                for i, j, mirrored in find_matches(_thumbnails(pairs))
            ]
        return [match for match in found if match.first.files.image != match.second.files.image]


def examine(specs: Sequence[DatasetSpec]) -> DatasetSurvey:
    """Read each file of several data sets once."""
    return DatasetSurvey([SurveyedDataset(inspection) for inspection in inspect_together(specs)])


def find_shared_files(datasets: Sequence[Sequence[SurveyedPair]]) -> list[ImageMatch]:
    """Find equal image files in a training set and in another set.

    Args:
        datasets: the readable pairs of each data set.

    Returns:
        Matches in which each such image of either set occurs.
    """
    found = []
    for one, other in _training_combinations(datasets):
        known, wanted = _by_digest(one), _by_digest(other)
        for first, second in ((known[digest], wanted[digest]) for digest in known if digest in wanted):
            for k in range(max(len(first), len(second))):
                found.append(ImageMatch(first[k % len(first)], second[k % len(second)]))
    return found


def find_shared_pictures(datasets: Sequence[Sequence[SurveyedPair]]) -> list[ImageMatch]:
    """Find different files in a training set and in another set that show the same picture.

    Arguments and result are those of `find_shared_files`.
    """
    found = []
    for one, other in _training_combinations(datasets):
        matches = find_matches(_thumbnails(one), _thumbnails(other))
        found += [ImageMatch(one[i], other[j], mirrored) for i, j, mirrored in matches]
    return [match for match in found if match.first.record.digest != match.second.record.digest]


def _training_combinations(
    datasets: Sequence[Sequence[SurveyedPair]],
) -> list[tuple[Sequence[SurveyedPair], Sequence[SurveyedPair]]]:
    """Each training set with each other set; val and test may share images."""
    combinations = itertools.combinations([pairs for pairs in datasets if pairs], 2)
    return [sets for sets in combinations if "train" in {pairs[0].dataset.spec.mode for pairs in sets}]


def _by_digest(pairs: Sequence[SurveyedPair]) -> dict[bytes, list[SurveyedPair]]:
    found = defaultdict(list)
    for pair in pairs:
        found[pair.record.digest].append(pair)
    return found


def _thumbnails(pairs: Sequence[SurveyedPair]) -> np.ndarray:
    """(N, 16, 16, 3) uint8."""
    return np.stack([pair.record.thumb for pair in pairs if pair.record.thumb is not None])


# -- masks of images that show the same picture ---------------------------------------------------------


def mask_overlap(match: ImageMatch) -> float:
    """Intersection over union of the masks of two images, with a tolerance of one pixel at their edges.

    The samples kept of both masks decide if they agree. Otherwise, or if they hold too little foreground,
    both files are read again: a sample misses thin objects such as wires and vessels.

    Returns:
        0 to 1; 1 if the masks cannot be compared.
    """
    pairs = match.first, match.second
    if not all(_has_usable_mask(pair) for pair in pairs):
        return 1.0
    step = -1 if match.mirrored else 1
    first, second = (_class_ids(pair, sampled=True) for pair in pairs)
    alike, objects = first == second[:, ::step], (first > 0) | (second[:, ::step] > 0)
    if objects.sum() >= MIN_SAMPLES and alike[objects].mean() >= MIN_OVERLAP:
        return float(alike[objects].mean())
    first, second = (_class_ids(pair) for pair in pairs)
    return agreement(first, second[:, ::step])


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Share of the objects' pixels where each mask holds the other's class at that pixel or next to it.

    Args:
        first: (H, W) uint8, class ids.
        second: (h, w) uint8, class ids, of any size; `next to` means within one pixel of the smaller mask.

    Returns:
        0 to 1; 1 if there is no object in either mask.
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


def _has_usable_mask(pair: SurveyedPair) -> bool:
    """Whether the mask fits its image and the encoding of its data set."""
    return pair.record.mask_levels is not None and not pair.contradiction and not pair.record.mismatch


def _class_ids(pair: SurveyedPair, sampled: bool = False) -> np.ndarray:
    """(h, w) uint8 class ids of a mask or of its sample; ignored pixels are 0."""
    record = pair.record
    assert record.mask_levels is not None
    assert record.mask_sample is not None
    assert pair.files.mask is not None
    levels = record.mask_levels
    sample = RawMask(record.mask_sample, levels.kind, palette=levels.palette)
    raw = sample if sampled else pair.dataset.spec.read_mask(pair.files.mask)
    decoded = pair.dataset.encoding.decode(raw)
    decoded[decoded == IGNORE] = 0
    return decoded if decoded.dtype == np.uint8 else (decoded >= 0.5).astype(np.uint8)
