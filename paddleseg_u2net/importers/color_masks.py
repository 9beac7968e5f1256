"""Masks that store classes as colours -> masks of class ids, by a table of colours and labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from paddleseg_u2net.data.item_counts import EXAMPLES, ItemCounts
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.environment.devices import processors
from paddleseg_u2net.errors import Fault, counted
from paddleseg_u2net.importers.annotations import BACKGROUND_LABEL, IGNORE_LABEL, AnnotatedImage
from paddleseg_u2net.importers.color_tables import IGNORED_NAMES, ColorTable
from paddleseg_u2net.importers.sources import ImageSource, ImportedImage
from paddleseg_u2net.io.contents import read_bytes
from paddleseg_u2net.io.images import opened, orientation_of, upright
from paddleseg_u2net.io.listing import stem_of

UNKNOWN_MODES = ("error", "ignore", "background", "nearest")  # what becomes of colours that have no label
TRANSPARENT = 1 << 24  # code of fully transparent pixels, which are background
COLOR_MODES = ("1", "L", "P", "RGB", "LA", "PA", "RGBA")
OUTCOMES_OF_UNKNOWN = {
    "ignore": ("ignored", "pixels", "colour without a label (--unknown_colors ignore)"),
    "background": ("converted", "pixels", "colour without a label: background (--unknown_colors background)"),
    "nearest": ("converted", "pixels", "colour without a label: nearest label (--unknown_colors nearest)"),
}
SPECIAL_LABELS = {
    BACKGROUND_LABEL: ("kept", "background, class 0"),
    IGNORE_LABEL: ("ignored", f"labels {', '.join(IGNORED_NAMES)}"),
}
OUTCOMES_OF_UNUSED = {
    False: ("left out", "categories", "in no mask (--keep_unused keeps them)"),
    True: ("kept", "categories", "in no mask (--keep_unused)"),
}
MAX_SHOWN = 20  # unknown colours that are listed
# unknown colours that are counted of each mask, and of all: JPEG mixes a hundred thousand
MAX_COLORS, MAX_ALL_COLORS = 4096, 1 << 17


def read_colors(path: Path) -> np.ndarray:
    """Read the colours of a mask file: RGB, a palette or grey.

    Args:
        path: an image file with 8 bits per channel; its alpha channel may only be 0 and 255.

    Returns:
        (H, W) int32, upright: R * 65536 + G * 256 + B, or TRANSPARENT.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: truncated, not an image, too large, of 16 bits, or half transparent.
    """
    data = read_bytes(path, "mask")
    with opened(path, data, "cannot be read as a mask: ") as image:
        mode = image.mode
        image.info.pop("transparency", None)  # of a palette: its colours decide
        image = upright(image, orientation_of(image, data))
        channels = np.asarray(image.convert("RGBA" if mode in ("LA", "PA", "RGBA") else "RGB"), np.int32)
    if mode not in COLOR_MODES:
        raise ValueError(f"{path}: Pillow's mode {mode}, expected colours of 8 bits. Fix: save it as RGB")
    codes = (channels[..., 0] << 16) + (channels[..., 1] << 8) + channels[..., 2]
    if channels.shape[2] == 4:
        if not np.isin(channels[..., 3], (0, 255)).all():
            raise ValueError(f"{path}: half transparent pixels. Fix: save it without an alpha channel")
        codes[channels[..., 3] == 0] = TRANSPARENT
    return codes


def _look_up(table: ColorTable, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of each colour in a table, and whether the table has that colour."""
    rows = np.minimum(np.searchsorted(table.codes, codes), len(table.codes) - 1)
    return rows, table.codes[rows] == codes


def _nearest(table: ColorTable, codes: np.ndarray) -> np.ndarray:
    """Return for each colour the row of the nearest one by Euclidean distance in RGB."""
    distinct, places = np.unique(codes, return_inverse=True)
    shifts = np.array([16, 8, 0])
    ours, theirs = (colors[:, None] >> shifts & 255 for colors in (table.codes, distinct))
    nearest = np.empty(len(distinct), int)
    for start in range(0, len(distinct), 1024):  # in blocks, which bounds memory
        differences = theirs[start : start + 1024, None] - ours[None]
        nearest[start : start + 1024] = (differences**2).sum(2).argmin(1)
    return nearest[places.ravel()]


def draw_colors(
    mask: Path, table: ColorTable, unknown: str, values: Mapping[str, int], height: int, width: int
) -> tuple[np.ndarray, list[Fault]]:
    """Convert a mask of colours to class ids.

    Args:
        mask: the file.
        table: the colours and their labels.
        unknown: one of UNKNOWN_MODES; `error` draws colours without a label as background, because
            `from_color_masks` has reported them.
        values: mask value of each label; other labels become background.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Returns:
        (H, W) uint8 class ids, and the fault of a mask that cannot be read or has another size.
    """
    try:
        codes = read_colors(mask)
    except (OSError, ValueError) as error:
        return np.zeros((height, width), np.uint8), [Fault("", str(error))]
    if codes.shape != (height, width):
        what = f"mask (H, W) {codes.shape} differs from its image's {(height, width)}"
        fault = Fault(str(mask), f"{what} (both upright by their EXIF tags)", "make them the same size")
        return np.zeros((height, width), np.uint8), [fault]
    rows, known = _look_up(table, codes)
    numbers = np.array([values.get(label, 0) for label in table.labels], np.uint8)
    ids = numbers[rows]
    transparent = codes == TRANSPARENT
    foreign = ~known & ~transparent
    if unknown == "nearest":
        ids[foreign] = numbers[_nearest(table, codes[foreign])]
    else:
        ids[foreign] = IGNORE if unknown == "ignore" else 0
    ids[transparent] = 0
    return ids, []


# -- survey of all masks ----------------------------------------------------------------------------------


class _Survey(NamedTuple):
    """What one mask shows.

    Args:
        labels: pixels of each label.
        unknown: pixels of the most frequent colours without a label.
        foreign: pixels of all colours without a label.
    """

    labels: Counter[str]
    unknown: dict[int, int]
    foreign: int


def _survey(mask: Path, table: ColorTable, unknown: str) -> _Survey | None:
    """Count the pixels of each label and colour; None if the mask cannot be read."""
    try:
        codes = read_colors(mask)
    except (OSError, ValueError):  # reported when the mask is drawn
        return None
    rows, known = _look_up(table, codes)
    foreign = ~known & (codes != TRANSPARENT)
    if unknown == "nearest":
        rows[foreign] = _nearest(table, codes[foreign])
        known |= foreign
    labels: Counter[str] = Counter()
    for label, count in zip(table.labels, np.bincount(rows[known], minlength=len(table.labels)), strict=True):
        labels[label] += int(count)
    distinct, counts = np.unique(codes[foreign], return_counts=True)
    largest = np.argsort(-counts, kind="stable")[:MAX_COLORS]
    frequent = dict(zip(distinct[largest].tolist(), counts[largest].tolist(), strict=True))
    return _Survey(labels, frequent, int(foreign.sum()))


@dataclass
class _Unknown:
    """Colours without a label in all masks.

    Args:
        total: their pixels.
        pixels: pixels of each colour, as far as they are counted one by one.
        masks: number of masks that show it.
        first: the first of these masks.
    """

    total: int = 0
    pixels: Counter[int] = field(default_factory=Counter)
    masks: Counter[int] = field(default_factory=Counter)
    first: dict[int, Path] = field(default_factory=dict)

    def add(self, mask: Path, survey: _Survey) -> None:
        """Add what one mask shows."""
        self.total += survey.foreign
        for code, count in survey.unknown.items():
            if code in self.pixels or len(self.pixels) < MAX_ALL_COLORS:
                self.pixels[code] += count
                self.masks[code] += 1
                self.first.setdefault(code, mask)

    def faults(self, where: str) -> list[Fault]:
        """Return a fault for each colour, the most frequent first; `where` names the table."""
        choices = "--unknown_colors ignore, background or nearest"
        fix = f"add it to the label map, or choose {choices}"
        if all(len(set(_rgb(code))) == 1 for code in self.pixels):
            fix += "; masks of class ids need no label map: --image_dir and --mask_dir read them"
        faults, shown = [], self.pixels.most_common(MAX_SHOWN)
        for code, count in shown:
            what = f"colour {_rgb(code)} has no label: {counted(count, 'pixel')} "
            what += f"in {counted(self.masks[code], 'mask')}"
            faults.append(Fault(where, f"{what}, for example {self.first[code]}", "" if faults else fix))
        if rest := self.total - sum(count for _, count in shown):
            what = f"more than {MAX_SHOWN} colours have no label: {counted(rest, 'further pixel')}"
            fix = "--unknown_colors nearest takes the nearest label"
            faults.append(Fault(where, f"{what}; JPEG and blurred edges mix colours", fix))
        return faults

    def count(self, unknown: str, counts: ItemCounts) -> None:
        """Count their pixels, by what becomes of them."""
        rest = self.total
        for code, count in self.pixels.most_common(EXAMPLES):
            counts.add(*OUTCOMES_OF_UNKNOWN[unknown], _rgb(code), count)
            rest -= count
        counts.add(*OUTCOMES_OF_UNKNOWN[unknown], count=rest)


def _rgb(code: int) -> tuple[int, int, int]:
    return code >> 16, code >> 8 & 255, code & 255


def from_color_masks(
    source: ImageSource, table: ColorTable, unknown: str = UNKNOWN_MODES[0], keep_unused: bool = False
) -> ImageSource:
    """Make the masks of a source ones that are drawn from colours.

    Args:
        source: images with mask files.
        table: the colours and their labels.
        unknown: what becomes of colours without a label: reported as faults, ignored, background, or the
            label of the nearest colour.
        keep_unused: labels that no mask shows become classes too.

    Returns:
        The images, their labels in the order of the table, and a fault for each colour without a label.
    """
    masks = [image.pair.mask for image in source.images if image.pair.mask]
    labels: Counter[str] = Counter()
    without_label, counts = _Unknown(), source.counts or ItemCounts()
    with ThreadPoolExecutor(processors()) as pool:  # decoding releases the interpreter lock
        surveys = pool.map(partial(_survey, table=table, unknown=unknown), masks)
        for mask, survey in zip(masks, surveys, strict=True):
            if survey:
                labels += survey.labels
                without_label.add(mask, survey)
    conflicts, used = [*source.conflicts], table.order
    if unknown != UNKNOWN_MODES[0]:
        without_label.count(unknown, counts)
    elif without_label.total:
        conflicts += without_label.faults(table.where)
    if not keep_unused and len(conflicts) == len(source.conflicts):
        used = [name for name in table.order if labels[name]]
    _count_labels(table, labels, keep_unused, counts)
    return source._replace(
        images=[_to_be_drawn(image, table, unknown) for image in source.images],
        labels=used,
        counts=counts,
        conflicts=conflicts,
        used=[*source.used, *masks],
    )


def _count_labels(
    table: ColorTable, pixels: Mapping[str, int], keep_unused: bool, counts: ItemCounts
) -> None:
    """Count the labels that are background or ignored, and those that do not occur."""
    for name in table.order:
        if name not in (BACKGROUND_LABEL, IGNORE_LABEL):
            if not pixels.get(name):
                counts.add(*OUTCOMES_OF_UNUSED[keep_unused], name)
        elif pixels.get(name):
            outcome, reason = SPECIAL_LABELS[name]
            counts.add(outcome, "pixels", reason, count=pixels[name])


def _to_be_drawn(image: ImportedImage, table: ColorTable, unknown: str) -> ImportedImage:
    """Replace the mask file of an image by its drawing."""
    assert image.pair.mask
    draw = partial(draw_colors, image.pair.mask, table, unknown)
    # the name becomes a path below the folder of drawn masks
    path = Path(image.name)
    path = stem_of(path) if path.name == image.pair.image.name else path
    name, where = "/".join(part for part in path.parts if part not in ("..", "/")), image.pair.where
    annotated = AnnotatedImage(image.pair.image, name, where, None, [], in_order=True, draw=draw)
    return ImportedImage(name, image.pair._replace(mask=None), annotated, image.part)
