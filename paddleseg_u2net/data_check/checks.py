"""The table of checks: what may be wrong with data, how it is found, what to do about it. Light."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from paddleseg_u2net.data.inspection import PairRecord
from paddleseg_u2net.data_check.statistics import class_balance
from paddleseg_u2net.data_check.survey import OVERLAP, DatasetSurvey, Leak, SurveyedDataset, overlap
from paddleseg_u2net.io.images import SUFFIXES

TINY = 32  # pixels; U²-Net halves its input five times
RARE = 1e-3  # share of the pixels


class Example(NamedTuple):
    """One place where a check found something; the pairs it concerns are drawn on the page."""

    text: str
    records: tuple[PairRecord, ...] = ()


Finder = Callable[[DatasetSurvey], Iterator[Example]]  # examples, worst first


# -- what a pair or a set shows by itself ---------------------------------------------------------------


def _of_pairs(tell: Callable[[PairRecord], str | None]) -> Finder:
    """A check of each pair; `tell` says what is wrong with it, or nothing."""
    return lambda survey: (Example(text, (record,)) for record in survey.records if (text := tell(record)))


def _of_images(wrong: Callable[[PairRecord], bool], what: str) -> Finder:
    return _of_pairs(
        lambda record: f"{record.place}: {what.format(record)}" if record.size and wrong(record) else None
    )


def _of_sets(tell: Callable[[SurveyedDataset], Iterable[str]]) -> Finder:
    """A check of each set; what is found is told without pictures."""
    return lambda survey: (Example(text) for surveyed in survey.datasets for text in tell(surveyed))


def _broken(surveyed: SurveyedDataset) -> Iterator[str]:
    for record in surveyed.inspection.records:
        yield from map(str, record.broken)


def _no_foreground(surveyed: SurveyedDataset) -> Iterator[str]:
    if fault := surveyed.inspection.no_foreground:
        yield str(fault)


def _absent_classes(surveyed: SurveyedDataset) -> Iterator[str]:
    if surveyed.dataset.num_classes > 1 and not surveyed.inspection.no_foreground:
        for index, row in enumerate(class_balance(surveyed)):
            if not row["pixels"]:
                yield f"{surveyed.name}: class {index} occurs in no mask"


def _rare_classes(surveyed: SurveyedDataset) -> Iterator[str]:
    for index, row in enumerate(class_balance(surveyed)):
        if 0 < row["share"] < RARE:
            yield f"{surveyed.name}: class {index} has {row['share']:.3%} of the pixels"


def _soft(surveyed: SurveyedDataset) -> Iterator[str]:
    soft = [content.soft for _, content in surveyed.measured() if content.soft]
    if soft:
        yield (
            f"{surveyed.name}: {len(soft)} masks have soft edges, on average {np.mean(soft):.1%} of their "
            f"pixels, at most {max(soft):.1%}"
        )


def _turned_apart(record: PairRecord) -> str | None:
    if not record.turned_apart:
        return None
    turns = f"{record.orientation} of the image, {record.mask_orientation} of its mask"
    return f"{record.place}: EXIF orientation {turns}"


# -- what only all of a set, or several sets, show ------------------------------------------------------


def _contradictory(survey: DatasetSurvey, encoding: str) -> Iterator[Example]:
    for surveyed in survey.datasets:
        if surveyed.inspection.encoding.name == encoding:
            for index, fault in surveyed.inspection.contradictions.items():
                yield Example(str(fault), (surveyed.inspection.records[index],))


def _filled(survey: DatasetSurvey, share: float, what: str) -> Iterator[Example]:
    for surveyed in survey.datasets:
        some_background = surveyed.dataset.num_classes <= 2  # else class 0 may be an object as well
        for record, content in surveyed.measured():
            if content.share == share and (share < 1 or some_background):
                yield Example(f"{record.mask_place}: {what}", (record,))


def _repeated(survey: DatasetSurvey) -> Iterator[Example]:
    for surveyed in survey.datasets:
        first: dict[Path, PairRecord] = {}
        for record in surveyed.inspection.records:
            if (before := first.setdefault(record.pair.image, record)) is not record:
                masks = "another mask" if before.pair.mask != record.pair.mask else "the same mask"
                yield Example(f"{record.place}: listed before, with {masks}", (before, record))


def _shared(leaks: Sequence[Leak], how: str) -> Iterator[Example]:
    for leak in leaks:
        mirrored = ", mirrored" if leak.mirrored else ""
        names = f" ({leak.first.name} and {leak.second.name})" if leak.first is not leak.second else ""
        first, second = leak.records
        yield Example(f"{first.place} {how} {second.place}{mirrored}{names}", leak.records)


def _disagreeing(survey: DatasetSurvey) -> Iterator[Example]:
    """Masks of images that show the same, most different first."""
    leaks = [*survey.same_files, *survey.same_pictures, *survey.twins]
    found = [(iou, leak) for leak in leaks if (iou := overlap(leak)) < OVERLAP]
    for iou, leak in sorted(found, key=lambda item: item[0]):
        places = " and ".join(record.mask_place for record in leak.records)
        yield Example(
            f"{places}: their images show the same, the masks overlap by {iou:.2f} only", leak.records
        )


def _unnamed_masks(survey: DatasetSurvey) -> Iterator[Example]:
    """Files beside the masks that no pair names."""
    pairs = [record.pair for record in survey.records]
    named = {str(path) for pair in pairs for path in (pair.image, pair.mask)}
    images = {pair.image.parent for pair in pairs}
    stems = {Path(name).stem for folder in images if folder.is_dir() for name in os.listdir(folder)}
    for folder in sorted({pair.mask.parent for pair in pairs if pair.mask} - images):
        for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
            path = os.path.join(folder, name)
            if path not in named and Path(name).suffix.lower() in SUFFIXES and Path(name).stem not in stems:
                yield Example(f"{path}: no pair names this mask, and no image is called so")


# -- the table ------------------------------------------------------------------------------------------


class Check(NamedTuple):
    """A row of the table.

    Args:
        severity: `error` stops training, `warning` spoils it or its scores, `note` is good to know.
        find: survey -> examples, worst first.
        todo: what to do, and what --fix does.
        cheap: needs no comparison of pictures; train.py records too.
    """

    severity: str
    find: Finder
    todo: str
    cheap: bool = True


LEAKED = "scores are too good; --fix removes it from train"
CHECKS: dict[str, Check] = {
    "pairs": Check(
        "error",
        _of_sets(lambda surveyed: map(str, surveyed.dataset.faults)),
        "correct the list or the names; --fix leaves them out",
    ),
    "broken files": Check("error", _of_sets(_broken), "restore the file; --fix leaves the pair out"),
    "size mismatch": Check(
        "error",
        _of_pairs(lambda record: str(record.mismatch) if record.mismatch else None),
        "--fix resizes a mask of the same shape, turns one that lacks its image's tag, else leaves it out",
    ),
    "class ids": Check(
        "error",
        lambda survey: _contradictory(survey, "index"),
        "set --num_classes, --ignore_index or --mask_encoding; --fix leaves these pairs out",
    ),
    "mask encoding": Check(
        "error",
        lambda survey: _contradictory(survey, "grey"),
        "make all masks alike, or set --mask_encoding; --fix leaves these pairs out",
    ),
    "no foreground": Check(
        "error",
        _of_sets(_no_foreground),
        "check masks, --mask_encoding and --ignore_index",
    ),
    "same file in two sets": Check(
        "warning", lambda survey: _shared(survey.same_files, "is the file"), LEAKED
    ),
    "same picture in two sets": Check(
        "warning",
        lambda survey: _shared(survey.same_pictures, "shows the same as"),
        LEAKED,
        cheap=False,
    ),
    "masks disagree": Check("warning", _disagreeing, "record at both and keep the right one", cheap=False),
    "listed twice": Check("warning", _repeated, "it counts twice; --fix keeps the first"),
    "EXIF rotation": Check(
        "warning",
        _of_pairs(_turned_apart),
        "both are read upright here, other programs may differ: record; --fix stores upright pixels",
    ),
    "empty masks": Check(
        "warning",
        lambda survey: _filled(survey, 0, "nothing but background"),
        "right for empty scenes, else draw the mask",
    ),
    "full masks": Check(
        "warning",
        lambda survey: _filled(survey, 1, "nothing but foreground"),
        "check whether it was inverted",
    ),
    "absent classes": Check(
        "warning", _of_sets(_absent_classes), "lower --num_classes, or add images that show them"
    ),
    "image is its mask": Check(
        "warning", _of_images(lambda record: record.is_mask, "shows its mask"), "put the image back"
    ),
    "constant images": Check(
        "warning", _of_images(lambda record: record.constant, "has one colour"), "leave it out"
    ),
    "tiny images": Check(
        "warning",
        _of_images(
            lambda record: min(record.size or (TINY,)) < TINY, f"(H, W) {{0.size}}, below {TINY} pixels"
        ),
        "leave it out, or take the original",
    ),
    "duplicates": Check(
        "note",
        lambda survey: _shared(survey.twins, "shows the same as"),
        "it counts more than once",
        cheap=False,
    ),
    "masks without a pair": Check("note", _unnamed_masks, "add their images, or let them be"),
    "rare classes": Check(
        "note", _of_sets(_rare_classes), "weigh it more: CrossEntropyLoss weight, or more such images"
    ),
    "soft masks": Check("note", _of_sets(_soft), "soft values are kept for saliency"),
}
