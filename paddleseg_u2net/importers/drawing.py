"""Draw the masks of annotated images, and count what became of each annotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from paddleseg_u2net.data.inspection import PairRecord, read_pair, read_pairs
from paddleseg_u2net.data.item_counts import ItemCounts
from paddleseg_u2net.data.masks import MaskLevels, RawMask, tally
from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.errors import DataError, Fault
from paddleseg_u2net.importers.annotations import (
    BACKGROUND_LABEL,
    IGNORE_LABEL,
    AnnotatedImage,
    Region,
)
from paddleseg_u2net.importers.embedded import write_embedded
from paddleseg_u2net.importers.faulty_items import OF_SKIPPED_IMAGES, skip
from paddleseg_u2net.importers.pixel_shapes import RASTERIZERS
from paddleseg_u2net.importers.rasterize import Window
from paddleseg_u2net.io.files import atomic_bytes
from paddleseg_u2net.io.images import SIDEWAYS, UPRIGHT, pillow

TURN_PIXELS = "rotate the pixels of the image and annotate it again"
SWAP_SIZE = "exchange width and height in the annotations, or use the annotated image"
SAME_SIZE = "use the annotated image"
RUN_LENGTHS = 3  # zlib's Z_RLE: for masks as small as its full search, in a third of the time


class DrawnMask(NamedTuple):
    """The mask of an image.

    Args:
        ids: (H, W) uint8 class ids, 0 for background and IGNORE for ignored pixels.
        faults: one for each shape, or outline of a shape, that cannot be drawn.
        counts: what became of each annotation.
    """

    ids: np.ndarray
    faults: list[Fault]
    counts: ItemCounts


class DrawingOptions(NamedTuple):
    """How masks are drawn.

    Args:
        values: mask value of each label to draw; shapes with other labels are left out.
        palette: colours of the PNG files.
        folder: where they are drawn to, temporary; the images that are embedded are written beside it.
        final_folder: path of that folder after the build has succeeded.
        skip_faulty: draw the other shapes of an image if some are faulty.
    """

    values: Mapping[str, int]
    palette: bytes
    folder: Path
    final_folder: Path
    skip_faulty: bool = False


def draw_mask(
    image: AnnotatedImage, values: Mapping[str, int], height: int, width: int, skip_faulty: bool = False
) -> DrawnMask:
    """Draw the mask of an image.

    Args:
        image: the image with its shapes.
        values: mask value of each label to draw; shapes with other labels are left out.
        height: height of the mask in pixels.
        width: width of the mask in pixels.
        skip_faulty: count shapes that cannot be drawn as skipped.
    """
    if image.draw:
        return DrawnMask(*image.draw(values, height, width), ItemCounts())
    ids = np.zeros((height, width), np.uint8)
    depths = np.full((height, width), np.iinfo(np.int32).max, np.int32)
    faults, counts, drawn = [], ItemCounts(), []
    for number, region in enumerate(image.regions):
        if region.label not in values:
            counts.add("left out", "annotations", "label is not among --classes", region.label)
            continue
        window, wrong = _rasterize(region, height, width)
        faults += wrong
        if wrong and skip_faulty:
            skip(*((wrong, "outlines") if window else (wrong[:1], "annotations")), counts)
        if window is None:
            continue
        drawn.append((region, window))
        depth = np.count_nonzero(window.inside) if region.label != IGNORE_LABEL else height * width
        depth = -number if image.in_order else depth
        nearest = window.crop(depths)
        on_top = window.inside & (depth <= nearest)
        window.crop(ids)[on_top] = values[region.label]
        nearest[on_top] = depth
    for region, window in drawn:
        visible = (window.crop(ids)[window.inside] == values[region.label]).any()
        counts.add(*_outcome(region, bool(visible), bool(window.inside.any())))
    return DrawnMask(ids, faults, counts)


def _rasterize(region: Region, height: int, width: int) -> tuple[Window | None, list[Fault]]:
    """Return the pixels of a shape and its faults; of several outlines, those that can be drawn."""
    fill = RASTERIZERS[region.kind]
    try:
        return fill(region.shape, height, width), []
    except ValueError as error:
        if region.kind != "outlines" or len(region.shape) < 2:
            return None, [Fault(region.where, str(error))]
    faults, good = [], []
    for index, outline in enumerate(region.shape):
        try:
            fill([outline], height, width)
            good.append(outline)
        except ValueError as error:
            faults.append(Fault(f"{region.where}: outline {index}", str(error)))
    return (fill(good, height, width) if good else None), faults


def _outcome(region: Region, visible: bool, has_pixels: bool) -> tuple[str, str, str, str]:
    """Return outcome, items, reason and name of a shape that has been drawn."""
    if not has_pixels:
        return "left out", "annotations", "covers no centre of a pixel of the image", region.where
    if not visible:
        return "left out", "annotations", "hidden by other annotations", region.where
    if region.label == IGNORE_LABEL:
        reason = region.reason or f"label {IGNORE_LABEL}"
        return "ignored", "annotations", reason, region.where
    if region.label == BACKGROUND_LABEL:
        return "kept", "annotations", "drawn as background, class 0", region.where
    return "kept", "annotations", region.reason, region.where if region.reason else ""


def draw_masks(
    images: Sequence[AnnotatedImage], pairs: Sequence[Pair], options: DrawingOptions, counts: ItemCounts
) -> list[PairRecord]:
    """Read images and draw their masks as files, in parallel.

    Args:
        images: the images with their shapes; `name` is that of the mask below the folder.
        pairs: the image file of each.
        options: how masks are drawn.
        counts: what became of the annotations is added.

    Returns:
        One record per image, with what is wrong with the image and its shapes.
    """
    drawn: dict[str, ItemCounts] = {}

    def draw(item: tuple[AnnotatedImage, Pair]) -> PairRecord:
        return _draw_mask_file(*item, options, drawn)

    records = read_pairs(list(zip(images, pairs, strict=True)), "masks", draw)
    for image, record in zip(images, records, strict=True):  # in their order, whichever was drawn first
        if image.name in drawn:
            counts.merge(drawn[image.name])
        elif record.faults:
            number = len(image.regions)
            counts.add("skipped", "annotations", OF_SKIPPED_IMAGES, image.where, number)
    return records


def _draw_mask_file(
    annotated: AnnotatedImage, pair: Pair, options: DrawingOptions, drawn: dict[str, ItemCounts]
) -> PairRecord:
    """Draw one mask; adds what became of its annotations to `drawn`."""
    try:
        source, final = write_embedded(annotated, options.folder.parent, options.final_folder.parent)
    except DataError as error:
        return PairRecord(pair, broken=tuple(fault for fault in error.faults if isinstance(fault, Fault)))
    record = read_pair(pair._replace(image=source))._replace(pair=pair._replace(image=final))
    if record.size is None:
        return record
    if fault := _size_fault(annotated, record.size, record.orientation):
        return record._replace(mismatch=fault)
    mask = draw_mask(annotated, options.values, *record.size, options.skip_faulty)
    if mask.faults and (annotated.draw or not options.skip_faulty):
        return record._replace(broken=tuple(mask.faults))
    drawn[annotated.name] = mask.counts
    fault = _nothing_left(annotated, mask.counts)
    if fault and options.skip_faulty:
        return record._replace(broken=(fault,))
    name = Path(f"{annotated.name}.png")
    _write(options.folder / name, mask.ids, options.palette)
    levels, areas = tally(RawMask(mask.ids, "palette"))
    pair = record.pair._replace(mask=options.final_folder / name)
    levels = MaskLevels(str(pair.mask), "palette", levels)
    return record._replace(pair=pair, mask_levels=levels, counts=areas)


def _size_fault(annotated: AnnotatedImage, size: tuple[int, int], orientation: int) -> Fault | None:
    """Return the fault of an image whose size differs from that in the annotations."""
    if annotated.size in (None, size):
        return None
    what = f"(H, W) {annotated.size} differs from {size} of {annotated.image}, "
    what += "which is upright by its EXIF tag" if orientation != UPRIGHT else "which has no EXIF tag"
    swapped = annotated.size == size[::-1]
    fix = (TURN_PIXELS if orientation >= SIDEWAYS else SWAP_SIZE) if swapped else SAME_SIZE
    return Fault(annotated.where, what, fix)


def _nothing_left(annotated: AnnotatedImage, counts: ItemCounts) -> Fault | None:
    """Return the fault of an image none of whose annotations can be drawn: its mask would be wrong."""
    faulty = annotated.faulty + counts.count("skipped", "annotations")
    if faulty and faulty >= len(annotated.regions) + annotated.faulty:
        return Fault(annotated.where, "all annotations of the image are faulty")
    return None


def _write(path: Path, ids: np.ndarray, palette: bytes) -> None:
    picture = pillow().fromarray(ids)
    picture.putpalette(palette)
    with atomic_bytes(path, durable=False) as buffer:
        picture.save(buffer, "PNG", compress_type=RUN_LENGTHS)
