"""Pixels as people see them: transparency over a plain ground, colours in sRGB; and what was changed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from paddleseg_u2net.errors import counted

log = logging.getLogger(__name__)

# R, G, B that transparent pixels are seen over. White is as good for photographs, but hides white objects:
# docs/prediction.md
GROUND = (200, 200, 200)
GROUND_NAME = "light grey"
# kinds of notes, in this order -> what all of them have in common, and the level they are logged with
NOTES = {
    "transparency": ("has", "have", "transparent pixels", logging.WARNING),
    "pages": ("holds", "hold", "more than one picture", logging.WARNING),
    "face": ("has", "have", "no face that was found", logging.WARNING),
    "profile": ("has", "have", "other colours than sRGB", logging.INFO),
}


class Note(NamedTuple):
    """What was changed or left out when an image was read.

    Args:
        kind: a key of NOTES.
        text: what was done to this image.
    """

    kind: str
    text: str


# Pillow's modes of one channel of brightness
GREY = {"1", "L", "LA", "La", "I;16", "I;16B", "I"}


def note_lines(notes: Sequence[tuple[str, Note]], total: int) -> Iterator[tuple[int, str]]:
    """Summarize the notes of many images: one line for each kind, with its level of logging.

    Args:
        notes: place of an image, and its note.
        total: number of images that were read.
    """
    for kind, (one, many, what, level) in NOTES.items():
        found = [(place, note) for place, note in notes if note.kind == kind]
        if found:
            place, note = found[0]
            verb = one if len(found) == 1 else many
            text = f"{len(found)} of {counted(total, 'image')} {verb} {what}"
            yield level, f"{text}, first: {place}: {note.text}"


def split_alpha(alpha: np.ndarray) -> tuple[np.ndarray | None, list[Note]]:
    """Tell what the opacity (H, W) uint8 of an image means; None if all pixels count as opaque."""
    if alpha.min() == 255:
        return None, []
    if alpha.max() == 0:  # programs that write 32-bit pixels and know no transparency
        return None, [Note("transparency", "the alpha channel is 0 everywhere and is ignored")]
    return alpha, [Note("transparency", f"seen over {GROUND_NAME}")]


def straight(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Divide colours (H, W, 3) uint8 that were multiplied by alpha (H, W) uint8 by it."""
    colors = pixels * (255 / np.maximum(alpha, 1, dtype=np.float32))[..., None]
    return np.rint(colors.clip(0, 255)).astype(np.uint8)


def over_ground(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Put pixels over GROUND.

    Args:
        pixels: (H, W, 3) uint8, not multiplied by alpha.
        alpha: (H, W) uint8, 0 is transparent.

    Returns:
        (H, W, 3) uint8.
    """
    from PIL import Image

    ground = Image.new("RGB", pixels.shape[1::-1], GROUND)
    ground.paste(Image.fromarray(pixels), mask=Image.fromarray(alpha))
    return np.asarray(ground)


class Converted(NamedTuple):
    """Pixels in sRGB.

    Args:
        pixels: (H, W, 3) uint8.
        notes: what was changed.
        profile: the ICC profile, if the pixels before were colours R, G and B that it describes.
    """

    pixels: np.ndarray
    notes: list[Note]
    profile: bytes | None = None


def to_srgb(pixels: np.ndarray, profile: bytes, mode: str, cmyk: Any = None) -> Converted:
    """Convert pixels to sRGB by an ICC profile.

    Args:
        pixels: (H, W, 3) uint8.
        profile: content of the ICC profile.
        mode: Pillow's mode of the file.
        cmyk: the image of Pillow if its mode is CMYK.
    """
    from paddleseg_u2net.io.color_profiles import find_conversion

    space = "CMYK" if cmyk is not None else "L" if mode in GREY and profile[16:20] == b"GRAY" else "RGB"
    conversion = find_conversion(profile, space)
    if conversion.problem:
        return Converted(pixels, [Note("profile", f"the ICC profile is ignored: {conversion.problem}")])
    kept = profile if space == "RGB" else None
    if conversion.transform is None:
        return Converted(pixels, [], kept)
    from PIL import Image

    image = cmyk if cmyk is not None else Image.fromarray(pixels[..., 0] if space == "L" else pixels)
    converted = np.asarray(conversion.transform.apply(image))
    note = Note("profile", f"converted from '{conversion.name}' to sRGB by its ICC profile")
    return Converted(converted, [note], kept)
