"""The table of checks: what can be wrong with data sets, how to find it, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from paddleseg_u2net.data_check.image_checks import (
    Example,
    Examples,
    exif_rotation,
    images_where,
    noted,
    reordered_palettes,
    tiny_images,
    unused_channels,
)
from paddleseg_u2net.data_check.preparation import changed_items
from paddleseg_u2net.data_check.statistics import class_balance
from paddleseg_u2net.data_check.survey import (
    MIN_OVERLAP,
    DatasetSurvey,
    ImageMatch,
    SurveyedPair,
    mask_overlap,
)
from paddleseg_u2net.data_check.unused import lost_files, masks_without_a_pair, other_files
from paddleseg_u2net.errors import Fault, counted
from paddleseg_u2net.io.appearance import GROUND_NAME

RARE = 1e-3  # share of all pixels


# -- checks of lists and single pairs -------------------------------------------------------------------


def _pairs(survey: DatasetSurvey) -> Examples:
    for dataset in survey.datasets:
        yield from map(Example, dataset.spec.faults)


def _broken_files(survey: DatasetSurvey) -> Examples:
    for pair in survey.pairs:
        yield from map(Example, pair.record.broken)


def _size_mismatch(survey: DatasetSurvey) -> Examples:
    for pair in survey.pairs:
        if pair.record.mismatch:
            yield Example(pair.record.mismatch, (pair,))


def _listed_twice(survey: DatasetSurvey) -> Examples:
    for dataset in survey.datasets:
        first: dict[Path, SurveyedPair] = {}
        for pair in dataset.pairs:
            earlier = first.setdefault(pair.files.image, pair)
            if earlier is not pair:
                masks = "the same mask" if earlier.files.mask == pair.files.mask else "another mask"
                yield Example(Fault(pair.record.place, f"listed before, with {masks}"), (earlier, pair))


# -- checks of masks ------------------------------------------------------------------------------------


def _contradictions(survey: DatasetSurvey, encoding: str) -> Examples:
    for dataset in survey.datasets:
        for pair in dataset.pairs if dataset.encoding.name == encoding else ():
            if pair.contradiction and not pair.has_other_palette:
                yield Example(pair.contradiction, (pair,))


def _other_palettes(survey: DatasetSurvey) -> Examples:
    for pair in survey.pairs:
        if pair.contradiction and pair.has_other_palette:
            yield Example(pair.contradiction, (pair,))


def _no_foreground(survey: DatasetSurvey) -> Examples:
    for dataset in survey.datasets:
        if dataset.inspection.no_foreground:
            yield Example(dataset.inspection.no_foreground)


def _empty_masks(survey: DatasetSurvey) -> Examples:
    return _masks_of_share(survey, 0, "nothing but background")


def _full_masks(survey: DatasetSurvey) -> Examples:
    return _masks_of_share(survey, 1, "nothing but foreground")


def _masks_of_share(survey: DatasetSurvey, share: float, what: str) -> Examples:
    for dataset in survey.datasets:
        if share == 1 and dataset.spec.num_classes > 2:
            continue  # class 0 may be an object as well, so a mask without it is not suspicious
        for pair in dataset.pairs:
            if pair.content and pair.content.share == share:
                yield Example(Fault(pair.record.mask_place, what), (pair,))


def _absent_classes(survey: DatasetSurvey) -> Examples:
    for dataset in survey.datasets:
        if dataset.spec.num_classes > 1 and not dataset.inspection.no_foreground:
            for index, row in enumerate(class_balance(dataset)):
                if not row["pixels"]:
                    yield Example(Fault(dataset.name, f"class {index} occurs in no mask"))


def _rare_classes(survey: DatasetSurvey) -> Examples:
    for dataset in survey.datasets:
        for index, row in enumerate(class_balance(dataset)):
            if 0 < row["share"] < RARE:
                yield Example(Fault(dataset.name, f"class {index} has {row['share']:.3%} of the pixels"))


def _soft_masks(survey: DatasetSurvey) -> Examples:
    for dataset in survey.datasets:
        soft = [content.soft for content in dataset.contents if content.soft]
        if soft:
            verb = "has" if len(soft) == 1 else "have"
            what = f"{len(soft)} of {counted(len(dataset.contents), 'mask')} {verb} soft edges: "
            what += f"{np.mean(soft):.1%} of their pixels on average, {max(soft):.1%} at most"
            yield Example(Fault(dataset.name, what))


# -- checks that compare images -------------------------------------------------------------------------


def _matches(matches: Iterable[ImageMatch], relation: str) -> Examples:
    for match in matches:
        first, second = match.first, match.second
        what = f"{relation} {second.record.place}{', mirrored' if match.mirrored else ''}"
        if first.dataset is not second.dataset:
            what += f" ({first.dataset.name} and {second.dataset.name})"
        yield Example(Fault(first.record.place, what), (first, second))


def _masks_disagree(survey: DatasetSurvey) -> Examples:
    """The most different masks come first."""
    matches = [*survey.shared_files, *survey.shared_pictures, *survey.duplicates]
    overlaps = [(mask_overlap(match), match) for match in matches]
    for overlap, match in sorted(overlaps, key=lambda item: item[0]):
        if overlap < MIN_OVERLAP:
            other = match.second.record.mask_place
            what = f"the images show the same, but this mask and {other} overlap by {overlap:.2f} only"
            yield Example(Fault(match.first.record.mask_place, what), (match.first, match.second))


# -- the table ------------------------------------------------------------------------------------------


class Check(NamedTuple):
    """A row of the table.

    Args:
        name: in the terminal, in reports and in docs/data/check_dataset.md.
        severity: an `error` prevents training, a `warning` can spoil training or scores, a `note` informs.
        find: yields the faults of a survey.
        fix: what to do, and what `--fix` does.
        cheap: whether it compares no images; training runs only these checks.
        show_all: whether the terminal shows all that it found, not the first one only.
    """

    name: str
    severity: str
    find: Callable[[DatasetSurvey], Examples]
    fix: str
    cheap: bool = True
    show_all: bool = False


REMOVE_LEAK = "scores would be too good; --fix removes it from train"
CHECKS = (
    Check("pairs", "error", _pairs, "correct the list or the names; --fix leaves them out"),
    Check("broken files", "error", _broken_files, "restore the file; --fix leaves the pair out"),
    Check(
        "size mismatch",
        "error",
        _size_mismatch,
        "--fix resizes a mask of the same shape, rotates one without its image's EXIF tag, or drops it",
    ),
    Check(
        "class ids",
        "error",
        lambda survey: _contradictions(survey, "index"),
        "set num_classes, ignore_index or mask_encoding; --fix leaves these pairs out",
    ),
    Check(
        "mask encoding",
        "error",
        lambda survey: _contradictions(survey, "grey"),
        "store all masks in one encoding, or set mask_encoding; --fix leaves these pairs out",
    ),
    Check(
        "palettes differ",
        "error",
        _other_palettes,
        "convert the masks by colour (u2net make-dataset --colors); --fix leaves these pairs out",
    ),
    Check("no foreground", "error", _no_foreground, "check the masks, mask_encoding and ignore_index"),
    Check(
        "same file in two sets",
        "warning",
        lambda survey: _matches(survey.shared_files, "is the same file as"),
        REMOVE_LEAK,
    ),
    Check(
        "same picture in two sets",
        "warning",
        lambda survey: _matches(survey.shared_pictures, "shows the same as"),
        REMOVE_LEAK,
        cheap=False,
    ),
    Check("masks disagree", "warning", _masks_disagree, "compare both and keep the right one", cheap=False),
    Check("listed twice", "warning", _listed_twice, "it counts twice; --fix keeps the first"),
    Check(
        "EXIF rotation",
        "warning",
        exif_rotation,
        "read upright here, maybe not by other programs: check the pair; --fix stores upright pixels",
    ),
    Check("empty masks", "warning", _empty_masks, "right for scenes without an object, else draw the mask"),
    Check("full masks", "warning", _full_masks, "check whether the mask is inverted"),
    Check("absent classes", "warning", _absent_classes, "lower num_classes, or add images of them"),
    Check(
        "image is its mask",
        "warning",
        lambda survey: images_where(survey, lambda record: record.is_mask, "shows its mask"),
        "restore the image",
    ),
    Check(
        "constant images",
        "warning",
        lambda survey: images_where(survey, lambda record: record.constant, "has one colour"),
        "leave it out",
    ),
    Check("tiny images", "warning", tiny_images, "leave it out, or use the original"),
    Check(
        "transparent images",
        "warning",
        lambda survey: noted(survey, "transparency"),
        f"seen over {GROUND_NAME}: store it over a background of the kind that photographs have",
    ),
    Check(
        "several pages",
        "warning",
        lambda survey: noted(survey, "pages"),
        "store the page that belongs to the mask as a file of its own",
    ),
    Check(
        "duplicates",
        "note",
        lambda survey: _matches(survey.duplicates, "shows the same as"),
        "it counts more than once",
        cheap=False,
    ),
    Check(
        "colour profiles", "note", lambda survey: noted(survey, "profile"), "colours are converted to sRGB"
    ),
    Check(
        "files that are not read",
        "warning",
        lambda survey: map(Example, lost_files(survey)),
        "convert them to PNG or JPEG, restore the links, or ignore this",
    ),
    Check(
        "masks without a pair",
        "note",
        lambda survey: map(Example, masks_without_a_pair(survey)),
        "add their images, or ignore this",
    ),
    Check(
        "unused files",
        "note",
        lambda survey: map(Example, other_files(survey)),
        "list or pair them, or ignore this",
    ),
    Check(
        "preparation",
        "note",
        lambda survey: map(Example, changed_items(survey)),
        "as wanted? the flags of make-dataset in brackets change it",
        show_all=True,
    ),
    Check("palettes", "note", reordered_palettes, "read by colour: check which class each colour is"),
    Check("unused channels", "note", unused_channels, "img_channels and in_channels in a config use them"),
    Check("rare classes", "note", _rare_classes, "add images of it; if not saliency, raise its loss weight"),
    Check("soft masks", "note", _soft_masks, "soft values are kept for saliency"),
)


# -- running the checks ---------------------------------------------------------------------------------


class Finding(NamedTuple):
    """A check that found something: at least one example."""

    check: Check
    examples: list[Example]


def run_checks(survey: DatasetSurvey, *, cheap_only: bool = False) -> list[Finding]:
    """Run the checks and return those that found something, in the order of the table."""
    checks = [survey.reworded(check) for check in CHECKS if check.cheap or not cheap_only]
    findings = [Finding(check, list(check.find(survey))) for check in checks]
    return [finding for finding in findings if finding.examples]
