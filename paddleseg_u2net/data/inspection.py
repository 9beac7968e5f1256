"""A pair of files, read once -> all that is kept of it: faults, sizes, counts and thumbnails. Light."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import cv2
import numpy as np

from paddleseg_u2net.data.masks import MaskLevels, RawMask, decode_raw, tally
from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.io.images import SIDEWAYS, UPRIGHT, decode_image, read_bytes, read_header

THUMBNAIL_SIDE = 16
MASK_SIDE = 32  # of the sample kept of a mask
NOISE = 2.0  # standard deviation of a channel below which an image is one colour, in levels of 255
AS_MASK = 0.03  # mean difference, of 0 .. 1, below which an image is its mask


class PairRecord(NamedTuple):
    """What one reading of an image and its mask tells; some 3 KB.

    Args:
        pair: the files.
        broken: faults of files that cannot be read.
        mismatch: the fault of sizes that differ.
        size: (H, W) of the image, upright.
        orientation: EXIF orientation of the image; 1 is upright.
        digest: checksum of the image's file.
        thumb: of the image, see `similarity.thumbnail`.
        constant: whether the image is of one colour.
        is_mask: whether the image shows nothing but its mask.
        mask_levels: of the mask.
        counts: pixels of each of its levels.
        mask_size: (H, W) of the mask, upright.
        mask_orientation: that of the mask.
        mask_sample: (32, 32), stored values.
    """

    pair: Pair
    broken: tuple[str, ...] = ()
    mismatch: str | None = None
    size: tuple[int, int] | None = None
    orientation: int = UPRIGHT
    digest: bytes = b""
    thumb: np.ndarray | None = None
    constant: bool = False
    is_mask: bool = False
    mask_levels: MaskLevels | None = None
    counts: np.ndarray = np.empty(0, int)
    mask_size: tuple[int, int] | None = None
    mask_orientation: int = UPRIGHT
    mask_sample: np.ndarray | None = None

    @property
    def place(self) -> str:
        """List file, line and path of the image."""
        return f"{self.pair.where}{self.pair.image}"

    @property
    def mask_place(self) -> str:
        """List file, line and path of the mask."""
        return f"{self.pair.where}{self.pair.mask}"

    @property
    def turned_apart(self) -> bool:
        """Whether EXIF tags turn image and mask differently, and nothing shows that they fit so.

        One case is clear: a tag turns an image that is not square by a quarter, and the mask, which has none,
        is of its size: it was drawn on the upright image. Of a square, or where the tag mirrors or turns by a
        half, either may be meant; tags of masks are read by few programs.
        """
        clear = self.orientation >= SIDEWAYS and self.size and self.size[0] != self.size[1]
        differ = self.orientation != self.mask_orientation and self.size == self.mask_size
        return differ and not (clear and self.mask_orientation == UPRIGHT)

    @property
    def faults(self) -> list[str]:
        """All that keeps the pair from being used."""
        return [*self.broken, *([self.mismatch] if self.mismatch else [])]


def read_pair(pair: Pair) -> PairRecord:
    """Read a pair, as far as each of its files can be."""
    record, image, raw = PairRecord(pair), None, None
    try:
        data = read_bytes(pair.image)
        header = read_header(data)
        image = decode_image(pair.image, data, header)
        record = _see_image(record, image)._replace(
            orientation=header.orientation if header else UPRIGHT,
            digest=hashlib.blake2b(data, digest_size=16).digest(),
        )
    except (OSError, ValueError) as error:
        record = record._replace(broken=(f"{pair.where}{error}",))
    try:
        if pair.mask:
            raw = decode_raw(pair.mask, read_bytes(pair.mask, "mask"))
            record = _see_mask(record, raw)
    except (OSError, ValueError) as error:
        record = record._replace(broken=(*record.broken, f"{pair.where}{error}"))
    if image is None or raw is None:
        return record
    if record.size != record.mask_size:
        fault = (
            f"{record.mask_place}: mask (H, W) {record.mask_size} differs from its image's "
            f"{record.size} (both upright by their EXIF tags). Fix: make them the same size"
        )
        return record._replace(mismatch=fault)
    return record._replace(is_mask=_is_grey(record.thumb) and _shows_its_mask(image, raw))


def _see_image(record: PairRecord, image: np.ndarray) -> PairRecord:
    thumb = thumbnail(image)
    # a noisy image has an even thumbnail, so the image has the last word
    constant = all(float(cv2.meanStdDev(pixels)[1].max()) < NOISE for pixels in (thumb, image))
    return record._replace(size=image.shape[:2], thumb=thumb, constant=constant)


def _see_mask(record: PairRecord, raw: RawMask) -> PairRecord:
    levels, counts = tally(raw)
    return record._replace(
        mask_levels=MaskLevels(record.mask_place, raw.kind, levels),
        counts=counts,
        mask_size=raw.values.shape,
        mask_orientation=raw.orientation,
        mask_sample=sample(raw.values, MASK_SIDE),
    )


def _is_grey(thumb: np.ndarray | None) -> bool:
    return thumb is not None and cv2.absdiff(thumb[..., 0], thumb[..., 1]).max() <= 8


def _shows_its_mask(image: np.ndarray, raw: RawMask) -> bool:
    """Whether a grey image is, stretched to 0 .. 1, its mask; both not constant."""
    picked, mask = (
        sample(image, MASK_SIDE).astype(np.float32),
        sample(raw.values, MASK_SIDE).astype(np.float32),
    )
    if not np.ptp(mask) or not np.ptp(picked):
        return False
    difference = picked[..., 0] / picked.max() - mask / mask.max()
    return bool(np.abs(difference).mean() < AS_MASK)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, C) uint8 -> (16, 16) or (16, 16, C) uint8, each pixel a mean of its area."""
    # means of any area are several times slower than these two steps, and no better for the purpose
    image = cv2.resize(image, (8 * THUMBNAIL_SIDE, 8 * THUMBNAIL_SIDE))
    return cv2.resize(image, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)


def sample(values: np.ndarray, side: int = THUMBNAIL_SIDE) -> np.ndarray:
    """(H, W) or (H, W, C) -> (side, side, …), pixels picked on an even grid and never mixed."""
    return cv2.resize(values, (side, side), interpolation=cv2.INTER_NEAREST_EXACT)
