"""Collect images and masks from folders, lists or annotations, and inspect all of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from paddleseg_u2net.data.agreement import agree, as_classes
from paddleseg_u2net.data.inspection import Inspection, PairRecord, inspect, read_pairs
from paddleseg_u2net.data.item_counts import ItemCounts
from paddleseg_u2net.data.masks import (
    IGNORE,
    MaskContent,
    MaskEncoding,
)
from paddleseg_u2net.data.pairs import Pair, pair_folders, read_list
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data.visualize import make_palette
from paddleseg_u2net.data.wording import as_flags
from paddleseg_u2net.errors import DataError, Fault
from paddleseg_u2net.importers.annotations import AnnotatedImage, AnnotationSet
from paddleseg_u2net.importers.drawing import DrawingOptions, draw_masks
from paddleseg_u2net.importers.faulty_items import OF_SKIPPED_IMAGES, kind_of, raise_all, skip, skip_each_once
from paddleseg_u2net.importers.labels import find_classes, merge_labels, unite_labels
from paddleseg_u2net.importers.mask_meaning import MaskMeaning, count_classes
from paddleseg_u2net.io.appearance import NOTES

CHANNELS = 3  # of images, unless the config says otherwise

Faults = Sequence[Fault | str]


class ImportedImage(NamedTuple):
    """One image of a source.

    Args:
        name: determines the position in the split and the name of a drawn mask.
        pair: the files; the mask is None if it has to be drawn.
        annotated: the shapes to draw, or None if the mask is a file.
        part: index of the folder, list or annotation file it comes from.
    """

    name: str
    pair: Pair
    annotated: AnnotatedImage | None = None
    part: int = 0


class ImageSource(NamedTuple):
    """The images of a source before they are read.

    Args:
        images: the images.
        faults: what is wrong with single lines, files or annotations, which can be skipped.
        labels: labels of annotations in class order; None for mask files.
        counts: what was left out, ignored or converted so far, and why; None if nothing was.
        conflicts: what is wrong with the lists or annotations as a whole.
        folders: where its files lie; other files in them are counted.
        used: files that it uses besides its images, masks and annotations, or that are in `counts`.
    """

    images: list[ImportedImage]
    faults: Faults
    labels: list[str] | None = None
    counts: ItemCounts | None = None
    conflicts: Faults = ()
    folders: Sequence[Path] = ()
    used: Sequence[Path] = ()


class InspectedImage(NamedTuple):
    """One image whose files have been read without a fault.

    Args:
        name: as in ImportedImage.
        pair: image and mask; a drawn mask is named by its final path.
        part: as in ImportedImage.
        digest: checksum of the image file.
        content: what the mask contains.
        thumb: (16, 16, 3) uint8, see `thumbnails.thumbnail`.
    """

    name: str
    pair: Pair
    part: int
    digest: bytes
    content: MaskContent
    thumb: np.ndarray


class InspectedSource(NamedTuple):
    """The images of a source after they have been read.

    Args:
        images: the images.
        encoding: how their masks are decoded.
        classes: names of class 1, 2, …, as far as they are known.
        counts: what became of the items of the source.
    """

    images: list[InspectedImage]
    encoding: MaskEncoding
    classes: list[str]
    counts: ItemCounts


class _Reading(NamedTuple):
    """The images of a source and their masks.

    Args:
        records: one per image.
        encoding: how the masks are decoded.
        faults: index of the image -> its faults.
        conflicts: faults of all masks together.
    """

    records: Sequence[PairRecord]
    encoding: MaskEncoding
    faults: dict[int, list[Fault]]
    conflicts: list[Fault]


# -- collect ----------------------------------------------------------------------------------------------


def from_folders(
    image_dirs: Sequence[Path], mask_dirs: Sequence[Path], image_suffix: str, mask_suffix: str
) -> ImageSource:
    """Pair the images and masks of two folders, or of one folder where the names have different endings.

    Args:
        image_dirs: folder of images of each part.
        mask_dirs: folder of masks of each part; may be the same.
        image_suffix: how the names of images end; see `pair_folders`.
        mask_suffix: how the names of masks end.

    Raises:
        DataError: images and masks are in one folder and have the same suffix.
    """
    for folder in {*image_dirs} & {*mask_dirs} if image_suffix == mask_suffix else ():
        fix = "--mask_suffix _gt, or --image_suffix .jpg --mask_suffix .png"
        raise DataError([Fault(str(folder), "images and masks cannot be distinguished", fix)])
    folders = list(zip(image_dirs, mask_dirs, strict=True))
    found = [pair_folders(*pair, image_suffix, mask_suffix) for pair in folders]
    return _from_files(found, image_dirs)._replace(folders=[*image_dirs, *mask_dirs])


def from_lists(paths: Sequence[Path], root: Path) -> ImageSource:
    """Read PaddleSeg list files, one per part, whose paths are relative to `root`."""
    source = _from_files([read_list(path, root) for path in paths], [root] * len(paths))
    files = {path for image in source.images for path in image.pair[:2] if path}
    return source._replace(folders=sorted({path.parent for path in files}))


def _from_files(found: Sequence[tuple], roots: Sequence[Path]) -> ImageSource:
    """Name the images of (pairs, faults) of each part by their paths below its root."""
    images = [
        ImportedImage(Path(os.path.relpath(pair.image, root)).as_posix(), pair, part=part)
        for part, ((pairs, _), root) in enumerate(zip(found, roots, strict=True))
        for pair in pairs
    ]
    return ImageSource(images, [fault for _, faults in found for fault in faults])


def from_annotations(sets: Sequence[AnnotationSet], folders: Sequence[Path] = ()) -> ImageSource:
    """Collect the images of annotation files or folders, one set per part; `folders` hold the images."""
    counts = ItemCounts()
    sets = unite_labels(sets, counts)
    labels, conflicts = merge_labels(sets)
    for one in sets:
        counts.merge(one.counts)
        for image in one.images:
            if image.found:
                counts.add("converted", "image paths", image.found, image.where)
    images = [
        ImportedImage(image.name, Pair(image.image, None, image.where), image, part)
        for part, one in enumerate(sets)
        for image in one.images
    ]
    faults = [fault for one in sets for fault in one.faults]
    used = [path for one in sets for path in (one.path, *one.used)]
    return ImageSource(images, faults, labels, counts, conflicts, folders, used)


def find_repeated_names(images: Iterable[ImportedImage]) -> dict[int, Fault]:
    """Find the images that are named before, or whose drawn masks would have such a name; with the faults."""
    first: dict[str, ImportedImage] = {}
    faults = {}
    for index, image in enumerate(images):
        kept = first.setdefault(image.name, image)
        if kept is not image:
            other = kept.pair.where or kept.pair.image
            what = f"the name '{image.name}' is used twice, first in {other}"
            faults[index] = Fault(image.pair.image_place, what, "remove or rename one of them")
    return faults


# -- inspect ----------------------------------------------------------------------------------------------


def inspect_source(
    source: ImageSource, meaning: MaskMeaning, mask_dir: Path, final_mask_dir: Path, skip_faulty: bool = False
) -> InspectedSource:
    """Read every image, and read or draw every mask.

    Args:
        source: the images.
        meaning: how masks or labels are interpreted.
        mask_dir: folder that masks are drawn to, temporary.
        final_mask_dir: path of that folder after the build has succeeded.
        skip_faulty: leave out and count the items that have faults.

    Raises:
        DataError: all faults of the source.
    """
    counts, conflicts = source.counts or ItemCounts(), list(source.conflicts)
    repeated = find_repeated_names(source.images)
    images = [image for index, image in enumerate(source.images) if index not in repeated]
    classes = meaning.classes or []
    if source.labels is None:
        reading = _read_masks(images, meaning, skip_faulty, counts)
    else:
        annotated = [image.annotated for image in images if image.annotated]
        classes, values, wrong = find_classes(
            source.labels, annotated, meaning.classes, meaning.saliency, meaning.keep_unused, counts
        )
        conflicts += wrong
        count = 1 if meaning.saliency else len(classes) + 1
        palette = make_palette(count).tobytes()
        options = DrawingOptions(values, palette, mask_dir, final_mask_dir, skip_faulty)
        reading = _draw_masks(images, options, count, counts)
    of_images = [fault for faults in reading.faults.values() for fault in faults]
    faults = [*source.faults, *repeated.values(), *of_images]
    conflicts += reading.conflicts
    kept = [index for index in range(len(images)) if index not in reading.faults]
    if conflicts or (faults and not (skip_faulty and kept)):
        raise_all(faults, conflicts, bool(kept))
    if not images:
        raise DataError([Fault("", "found 0 images", "name a source with at least two")])
    skip_each_once(source.faults, counts)
    for index in repeated:
        if annotated := source.images[index].annotated:
            number = len(annotated.regions)
            counts.add("skipped", "annotations", OF_SKIPPED_IMAGES, annotated.where, number)
    skip([*repeated.values(), *(first for first, *_ in reading.faults.values())], "images", counts)
    _count_changes([reading.records[index] for index in kept], counts)
    inspected = [_inspected(images[index], reading.records[index], reading.encoding) for index in kept]
    return InspectedSource(inspected, reading.encoding, classes, counts)


def _count_changes(records: Sequence[PairRecord], counts: ItemCounts) -> None:
    """Count what training changes or leaves out when it reads the images."""
    for record in records:
        for note in record.notes:
            _, have, what, _ = NOTES[note.kind]
            counts.add("converted", "images", f"{have} {what}: {kind_of(note.text)}", record.place)
        if record.held > CHANNELS:
            reason = f"beyond the first {CHANNELS} (img_channels and in_channels use them)"
            counts.add("ignored", "channels", reason, record.place, record.held - CHANNELS)


def _inspected(image: ImportedImage, record: PairRecord, encoding: MaskEncoding) -> InspectedImage:
    """Return an image without faults."""
    assert record.mask_levels is not None
    assert record.thumb is not None
    content = encoding.measure(record.mask_levels, record.counts)
    return InspectedImage(image.name, record.pair, image.part, record.digest, content, record.thumb)


def _read_masks(
    images: Sequence[ImportedImage], meaning: MaskMeaning, skip_faulty: bool, counts: ItemCounts
) -> _Reading:
    """Read images and mask files, and decide how the masks are decoded."""
    read = read_pairs([image.pair for image in images], "all images")
    faults = {record.index: record.faults for record in read if record.faults}
    # files that are left out have no part in the decision how the others are decoded
    used = [record for record in read if not (skip_faulty and record.faults)]
    inspection = _inspect_masks([record._replace(index=n) for n, record in enumerate(used)], meaning)
    reordered = inspection.agreement.palettes.reordered
    counts.add_all("converted", "masks", "palettes of another order, read by colour", reordered)
    for number, fault in inspection.contradictions.items():
        faults.setdefault(used[number].index, []).append(fault)
    conflicts = [inspection.no_foreground] if inspection.no_foreground else []
    return _Reading(read, inspection.encoding, faults, conflicts)


def _inspect_masks(records: Sequence[PairRecord], meaning: MaskMeaning) -> Inspection:
    pairs = [record.pair for record in records]
    encoding, name = meaning.mask_encoding, "all images"
    (agreement,) = agree([DatasetSpec(pairs, 1, (), None, encoding, name=name)], [records])
    found = (as_classes(record.mask_levels, agreement.palettes) for record in records)
    count, ignore_index = count_classes([mask for mask in found if mask], meaning)
    spec = DatasetSpec(pairs, count, (), ignore_index, encoding, name=name, fix_as=as_flags)
    return inspect(spec, records, agreement)


def _draw_masks(
    images: Sequence[ImportedImage], options: DrawingOptions, num_classes: int, counts: ItemCounts
) -> _Reading:
    """Read the images and draw a mask for each of them."""
    shapes = [image.annotated._replace(name=image.name) for image in images if image.annotated]
    records = draw_masks(shapes, [image.pair for image in images], options, counts)
    ignored = any(record.mask_levels.levels[-1] == IGNORE for record in records if record.mask_levels)
    encoding = MaskEncoding("index", num_classes, IGNORE if ignored else None)
    return _Reading(records, encoding, {r.index: r.faults for r in records if r.faults}, [])
