"""ICC profiles: colours of any RGB, grey or CMYK space -> sRGB, which networks are trained with."""

from __future__ import annotations

import functools
import io
import struct
from typing import Any, NamedTuple

import numpy as np

SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}  # Pillow's mode -> colour space of an ICC profile
SAME = 3  # levels of 255 by which a profile's colours may differ from sRGB and still count as sRGB
GRID = 17  # levels of each channel that are compared with sRGB


# X, Y, Z (D50) of white, and of red, green and blue of Adobe RGB (1998), whose curve is a power
WHITE = (0.9642, 1.0, 0.8249)
ADOBE = {
    b"rXYZ": (0.60974, 0.31111, 0.01947),
    b"gXYZ": (0.20528, 0.62567, 0.06087),
    b"bXYZ": (0.14919, 0.06317, 0.74457),
}
ADOBE_GAMMA = 563 / 256
ADOBE_NAME = b"Adobe RGB (1998), named by EXIF\0"


def adobe_rgb() -> bytes:
    """A profile of the colour space Adobe RGB (1998).

    Source: Adobe RGB (1998) Color Image Encoding, 2005-05; the file format of ICC.1:2001-04.
    """
    points = {b"wtpt": WHITE, **ADOBE}
    tags = {name: b"XYZ \0\0\0\0" + _fixed(*point) for name, point in points.items()}
    tags |= dict.fromkeys(
        (b"rTRC", b"gTRC", b"bTRC"), b"curv" + struct.pack(">4xIHxx", 1, round(ADOBE_GAMMA * 256))
    )
    tags[b"desc"] = b"desc" + struct.pack(">4xI", len(ADOBE_NAME)) + ADOBE_NAME + bytes(80)
    start, table, content = 132 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(content), len(value))
        content += value + bytes(-len(value) % 4)
    kinds = (0x02100000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    head = struct.pack(">I4xI4s4s4s12x4s28x12s48x", start + len(content), *kinds, _fixed(*WHITE))
    return head + struct.pack(">I", len(tags)) + table + content


def _fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


class Conversion(NamedTuple):
    """What a profile means for the pixels of an image.

    Args:
        name: the profile's description.
        transform: Pillow's transform to sRGB; None if there is nothing to convert.
        problem: why the profile cannot be used; empty if it can.
    """

    name: str = ""
    transform: Any = None
    problem: str = ""


@functools.lru_cache(maxsize=8)
def find_conversion(profile: bytes, mode: str) -> Conversion:
    """How the pixels of an image with this profile become sRGB.

    Args:
        profile: content of an ICC profile.
        mode: Pillow's mode of the pixels, a key of SPACES.
    """
    try:
        from PIL import ImageCms

        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        name = (source.profile.profile_description or "without a name").strip()
        if space != SPACES[mode]:
            return Conversion(name, problem=f"it is for {space} and not for {SPACES[mode]}")
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except Exception as error:  # damaged profiles raise any kind of error
        return Conversion(problem=f"it cannot be read: {error}" if profile else "it is damaged or too large")
    return Conversion(name) if _is_srgb(transform, mode) else Conversion(name, transform)


def _is_srgb(transform: Any, mode: str) -> bool:
    """Whether a transform hardly changes any of an even grid of colours."""
    from PIL import Image

    if mode == "CMYK":
        return False
    levels = np.linspace(0, 255, GRID).round().astype(np.uint8)
    if mode == "L":
        colors = np.arange(256, dtype=np.uint8)[None]
    else:
        colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(GRID, -1, 3)
    converted = np.asarray(transform.apply(Image.fromarray(colors)), int)
    return int(np.abs(converted - (colors[..., None] if mode == "L" else colors)).max()) <= SAME


def from_srgb(pixels: np.ndarray, profile: bytes | None) -> np.ndarray:
    """Colours (H, W, 3) uint8 in sRGB -> in the space of an ICC profile for RGB; None stands for sRGB."""
    if profile is None or find_conversion(profile, "RGB").transform is None:
        return pixels
    from PIL import Image, ImageCms

    target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), target, "RGB", "RGB")
    return np.asarray(transform.apply(Image.fromarray(pixels)))
