"""ICC profiles: colours of any RGB, grey or CMYK space -> sRGB, which networks are trained with."""

from __future__ import annotations

import functools
import io
from typing import Any, NamedTuple

import numpy as np

SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}  # Pillow's mode -> colour space of an ICC profile
SAME = 3  # levels of 255 by which a profile's colours may differ from sRGB and still count as sRGB
GRID = 17  # levels of each channel that are compared with sRGB


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
