"""Checks of single images: rotation, size, content, and what is changed or left out when they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from paddleseg_u2net.data.inspection import PairRecord
from paddleseg_u2net.data_check.survey import DatasetSurvey, SurveyedPair
from paddleseg_u2net.errors import Fault, counted

TINY = 32  # pixels; U²-Net halves its input five times


class Example(NamedTuple):
    """One fault that a check found, and the pairs to draw for it."""

    fault: Fault
    pairs: tuple[SurveyedPair, ...] = ()


Examples = Iterator[Example]


def exif_rotation(survey: DatasetSurvey) -> Examples:
    """Pairs whose EXIF tags rotate image and mask differently."""
    for pair in survey.pairs:
        record = pair.record
        if record.rotated_differently:
            orientations = f"{record.orientation} of the image, {record.mask_orientation} of its mask"
            yield Example(Fault(record.place, f"EXIF orientation {orientations}"), (pair,))


def tiny_images(survey: DatasetSurvey) -> Examples:
    """Images with a side below TINY."""
    for pair in survey.pairs:
        size = pair.record.size
        if size and min(size) < TINY:
            yield Example(Fault(pair.record.place, f"(H, W) {size}, below {TINY} pixels"), (pair,))


def reordered_palettes(survey: DatasetSurvey) -> Examples:
    """Masks whose palettes hold the colours of the others in another order."""
    for pair in survey.pairs:
        if pair.record.mask_place in pair.dataset.inspection.agreement.palettes.reordered:
            what = "its palette holds the colours of the others in another order"
            yield Example(Fault(pair.record.mask_place, what), (pair,))


def unused_channels(survey: DatasetSurvey) -> Examples:
    """Images with more channels than are used."""
    for pair in survey.pairs:
        used = pair.dataset.spec.channels
        if pair.record.held > used:
            what = f"holds {counted(pair.record.held, 'channel')}, of which {counted(used, 'is', 'are')} used"
            yield Example(Fault(pair.record.place, what), (pair,))


def images_where(survey: DatasetSurvey, is_wrong: Callable[[PairRecord], bool], what: str) -> Examples:
    """Images whose record fulfils a condition; `what` is said of them."""
    for pair in survey.pairs:
        if is_wrong(pair.record):
            yield Example(Fault(pair.record.place, what), (pair,))


def noted(survey: DatasetSurvey, kind: str) -> Examples:
    """Images of which something was changed or left out when they were read; `kind` is a key of NOTES."""
    for pair in survey.pairs:
        for note in pair.record.notes:
            if note.kind == kind:
                yield Example(Fault(pair.record.place, note.text), (pair,))
