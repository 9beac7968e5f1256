"""Read and write image files as arrays, upright and with bounded size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from paddleseg_u2net.bounds import MAX_PIXELS
from paddleseg_u2net.io.appearance import Note, over_ground, split_alpha, straight, to_srgb
from paddleseg_u2net.io.contents import TooManyPixels, read_bytes, unreadable
from paddleseg_u2net.io.decoders import (
    Stored,
    decode,
    decode_by_opencv,
    load,
    open_image,
    profile_in,
    warn_missing,
)
from paddleseg_u2net.io.depth import DEEPEST, Depth, NegativeValues, in_whole_numbers, to_8bit
from paddleseg_u2net.io.files import atomic_write
from paddleseg_u2net.io.pages import select_page

WRITTEN = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}  # suffixes of formats of `write_image`
ORIENTATION = 0x0112  # EXIF tag: how to rotate the stored pixels; 1 means not at all
UPRIGHT, SIDEWAYS = 1, 5  # values of that tag: no change; from this one on, width and height are swapped
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
XMP = ("xmp", "XML:com.adobe.xmp")  # keys of Pillow's `info` for XMP metadata


class Header(NamedTuple):
    """Header of an encoded image: (width, height) as stored, and EXIF orientation 1 to 8."""

    size: tuple[int, int]
    orientation: int = UPRIGHT


class Photograph(NamedTuple):
    """An image file as a network sees it.

    Args:
        image: (H, W, 3) uint8, sRGB, upright, transparent pixels over GROUND; of multi-band files (H, W, C),
            the stored channels.
        orientation: EXIF orientation of the file, 1 to 8, already applied.
        alpha: (H, W) uint8, the opacity of each pixel, upright; None if all are opaque.
        notes: what was changed or left out.
        depth: how 16 bits are scaled.
        held: channels that a multi-band file holds; 0 for other files.
        colors: (H, W, 3) uint8, upright, in the colour space of `profile`, not over GROUND where they are
            transparent; None if they are `image`.
        profile: ICC profile of `colors`; None for sRGB.
    """

    image: np.ndarray
    orientation: int = UPRIGHT
    alpha: np.ndarray | None = None
    notes: tuple[Note, ...] = ()
    depth: Depth = Depth()
    held: int = 0
    colors: np.ndarray | None = None
    profile: bytes | None = None


def check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    """Raise ValueError if an image has too many pixels according to its header."""
    if size[0] * size[1] > max_pixels:
        raise TooManyPixels(
            f"{path}: {size[0]} x {size[1]} pixels, more than {max_pixels / 1e6:.0f} million. "
            "Fix: make it smaller"
        )


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode an image file to 8-bit RGB as a network sees it; see `read_photograph`.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    return read_photograph(path, max_pixels).image


def read_photograph(path: str | Path, max_pixels: int = MAX_PIXELS) -> Photograph:
    """Decode an image file: upright, in sRGB, transparent pixels over GROUND.

    Args:
        path: file of a format of `file_kinds.READ`, under any name; of animations the first frame is read, of
            TIFF files the largest page.
        max_pixels: larger images are rejected before decoding.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: empty, truncated, damaged, too large, or not an image; the message says which.
    """
    return decode_photograph(Path(path), read_bytes(Path(path)), max_pixels)


def decode_photograph(
    path: Path, data: bytes, max_pixels: int = MAX_PIXELS, white: int | None = None
) -> Photograph:
    """Decode the content of an image file like `read_photograph`.

    Args:
        path: named in messages.
        data: content of the file.
        max_pixels: larger images are rejected before decoding.
        white: stored value of white in 16-bit files, see `depth.to_8bit`.
    """
    try:
        image = open_image(data)
        left_out = select_page(image, data)
    except ModuleNotFoundError:
        return _without_pillow(path, data, max_pixels, white)
    except Exception as error:  # Pillow's readers raise any kind of error
        raise unreadable(path, data, error) from None
    with image:
        check_size(path, image.size, max_pixels)
        orientation = orientation_of(image, data)
        try:
            photograph = _decode(path, image, data, orientation, white)
        except (ImportError, NegativeValues):
            raise
        except Exception as error:  # as above
            raise unreadable(path, data, error) from None
    if left_out:
        notes = (*photograph.notes, Note("pages", f"{left_out} is read"))
        photograph = photograph._replace(notes=notes)
    return photograph


@contextlib.contextmanager
def opened(path: Path, data: bytes, what: str = "", max_pixels: int = MAX_PIXELS) -> Iterator[Any]:
    """Yield the selected page of an image file, decoded by Pillow as it is stored.

    Args:
        path: named in messages.
        data: content of the file.
        what: beginning of messages about what the file should be, such as `cannot be read as a mask: `.
        max_pixels: larger images are rejected before decoding.

    Raises:
        ValueError: as `read_photograph`; also for any error of Pillow in the body of the `with` statement.
    """
    try:
        with open_image(data) as image:
            select_page(image, data)
            check_size(path, image.size, max_pixels)
            load(image, data)
            yield image
    except (TooManyPixels, ImportError):
        raise
    except Exception as error:  # Pillow's readers raise any kind of error
        raise unreadable(path, data, error, what) from None


def _without_pillow(path: Path, data: bytes, max_pixels: int, white: int | None) -> Photograph:
    """Decode as far as OpenCV can, which bounds the size by itself before it is known here."""
    warn_missing("Pillow", "transparency, ICC profiles and pages of images are ignored")
    try:
        stored = decode_by_opencv(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except (ValueError, cv2.error) as error:
        raise unreadable(path, data, error) from None
    check_size(path, (stored.shape[1], stored.shape[0]), max_pixels)
    stored = in_whole_numbers(path, stored)
    return Photograph(to_8bit(stored, white), depth=Depth.of(stored, white))


def _decode(path: Path, image: Any, data: bytes, orientation: int, white: int | None) -> Photograph:
    """The selected page of an image opened by `open_image`, as a network sees it."""
    profile, mode, stored = profile_in(image, data), image.mode, decode(image, data)
    stored = stored._replace(pixels=in_whole_numbers(path, stored.pixels))
    return as_seen(stored, profile, mode, orientation, white, image if mode == "CMYK" else None)


def as_seen(
    stored: Stored, profile: bytes | None, mode: str, orientation: int, white: int | None, cmyk: Any = None
) -> Photograph:
    """Stored pixels as a network sees them.

    Args:
        stored: whole numbers of 8 or 16 bits.
        profile: ICC profile of the colours.
        mode: Pillow's.
        orientation: of EXIF, 1 to 8.
        white: see `depth.to_8bit`.
        cmyk: the image of Pillow if its mode is CMYK.
    """
    turned, depth = stored.turned, Depth.of(stored.pixels, white)
    colors, alpha, notes = in_8_bits(stored, white)
    pixels, kept = colors, None
    if mode == "CMYK" and not profile:
        notes.append(Note("profile", "CMYK without an ICC profile, converted by the plain formula"))
    elif profile is not None:
        pixels, changes, kept = to_srgb(pixels, profile, mode, cmyk)
        colors = pixels if kept is None else colors
        notes += changes
    if alpha is not None:
        pixels = over_ground(pixels, alpha)
    if not turned:
        same = colors is pixels
        pixels, alpha = turn(pixels, orientation), None if alpha is None else turn(alpha, orientation)
        colors = pixels if same else turn(colors, orientation)
    own = None if colors is pixels else colors
    return Photograph(pixels, orientation, alpha, tuple(notes), depth, colors=own, profile=kept)


def in_8_bits(stored: Stored, white: int | None) -> tuple[np.ndarray, np.ndarray | None, list[Note]]:
    """Colours and opacity with 8 bits, the colours not multiplied by it; notes say what it means.

    Args:
        stored: whole numbers of 8 or 16 bits.
        white: see `depth.to_8bit`.
    """
    pixels, alpha = to_8bit(stored.pixels, white), stored.alpha
    if alpha is None:
        return pixels, None, []
    used = Depth.of(stored.pixels, white).white or 255  # opacity has the bits of the colours, or all 16
    alpha = to_8bit(alpha, used if alpha.max() <= used else DEEPEST)
    return straight(pixels, alpha) if stored.premultiplied else pixels, *split_alpha(alpha)


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Rotate or mirror (H, W) or (H, W, C) as stored to upright, by its EXIF orientation, 1 to 8."""
    if orientation >= SIDEWAYS:
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::rows, ::columns])


def read_header(data: bytes) -> Header | None:
    """Read the header of an encoded image; None if it is not an image."""
    try:
        with open_image(data) as image:
            return Header(image.size, orientation_of(image, data))
    except Exception:  # Pillow's readers raise any kind of error
        return None


def orientation_of(image: Any, data: bytes) -> int:
    """Return the EXIF orientation, 1 to 8, of an image opened by Pillow; `data` is its file's content."""
    if image.format == "PNG" and b"eXIf" not in data:  # Pillow would decode all pixels to look for the tag
        return UPRIGHT
    for name in XMP:  # Pillow would read the orientation there too; OpenCV does not
        image.info.pop(name, None)
    try:
        tag = image.getexif().get(ORIENTATION)
    except Exception:  # a broken tag raises any kind of error; it means no rotation
        return UPRIGHT
    return int(tag) if tag in range(1, 9) else UPRIGHT


def upright(image: Any, orientation: int) -> Any:
    """Rotate an image of Pillow according to its EXIF orientation."""
    # `ImageOps.exif_transpose` rewrites all tags and fails if one of them is broken
    return image if orientation == UPRIGHT else image.transpose(pillow().Transpose[TURNS[orientation]])


def pillow() -> Any:
    """Return the module PIL.Image, its own size limit switched off: `check_size` is the limit."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    return Image


def write_image(path: Path, image: np.ndarray) -> None:
    """Encode an image in the format given by the suffix of its path, and write it atomically.

    Args:
        path: file to write; its folder is created.
        image: uint8; (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA.
    """
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    done, encoded = cv2.imencode(path.suffix, image)
    if not done:
        raise ValueError(
            f"{path}: cannot encode an image of shape {image.shape} in this format. "
            "Fix: use another format or size"
        )
    with atomic_write(path) as partial:
        partial.write_bytes(encoded.tobytes())
