"""What no decoder here reads, of formats that are read: floating-point samples, camera raw, compressions."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from paddleseg_u2net.io.jpeg_segments import segments

FLOATS, LARGEST_BITS = 3, 16  # of TIFF: sample format of floating-point numbers; more bits are not read
TIFF_BITS, TIFF_COMPRESSION, TIFF_SAMPLES, TIFF_FORMAT, DNG_VERSION = 258, 259, 277, 339, 50706
SUBFILE_TYPE, PHOTOMETRIC, SUB_DIRECTORIES = 254, 262, 330
COLOR_FILTER_ARRAYS = {32803, 34892}  # of PHOTOMETRIC: one colour at each pixel, or raw samples interpolated
IS_PREVIEW, IS_MASK = 1, 4  # bits of SUBFILE_TYPE: a page shows another one smaller, or is its transparency
# names of TIFF compressions that not every decoder has; those of TIFF_READ are always decoded
TIFF_NAMES = {6: "old JPEG", 34676: "SGI LogLuv", 34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA"}
TIFF_NAMES |= {50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL"}
TIFF_READ = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}
JPEG_LOSSLESS = {0xC3: "lossless", 0xC7: "lossless", 0xCB: "lossless", 0xF7: "JPEG-LS"}
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}  # markers that begin with bits and size


def tiff_problem(data: bytes) -> str:
    """What in a TIFF file is not supported; empty if nothing is, or its tags are damaged."""
    try:
        return _problem_of(_first_page(io.BytesIO(data)))
    except Exception:  # damaged tags raise any kind of error
        return ""


def _problem_of(directory: Any) -> str:
    """As `tiff_problem`, of the tags of a page; damage raises any kind of error."""
    from PIL import TiffImagePlugin

    bits = max(directory.get(TIFF_BITS, (1,)))
    compression = directory.get(TIFF_COMPRESSION, 1)
    floats = FLOATS in directory.get(TIFF_FORMAT, (1,))
    samples = directory.get(TIFF_SAMPLES, 1)
    pixel = directory.get(PHOTOMETRIC), (bits,) * samples
    if is_camera_raw(directory):
        return "it is a camera raw file"
    if floats or bits > LARGEST_BITS:
        return f"its samples are {'floating-point numbers' if floats else 'numbers'} of {bits} bits"
    if compression not in TIFF_READ:
        return f"its compression is {TIFF_NAMES.get(compression, 'unknown')} ({compression})"
    if pixel[0] is not None and not any((row[1], row[4]) == pixel for row in TiffImagePlugin.OPEN_INFO):
        return f"its pixels have {samples} x {bits} bits (photometric interpretation {pixel[0]})"
    return ""


def _first_page(file: BinaryIO) -> Any:
    """The tags of the first page of a TIFF file; damage raises any kind of error."""
    from PIL import TiffImagePlugin

    head = file.read(16)
    tags = TiffImagePlugin.ImageFileDirectory_v2(head if b"+" in head[2:4] else head[:8])
    file.seek(tags.next)
    tags.load(file)
    return tags


def may_be_camera_raw(path: Path) -> bool:
    """Whether a TIFF file that is named like one is a camera raw file, or is damaged."""
    try:
        with path.open("rb") as file:
            return is_camera_raw(_first_page(file))
    except Exception:  # see above
        return True


def is_camera_raw(tags: Mapping[int, Any]) -> bool:
    """Whether a TIFF is a camera raw file (DNG, NEF, ARW, PEF), whose first page is a preview or raw samples.

    Args:
        tags: of the first page, number -> value.
    """
    is_preview = SUB_DIRECTORIES in tags and tags.get(SUBFILE_TYPE, 0) & IS_PREVIEW
    return bool(is_preview) or DNG_VERSION in tags or tags.get(PHOTOMETRIC) in COLOR_FILTER_ARRAYS


def jpeg_problem(data: bytes) -> str:
    """What in a JPEG file is not supported; empty if nothing is."""
    for marker, start in segments(data):
        if marker in JPEG_LOSSLESS:
            return f"it is {JPEG_LOSSLESS[marker]}"
        if marker in JPEG_FRAMES and start + 4 < len(data):
            bits = data[start + 4]
            return f"it has {bits} bits per sample" if bits != 8 else ""
    return ""


def avif_problem(_: bytes) -> str:
    """Why no AVIF file is supported; empty if they are."""
    from PIL import features

    return "" if features.check("avif") else "the installed Pillow has no AVIF decoder"
