"""Data sets, each file read once -> what is wrong with them, all together, and what to do. Light."""

from __future__ import annotations

import functools
import itertools
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paddleseg_u2net.dataset import DataError, Dataset, Examination
from paddleseg_u2net.images import SUFFIXES
from paddleseg_u2net.inspection import Look
from paddleseg_u2net.masks import IGNORE, RawMask
from paddleseg_u2net.similarity import Match, matches

log = logging.getLogger(__name__)

TINY = 32  # pixels; U²-Net halves its input five times
OVERLAP = 0.8  # intersection over union below which two masks of one image differ
COMPARED = 8  # sampled pixels of foreground that make this a measurement
RARE = 1e-3  # share of the pixels
MULTIPLE, SMALLEST, LARGEST = 32, 256, 512  # of a suggested input's sides
SAME_SHAPE = 0.1  # how far most aspect ratios may lie from their median where the suggestion keeps it
QUANTILES = {"min": 0, "5%": 0.05, "median": 0.5, "95%": 0.95, "max": 1}


class Example(NamedTuple):
    """One place where a check found something; the pairs it concerns are drawn on the page."""

    text: str
    looks: tuple[Look, ...] = ()


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
    """An image of one set that shows the same as one of another."""

    first: Chart
    second: Chart
    looks: tuple[Look, Look]
    mirrored: bool


class Patient:
    """All data sets of one visit; what several checks need is found once."""

    def __init__(self, charts: Sequence[Chart]):
        self.charts = [chart for chart in charts if chart.examination.looks or chart.examination.list_faults]

    @functools.cached_property
    def same_files(self) -> list[Leak]:
        """Images of equal content in two sets."""
        found = []
        for one, other in itertools.combinations(self.charts, 2):
            known = defaultdict(list)
            for look in one.seen:
                known[look.digest].append(look)
            found += [
                Leak(one, other, (same, look), False) for look in other.seen for same in known[look.digest]
            ]
        return found

    @functools.cached_property
    def leaks(self) -> list[Leak]:
        """Images of two sets that show the same, equal files included."""
        found = list(self.same_files)
        known = {(id(leak.looks[0]), id(leak.looks[1])) for leak in found}
        for one, other in itertools.combinations([c for c in self.charts if c.seen], 2):
            for match in matches(one.thumbs, other.thumbs):
                looks = one.seen[match.first], other.seen[match.second]
                if (id(looks[0]), id(looks[1])) not in known:
                    found.append(Leak(one, other, looks, match.mirrored))
        return found

    @functools.cached_property
    def twins(self) -> list[Leak]:
        """Different files of one set that show the same."""

        def leak(chart: Chart, match: Match) -> Leak:
            return Leak(chart, chart, (chart.seen[match.first], chart.seen[match.second]), match.mirrored)

        charts = [chart for chart in self.charts if chart.seen]
        found = [leak(chart, match) for chart in charts for match in matches(chart.thumbs)]
        return [twin for twin in found if twin.looks[0].pair.image != twin.looks[1].pair.image]


# -- the checks, in the order of the table --------------------------------------------------------------


def place(look: Look, mask: bool = False) -> str:
    """List file, line and path of an image, or of its mask."""
    return f"{look.pair.where}{look.pair.mask if mask else look.pair.image}"


def _pairs(patient: Patient) -> Iterator[Example]:
    for chart in patient.charts:
        yield from map(Example, chart.examination.list_faults)


def _broken(patient: Patient) -> Iterator[Example]:
    for chart in patient.charts:
        for look in chart.examination.looks:
            yield from map(Example, look.broken)


def _mismatched(patient: Patient) -> Iterator[Example]:
    for chart in patient.charts:
        for look in chart.examination.looks:
            if look.mismatch:
                yield Example(look.mismatch, (look,))


def _contradictions(patient: Patient, encoding: str) -> Iterator[Example]:
    for chart in patient.charts:
        by_place = {look.survey.where: look for look in chart.examination.looks if look.survey}
        if chart.examination.encoding.name == encoding:
            for where, fault in chart.examination.contradictions.items():
                yield Example(fault, (by_place[where],) if where in by_place else ())


def _lacking(patient: Patient) -> Iterator[Example]:
    for chart in patient.charts:
        yield from map(Example, chart.examination.lacking)


def _repeated(patient: Patient) -> Iterator[Example]:
    for chart in patient.charts:
        first: dict[Path, Look] = {}
        for look in chart.examination.looks:
            if (before := first.setdefault(look.pair.image, look)) is not look:
                masks = "another mask" if before.pair.mask != look.pair.mask else "the same mask"
                yield Example(f"{place(look)}: listed before, with {masks}", (before, look))


def _turned_apart(patient: Patient) -> Iterator[Example]:
    for chart in patient.charts:
        for look, _ in chart.measured():
            if look.size and look.turned != look.mask_turned:
                tagged, other = ("image", "mask") if look.turned else ("mask", "image")
                yield Example(
                    f"{place(look)}: the {tagged} is turned by an EXIF tag, its {other} is not", (look,)
                )


def _share(patient: Patient, share: float, what: str) -> Iterator[Example]:
    for chart in patient.charts:
        for look, content in chart.measured():
            some_background = chart.dataset.num_classes <= 2  # else class 0 may be an object as well
            if content.share == share and (share < 1 or some_background):
                yield Example(f"{place(look, mask=True)}: {what}", (look,))


def _absent_classes(patient: Patient) -> Iterator[Example]:
    for chart in patient.charts:
        if chart.dataset.num_classes > 1 and not chart.examination.lacking:
            for index, row in enumerate(class_balance(chart)):
                if not row["pixels"]:
                    yield Example(f"{chart.name}: class {index} occurs in no mask")


def _rare_classes(patient: Patient) -> Iterator[Example]:
    for chart in patient.charts:
        for index, row in enumerate(class_balance(chart)):
            if 0 < row["share"] < RARE:
                yield Example(f"{chart.name}: class {index} has {row['share']:.3%} of the pixels")


def _shared(leaks: Sequence[Leak], how: str) -> Iterator[Example]:
    for leak in leaks:
        mirrored = ", mirrored" if leak.mirrored else ""
        names = f" ({leak.first.name} and {leak.second.name})" if leak.first is not leak.second else ""
        first, second = map(place, leak.looks)
        yield Example(f"{first} {how} {second}{mirrored}{names}", leak.looks)


def _near_leaks(patient: Patient) -> Iterator[Example]:
    known = {id(leak) for leak in patient.same_files}
    return _shared([leak for leak in patient.leaks if id(leak) not in known], "shows the same as")


def _disagreeing(patient: Patient) -> Iterator[Example]:
    """Masks of images that show the same, most different first."""
    found = [(overlap(leak), leak) for leak in (*patient.leaks, *patient.twins)]
    found = sorted(((iou, leak) for iou, leak in found if iou < OVERLAP), key=lambda item: item[0])
    for iou, leak in found:
        places = " and ".join(place(look, mask=True) for look in leak.looks)
        yield Example(
            f"{places}: their images show the same, the masks overlap by {iou:.2f} only", leak.looks
        )


def _of_images(patient: Patient, wrong: Callable[[Look], bool], what: str) -> Iterator[Example]:
    for chart in patient.charts:
        for look in chart.seen:
            if wrong(look):
                yield Example(f"{place(look)}: {what.format(look)}", (look,))


def _unnamed_masks(patient: Patient) -> Iterator[Example]:
    """Files beside the masks that no pair names."""
    pairs = [look.pair for chart in patient.charts for look in chart.examination.looks]
    named = {str(path) for pair in pairs for path in (pair.image, pair.mask)}
    images = {pair.image.parent for pair in pairs}
    stems = {Path(name).stem for folder in images if folder.is_dir() for name in os.listdir(folder)}
    for folder in sorted({pair.mask.parent for pair in pairs if pair.mask} - images):
        for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
            path = os.path.join(folder, name)
            if path not in named and Path(name).suffix.lower() in SUFFIXES and Path(name).stem not in stems:
                yield Example(f"{path}: no pair names this mask, and no image is called so")


def _soft(patient: Patient) -> Iterator[Example]:
    for chart in patient.charts:
        soft = [content.soft for _, content in chart.measured() if content.soft]
        if soft:
            yield Example(
                f"{chart.name}: {len(soft)} masks have soft edges, on the average "
                f"{np.mean(soft):.1%} of their pixels, at most {max(soft):.1%}"
            )


class Check(NamedTuple):
    """A row of the table.

    Args:
        severity: `error` stops training, `warning` spoils it or its scores, `note` is good to know.
        find: patient -> examples, worst first.
        todo: what to do, and what --fix does.
        cheap: needs no comparison of pictures; train.py looks too.
    """

    severity: str
    find: Callable[[Patient], Iterator[Example]]
    todo: str
    cheap: bool = True


CHECKS: dict[str, Check] = {
    "pairs": Check("error", _pairs, "correct the list or the names; --fix leaves them out"),
    "broken files": Check("error", _broken, "restore the file; --fix leaves the pair out"),
    "size mismatch": Check(
        "error",
        _mismatched,
        "--fix resizes a mask of the same shape, turns one that lacks its image's tag, else leaves it out",
    ),
    "class ids": Check(
        *("error", lambda p: _contradictions(p, "index")),
        "set --num_classes, --ignore_index or --mask_encoding; --fix leaves these pairs out",
    ),
    "mask encoding": Check(
        *("error", lambda p: _contradictions(p, "grey")),
        "make all masks alike, or set --mask_encoding; --fix leaves these pairs out",
    ),
    "no foreground": Check("error", _lacking, "check masks, --mask_encoding and --ignore_index"),
    "same file in two sets": Check(
        "warning",
        lambda p: _shared(p.same_files, "is the file"),
        "scores are too good; --fix removes it from train",
    ),
    "same picture in two sets": Check(
        "warning", _near_leaks, "scores are too good; --fix removes it from train", cheap=False
    ),
    "masks disagree": Check("warning", _disagreeing, "look at both and keep the right one", cheap=False),
    "listed twice": Check("warning", _repeated, "it counts twice; --fix keeps the first"),
    "EXIF rotation": Check(
        "warning",
        _turned_apart,
        "both are read upright here, other programs may differ: look; --fix stores upright pixels",
    ),
    "empty masks": Check(
        "warning",
        lambda p: _share(p, 0, "nothing but background"),
        "right for empty scenes, else draw the mask",
    ),
    "full masks": Check(
        "warning", lambda p: _share(p, 1, "nothing but foreground"), "check whether it was inverted"
    ),
    "absent classes": Check("warning", _absent_classes, "lower --num_classes, or add images that show them"),
    "image is its mask": Check(
        *("warning", lambda p: _of_images(p, lambda look: look.is_mask, "shows its mask")),
        "put the image back",
    ),
    "constant images": Check(
        *("warning", lambda p: _of_images(p, lambda look: look.constant, "has one colour")), "leave it out"
    ),
    "tiny images": Check(
        "warning",
        lambda p: _of_images(
            p, lambda look: min(look.size or (TINY,)) < TINY, "(H, W) {0.size}, below 32 pixels"
        ),
        "leave it out, or take the original",
    ),
    "duplicates": Check(
        *("note", lambda p: _shared(p.twins, "shows the same as")), "it counts more than once", cheap=False
    ),
    "masks without a pair": Check("note", _unnamed_masks, "add their images, or let them be"),
    "rare classes": Check(
        "note", _rare_classes, "weigh it more: CrossEntropyLoss weight, or more such images"
    ),
    "soft masks": Check("note", _soft, "soft values are kept for saliency"),
}


@dataclass(frozen=True)
class Finding:
    """A check that found something."""

    name: str
    check: Check
    examples: list[Example]


def diagnose(patient: Patient, *, cheap: bool = False) -> list[Finding]:
    """Run the checks; those that found something, in the order of the table."""
    rows = [(name, check) for name, check in CHECKS.items() if check.cheap or not cheap]
    found = [Finding(name, check, list(check.find(patient))) for name, check in rows]
    return [finding for finding in found if finding.examples]


def examine(datasets: Sequence[Dataset]) -> Patient:
    """Read all files of several data sets once."""
    return Patient([Chart(dataset, dataset.examine()) for dataset in datasets])


def admit(datasets: Sequence[Dataset]) -> Patient:
    """Examine data before training: warnings are logged, errors raise one DataError with all of them."""
    patient = examine(datasets)
    if faults := [fault for chart in patient.charts for fault in chart.examination.faults]:
        raise DataError(faults)
    for finding in diagnose(patient, cheap=True):
        if finding.check.severity == "warning":
            log.warning("%s: %d, first: %s", finding.name, len(finding.examples), finding.examples[0].text)
    return patient


# -- numbers --------------------------------------------------------------------------------------------


def overlap(leak: Leak) -> float:
    """Intersection over union of two masks on an even grid of points; 1 where too little is drawn."""
    ids = []
    for chart, look in zip((leak.first, leak.second), leak.looks, strict=True):
        if look.mask_sample is None or look.survey is None or look.mismatch:
            return 1.0
        decoded = chart.examination.encoding.decode(RawMask(look.mask_sample, look.survey.kind))
        decoded = np.where(decoded == IGNORE, 0, decoded)
        ids.append(decoded >= 0.5 if chart.dataset.num_classes == 1 else decoded)
    first, second = ids[0], ids[1][:, ::-1] if leak.mirrored else ids[1]
    union = (first > 0) | (second > 0)
    if union.sum() < COMPARED:
        return 1.0
    return float((first == second)[union].mean())


def class_balance(chart: Chart) -> list[dict[str, float]]:
    """Per class its pixels, its share of all of them, and the images it occurs in."""
    areas = [content.areas for _, content in chart.measured()]
    if not areas:
        return []
    pixels, images = np.sum(areas, 0), np.sum(np.array(areas) > 0, 0)
    total = max(pixels.sum(), 1)
    return [
        {"pixels": int(area), "share": float(area / total), "images": int(count)}
        for area, count in zip(pixels, images, strict=True)
    ]


def suggest_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """(W, H) of an input: of the median area, each side a multiple of 32, the mean side 256 to 512.

    The median shape is kept where four of five images have it within a tenth; otherwise it is a square.
    """
    height, width = np.array(sizes, float).T
    side = np.clip(np.median(np.sqrt(height * width)), SMALLEST, LARGEST)
    ratios = height / width
    ratio = float(np.median(ratios))
    if np.mean(np.abs(ratios / ratio - 1) <= SAME_SHAPE) < 0.8:
        ratio = 1.0
    rounded = [max(round(n / MULTIPLE), 1) * MULTIPLE for n in (side / ratio**0.5, side * ratio**0.5)]
    return rounded[0], rounded[1]


def summary(chart: Chart) -> dict[str, Any]:
    """A data set in numbers."""
    sizes = [look.size for look in chart.seen if look.size]
    shares = [content.share for _, content in chart.measured()]
    kinds: dict[str, int] = defaultdict(int)
    for look, _ in chart.measured():
        kinds[look.survey.kind if look.survey else ""] += 1
    found: dict[str, Any] = {
        "pairs": len(chart.examination.looks),
        "encoding": str(chart.examination.encoding),
        "mask files": dict(kinds),
        "classes": class_balance(chart),
    }
    if sizes:
        sides = np.array(sizes)
        found["height"], found["width"] = (_quantiles(sides[:, axis]) for axis in (0, 1))
        found["suggested target_size"] = list(suggest_size(sizes))
    if shares:
        found["foreground share"] = _quantiles(shares)
    return found


def _quantiles(values: Any) -> dict[str, float]:
    return {name: round(float(np.quantile(values, q)), 4) for name, q in QUANTILES.items()}


def report(patient: Patient, findings: Sequence[Finding]) -> dict[str, Any]:
    """All of it as plain data."""
    return {
        "sets": {chart.name: summary(chart) for chart in patient.charts},
        "findings": [
            {
                "check": finding.name,
                "severity": finding.check.severity,
                "count": len(finding.examples),
                "what to do": finding.check.todo,
                "examples": [
                    {
                        "text": example.text,
                        "pairs": [[str(look.pair.image), str(look.pair.mask)] for look in example.looks],
                    }
                    for example in finding.examples
                ],
            }
            for finding in findings
        ],
    }
