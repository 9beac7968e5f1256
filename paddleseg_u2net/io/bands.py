"""Images with other channels than RGB: RGB and near infrared, multispectral TIFF, grey with alpha.

OpenCV and Pillow read such TIFF files only in part, some of them wrongly: planes one after another become the
first plane, and a fourth channel is taken for alpha that colours are multiplied by. tifffile reads them.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from paddleseg_u2net.bounds import MAX_PIXELS
from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.errors import counted
from paddleseg_u2net.io.appearance import Note, over_ground
from paddleseg_u2net.io.contents import read_bytes
from paddleseg_u2net.io.damage import DECISIVE, check_tiff, directories
from paddleseg_u2net.io.decoders import (
    IS_PREMULTIPLIED,
    Stored,
    is_deep,
    stored_by_opencv,
)
from paddleseg_u2net.io.depth import (
    PHOTOMETRIC,
    WHITE_IS_0,
    Depth,
    announce,
    in_whole_numbers,
    with_opacity,
)
from paddleseg_u2net.io.images import (
    UPRIGHT,
    Photograph,
    check_size,
    decode_photograph,
    in_8_bits,
    opened,
    orientation_of,
    turn,
)
from paddleseg_u2net.io.pages import page_text
from paddleseg_u2net.io.parts import check_parts
from paddleseg_u2net.io.unsupported import IS_MASK, SUBFILE_TYPE, TIFF_BITS, is_camera_raw

WIDTH, HEIGHT, ORIENTATION, SAMPLES, PLANES, EXTRA = 256, 257, 274, 277, 284, 338
TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SEPARATE, BLACK_IS_0, CMYK = 2, 1, 5  # of PLANES; of PHOTOMETRIC
JPEG = b"\xff\xd8"
ALPHA = {IS_PREMULTIPLIED, 2}  # of EXTRA
KNOWN_BITS = {1, 2, 4, 8, 16, 32, 64}  # of a sample; OpenCV and Pillow read no others, or refuse them
PNG, PNG_COLORS, GREY_WITH_ALPHA = b"\x89PNG", 25, 4  # position of the kind of colours in a file, and one


class TiffLayout(NamedTuple):
    """What the page of a TIFF file holds that is read, the largest one.

    Args:
        size: (width, height) as stored.
        orientation: EXIF orientation, 1 to 8.
        samples: channels per pixel, 1 or more.
        separate: whether the channels are stored one after another.
        plain: whether OpenCV and Pillow read it rightly: grey, a palette, RGB, RGB with alpha, or CMYK.
        inverted: whether it is grey in which 0 is white.
        alpha: value of EXTRA if the last channel is the opacity, else 0.
        tags: number -> value.
        listed: see `damage.directories`.
        page: its index.
        pages: number of pages that are no masks.
    """

    size: tuple[int, int]
    orientation: int
    samples: int
    separate: bool
    plain: bool
    inverted: bool
    alpha: int
    tags: Mapping[int, Any]
    listed: Set[int] = frozenset()
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
    path: str | Path,
    channels: int = 3,
    white: int | None = None,
    max_pixels: int = MAX_PIXELS,
    data: bytes | None = None,
) -> Photograph:
    """Read an image file like `read_picture`, with notes; logs how 16 bits are read.

    `data` is its content where that is known already; `path` is then named in messages only.
    """
    name, path = str(path), Path(path)
    data = read_bytes(path) if data is None else data
    try:
        photograph = decode_picture(path, data, channels, white, max_pixels)
    except ValueError as error:
        if name != str(path):  # an address, which has lost a slash as a path
            error.args = (str(error).replace(str(path), name),)
        raise
    announce(path, photograph.depth, white)
    return photograph


def decode_picture(
    path: Path, data: bytes, channels: int = 3, white: int | None = None, max_pixels: int = MAX_PIXELS
) -> Photograph:
    """Decode the content of an image file; see `read_picture`. `path` is named in messages."""
    layout = tiff_layout(data)
    if layout and (not layout.plain or (channels not in (1, 3) and layout.samples > 1)):
        check_size(path, layout.size, max_pixels)
        found = _take(path, _read_tiff(path, data, layout), channels, white, layout.alpha)
        found = found._replace(orientation=layout.orientation)
        if layout.inverted:
            found = found._replace(image=255 - found.image)
        if left_out := page_text(layout.page, layout.pages, layout.size):
            found = found._replace(notes=(*found.notes, Note("pages", f"{left_out} is read")))
        return found
    if channels in (1, 3):
        return decode_photograph(path, data, max_pixels, white)
    stored, orientation = _read_all_channels(path, data, max_pixels)
    return _take(path, stored, channels, white)._replace(orientation=orientation)


def _take(path: Path, stored: np.ndarray, channels: int, white: int | None, alpha: int = 0) -> Photograph:
    """The channels of an image (H, W, C), uint8 or uint16, that a network takes.

    Args:
        path: named in messages.
        stored: all channels, upright.
        channels: see `read_picture`.
        white: see `depth.to_8bit`.
        alpha: value of EXTRA if the last channel is the opacity.
    """
    held = stored.shape[2]
    if channels in (1, 3):
        opacity = np.ascontiguousarray(stored[..., -1]) if alpha else None
        colors = np.ascontiguousarray(as_rgb(stored[..., :-1] if alpha else stored))
        pixels, opacity, notes = in_8_bits(Stored(colors, opacity, alpha == IS_PREMULTIPLIED), white)
        seen = pixels if opacity is None else over_ground(pixels, opacity)
        own = None if opacity is None else pixels
        return Photograph(seen, UPRIGHT, opacity, tuple(notes), Depth.of(colors, white), held, own)
    if held < channels:
        raise ValueError(
            f"{path}: holds {counted(held, 'channel')}, expected {channels} (img_channels). "
            f"Fix: a file of {counted(channels, 'channel')}; or train with img_channels and "
            f"in_channels: {held}"
        )
    pixels, shared = with_opacity(np.ascontiguousarray(stored[..., :channels]), white)
    return Photograph(pixels, depth=Depth.of(shared, white), held=held)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """What pictures show of an image (H, W, C): its first three channels, or the first one as grey."""
    return image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, 2)


def tiff_layout(data: bytes) -> TiffLayout | None:
    """Read the tags of a TIFF file's largest page; None if it is no such file, damaged, or camera raw."""
    if not data.startswith(TIFF_HEADS):
        return None
    found: list[TiffLayout] = []
    with contextlib.suppress(Exception):  # Pillow raises whatever the damage leads to, also if it is missing
        check_parts(data)
        for page, (tags, listed) in enumerate(directories(data)):
            if page == 0 and is_camera_raw(tags):
                return None
            if page == 0 or not tags.get(SUBFILE_TYPE, 0) & IS_MASK:
                layout = _layout(tags)._replace(page=page, listed=listed)
                found += [layout] if all(layout.size) else []
    if not found:
        return None
    areas = [layout.size[0] * layout.size[1] for layout in found]
    largest = int(np.argmax(areas))
    alike = len(found) if largest or areas.count(areas[0]) > 1 else 1
    return found[largest]._replace(pages=alike)


def _layout(tags: Any) -> TiffLayout:
    samples, kind = int(tags.get(SAMPLES, 1)), tags.get(PHOTOMETRIC)
    bits, extra, grey = max(tags.get(TIFF_BITS, (1,))), tags.get(EXTRA, ()), kind in (WHITE_IS_0, BLACK_IS_0)
    alpha = extra[0] if len(extra) == 1 and extra[0] in ALPHA else 0
    separate = samples > 1 and tags.get(PLANES, 1) == SEPARATE
    colors = samples - bool(alpha)
    # of three grey channels OpenCV reads the first one
    usual = (colors == 1 and bits <= 8) or (colors == 3 and not grey) or (colors, kind) == (4, CMYK)
    inverted = kind == WHITE_IS_0 and not alpha
    known = bits in KNOWN_BITS and not (inverted and bits > 8)
    plain = known and not separate and (samples == 1 or usual)
    orientation = tags.get(ORIENTATION, UPRIGHT)
    orientation = orientation if orientation in range(1, 9) else UPRIGHT
    size = int(tags[WIDTH]), int(tags[HEIGHT])
    return TiffLayout(size, orientation, samples, separate, plain, inverted, alpha, dict(tags))


def _read_tiff(path: Path, data: bytes, layout: TiffLayout) -> np.ndarray:
    """The largest page of a TIFF file with all channels: (H, W, C) uint8 or uint16, upright."""
    tifffile = need("tifffile")
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # its messages do not name the file
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[layout.page]
            _check_page(page, layout, data)
            stored, axes = page.asarray(), page.axes
    except Exception as error:  # damaged files raise many kinds, and so does a missing codec
        raise ValueError(
            f"{path}: cannot be read as a TIFF file of {layout.samples} channels: {error}. "
            "Fix: restore it, or save it without compression"
        ) from None
    if axes == "SYX":
        stored = np.moveaxis(stored, 0, -1)
    stored = stored[..., None] if stored.ndim == 2 else stored
    if stored.ndim != 3 or stored.shape[2] != layout.samples:
        raise ValueError(f"{path}: axes {axes}, expected an image. Fix: save one page of all channels")
    return turn(in_whole_numbers(path, stored), layout.orientation)


def _check_page(page: Any, layout: TiffLayout, data: bytes) -> None:
    """Raise ValueError where tifffile passes over damage: it takes broken tags for absent, lost parts for 0.

    Args:
        page: of tifffile.
        layout: of the same page, whose tags Pillow has read.
        data: the file.
    """
    check_tiff(layout.tags, layout.listed, data, sparse=True)
    for tag in DECISIVE:
        ours, theirs = layout.tags.get(tag, ()), page.tags.valueof(tag, ())
        if np.ravel(ours).tolist() != np.ravel(theirs).tolist():
            raise ValueError(f"its tag {tag} is {ours} or {theirs}")


def _read_all_channels(path: Path, data: bytes, max_pixels: int) -> tuple[np.ndarray, int]:
    """All channels of an image of another format, upright, RGB first; and its orientation.

    Returns:
        (H, W, C) uint8 or uint16, and the EXIF orientation, already applied.
    """
    with opened(path, data, max_pixels=max_pixels) as image:
        orientation = orientation_of(image, data)
        if is_deep(image, data):
            stored = stored_by_opencv(data, cv2.IMREAD_UNCHANGED)  # which Pillow would reduce to 8 bits
            # OpenCV makes four channels of grey with alpha
            grey = data.startswith(PNG) and data[PNG_COLORS] == GREY_WITH_ALPHA
            if stored.ndim == 3:
                stored = stored[..., [0, 3] if grey else [2, 1, 0, 3][: stored.shape[2]]]
        else:  # OpenCV would add channels to grey with alpha, and drop those of CMYK
            stored = np.asarray(image.convert("RGB") if image.mode in ("P", "1") else image)
    stored = stored if stored.ndim == 3 else stored[..., None]
    return turn(in_whole_numbers(path, stored), orientation), orientation
