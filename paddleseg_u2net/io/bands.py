"""Images with other channels than RGB: RGB and near infrared, multispectral TIFF, grey with alpha.

OpenCV and Pillow read such TIFF files only in part, some of them wrongly: planes one after another become the
first plane, and a fourth channel is taken for alpha that colours are multiplied by. tifffile reads them.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.io.depth import announce, in_whole_numbers, to_8bit, top_of
from paddleseg_u2net.io.images import (
    MAX_PIXELS,
    UPRIGHT,
    Header,
    check_size,
    decode_stored,
    pillow,
    read_bytes,
    read_header,
)

WIDTH, HEIGHT, BITS, PHOTOMETRIC, ORIENTATION, SAMPLES, PLANES, EXTRA = 256, 257, 258, 262, 274, 277, 284, 338
TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SEPARATE, RGB, CMYK = 2, 2, 5  # of PLANES; of PHOTOMETRIC
ALPHA = {1, 2}  # of EXTRA


class TiffLayout(NamedTuple):
    """What the first page of a TIFF file holds.

    Args:
        size: (width, height) as stored.
        orientation: EXIF orientation, 1 to 8.
        samples: channels per pixel, 1 or more.
        separate: whether the channels are stored one after another.
        plain: whether OpenCV reads it rightly: grey, a palette, RGB, RGB with alpha, or CMYK.
    """

    size: tuple[int, int]
    orientation: int
    samples: int
    separate: bool
    plain: bool


class Picture(NamedTuple):
    """A decoded image.

    Args:
        pixels: (H, W, C) uint8, upright; RGB first.
        top: largest stored value of a 16-bit file; 0 for 8 bits.
        held: channels that a multi-band file holds; 0 for other files.
    """

    pixels: np.ndarray
    top: int = 0
    held: int = 0


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
    path = Path(path)
    data = read_bytes(path)
    stored, _ = _decode(path, data, read_header(data), channels, max_pixels)
    announce(path, stored, white)
    return to_8bit(stored, white)


def decode_picture(
    path: Path,
    data: bytes,
    header: Header | None,
    channels: int = 3,
    white: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Picture:
    """Decode the content of an image file; see `read_picture`. `path` is named in messages."""
    stored, held = _decode(path, data, header, channels, max_pixels)
    return Picture(to_8bit(stored, white), top_of(stored), held)


def _decode(
    path: Path, data: bytes, header: Header | None, channels: int, max_pixels: int
) -> tuple[np.ndarray, int]:
    """(H, W, C) uint8 or uint16, upright, and the number of channels of a multi-band file, else 0."""
    layout = tiff_layout(data)
    if layout and (not layout.plain or (channels not in (1, 3) and layout.samples > 1)):
        check_size(path, layout.size, max_pixels)
        stored = _read_tiff(path, data, layout)
    elif channels in (1, 3):
        return decode_stored(path, data, header, max_pixels), 0
    else:
        if header:
            check_size(path, header.size, max_pixels)
        stored = _read_all_channels(path, data, header)
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
    return np.ascontiguousarray(stored), held


def as_rgb(image: np.ndarray) -> np.ndarray:
    """What pictures show of an image (H, W, C): its first three channels, or the first one as grey."""
    return image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, 2)


def tiff_layout(data: bytes) -> TiffLayout | None:
    """Read the tags of the first page of a TIFF file; None if it is no TIFF file, or damaged."""
    if not data.startswith(TIFF_HEADS):
        return None
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    file = io.BytesIO(data)
    with contextlib.suppress(Exception):  # Pillow raises whatever the damage leads to
        tags = ImageFileDirectory_v2(data[: 16 if b"+" in data[2:4] else 8])
        file.seek(tags.next)
        tags.load(file)
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
    return None


def _read_tiff(path: Path, data: bytes, layout: TiffLayout) -> np.ndarray:
    """The first page of a TIFF file with all channels: (H, W, C) uint8 or uint16, upright."""
    tifffile = need("tifffile")
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
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


def _read_all_channels(path: Path, data: bytes, header: Header | None) -> np.ndarray:
    """All channels of an image of another format: (H, W, C) uint8 or uint16, upright; RGB first."""
    stored = None
    with contextlib.suppress(cv2.error):
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if header is None or stored is None:
        decode_stored(path, data, header)  # raises what is wrong with the file
        raise ValueError(f"{path}: cannot be read with all channels. Fix: save it as TIFF or PNG")
    if stored.dtype == np.uint8:  # OpenCV would add channels to grey with alpha, and drop those of CMYK
        with pillow().open(io.BytesIO(data)) as image:
            stored = np.asarray(image.convert("RGB") if image.mode in ("P", "1") else image)
    elif stored.ndim == 3:
        stored = stored[..., [2, 1, 0, 3][: stored.shape[2]]]
    stored = stored if stored.ndim == 3 else stored[..., None]
    return turn(in_whole_numbers(path, stored), header.orientation)


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Rotate (H, W, C) as stored to upright, by its EXIF orientation, 1 to 8."""
    if orientation > 4:
        pixels = pixels.transpose(1, 0, 2)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return pixels[::rows, ::columns]
