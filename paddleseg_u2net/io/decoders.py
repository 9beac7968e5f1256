"""Content of an image file -> pixels: which decoder reads which format, and what is damage."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import itertools
import logging
import re
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np

from paddleseg_u2net.io.damage import check_png, check_tiff, directories, jpegs_in
from paddleseg_u2net.io.file_kinds import BLANKS, find_kind
from paddleseg_u2net.io.jpeg_segments import SCAN, refines_in_order, segments
from paddleseg_u2net.io.parts import check_parts
from paddleseg_u2net.io.png_chunks import profile_of, without_metadata
from paddleseg_u2net.io.unsupported import TIFF_BITS, TIFF_SAMPLES

log = logging.getLogger(__name__)

BYTES = {"1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "La", "RGBa", "CMYK", "YCbCr"}  # modes of 8 bits
PNG_BITS = 24  # position of the bits of a channel in a file
# beginning of the pixels of a JPEG 2000 file, and the position in it of the bits of a channel
JPEG_2000_START, JPEG_2000_BITS = b"\xff\x4f\xff\x51", 42
NETPBM_HEAD = re.compile(rb"P[2356]" + (BLANKS + rb"(\d{1,9})") * 3)  # width, height and the value of white
TIFF_EXTRA, IS_PREMULTIPLIED = 338, 1  # tag of the channels beside colours, and one of its values
EXIF_PHOTO, EXIF_NAMES, COLOR_SPACE = 0x8769, 0xA005, 0xA001  # EXIF's parts, and the tag of the colour space
ADOBE_RGB, ADOBE_NAME = 2, "R03"  # values of that tag and of the first name
END = b"\xff\xd9"
# lengths of the codes of the usual Huffman table for AC coefficients of brightness (ITU-T T.81, table K.5)
USUAL_TABLE = bytes([0x10, 0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D])
HOLE = 64
# what libjpeg reports of files whose pixels are all right
HARMLESS = ("Invalid SOS", "Unknown Adobe", "unknown JFIF")
ORDER = "Inconsistent progression"
PADDING = "extraneous bytes before marker 0xd9"


def open_image(data: bytes) -> Any:
    """Open a file's content by Pillow's reader of its kind, no other one, without decoding pixels.

    Args:
        data: content of a file.

    Raises:
        Exception: of any kind, if it is no image that is read here, or its header is damaged.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the size is checked by the caller
    check_parts(data)
    kind = find_kind(data)
    name = _reader(*kind.reader) if kind and kind.reader else None
    image = Image.open(io.BytesIO(without_metadata(data)), formats=[name] if name else [])
    if not all(image.size):
        raise ValueError("it has no pixels")
    return image


@functools.cache
def _reader(name: str, module: str) -> str | None:
    """Pillow's name of a format; None if the installed Pillow has no reader of it."""
    from PIL import Image

    with contextlib.suppress(ImportError):
        importlib.import_module(f"PIL.{module}ImagePlugin")
    return name if name in Image.OPEN else None


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
            from paddleseg_u2net.io.color_profiles import adobe_rgb

            return adobe_rgb()
    return profile


class Stored(NamedTuple):
    """Pixels as a file stores them, without its colour profile.

    Args:
        pixels: (H, W, 3), RGB; uint8, or whole numbers of 16 bits.
        alpha: (H, W), uint8 or uint16, the opacity; None if the file has none.
        premultiplied: whether the colours are multiplied by the opacity.
        turned: whether the decoder has applied the orientation of the file.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    premultiplied: bool = False
    turned: bool = False


def load(image: Any, data: bytes) -> None:
    """Decode the selected page by Pillow, and check what Pillow passes over.

    Args:
        image: opened by `open_image`.
        data: content of the file.

    Raises:
        Exception: of any kind; the content is damaged or of a kind that is not read.
    """
    if image.format in ("JPEG", "MPO"):
        decode_jpeg(data)
    _check(image, data)
    image.load()


def _check(image: Any, data: bytes) -> None:
    """Raise an error if what a file stores beside its pixels says that they are damaged."""
    if image.format == "PNG":
        check_png(data)
    elif image.format == "TIFF":
        check_tiff(*next(itertools.islice(directories(data), image.tell(), None)), data)
        for part in jpegs_in(image.tag_v2, data):
            decode_jpeg(part)
        if image.tag_v2.get(TIFF_SAMPLES, 1) > 1 == len(image.getbands()):
            raise ValueError("Pillow reads only the first channel")


def decode(image: Any, data: bytes) -> Stored:
    """Decode the selected page; see `load`."""
    if image.format in ("JPEG", "MPO"):
        return Stored(decode_jpeg(data))
    _check(image, data)
    tiff = image.format == "TIFF"
    transparent = bool(image.has_transparency_data) and image.mode in BYTES
    if is_deep(image, data):
        if image.format != "PNG":
            image.load()  # OpenCV passes over damage
        return _decode_deep(image, data, transparent)
    if image.format == "PNG" and not transparent:
        with contextlib.suppress(ValueError, cv2.error):  # twice as fast
            return Stored(decode_by_opencv(data))
    if not transparent:
        return Stored(np.asarray(image.convert("RGB")), turned=tiff)  # raises an error that says why
    rgba = np.asarray(image.convert("RGBA"))
    return Stored(np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3]), turned=tiff)


def is_deep(image: Any, data: bytes) -> bool:
    """Whether an image has more than 8 bits a channel, which Pillow may reduce to 8."""
    return image.mode not in BYTES or _bits(image, data) > 8


def _bits(image: Any, data: bytes) -> int:
    """Bits of a channel as stored; 8 where Pillow's mode says it."""
    if image.format == "PNG":
        return data[PNG_BITS]
    if image.format == "TIFF":
        return max(image.tag_v2.get(TIFF_BITS, (1,)))
    if image.format == "PPM":
        head = NETPBM_HEAD.match(data)
        return int(head[3]).bit_length() if head else 1
    start = data.find(JPEG_2000_START) if image.format == "JPEG2000" else -1
    return (data[start + JPEG_2000_BITS] & 127) + 1 if start >= 0 else 8


def _decode_deep(image: Any, data: bytes, transparent: bool) -> Stored:
    """Decode by OpenCV, which keeps more than 8 bits a channel."""
    tiff = image.format == "TIFF"
    read = partial(_decode_page, data, image.tell()) if tiff else partial(stored_by_opencv, data)
    # OpenCV turns TIFF files in any case
    rgb = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | (0 if tiff else cv2.IMREAD_IGNORE_ORIENTATION)
    if not transparent:
        return Stored(_as_rgb(read(rgb)), turned=tiff)
    stored = read(cv2.IMREAD_UNCHANGED)
    if stored.ndim != 3 or stored.shape[2] != 4:  # the opacity is not a channel, or of another number
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        return Stored(_as_rgb(read(rgb)), alpha.astype(np.uint16) * 257, turned=tiff)
    premultiplied = tiff and image.tag_v2.get(TIFF_EXTRA) == (IS_PREMULTIPLIED,)
    return Stored(_as_rgb(stored), np.ascontiguousarray(stored[..., 3]), premultiplied, tiff)


def _as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Colours of (H, W, 3 or 4) as OpenCV returns them."""
    return np.ascontiguousarray(pixels[..., 2::-1])


@functools.cache
def warn_missing(package: str, effect: str) -> None:
    """Log once that a package is not installed, and what that means."""
    log.warning("%s is not installed: %s. Fix: pip install %s", package, effect, package)


def decode_by_opencv(
    data: bytes, flags: int = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
) -> np.ndarray:
    """Decode the content of an image file to (H, W, 3) RGB by OpenCV alone; ValueError if it cannot."""
    return cv2.cvtColor(stored_by_opencv(data, flags), cv2.COLOR_BGR2RGB)


def unscaled(data: bytes) -> bytes:
    """A Netpbm file whose white is 255 or 65535, so that decoders keep its values; other files unchanged."""
    head = NETPBM_HEAD.match(data)
    if not head:
        return data
    top = b"255" if int(head[3]) < 256 else b"65535"
    end = b"\n" if data[1:2] in b"23" else b""  # OpenCV reads a number of a text up to the next character
    return b"".join([data[: head.start(3)], top, data[head.end(3) :], end])


def stored_by_opencv(data: bytes, flags: int) -> np.ndarray:
    """Decode as OpenCV does, to BGR; ValueError or cv2.error if it cannot."""
    pixels = cv2.imdecode(np.frombuffer(unscaled(without_metadata(data)), np.uint8), flags)
    if pixels is None:
        raise ValueError("OpenCV cannot decode it")
    return pixels


def _decode_page(data: bytes, page: int, flags: int) -> np.ndarray:
    done, pages = cv2.imdecodemulti(np.frombuffer(data, np.uint8), flags, range=(page, page + 1))
    if not done:
        raise ValueError("OpenCV cannot decode it")
    return pages[0]


def decode_jpeg(data: bytes) -> np.ndarray:
    """Decode a JPEG to (H, W, 3) uint8 RGB, not turned; CMYK by the plain formula.

    Raises:
        ValueError: damaged, wherever in the file.
    """
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
    if warning.startswith(ORDER):
        return refines_in_order(data)
    if not warning.endswith(PADDING):
        return False
    end = data.rfind(END)
    count = next(int(word) for word in warning.split() if word.isdigit())
    return len(set(data[max(end - count, 0) : end])) == 1  # filling bytes of the encoder
