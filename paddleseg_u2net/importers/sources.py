"""Collect images and masks from folders, lists or annotations, and inspect all of them."""

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
from paddleseg_u2net.data.wording import as_flags
from paddleseg_u2net.errors import DataError, Fault
from paddleseg_u2net.importers.annotations import (
    AnnotatedImage,
    AnnotationSet,
    assign_classes,
    draw_mask,
    merge_labels,
)
from paddleseg_u2net.io.images import SIDEWAYS, UPRIGHT, pillow

TURN_PIXELS = "rotate the pixels of the image and annotate it again"
SWAP_SIZE = "exchange width and height in the annotations, or use the annotated image"
SAME_SIZE = "use the annotated image"
RUN_LENGTHS = 3  # zlib's Z_RLE: for masks as small as its full search, in a third of the time
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
        faults: everything that is wrong with the lists or annotations.
        labels: labels of annotations in class order; None for mask files.
    """

    images: list[ImportedImage]
    faults: Faults
    labels: list[str] | None = None


class MaskMeaning(NamedTuple):
    """How the user wants masks to be interpreted.

    Args:
        saliency: one foreground class, possibly soft. If False, annotations become classes, and mask files
            become classes if their values are class ids.
        classes: names of class 1, 2, …
        num_classes: number of classes with background; needed if the masks do not show all of them.
        ignore_index: mask value of ignored pixels.
        mask_encoding: `index`, `grey`, or None to decide it from all masks.
    """

    saliency: bool = False
    classes: list[str] | None = None
    num_classes: int | None = None
    ignore_index: int | None = None
    mask_encoding: str | None = None


class InspectedImage(NamedTuple):
    """One image whose files have been read without a fault.

    Args:
        name: as in ImportedImage.
        pair: image and mask; a drawn mask is named by its final path.
        part: as in ImportedImage.
        digest: checksum of the image file.
        content: what the mask contains.
    """

    name: str
    pair: Pair
    part: int
    digest: bytes
    content: MaskContent


class InspectedSource(NamedTuple):
    """The images of a source after they have been read.

    Args:
        images: the images.
        encoding: how their masks are decoded.
        classes: names of class 1, 2, …, as far as they are known.
    """

    images: list[InspectedImage]
    encoding: MaskEncoding
    classes: list[str]


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
    return _from_files([pair_folders(*pair, image_suffix, mask_suffix) for pair in folders], image_dirs)


def from_lists(paths: Sequence[Path], root: Path) -> ImageSource:
    """Read PaddleSeg list files, one per part, whose paths are relative to `root`."""
    return _from_files([read_list(path, root) for path in paths], [root] * len(paths))


def _from_files(found: Sequence[tuple], roots: Sequence[Path]) -> ImageSource:
    """Name the images of (pairs, faults) of each part by their paths below its root."""
    images = [
        ImportedImage(Path(os.path.relpath(pair.image, root)).as_posix(), pair, part=part)
        for part, ((pairs, _), root) in enumerate(zip(found, roots, strict=True))
        for pair in pairs
    ]
    return ImageSource(images, [fault for _, faults in found for fault in faults])


def from_annotations(sets: Sequence[AnnotationSet]) -> ImageSource:
    """Collect the images of COCO files or LabelMe folders, one per part."""
    labels, faults = merge_labels(sets)
    images = [
        ImportedImage(image.name, Pair(image.image, None, image.where), image, part)
        for part, annotations in enumerate(sets)
        for image in annotations.images
    ]
    return ImageSource(images, [fault for one in sets for fault in one.faults] + faults, labels)


def find_repeated_names(images: Iterable[ImportedImage]) -> list[Fault]:
    """List the images that are named twice, or whose drawn masks would have the same name."""
    first: dict[str, ImportedImage] = {}
    faults = []
    for image in images:
        kept = first.setdefault(image.name, image)
        if kept is not image:
            other = kept.pair.where or kept.pair.image
            what = f"the name '{image.name}' is used twice, first in {other}"
            faults.append(Fault(image.pair.image_place, what, "remove or rename one of them"))
    return faults


# -- inspect ----------------------------------------------------------------------------------------------


def inspect_source(
    source: ImageSource, meaning: MaskMeaning, mask_dir: Path, final_mask_dir: Path
) -> InspectedSource:
    """Read every image, and read or draw every mask.

    Args:
        source: the images.
        meaning: how masks or labels are interpreted.
        mask_dir: folder that masks are drawn to, temporary.
        final_mask_dir: path of that folder after the build has succeeded.

    Raises:
        DataError: all faults of the source.
    """
    faults = [*source.faults, *find_repeated_names(source.images)]
    classes = meaning.classes or []
    if source.labels is None:
        records, encoding, wrong = _read_masks(source.images, meaning)
    else:
        values = dict.fromkeys(source.labels, 1)  # shapes are checked even if the classes are wrong
        try:
            classes, values = assign_classes(source.labels, meaning.classes, meaning.saliency)
        except DataError as error:
            faults += error.faults
        count = 1 if meaning.saliency else len(classes) + 1
        records, encoding, wrong = _draw_masks(source.images, values, count, mask_dir, final_mask_dir)
    faults += wrong
    if not source.images and not faults:
        faults.append(Fault("", "found 0 images", "name a source with at least two"))
    if faults:
        raise DataError(faults)
    inspected = []
    for image, record in zip(source.images, records, strict=True):
        assert record.mask_levels is not None
        content = encoding.measure(record.mask_levels, record.counts)
        inspected.append(InspectedImage(image.name, record.pair, image.part, record.digest, content))
    return InspectedSource(inspected, encoding, classes)


def _read_masks(
    images: Sequence[ImportedImage], meaning: MaskMeaning
) -> tuple[list[PairRecord], MaskEncoding, Faults]:
    """Read images and mask files, and decide how the masks are decoded."""
    pairs = [image.pair for image in images]
    records = read_pairs(pairs, "all images")
    levels = [record.mask_levels for record in records if record.mask_levels]
    count, ignore_index = count_classes(levels, meaning)
    encoding = meaning.mask_encoding
    spec = DatasetSpec(pairs, count, (), ignore_index, encoding, name="all images", fix_as=as_flags)
    inspection = inspect(spec, records)
    return records, inspection.encoding, inspection.faults


def count_classes(levels: Sequence[MaskLevels], meaning: MaskMeaning) -> tuple[int, int | None]:
    """Determine `num_classes` and `ignore_index` of mask files, from the user's options or from their values.

    Masks are saliency unless their values contradict it. Then they are class ids: 0 is background, the
    largest value is the last class, and with three classes or more 255 marks ignored pixels.

    Args:
        levels: the values of each mask.
        meaning: the user's options, which take precedence.
    """
    values = set().union(*(mask.levels.tolist() for mask in levels)) - {meaning.ignore_index}
    largest = max(values - {IGNORE}, default=0)
    if meaning.saliency:
        count = 1
    elif meaning.num_classes or meaning.classes:
        count = meaning.num_classes or len(meaning.classes or ()) + 1
    else:
        contradictions = decide_encoding(levels, 1, meaning.ignore_index, meaning.mask_encoding)[1]
        as_ids = all(mask.kind == "palette" for mask in levels) or largest <= IDS_BELOW
        count = largest + 1 if contradictions and as_ids and largest > 1 else 1
    implied = meaning.ignore_index is None and count > 2 and IGNORE in values
    return count, IGNORE if implied else meaning.ignore_index


def _draw_masks(
    images: Sequence[ImportedImage],
    values: Mapping[str, int],
    count: int,
    mask_dir: Path,
    final_mask_dir: Path,
) -> tuple[list[PairRecord], MaskEncoding, Faults]:
    """Read the images and draw a mask for each of them."""
    palette = make_palette(count).tobytes()
    read = partial(
        _draw_mask_file, values=values, palette=palette, mask_dir=mask_dir, final_mask_dir=final_mask_dir
    )
    records = read_pairs(images, "masks", read)
    ignored = any(record.mask_levels.levels[-1] == IGNORE for record in records if record.mask_levels)
    faults = [fault for record in records for fault in record.faults]
    return records, MaskEncoding("index", count, IGNORE if ignored else None), faults


def _draw_mask_file(
    image: ImportedImage, values: Mapping[str, int], palette: bytes, mask_dir: Path, final_mask_dir: Path
) -> PairRecord:
    """Draw a mask to `mask_dir`, or record what is wrong with the image and its shapes."""
    record, annotated = read_pair(image.pair)._replace(thumb=None), image.annotated
    assert annotated is not None
    if record.size is None:
        return record
    if annotated.size not in (None, record.size):
        what = f"(H, W) {annotated.size} differs from {record.size} of {annotated.image}, "
        tagged, sideways = record.orientation != UPRIGHT, record.orientation >= SIDEWAYS
        what += "which is upright by its EXIF tag" if tagged else "which has no EXIF tag"
        swapped = annotated.size == record.size[::-1]
        fix = (TURN_PIXELS if sideways else SWAP_SIZE) if swapped else SAME_SIZE
        return record._replace(mismatch=Fault(annotated.where, what, fix))
    ids, faults = draw_mask(annotated, values, *record.size)
    if faults:
        return record._replace(broken=tuple(faults))
    mask = Path(f"{image.name}.png")
    (mask_dir / mask).parent.mkdir(parents=True, exist_ok=True)
    picture = pillow().fromarray(ids)
    picture.putpalette(palette)
    picture.save(mask_dir / mask, compress_type=RUN_LENGTHS)
    levels, counts = tally(RawMask(ids, "palette"))
    pair = image.pair._replace(mask=final_mask_dir / mask)
    return record._replace(
        pair=pair, mask_levels=MaskLevels(str(pair.mask), "palette", levels), counts=counts
    )
