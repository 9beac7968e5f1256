"""Pictures -> image files of several formats, with their colour profile and, on request, EXIF data."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from paddleseg_u2net.io.contents import read_bytes
from paddleseg_u2net.io.decoders import open_image
from paddleseg_u2net.io.images import ORIENTATION, UPRIGHT
from paddleseg_u2net.io.png_chunks import with_metadata

LOSSLESS = 100  # the quality that means no loss, in formats that can be lossless
EXIF_HEAD = b"Exif\0\0"
EXIF_IFD, GPS_IFD, MAKER_NOTE = 0x8769, 0x8825, 0x927C
# description, make, model, resolution and its unit, software, time, artist, copyright
TAGS = {270, 271, 272, 282, 283, 296, 305, 306, 315, 33432, ORIENTATION, EXIF_IFD, GPS_IFD}


class Format(NamedTuple):
    """A format that pictures are written in.

    Args:
        name: Pillow's.
        suffix: of its files.
        transparent: whether it keeps opacity.
        deep: whether it keeps 16 bits of grey.
        quality: used where none is given; None if the format is always lossless.
        options: quality -> arguments of Pillow's `save`.
    """

    name: str
    suffix: str
    transparent: bool
    deep: bool
    quality: int | None
    options: Callable[[int], Mapping[str, Any]]


def _webp(quality: int) -> dict[str, Any]:
    lossless = quality == LOSSLESS
    return {
        "quality": quality,
        "lossless": lossless,
        "exact": lossless,
    }  # exact also where nothing is visible


def _lossy(quality: int) -> dict[str, Any]:
    return {"quality": quality, "subsampling": "4:4:4"}


FORMATS = {
    "png": Format("PNG", ".png", True, True, None, lambda _: {}),
    "webp": Format("WEBP", ".webp", True, False, 90, _webp),
    "tiff": Format("TIFF", ".tif", True, True, None, lambda _: {"compression": "tiff_adobe_deflate"}),
    "jpg": Format("JPEG", ".jpg", False, False, 95, _lossy),
    "avif": Format("AVIF", ".avif", True, False, 80, _lossy),
}


def check_format(
    name: str, transparent: bool, deep: bool = False, what: str = "", background: str = "--background COLOUR"
) -> Format:
    """Return a format that can hold certain pictures.

    Args:
        name: a key of FORMATS.
        transparent: the pictures have opacity.
        deep: they have 16 bits.
        what: beginning of messages: what names the format, by default the flag.
        background: for messages: how the pictures get a background.

    Raises:
        ValueError: the format cannot hold them, or the installed Pillow does not write it.
    """
    wanted, what = FORMATS[name], what or f"--format {name}"
    if name != "png" and not _writes(wanted):
        raise ValueError(f"{what}: this Pillow does not write it. Fix: pip install -U pillow")
    if transparent and not wanted.transparent:
        able = ", ".join(key for key, row in FORMATS.items() if row.transparent)
        raise ValueError(f"{what} keeps no transparency. Fix: {background}, or one of {able}")
    if deep and not wanted.deep:
        able = ", ".join(key for key, row in FORMATS.items() if row.deep)
        raise ValueError(f"{what} has 8 bits. Fix: --bits 8, or one of {able}")
    return wanted


def format_name(path: Path) -> str:
    """Return the key of FORMATS that the suffix of a path names; ValueError if it names none."""
    names = {row.suffix: name for name, row in FORMATS.items()} | {".jpeg": "jpg", ".tiff": "tiff"}
    name = names.get(path.suffix.lower())
    if name is None:
        known = ", ".join(row.suffix for row in FORMATS.values())
        raise ValueError(f"{path}: expected a name that ends with one of {known}. Fix: such as {path}.png")
    return name


def _writes(wanted: Format) -> bool:
    """Whether the installed Pillow writes a format; PNG needs no Pillow."""
    from PIL import Image, features

    Image.init()
    optional = wanted.name.lower()
    return wanted.name in Image.SAVE and (optional not in ("webp", "avif") or bool(features.check(optional)))


def encode(
    pixels: np.ndarray,
    wanted: Format,
    quality: int | None = None,
    profile: bytes | None = None,
    exif: bytes | None = None,
) -> bytes:
    """Encode a picture.

    Args:
        pixels: (H, W) uint8 or uint16 grey, (H, W, 3) uint8 RGB or (H, W, 4) uint8 RGBA.
        wanted: the format.
        quality: 1 to 100; None for the format's own. Lossless formats ignore it.
        profile: ICC profile of the colours.
        exif: as TIFF; see `exif_of`.

    Raises:
        ValueError: another quality, or the format does not take a picture of this size.
    """
    if quality not in (None, *range(1, LOSSLESS + 1)):
        raise ValueError(f"quality: expected 1 to {LOSSLESS}, got {quality}. Fix: 90")
    if wanted.name == "PNG":
        return with_metadata(_png(pixels), profile, exif)
    from PIL import Image

    options = dict(wanted.options(quality or wanted.quality or LOSSLESS))
    if profile:
        options["icc_profile"] = profile
    if exif:
        options["exif"] = EXIF_HEAD + exif
        if wanted.name == "TIFF":  # Pillow cannot write all of it in a compressed one
            options["compression"] = "raw"
    encoded = io.BytesIO()
    try:
        Image.fromarray(pixels).save(encoded, wanted.name, **options)
    except (OSError, ValueError) as error:
        raise _too_large(pixels, wanted, error) from error
    return encoded.getvalue()


def _png(pixels: np.ndarray) -> bytes:
    """Encode by OpenCV, which is several times faster than Pillow; files are a little larger."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    try:
        done, encoded = cv2.imencode(".png", pixels)
    except cv2.error as error:
        raise _too_large(pixels, FORMATS["png"], error) from error
    if not done:
        raise _too_large(pixels, FORMATS["png"], ValueError("OpenCV cannot encode it"))
    return encoded.tobytes()


def _too_large(pixels: np.ndarray, wanted: Format, error: Exception) -> ValueError:
    height, width = pixels.shape[:2]
    return ValueError(f"{width} x {height} pixels as {wanted.name}: {error}. Fix: another --format")


def exif_of(source: Path | bytes) -> bytes | None:
    """The EXIF data of an image file for its results: upright, without the parts that may hold a picture.

    A thumbnail, the notes of a camera's maker, and what Photoshop adds to TIFF files may show the photograph
    with its background.

    Args:
        source: the file, or its content.

    Returns:
        As TIFF, without the head `Exif`; None without EXIF data or if they are damaged.
    """
    with contextlib.suppress(Exception):  # damage raises any kind of error
        image = open_image(source if isinstance(source, bytes) else read_bytes(source))
        exif = image.getexif()
        if exif:
            exif[ORIENTATION] = UPRIGHT
            if EXIF_IFD in exif:
                exif.get_ifd(EXIF_IFD).pop(MAKER_NOTE, None)
            for tag in set(exif) - TAGS:
                del exif[tag]
            return exif.tobytes().removeprefix(EXIF_HEAD)
    return None
