"""Mask files -> masks in one unit, whichever program wrote them.

A data set has one encoding, decided from all its masks: `index` (the pixel is the class id; 0 and 1 for
saliency) or `grey` (the pixel is a brightness: 0 and 255, or soft values between).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from paddleseg_u2net.data.palettes import Color, by_color, colors_of
from paddleseg_u2net.errors import Fault, counted
from paddleseg_u2net.io.contents import read_bytes
from paddleseg_u2net.io.decoders import unscaled
from paddleseg_u2net.io.depth import PHOTOMETRIC, WHITE_IS_0, bits_text, white_of
from paddleseg_u2net.io.images import UPRIGHT, opened, orientation_of, upright

log = logging.getLogger(__name__)

IGNORE = 255  # value of ignored pixels in a decoded mask, class ids and soft masks alike
ENCODINGS = ("index", "grey")
MAKE_ALIKE = "make all masks alike: 0 and 1, or 0 and 255"
IDS_BELOW = 32  # 8-bit soft masks with values between black and white have some above this


class RawMask(NamedTuple):
    """A mask as stored.

    Args:
        values: (H, W), uint8 or uint16, upright.
        kind: `1-bit`, `palette`, `8-bit`, `RGB` (of equal channels) or `16-bit`.
        orientation: EXIF orientation of the file, already applied to `values`.
        palette: (N, 3) uint8 RGB, the colour of each value; None without a palette.
    """

    values: np.ndarray
    kind: str
    orientation: int = UPRIGHT
    palette: np.ndarray | None = None


class MaskLevels(NamedTuple):
    """The distinct values of one mask: all that deciding the encoding needs.

    Args:
        where: path of the mask, after file and line of the list that names it.
        kind: see `RawMask`.
        levels: (L,), the distinct stored values, sorted.
        palette: see `RawMask`.
    """

    where: str
    kind: str
    levels: np.ndarray
    palette: np.ndarray | None = None


def read_raw(path: Path, what: str = "mask") -> RawMask:
    """Read a mask file, or a saliency map, which is stored the same way.

    Args:
        path: an image file of grey values, a palette or 1 bit.
        what: what messages call the file.

    Returns:
        The stored values, upright.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: truncated, not an image, too large, coloured, or with content in the alpha channel only.
    """
    return decode_raw(path, read_bytes(path, what), what)


def decode_raw(path: Path, data: bytes, what: str = "mask") -> RawMask:
    """Decode the content of a mask file; see `read_raw`. `path` and `what` are used in messages."""
    with opened(path, unscaled(data), f"cannot be read as a {what}: ") as image:
        white_is_0 = image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_0
        orientation = orientation_of(image, data)
        image = upright(image, orientation)
        values = np.asarray(image)
        if image.mode == "P" and image.format == "GIF" and values.max() >= len(colors_of(image)):
            raise ValueError("pixels without a colour in its palette")
    if image.mode in ("LA", "RGBA") and values[..., -1].min() < 255 and not np.ptp(values[..., 0]):
        raise ValueError(
            f"{path}: one grey value, the content is in the alpha channel. Fix: save that as a grey {what}"
        )
    if image.mode == "1":
        return RawMask(values.astype(np.uint8), "1-bit", orientation)
    if image.mode == "P":
        colors = colors_of(image)
        if image.format == "GIF" and (colors == colors[:, :1]).all():  # grey values have a palette there, too
            return RawMask(colors[values, 0], "8-bit", orientation)
        return RawMask(values, "palette", orientation, colors)
    if image.mode.startswith("I"):
        if white_is_0:  # Pillow inverts 8 bits only
            raise ValueError(
                f"{path}: a TIFF {what} of 16 bits in which 0 is white. Fix: save it as PNG, or with 8 bits"
            )
        if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
            raise ValueError(f"{path}: holds values beyond 16 bits. Fix: save it with 8 or 16 bits")
        return RawMask(values.astype(np.uint16), "16-bit", orientation)
    if image.mode in ("L", "LA"):
        return RawMask(values if values.ndim == 2 else values[..., 0], "8-bit", orientation)
    if image.mode in ("RGB", "RGBA") and (values[..., :1] == values[..., 1:3]).all():
        return RawMask(values[..., 0], "RGB", orientation)
    raise ValueError(
        f"{path}: a {what} of colours or floating-point numbers (Pillow's mode {image.mode}); expected grey "
        "of 8 or 16 bits, a palette or 1-bit. Fix: store the class id or the brightness of each pixel; "
        "u2net make-dataset --labelmap or --colors converts colours"
    )


def tally(raw: RawMask) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct values of a mask, sorted, uint16, and the number of pixels of each."""
    values = raw.values
    if values.dtype != np.uint8:
        counts = np.bincount(values.ravel())
    else:  # most pixels are black or white, and counting those separately is faster
        counts = np.bincount(values[cv2.inRange(values, 1, 254) > 0], minlength=256)
        counts[0] = values.size - cv2.countNonZero(values)
        counts[255] = values.size - counts.sum()
    levels = np.flatnonzero(counts)
    return levels.astype(np.uint16), counts[levels]


class MaskContent(NamedTuple):
    """What a mask contains, ignored pixels left out.

    Args:
        areas: (C,), pixels of each class; for saliency those below 0.5 and those above.
        share: share of foreground, 0 to 1; for saliency the mean of the soft mask.
        soft: share of pixels between 0 and 1; 0 for class ids.
    """

    areas: np.ndarray
    share: float
    soft: float


@dataclass(frozen=True)
class MaskEncoding:
    """How the masks of one data set are decoded.

    Args:
        name: `index` or `grey`.
        num_classes: 1 decodes to soft masks, a larger number to class ids.
        ignore_index: stored value of ignored pixels; None if no value is ignored.
        top16: the value of white in 16-bit files.
        colors: value -> colour, where palettes have different orders and classes are found by colour.
        by_brightness: whether the greys of palettes count, not the values.
    """

    name: str
    num_classes: int
    ignore_index: int | None = None
    top16: int = 65535
    colors: Mapping[int, Color] | None = None
    by_brightness: bool = False

    def __str__(self) -> str:
        """The line that is logged before training."""
        grey = "0 .. white -> 0 .. 1" if self.num_classes == 1 else "above half of white -> class 1"
        meaning = f"pixel = class id{' by colour' if self.colors else ''}" if self.name == "index" else grey
        ignored = f", {self.ignore_index} ignored" if self.ignore_index is not None else ""
        usual = self.name == "index" or self.top16 in (255, 65535)
        white = "" if usual else f", 16-bit files: {bits_text(self.top16)}"
        return f"mask_encoding: {self.name} ({meaning}{white}{ignored})"

    def decode(self, raw: RawMask) -> np.ndarray:
        """Decode to (H, W): float32 in [0, 1] for saliency, else uint8 class ids; `IGNORE` where ignored."""
        if self.by_brightness and raw.palette is not None:
            raw = RawMask(raw.palette[raw.values, 0], "8-bit")
        values = stored = by_color(raw.values, raw.palette, self.colors)
        if self.name == "grey" and raw.kind != "1-bit":
            values = values / (self.top16 if raw.kind == "16-bit" else 255)
            values = values if self.num_classes == 1 else values > 0.5
        decoded = values.astype(np.float32 if self.num_classes == 1 else np.uint8)
        if self.ignore_index is not None:
            decoded[stored == self.ignore_index] = IGNORE
        return decoded

    def measure(self, mask: MaskLevels, counts: np.ndarray) -> MaskContent:
        """Measure a mask from its levels and the number of pixels of each, (L,) int."""
        values = self.decode(RawMask(mask.levels, mask.kind, palette=mask.palette))
        counts = np.where(values == IGNORE, 0, counts)
        total = max(int(counts.sum()), 1)
        single = self.num_classes == 1
        objects = values if single else values > 0
        soft = (values > 0) & (values < 1)  # none of class ids
        ids = values >= 0.5 if single else values
        areas = np.bincount(ids, counts, max(self.num_classes, 2))[: max(self.num_classes, 2)]
        return MaskContent(areas, float((objects * counts).sum() / total), float(counts[soft].sum() / total))


def decide_encoding(
    masks: Sequence[MaskLevels | None], num_classes: int, ignore_index: int | None, requested: str | None
) -> tuple[MaskEncoding, dict[int, Fault]]:
    """Choose the one encoding that all masks of a data set share.

    Args:
        masks: one per pair; None where the mask cannot be read.
        num_classes: 1 for saliency.
        ignore_index: stored value of ignored pixels; None if no value is ignored.
        requested: encoding set by the user; None to decide it here.

    Returns:
        The encoding, and for each mask that contradicts it: its index in `masks` -> the fault.
    """
    readable = {index: mask for index, mask in enumerate(masks) if mask}
    informative = {  # 1-bit masks and empty ones fit every encoding
        index: mask._replace(levels=levels)
        for index, mask in readable.items()
        if mask.kind != "1-bit" and (levels := mask.levels[mask.levels != ignore_index]).any()
    }
    highest16 = [mask.levels[-1] for mask in informative.values() if mask.kind == "16-bit"]
    top16 = white_of(max(highest16, default=65535))
    grey = {index: mask for index, mask in informative.items() if _is_grey(mask, num_classes, top16)}
    encoding = MaskEncoding(requested or ("grey" if grey else "index"), num_classes, ignore_index, top16)
    if encoding.name == "index":
        return encoding, _not_class_ids(informative, num_classes)
    if requested:
        return encoding, _not_brightness(informative)
    faults = _not_grey(informative, grey)
    if num_classes == 1:
        faults |= _like_class_ids(grey, top16)
    return encoding, dict(sorted(faults.items()))


def _is_grey(mask: MaskLevels, num_classes: int, top16: int) -> bool:
    """Whether values can only be brightness: above 1 for saliency, only 0 and white for two classes."""
    if mask.kind == "palette" or num_classes > 2:
        return False
    if num_classes == 1:
        return bool(mask.levels[-1] > 1)
    white = top16 if mask.kind == "16-bit" else 255
    return set(mask.levels.tolist()) <= {0, white}


def _not_class_ids(masks: Mapping[int, MaskLevels], num_classes: int) -> dict[int, Fault]:
    """Faults of masks with values that are no class id."""
    largest = max(num_classes, 2) - 1
    wrong = {index: mask for index, mask in masks.items() if mask.levels[-1] > largest}
    why = f"expected class ids 0 .. {largest} (num_classes: {num_classes})"
    fix = "set num_classes, or ignore_index if a value marks ignored pixels"
    if num_classes <= 2 and any(mask.kind != "palette" for mask in wrong.values()):
        fix = f"mask_encoding: grey where values are brightness (0/255, JPEG); else {fix}"
    return {index: _fault(mask, why, fix) for index, mask in wrong.items()}


def _not_brightness(masks: Mapping[int, MaskLevels]) -> dict[int, Fault]:
    """Faults of masks that cannot be grey as requested; any other values are accepted."""
    dark = [mask for mask in masks.values() if mask.levels[-1] == 1]
    if dark:
        what = counted(len(dark), "mask holds", "masks hold")
        log.warning("%s 1 and nothing above: almost black as grey, %s", what, dark[0].where)
    palettes = {index: mask for index, mask in masks.items() if mask.kind == "palette"}
    return {
        index: _fault(mask, "a palette is not brightness", MAKE_ALIKE) for index, mask in palettes.items()
    }


def _not_grey(masks: Mapping[int, MaskLevels], grey: Mapping[int, MaskLevels]) -> dict[int, Fault]:
    """Faults of masks that differ from the grey ones, of which there is at least one."""
    why = f"but {counted(len(grey), 'mask is', 'masks are')} grey, as {next(iter(grey.values())).where}"
    return {index: _fault(mask, why, MAKE_ALIKE) for index, mask in masks.items() if index not in grey}


def _like_class_ids(grey: Mapping[int, MaskLevels], top16: int) -> dict[int, Fault]:
    """One fault if the values of grey masks look like class ids, with or without a white border."""
    shares = {index: mask.levels / (top16 if mask.kind == "16-bit" else 255) for index, mask in grey.items()}
    brightest = max(share[-1] for share in shares.values())
    between = max(share[share < 1].max(initial=0) for share in shares.values())
    if brightest > 0.5 and (between == 0 or between > IDS_BELOW / 255):
        return {}
    dark = [index for index, share in shares.items() if 0 < share[share > 0][0] <= IDS_BELOW / 255]
    first = next(iter(dark or grey))
    why = (
        f"which look like class ids and not like brightness: no mask has values between {IDS_BELOW} and white"
    )
    fix = "set num_classes, or ignore_index: 255 if white marks ignored pixels, or mask_encoding: grey"
    return {first: _fault(grey[first], why, fix)}


def _fault(mask: MaskLevels, why: str, fix: str) -> Fault:
    shown = ", ".join(map(str, mask.levels[:8]))
    more = f", … ({len(mask.levels)} values)" if len(mask.levels) > 8 else ""
    return Fault(mask.where, f"holds {shown}{more}, {why}", fix)
