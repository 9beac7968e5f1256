"""Folders, lists or annotations -> images and what their masks hold; shapes are drawn."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from paddleseg_u2net.data.inspection import PairRecord, inspect, read_pair, read_pairs
from paddleseg_u2net.data.masks import (
    IDS_BELOW,
    IGNORE,
    MaskContent,
    MaskEncoding,
    MaskLevels,
    RawMask,
    decide_encoding,
    tally,
)
from paddleseg_u2net.data.pairs import Pair, pair_folders, read_list
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data.visualize import make_palette
from paddleseg_u2net.errors import DataError, Fault
from paddleseg_u2net.importers.annotations import Annotated, Annotations, class_values, draw, join_labels
from paddleseg_u2net.io.images import pillow

RUN_LENGTHS = 3  # zlib's Z_RLE: areas of one value get as small as by its search, in a third of the time


class Entry(NamedTuple):
    """One image of a source.

    Args:
        name: what its place in the split is drawn from, and what its drawn mask is called.
        pair: its files; the mask is None where it has yet to be drawn …
        annotated: … from this.
        part: which of the folders or files given it is from.
    """

    name: str
    pair: Pair
    annotated: Annotated | None = None
    part: int = 0


class Source(NamedTuple):
    """What was found: images, what is wrong, and for annotations the labels in their order."""

    entries: list[Entry]
    faults: Sequence[Fault | str]
    labels: list[str] | None = None


class Meaning(NamedTuple):
    """What masks mean.

    Args:
        saliency: one class, soft or not; where False, masks decide, and annotations are classes.
        classes: names of class 1, 2, …
        num_classes: background included, where masks do not show all.
        ignore_index: mask value of pixels that do not count.
    """

    saliency: bool = False
    classes: list[str] | None = None
    num_classes: int | None = None
    ignore_index: int | None = None


class Checked(NamedTuple):
    """One image and its mask, read: its entry, the checksum of the image, and what the mask holds."""

    entry: Entry
    digest: bytes
    content: MaskContent


# -- what there is ----------------------------------------------------------------------------------------


def from_folders(
    image_dirs: Sequence[Path], mask_dirs: Sequence[Path], image_suffix: str, mask_suffix: str
) -> Source:
    """Two folders, or one whose file names end differently; arguments as `pair_folders`, one or several."""
    for folder in {*image_dirs} & {*mask_dirs} if image_suffix == mask_suffix else ():
        raise ValueError(
            f"{folder}: images and masks cannot be told apart. Fix: --mask_suffix _gt, or "
            "--image_suffix .jpg --mask_suffix .png"
        )
    folders = list(zip(image_dirs, mask_dirs, strict=True))
    return _of_files([pair_folders(*pair, image_suffix, mask_suffix) for pair in folders], image_dirs)


def from_lists(paths: Sequence[Path], root: Path) -> Source:
    """PaddleSeg's lists, one or several."""
    return _of_files([read_list(path, root) for path in paths], [root] * len(paths))


def _of_files(found: Sequence[tuple[list[Pair], list[Fault]]], roots: Sequence[Path]) -> Source:
    entries = [
        Entry(Path(os.path.relpath(pair.image, root)).as_posix(), pair, part=part)
        for part, ((pairs, _), root) in enumerate(zip(found, roots, strict=True))
        for pair in pairs
    ]
    return Source(entries, [fault for _, faults in found for fault in faults])


def from_annotations(found: Sequence[Annotations]) -> Source:
    """COCO or LabelMe, read; one or several."""
    labels, faults = join_labels(found)
    entries = [
        Entry(one.name, Pair(one.image, None, one.where.removesuffix(": ")), one, part)
        for part, annotations in enumerate(found)
        for one in annotations.images
    ]
    return Source(entries, [fault for one in found for fault in one.faults] + faults, labels)


def repeated(entries: Iterable[Entry]) -> list[str]:
    """A fault per image that is named twice, or whose drawn mask would get the name of another."""
    first: dict[str, Entry] = {}
    faults = []
    for entry in entries:
        kept = first.setdefault(entry.name, entry)
        if kept is not entry:
            other = kept.pair.where or kept.pair.image
            faults.append(
                f"{entry.pair.image_place}: the name '{entry.name}' stands twice, first in "
                f"{other}. Fix: keep one, or rename it"
            )
    return faults


# -- what it shows ----------------------------------------------------------------------------------------


def read_source(
    source: Source, meaning: Meaning, folder: Path, arrives: Path
) -> tuple[list[Checked], MaskEncoding, list[str]]:
    """Read or draw every mask and check every image; raises DataError with all that is wrong.

    Args:
        source: what was found.
        meaning: what its masks mean, or its labels become.
        folder: where masks are drawn …
        arrives: … and how that will be called.

    Returns:
        The images, how their masks are read, and the names of class 1, 2, …
    """
    faults, classes = [*source.faults, *repeated(source.entries)], meaning.classes or []
    if source.labels is None:
        records, encoding, wrong = _read_masks(source.entries, meaning)
    else:
        values = dict.fromkeys(source.labels, 1)  # shapes are checked in any case
        try:
            classes, values = class_values(source.labels, meaning.classes, meaning.saliency)
        except ValueError as error:
            faults.append(str(error))
        count = 1 if meaning.saliency else len(classes) + 1
        records, encoding, wrong = _draw_masks(source.entries, values, count, folder, arrives)
    faults += wrong
    if not source.entries and not faults:
        faults = ["0 images. Fix: name a source that holds at least two"]
    if faults:
        raise DataError(faults)
    checked = []
    for entry, record in zip(source.entries, records, strict=True):
        assert record.mask_levels is not None
        content = encoding.measure(record.mask_levels, record.counts)
        checked.append(Checked(entry._replace(pair=record.pair, annotated=None), record.digest, content))
    return checked, encoding, classes


def _read_masks(
    entries: Sequence[Entry], meaning: Meaning
) -> tuple[list[PairRecord], MaskEncoding, list[Fault]]:
    pairs = [entry.pair for entry in entries]
    records = read_pairs(pairs, "all images")
    count, ignore = count_classes([record.mask_levels for record in records if record.mask_levels], meaning)
    found = inspect(DatasetSpec(pairs, count, ignore_index=ignore, name="all images"), records)
    return records, found.encoding, found.faults


def count_classes(surveys: Sequence[MaskLevels], meaning: Meaning) -> tuple[int, int | None]:
    """`num_classes` and `ignore_index` of masks that were not drawn here: as wished, else as they look.

    Masks are saliency unless they cannot be: then they hold class ids, background 0, and the largest is the
    last class. 255 beside three classes or more does not count.
    """
    values = set().union(*(survey.levels.tolist() for survey in surveys)) - {meaning.ignore_index}
    largest = max(values - {IGNORE}, default=0)
    if meaning.saliency:
        count = 1
    elif meaning.num_classes or meaning.classes:
        count = meaning.num_classes or len(meaning.classes or ()) + 1
    else:
        contradictions = decide_encoding(surveys, 1, meaning.ignore_index, None)[1]
        as_ids = all(survey.kind == "palette" for survey in surveys) or largest <= IDS_BELOW
        count = largest + 1 if contradictions and as_ids and largest > 1 else 1
    unsaid = meaning.ignore_index is None and count > 2 and IGNORE in values
    return count, IGNORE if unsaid else meaning.ignore_index


def _draw_masks(
    entries: Sequence[Entry], values: Mapping[str, int], count: int, folder: Path, arrives: Path
) -> tuple[list[PairRecord], MaskEncoding, list[Fault]]:
    palette = make_palette(count).tobytes()
    see = partial(_draw_mask, values=values, palette=palette, folder=folder, arrives=arrives)
    records = read_pairs(entries, "masks", see)
    unsure = any(record.mask_levels.levels[-1] == IGNORE for record in records if record.mask_levels)
    faults = [fault for record in records for fault in record.faults]
    return records, MaskEncoding("index", count, IGNORE if unsure else None), faults


def _draw_mask(
    entry: Entry, values: Mapping[str, int], palette: bytes, folder: Path, arrives: Path
) -> PairRecord:
    """Draw a mask into `folder`, which becomes `arrives`, or tell what is wrong with its image and shapes."""
    record, annotated = read_pair(entry.pair)._replace(thumb=None), entry.annotated
    assert annotated is not None
    if record.size is None:
        return record
    if annotated.size not in (None, record.size):
        turned = annotated.size == record.size[::-1]
        fix = "turn the image for good and annotate that" if turned else "use the image that was annotated"
        what = (
            f"(H, W) {annotated.size} differs from the {record.size} of {annotated.image}, upright by its "
            "EXIF tag"
        )
        return record._replace(mismatch=Fault(annotated.where.removesuffix(": "), what, fix))
    ids, faults = draw(annotated, values, *record.size)
    if faults:
        return record._replace(broken=tuple(Fault("", fault) for fault in faults))
    mask = Path(f"{entry.name}.png")
    (folder / mask).parent.mkdir(parents=True, exist_ok=True)
    picture = pillow().fromarray(ids)
    picture.putpalette(palette)
    picture.save(folder / mask, compress_type=RUN_LENGTHS)
    levels, counts = tally(RawMask(ids, "palette"))
    pair = entry.pair._replace(mask=arrives / mask)
    return record._replace(
        pair=pair, mask_levels=MaskLevels(str(pair.mask), "palette", levels), counts=counts
    )
