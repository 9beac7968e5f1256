"""The table of checks: what may be wrong with data, how it is found, what to do about it. Light."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from paddleseg_u2net.data.inspection import Look
from paddleseg_u2net.data_check.statistics import class_balance
from paddleseg_u2net.data_check.survey import OVERLAP, Chart, Leak, Patient, overlap
from paddleseg_u2net.io.images import SUFFIXES

TINY = 32  # pixels; U²-Net halves its input five times
RARE = 1e-3  # share of the pixels


class Example(NamedTuple):
    """One place where a check found something; the pairs it concerns are drawn on the page."""

    text: str
    looks: tuple[Look, ...] = ()


Finder = Callable[[Patient], Iterator[Example]]  # examples, worst first


# -- what a pair or a set shows by itself ---------------------------------------------------------------


def _of_pairs(tell: Callable[[Look], str | None]) -> Finder:
    """A check of each pair; `tell` says what is wrong with it, or nothing."""
    return lambda patient: (Example(text, (look,)) for look in patient.looks if (text := tell(look)))


def _of_images(wrong: Callable[[Look], bool], what: str) -> Finder:
    return _of_pairs(lambda look: f"{look.place}: {what.format(look)}" if look.size and wrong(look) else None)


def _of_sets(tell: Callable[[Chart], Iterable[str]]) -> Finder:
    """A check of each set; what is found is told without pictures."""
    return lambda patient: (Example(text) for chart in patient.charts for text in tell(chart))


def _broken(chart: Chart) -> Iterator[str]:
    for look in chart.examination.looks:
        yield from look.broken


def _absent_classes(chart: Chart) -> Iterator[str]:
    if chart.dataset.num_classes > 1 and not chart.examination.lacking:
        for index, row in enumerate(class_balance(chart)):
            if not row["pixels"]:
                yield f"{chart.name}: class {index} occurs in no mask"


def _rare_classes(chart: Chart) -> Iterator[str]:
    for index, row in enumerate(class_balance(chart)):
        if 0 < row["share"] < RARE:
            yield f"{chart.name}: class {index} has {row['share']:.3%} of the pixels"


def _soft(chart: Chart) -> Iterator[str]:
    soft = [content.soft for _, content in chart.measured() if content.soft]
    if soft:
        yield (
            f"{chart.name}: {len(soft)} masks have soft edges, on the average {np.mean(soft):.1%} of their "
            f"pixels, at most {max(soft):.1%}"
        )


def _turned_apart(look: Look) -> str | None:
    if not look.turned_apart:
        return None
    return (
        f"{look.place}: EXIF orientation {look.orientation} of the image, {look.mask_orientation} of its mask"
    )


# -- what only all of a set, or several sets, show ------------------------------------------------------


def _contradictory(patient: Patient, encoding: str) -> Iterator[Example]:
    for chart in patient.charts:
        if chart.examination.encoding.name == encoding:
            for look in chart.examination.looks:
                if look.survey and (fault := chart.examination.contradictions.get(look.survey.where)):
                    yield Example(fault, (look,))


def _filled(patient: Patient, share: float, what: str) -> Iterator[Example]:
    for chart in patient.charts:
        some_background = chart.dataset.num_classes <= 2  # else class 0 may be an object as well
        for look, content in chart.measured():
            if content.share == share and (share < 1 or some_background):
                yield Example(f"{look.mask_place}: {what}", (look,))


def _repeated(patient: Patient) -> Iterator[Example]:
    for chart in patient.charts:
        first: dict[Path, Look] = {}
        for look in chart.examination.looks:
            if (before := first.setdefault(look.pair.image, look)) is not look:
                masks = "another mask" if before.pair.mask != look.pair.mask else "the same mask"
                yield Example(f"{look.place}: listed before, with {masks}", (before, look))


def _shared(leaks: Sequence[Leak], how: str) -> Iterator[Example]:
    for leak in leaks:
        mirrored = ", mirrored" if leak.mirrored else ""
        names = f" ({leak.first.name} and {leak.second.name})" if leak.first is not leak.second else ""
        first, second = leak.looks
        yield Example(f"{first.place} {how} {second.place}{mirrored}{names}", leak.looks)


def _disagreeing(patient: Patient) -> Iterator[Example]:
    """Masks of images that show the same, most different first."""
    leaks = [*patient.same_files, *patient.same_pictures, *patient.twins]
    found = [(iou, leak) for leak in leaks if (iou := overlap(leak)) < OVERLAP]
    for iou, leak in sorted(found, key=lambda item: item[0]):
        places = " and ".join(look.mask_place for look in leak.looks)
        yield Example(
            f"{places}: their images show the same, the masks overlap by {iou:.2f} only", leak.looks
        )


def _unnamed_masks(patient: Patient) -> Iterator[Example]:
    """Files beside the masks that no pair names."""
    pairs = [look.pair for look in patient.looks]
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
        find: patient -> examples, worst first.
        todo: what to do, and what --fix does.
        cheap: needs no comparison of pictures; train.py looks too.
    """

    severity: str
    find: Finder
    todo: str
    cheap: bool = True


LEAKED = "scores are too good; --fix removes it from train"
CHECKS: dict[str, Check] = {
    "pairs": Check(
        "error",
        _of_sets(lambda chart: chart.examination.list_faults),
        "correct the list or the names; --fix leaves them out",
    ),
    "broken files": Check("error", _of_sets(_broken), "restore the file; --fix leaves the pair out"),
    "size mismatch": Check(
        "error",
        _of_pairs(lambda look: look.mismatch),
        "--fix resizes a mask of the same shape, turns one that lacks its image's tag, else leaves it out",
    ),
    "class ids": Check(
        "error",
        lambda patient: _contradictory(patient, "index"),
        "set --num_classes, --ignore_index or --mask_encoding; --fix leaves these pairs out",
    ),
    "mask encoding": Check(
        "error",
        lambda patient: _contradictory(patient, "grey"),
        "make all masks alike, or set --mask_encoding; --fix leaves these pairs out",
    ),
    "no foreground": Check(
        "error",
        _of_sets(lambda chart: chart.examination.lacking),
        "check masks, --mask_encoding and --ignore_index",
    ),
    "same file in two sets": Check(
        "warning", lambda patient: _shared(patient.same_files, "is the file"), LEAKED
    ),
    "same picture in two sets": Check(
        "warning",
        lambda patient: _shared(patient.same_pictures, "shows the same as"),
        LEAKED,
        cheap=False,
    ),
    "masks disagree": Check("warning", _disagreeing, "look at both and keep the right one", cheap=False),
    "listed twice": Check("warning", _repeated, "it counts twice; --fix keeps the first"),
    "EXIF rotation": Check(
        "warning",
        _of_pairs(_turned_apart),
        "both are read upright here, other programs may differ: look; --fix stores upright pixels",
    ),
    "empty masks": Check(
        "warning",
        lambda patient: _filled(patient, 0, "nothing but background"),
        "right for empty scenes, else draw the mask",
    ),
    "full masks": Check(
        "warning",
        lambda patient: _filled(patient, 1, "nothing but foreground"),
        "check whether it was inverted",
    ),
    "absent classes": Check(
        "warning", _of_sets(_absent_classes), "lower --num_classes, or add images that show them"
    ),
    "image is its mask": Check(
        "warning", _of_images(lambda look: look.is_mask, "shows its mask"), "put the image back"
    ),
    "constant images": Check(
        "warning", _of_images(lambda look: look.constant, "has one colour"), "leave it out"
    ),
    "tiny images": Check(
        "warning",
        _of_images(lambda look: min(look.size or (TINY,)) < TINY, f"(H, W) {{0.size}}, below {TINY} pixels"),
        "leave it out, or take the original",
    ),
    "duplicates": Check(
        "note",
        lambda patient: _shared(patient.twins, "shows the same as"),
        "it counts more than once",
        cheap=False,
    ),
    "masks without a pair": Check("note", _unnamed_masks, "add their images, or let them be"),
    "rare classes": Check(
        "note", _of_sets(_rare_classes), "weigh it more: CrossEntropyLoss weight, or more such images"
    ),
    "soft masks": Check("note", _of_sets(_soft), "soft values are kept for saliency"),
}
