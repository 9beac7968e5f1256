"""A pair of files, read once -> all that is kept of it: faults, sizes, counts and thumbnails. Light."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import cv2
import numpy as np

from paddleseg_u2net.data.masks import RawMask, Survey, decode_raw, tally
from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.data_check.duplicates import sample, thumbnail
from paddleseg_u2net.io.images import SIDEWAYS, UPRIGHT, decode_image, read_bytes, read_header

MASK_SIDE = 32  # of the sample kept of a mask
NOISE = 2.0  # standard deviation of a channel below which an image is one colour, in levels of 255
AS_MASK = 0.03  # mean difference, of 0 .. 1, below which an image is its mask


class Look(NamedTuple):
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
        survey: of the mask.
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
    survey: Survey | None = None
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


def look_at(pair: Pair) -> Look:
    """Read a pair, as far as each of its files can be."""
    look, image, raw = Look(pair), None, None
    try:
        data = read_bytes(pair.image)
        header = read_header(data)
        image = decode_image(pair.image, data, header)
        look = _see_image(look, image)._replace(
            orientation=header.orientation if header else UPRIGHT,
            digest=hashlib.blake2b(data, digest_size=16).digest(),
        )
    except (OSError, ValueError) as error:
        look = look._replace(broken=(f"{pair.where}{error}",))
    try:
        if pair.mask:
            raw = decode_raw(pair.mask, read_bytes(pair.mask, "mask"))
            look = _see_mask(look, raw)
    except (OSError, ValueError) as error:
        look = look._replace(broken=(*look.broken, f"{pair.where}{error}"))
    if image is None or raw is None:
        return look
    if look.size != look.mask_size:
        fault = (
            f"{look.mask_place}: mask (H, W) {look.mask_size} differs from its image's "
            f"{look.size} (both upright by their EXIF tags). Fix: make them the same size"
        )
        return look._replace(mismatch=fault)
    return look._replace(is_mask=_is_grey(look.thumb) and _shows_its_mask(image, raw))


def _see_image(look: Look, image: np.ndarray) -> Look:
    thumb = thumbnail(image)
    # a noisy image has an even thumbnail, so the image has the last word
    constant = all(float(cv2.meanStdDev(pixels)[1].max()) < NOISE for pixels in (thumb, image))
    return look._replace(size=image.shape[:2], thumb=thumb, constant=constant)


def _see_mask(look: Look, raw: RawMask) -> Look:
    levels, counts = tally(raw)
    return look._replace(
        survey=Survey(look.mask_place, raw.kind, levels),
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
