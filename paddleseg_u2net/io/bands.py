"""Images with other channels than RGB: RGB and near infrared, multispectral TIFF, grey with alpha.

OpenCV and Pillow read such TIFF files only in part, some of them wrongly: planes one after another become the
first plane, and a fourth channel is taken for alpha that colours are multiplied by. tifffile reads them.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.io.appearance import Note
from paddleseg_u2net.io.contents import read_bytes
from paddleseg_u2net.io.decoders import MAX_PAGES, open_image, page_text, stored_by_opencv
from paddleseg_u2net.io.depth import announce, in_whole_numbers, to_8bit, top_of
from paddleseg_u2net.io.images import (
    MAX_PIXELS,
    UPRIGHT,
    Photograph,
    check_size,
    decode_photograph,
    read_header,
    turn,
)
from paddleseg_u2net.io.unsupported import IS_MASK, SUBFILE_TYPE, is_camera_raw

WIDTH, HEIGHT, BITS, PHOTOMETRIC, ORIENTATION, SAMPLES, PLANES, EXTRA = 256, 257, 258, 262, 274, 277, 284, 338
TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SEPARATE, RGB, CMYK = 2, 2, 5  # of PLANES; of PHOTOMETRIC
JPEG = b"\xff\xd8"
ALPHA = {1, 2}  # of EXTRA


class TiffLayout(NamedTuple):
    """What the page of a TIFF file holds that is read, the largest one.

    Args:
        size: (width, height) as stored.
        orientation: EXIF orientation, 1 to 8.
        samples: channels per pixel, 1 or more.
        separate: whether the channels are stored one after another.
        plain: whether OpenCV reads it rightly: grey, a palette, RGB, RGB with alpha, or CMYK.
        page: its index.
        pages: number of pages that are no masks.
    """

    size: tuple[int, int]
    orientation: int
    samples: int
    separate: bool
    plain: bool
    page: int = 0
    pages: int = 1


def read_picture(
    path: str | Path, channels: int = 3, white: int | None = None, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Read an image file with a number of channels.

    Args:
        path: the file.
        channels: 1 or 3: RGB, alpha and further channels dropped. Otherwise the first `channels` of the file.
        white: stored value of white in 16-bit files, see `depth.to_8bit`.
        max_pixels: larger images are rejected before decoding.

    Returns:
        (H, W, C) uint8; C is 3 for RGB, else `channels`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: empty, truncated, too large, not an image, or with fewer channels.
        MissingPackage: a multi-band TIFF file, and tifffile is not installed.
    """
    return open_picture(path, channels, white, max_pixels).image


def open_picture(
    path: str | Path, channels: int = 3, white: int | None = None, max_pixels: int = MAX_PIXELS
) -> Photograph:
    """Read an image file like `read_picture`, with notes; logs how 16 bits are read."""
    path = Path(path)
    photograph = decode_picture(path, read_bytes(path), channels, white, max_pixels)
    announce(path, photograph.top, white)
    return photograph


def decode_picture(
    path: Path, data: bytes, channels: int = 3, white: int | None = None, max_pixels: int = MAX_PIXELS
) -> Photograph:
    """Decode the content of an image file; see `read_picture`. `path` is named in messages."""
    layout = tiff_layout(data)
    notes: tuple[Note, ...] = ()
    if layout and (not layout.plain or (channels not in (1, 3) and layout.samples > 1)):
        check_size(path, layout.size, max_pixels)
        stored, orientation = _read_tiff(path, data, layout), layout.orientation
        if left_out := page_text(layout.page, layout.pages, layout.size):
            notes = (Note("pages", f"{left_out} is read"),)
    elif channels in (1, 3):
        return decode_photograph(path, data, max_pixels, white)
    else:
        stored, orientation = _read_all_channels(path, data, max_pixels)
    held = stored.shape[2]
    if channels in (1, 3):
        stored = as_rgb(stored)
    elif held < channels:
        raise ValueError(
            f"{path}: holds {held} channels, expected {channels} (img_channels). "
            f"Fix: set img_channels and in_channels to what all files hold"
        )
    else:
        stored = stored[..., :channels]
    stored = np.ascontiguousarray(stored)
    return Photograph(to_8bit(stored, white), orientation, None, notes, top_of(stored), held)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """What pictures show of an image (H, W, C): its first three channels, or the first one as grey."""
    return image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, 2)


def tiff_layout(data: bytes) -> TiffLayout | None:
    """Read the tags of a TIFF file's largest page; None if it is no such file, damaged, or camera raw."""
    if not data.startswith(TIFF_HEADS):
        return None
    found: list[TiffLayout] = []
    with contextlib.suppress(Exception):  # Pillow raises whatever the damage leads to, also if it is missing
        for page, tags in enumerate(_directories(data)):
            if page == 0 and is_camera_raw(tags):
                return None
            if page == 0 or not tags.get(SUBFILE_TYPE, 0) & IS_MASK:
                found.append(_layout(tags)._replace(page=page))
    if not found:
        return None
    areas = [layout.size[0] * layout.size[1] for layout in found]
    largest = int(np.argmax(areas))
    alike = len(found) if largest or areas.count(areas[0]) > 1 else 1
    return found[largest]._replace(pages=alike)


def _directories(data: bytes) -> Iterator[Any]:
    """Yield the tags of the pages of a TIFF file."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    file, seen = io.BytesIO(data), set()
    tags = ImageFileDirectory_v2(data[: 16 if b"+" in data[2:4] else 8])
    while tags.next and tags.next not in seen and len(seen) < MAX_PAGES:
        seen.add(tags.next)
        file.seek(tags.next)
        tags.reset()
        tags.load(file)
        yield tags


def _layout(tags: Any) -> TiffLayout:
    samples, kind = int(tags.get(SAMPLES, 1)), tags.get(PHOTOMETRIC)
    extra = tags.get(EXTRA, ())
    with_alpha = len(extra) == 1 and extra[0] in ALPHA
    separate = samples > 1 and tags.get(PLANES, 1) == SEPARATE
    colors = samples - with_alpha
    plain = not separate and (
        samples == 1 or (colors, kind) == (1, kind) or colors == 3 or (colors, kind) == (4, CMYK)
    )
    if kind in (0, 1) and samples > 2:  # grey planes: OpenCV reads the first one
        plain = False
    orientation = tags.get(ORIENTATION, UPRIGHT)
    orientation = orientation if orientation in range(1, 9) else UPRIGHT
    return TiffLayout((int(tags[WIDTH]), int(tags[HEIGHT])), orientation, samples, separate, plain)


def _read_tiff(path: Path, data: bytes, layout: TiffLayout) -> np.ndarray:
    """The largest page of a TIFF file with all channels: (H, W, C) uint8 or uint16, upright."""
    tifffile = need("tifffile")
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[layout.page]
            stored, axes = page.asarray(), page.axes
    except Exception as error:  # damaged files raise many kinds, and so does a missing codec
        raise ValueError(
            f"{path}: cannot be read as a TIFF file of {layout.samples} channels: {error}. "
            "Fix: restore it, or save it without compression"
        ) from None
    if axes == "SYX":
        stored = np.moveaxis(stored, 0, -1)
    if stored.ndim != 3 or stored.shape[2] != layout.samples:
        raise ValueError(f"{path}: axes {axes}, expected an image. Fix: save one page of all channels")
    return turn(in_whole_numbers(path, stored), layout.orientation)


def _read_all_channels(path: Path, data: bytes, max_pixels: int) -> tuple[np.ndarray, int]:
    """All channels of an image of another format, upright, RGB first; and its orientation.

    Returns:
        (H, W, C) uint8 or uint16, and the EXIF orientation, already applied.
    """
    header = read_header(data)
    if header:
        check_size(path, header.size, max_pixels)
    stored = None
    with contextlib.suppress(cv2.error, ValueError):
        stored = stored_by_opencv(data, cv2.IMREAD_UNCHANGED)
    if header is None or stored is None or data.startswith(JPEG):  # OpenCV passes over damage of JPEG files
        decode_photograph(path, data, max_pixels)  # raises what is wrong with the file
    if header is None or stored is None:
        raise ValueError(f"{path}: cannot be read with all channels. Fix: save it as TIFF or PNG")
    if stored.dtype == np.uint8:  # OpenCV would add channels to grey with alpha, and drop those of CMYK
        with open_image(data) as image:
            stored = np.asarray(image.convert("RGB") if image.mode in ("P", "1") else image)
    elif stored.ndim == 3:
        stored = stored[..., [2, 1, 0, 3][: stored.shape[2]]]
    stored = stored if stored.ndim == 3 else stored[..., None]
    return turn(in_whole_numbers(path, stored), header.orientation), header.orientation
