"""Content of an image file -> pixels: which decoder reads which format, which page, and what is damage."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import logging
from typing import Any

import cv2
import numpy as np

from paddleseg_u2net.io.color_profiles import adobe_rgb
from paddleseg_u2net.io.file_kinds import IS_MASK, SUBFILE_TYPE, is_camera_raw
from paddleseg_u2net.io.jpeg_segments import SCAN, segments
from paddleseg_u2net.io.png_chunks import profile_of, without_metadata

log = logging.getLogger(__name__)

# Pillow's readers; it tries all it knows otherwise, PostScript through another program included
READERS = ("Jpeg", "Mpo", "Png", "WebP", "Bmp", "Tiff", "Gif", "Avif", "Jpeg2K", "Ppm")
BY_OPENCV = {"PNG", "WEBP", "BMP", "DIB"}  # its decoders release Python's lock
BYTES = {"1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "La", "RGBa", "CMYK", "YCbCr"}  # modes of 8 bits
EXIF_PHOTO, EXIF_NAMES, COLOR_SPACE = 0x8769, 0xA005, 0xA001  # EXIF's parts, and the tag of the colour space
ADOBE_RGB, ADOBE_NAME = 2, "R03"  # values of that tag and of the first name
MAX_PAGES = 256  # of a TIFF that are compared
MAX_SCANS = 1000  # of a progressive JPEG; each costs a pass over all pixels, and encoders write about ten
END = b"\xff\xd9"
# lengths of the codes of the usual Huffman table for AC coefficients of brightness (ITU-T T.81, table K.5)
USUAL_TABLE = bytes([0x10, 0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D])
HOLE = 64
# what libjpeg reports of files whose pixels are all right
HARMLESS = ("Invalid SOS", "Unknown Adobe", "unknown JFIF", "Inconsistent progression")
PADDING = "extraneous bytes before marker 0xd9"


def open_image(data: bytes) -> Any:
    """Open a file's content by Pillow, without decoding pixels.

    Args:
        data: content of a file.

    Raises:
        Exception: of any kind, if it is no image that is read here, or its header is damaged.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the size is checked by the caller
    return Image.open(io.BytesIO(without_metadata(data)), formats=_formats())


@functools.cache
def _formats() -> list[str]:
    """Pillow's names of the formats of READERS, as far as the installed Pillow has them."""
    from PIL import Image

    for name in READERS:
        with contextlib.suppress(ImportError):
            importlib.import_module(f"PIL.{name}ImagePlugin")
    names = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM")
    return [name for name in names if name in Image.OPEN]


def select_page(image: Any, data: bytes) -> str:
    """Go to the page of a file that is read: the largest of a TIFF, the first frame of an animation.

    Args:
        image: opened by `open_image`.
        data: content of the file.

    Returns:
        What is left out, for messages; empty if nothing is.
    """
    if image.format == "PNG":
        return "the first frame of an animation" if b"acTL" in data[:HEADERS] else ""
    if image.format != "TIFF":
        animated = image.format != "MPO" and getattr(image, "is_animated", False)
        return "the first frame of an animation" if animated else ""
    if is_camera_raw(image.tag_v2):
        raise ValueError
    areas = _page_areas(image)
    largest = int(np.argmax(areas))
    image.seek(largest)
    if largest:
        width, height = image.size
        return f"page {largest + 1} of {len(areas)}, the largest ({width} x {height})"
    return f"the first of {len(areas)} pages" if areas.count(areas[0]) > 1 else ""


HEADERS = 1 << 16  # bytes that hold the chunks before the pixels of a PNG, large texts aside


def _page_areas(image: Any) -> list[int]:
    """Pixels of each page of a TIFF; 0 of a transparency mask."""
    areas = []
    for page in range(MAX_PAGES):
        try:
            image.seek(page)
            is_mask = image.tag_v2.get(SUBFILE_TYPE, 0) & IS_MASK
        except Exception:  # the end, or a damaged page, which raises any kind of error
            break
        areas.append(0 if is_mask and page else image.size[0] * image.size[1])
    return areas


def has_transparency(image: Any) -> bool:
    """Whether an image opened by `open_image` stores transparency."""
    return bool(image.has_transparency_data) and image.mode in BYTES


def profile_in(image: Any, data: bytes) -> bytes | None:
    """The ICC profile of an image opened by `open_image`; None without one.

    Cameras that are set to Adobe RGB often store no profile, but say so in their EXIF data.
    """
    if image.format == "PNG":
        return profile_of(data)
    profile = image.info.get("icc_profile")
    if profile or image.format not in ("JPEG", "MPO"):
        return profile
    with contextlib.suppress(Exception):  # broken tags raise any kind of error
        exif = image.getexif()
        photo, names = exif.get_ifd(EXIF_PHOTO), exif.get_ifd(EXIF_PHOTO).get(EXIF_NAMES, {})
        names = names if isinstance(names, dict) else exif.get_ifd(EXIF_NAMES)
        if photo.get(COLOR_SPACE) == ADOBE_RGB or names.get(1) == ADOBE_NAME:
            return adobe_rgb()
    return profile


def decode(image: Any, data: bytes) -> tuple[np.ndarray, bool]:
    """Decode the selected page to RGB, without transparency and colour profile.

    Args:
        image: opened by `open_image`.
        data: content of the file.

    Returns:
        (H, W, 3) uint8, and whether the decoder has applied the orientation of the file.

    Raises:
        Exception: of any kind; the content is damaged or of a kind that is not read.
    """
    if image.format in ("JPEG", "MPO"):
        return decode_jpeg(data), False
    if image.format == "TIFF" and image.mode not in BYTES:
        return _decode_page(data, image.tell()), True
    if image.format in BY_OPENCV or image.mode not in BYTES:
        with contextlib.suppress(ValueError, cv2.error):
            return decode_by_opencv(without_metadata(data)), False
    return np.asarray(image.convert("RGB")), image.format == "TIFF"  # raises an error that says why


@functools.cache
def warn_missing(package: str, effect: str) -> None:
    """Log once that a package is not installed, and what that means."""
    log.warning("%s is not installed: %s. Fix: pip install %s", package, effect, package)


def decode_by_opencv(
    data: bytes, flags: int = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
) -> np.ndarray:
    """Decode the content of an image file to (H, W, 3) uint8 RGB by OpenCV alone; ValueError if it cannot."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise ValueError("OpenCV cannot decode it")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _decode_page(data: bytes, page: int) -> np.ndarray:
    done, pages = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR, range=(page, page + 1))
    if not done:
        raise ValueError("OpenCV cannot decode it")
    return cv2.cvtColor(pages[0], cv2.COLOR_BGR2RGB)


def decode_jpeg(data: bytes) -> np.ndarray:
    """Decode a JPEG to (H, W, 3) uint8 RGB, not turned; CMYK by the plain formula.

    Raises:
        ValueError: damaged, wherever in the file, or of too many scans.
    """
    if data.count(bytes([0xFF, SCAN])) > MAX_SCANS:
        raise ValueError(f"it has more than {MAX_SCANS} scans")
    if _has_hole(data):
        raise ValueError(f"{HOLE} zero bytes or more in a row among its pixels")
    try:
        import simplejpeg  # OpenCV and Pillow keep to themselves what libjpeg says about damage
    except ModuleNotFoundError:
        warn_missing("simplejpeg", "damage in the middle of JPEG files is not noticed")
        return decode_by_opencv(data)
    try:
        return simplejpeg.decode_jpeg(data)
    except ValueError as error:
        if not _is_harmless(str(error), data):
            raise
    return simplejpeg.decode_jpeg(data, strict=False)


def _has_hole(data: bytes) -> bool:
    """Whether a part was never written, as interrupted copies leave it; such bytes may still decode.

    With the usual Huffman tables, zero bytes in a row mean that all coefficients of many blocks are -1.
    """
    start = next((start for marker, start in segments(data) if marker == SCAN), len(data))
    end = data.find(END, start)
    hole = data.find(bytes(HOLE), start, end) if 0 <= data.find(USUAL_TABLE, 0, start) < end else -1
    return hole >= 0 and any(data[hole:end])  # zeros up to the end are filling bytes of an encoder


def _is_harmless(warning: str, data: bytes) -> bool:
    """Whether a warning of libjpeg leaves the pixels as they were."""
    if warning.startswith(HARMLESS):
        return True
    if not warning.endswith(PADDING):
        return False
    end = data.rfind(END)
    count = next(int(word) for word in warning.split() if word.isdigit())
    return len(set(data[max(end - count, 0) : end])) == 1  # filling bytes of the encoder
