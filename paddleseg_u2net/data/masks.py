"""Mask files -> truth in one unit, whatever wrote them.

A data set has one encoding, decided over all its masks: `index` (the pixel is the class id; 0/1 for
saliency) or `grey` (the pixel is brightness: 0/255, or soft values between).
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import UnidentifiedImageError

from paddleseg_u2net.io.images import (
    MAX_PIXELS,
    UPRIGHT,
    check_size,
    orientation_of,
    pillow,
    read_bytes,
    upright,
)

log = logging.getLogger(__name__)

IGNORE = 255  # value of a decoded pixel that does not count, for class ids and soft masks alike
ENCODINGS = ("index", "grey")
IDS_BELOW = 32  # soft 8-bit masks that hold values between black and white hold some above this


class RawMask(NamedTuple):
    """A mask as stored.

    Args:
        values: (H, W), uint8 or uint16, upright by its EXIF tag.
        kind: `1-bit`, `palette`, `8-bit`, `RGB` (of equal channels) or `16-bit`.
        orientation: as its EXIF tag says; the values are upright already.
    """

    values: np.ndarray
    kind: str
    orientation: int = UPRIGHT


class MaskLevels(NamedTuple):
    """What the choice of an encoding needs to know of one mask."""

    where: str  # list file and line, and the mask's path
    kind: str
    levels: np.ndarray  # the distinct values, sorted


def read_raw(path: Path, what: str = "mask") -> RawMask:
    """Read a mask file, or a saliency map, which is stored alike.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: truncated, not an image, too large, coloured, or of alpha alone.
    """
    return decode_raw(path, read_bytes(path, what), what)


def decode_raw(path: Path, data: bytes, what: str = "mask") -> RawMask:
    """What `read_raw` returns of the content of a file; `path` and `what` are for messages."""
    try:
        with pillow().open(io.BytesIO(data)) as image:
            check_size(path, image.size, MAX_PIXELS)
            image.load()
            orientation = orientation_of(image, data)
            image = upright(image, orientation)
            values = np.asarray(image)
    except UnidentifiedImageError:
        raise ValueError(f"{path}: cannot be read as a {what}: the file is empty or no image") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as a {what}: {error}") from None
    if image.mode in ("LA", "RGBA") and values[..., -1].min() < 255 and not np.ptp(values[..., 0]):
        raise ValueError(
            f"{path}: all of one grey, what it shows is in its alpha channel. Fix: save that as a grey {what}"
        )
    if image.mode == "1":
        return RawMask(values.astype(np.uint8), "1-bit", orientation)
    if image.mode == "P":
        return RawMask(values, "palette", orientation)
    if image.mode.startswith("I"):
        if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
            raise ValueError(f"{path}: holds values beyond 16 bits")
        return RawMask(values.astype(np.uint16), "16-bit", orientation)
    if image.mode in ("L", "LA"):
        return RawMask(values if values.ndim == 2 else values[..., 0], "8-bit", orientation)
    if image.mode in ("RGB", "RGBA") and (values[..., :1] == values[..., 1:3]).all():
        return RawMask(values[..., 0], "RGB", orientation)
    raise ValueError(
        f"{path}: a {what} of colours or fractions (Pillow's mode {image.mode}); expected grey of 8 or 16 "
        "bits, a palette or 1-bit. Fix: store the class id or the brightness of each pixel"
    )


def tally(raw: RawMask) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values of a mask, sorted, and the pixels of each."""
    values = raw.values
    if values.dtype != np.uint8:
        counts = np.bincount(values.ravel())
    else:  # most pixels are black or white, which are counted faster than values between
        counts = np.bincount(values[cv2.inRange(values, 1, 254) > 0], minlength=256)
        counts[0] = values.size - cv2.countNonZero(values)
        counts[255] = values.size - counts.sum()
    levels = np.flatnonzero(counts)
    return levels.astype(np.uint16), counts[levels]


class MaskContent(NamedTuple):
    """What a mask holds.

    Args:
        areas: pixels of each class that count; of saliency those below and above one half.
        share: of the foreground in the pixels that count, 0 to 1; of saliency the mean.
        soft: share of the pixels that are neither background nor object.
    """

    areas: np.ndarray
    share: float
    soft: float


@dataclass(frozen=True)
class MaskEncoding:
    """How the masks of one data set are decoded.

    Args:
        name: `index` or `grey`.
        num_classes: 1 decodes to soft masks, more to class ids.
        ignore_index: stored value of pixels that do not count; None where all do.
        top16: the value that means white in 16-bit files.
    """

    name: str
    num_classes: int
    ignore_index: int | None = None
    top16: int = 65535

    def __str__(self) -> str:
        """As it is printed before training."""
        grey = "0 .. white -> 0 .. 1" if self.num_classes == 1 else "above half of white -> class 1"
        meaning = "pixel = class id" if self.name == "index" else grey
        ignored = f", {self.ignore_index} ignored" if self.ignore_index is not None else ""
        return f"mask_encoding: {self.name} ({meaning}{ignored})"

    def decode(self, raw: RawMask) -> np.ndarray:
        """(H, W): float32 in [0, 1] for saliency, else uint8 class ids; `IGNORE` where it does not count."""
        values = raw.values
        if self.name == "grey" and raw.kind != "1-bit":
            values = values / (self.top16 if raw.kind == "16-bit" else 255)
            values = values if self.num_classes == 1 else values > 0.5
        decoded = values.astype(np.float32 if self.num_classes == 1 else np.uint8)
        if self.ignore_index is not None:
            decoded[raw.values == self.ignore_index] = IGNORE
        return decoded

    def measure(self, survey: MaskLevels, counts: np.ndarray) -> MaskContent:
        """What a mask holds, by its levels and the pixels of each."""
        values = self.decode(RawMask(survey.levels, survey.kind))
        counts = np.where(values == IGNORE, 0, counts)
        total = max(int(counts.sum()), 1)
        single = self.num_classes == 1
        objects = values if single else values > 0
        soft = (values > 0) & (values < 1)  # never of class ids
        ids = values >= 0.5 if single else values
        areas = np.bincount(ids, counts, max(self.num_classes, 2))[: max(self.num_classes, 2)]
        return MaskContent(areas, float((objects * counts).sum() / total), float(counts[soft].sum() / total))


def _show(values: np.ndarray) -> str:
    shown = ", ".join(map(str, values[:8]))
    return f"{shown}, … ({len(values)} values)" if len(values) > 8 else shown


def decide_encoding(
    surveys: Sequence[MaskLevels], num_classes: int, ignore_index: int | None, requested: str | None
) -> tuple[MaskEncoding, list[str]]:
    """Choose the one encoding that all masks of a data set share.

    Args:
        surveys: one per mask.
        num_classes: 1 for saliency.
        ignore_index: stored value of pixels that do not count.
        requested: encoding set by the user; None to decide here.

    Returns:
        The encoding, and a fault per mask that contradicts it.
    """
    wide = [s.levels[-1] for s in surveys if s.kind == "16-bit"]
    top16 = 255 if wide and max(wide) <= 255 else 65535
    surveys = [s._replace(levels=s.levels[s.levels != ignore_index]) for s in surveys if s.kind != "1-bit"]
    surveys = [s for s in surveys if s.levels.any()]  # an empty mask fits every encoding
    grey = [s for s in surveys if _is_grey(s, num_classes, top16)]
    name = requested or ("grey" if grey else "index")
    encoding = MaskEncoding(name, num_classes, ignore_index, top16)
    if name == "index":
        largest = max(num_classes, 2) - 1
        wrong = [s for s in surveys if s.levels[-1] > largest]
        why = f"expected class ids 0 .. {largest} (num_classes: {num_classes})"
        fix = "set num_classes, or ignore_index where a value means 'do not count'"
        if num_classes <= 2 and any(s.kind != "palette" for s in wrong):
            fix = f"mask_encoding: grey where values are brightness (0/255, JPEG); else {fix}"
    else:
        # where the user asked for grey, masks of any values are taken at their word
        wrong = [
            s for s in surveys if s.kind == "palette" or not (requested or _is_grey(s, num_classes, top16))
        ]
        why = f"but {len(grey)} masks are grey, as {grey[0].where}" if grey else "a palette is not brightness"
        fix = "make all masks alike: 0 and 1, or 0 and 255"
        dark = [s for s in surveys if s.levels[-1] == 1]
        if requested and dark:
            log.warning(
                "%d masks hold 1 and nothing above: almost black as grey, %s", len(dark), dark[0].where
            )
    faults = [f"{s.where}: holds {_show(s.levels)}, {why}. Fix: {fix}" for s in wrong]
    if name == "grey" and not requested and num_classes == 1:
        faults += _like_class_ids(grey, top16)
    return encoding, faults


def _is_grey(survey: MaskLevels, num_classes: int, top16: int) -> bool:
    """Whether values can only be brightness: soft or 0/255 for saliency, 0/255 alone for two classes."""
    if survey.kind == "palette" or num_classes > 2:
        return False
    if num_classes == 1:
        return bool(survey.levels[-1] > 1)
    white = top16 if survey.kind == "16-bit" else 255
    return set(survey.levels.tolist()) <= {0, white}


def _like_class_ids(grey: Sequence[MaskLevels], top16: int) -> list[str]:
    """A fault where values look like class ids, with or without a white border, and not like brightness."""
    white = {"16-bit": top16}
    shares = [survey.levels / white.get(survey.kind, 255) for survey in grey]
    brightest = max(share[-1] for share in shares)
    between = max(share[share < 1].max(initial=0) for share in shares)
    if brightest > 0.5 and (between == 0 or between > IDS_BELOW / 255):
        return []
    dark = [s for s, share in zip(grey, shares, strict=True) if 0 < share[share > 0][0] <= IDS_BELOW / 255]
    first = (dark or grey)[0]
    return [
        f"{first.where}: holds {_show(first.levels)}, which look like class ids and not like brightness: "
        f"no mask has values between {IDS_BELOW} and white. Fix: set num_classes, or ignore_index: 255 "
        "where white means 'do not count', or mask_encoding: grey"
    ]
