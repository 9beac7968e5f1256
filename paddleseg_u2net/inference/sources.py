"""What an image may be given as: path, https address, bytes, file, image of Pillow, array."""

from __future__ import annotations

import sys
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Union

import numpy as np

from paddleseg_u2net.io.appearance import over_ground, split_alpha
from paddleseg_u2net.io.contents import MAX_BYTES
from paddleseg_u2net.io.decoders import BYTES, Stored
from paddleseg_u2net.io.depth import in_whole_numbers
from paddleseg_u2net.io.images import ORIENTATION, TURNS, UPRIGHT, Photograph, as_seen

Source = Union[str, "PathLike[str]", bytes, bytearray, memoryview, BinaryIO, np.ndarray, Any]
Open = Callable[[str | Path, bytes | None], Photograph]

EXPECTED = (
    "expected a path, an https address, bytes, a binary file, an image of Pillow, or an array (H, W), "
    "(H, W, 3) RGB or (H, W, 4) RGBA of uint8"
)


def is_address(text: str) -> bool:
    """Whether a text is the address of something on the web, rather than a path."""
    return "://" in text and text.split("://", 1)[0].lower() in ("http", "https", "ftp", "file")


def is_pillow(source: Source) -> bool:
    """Whether a source is an image of Pillow, by whatever plugin it was opened."""
    module = sys.modules.get("PIL.Image")  # without which there is none
    return module is not None and isinstance(source, module.Image)


def name_of(source: Source) -> str:
    """What messages call a source."""
    if isinstance(source, (str, PathLike)):
        return str(source)
    return str(getattr(source, "filename", "") or getattr(source, "name", "") or type(source).__name__)


def open_source(source: Source, open_file: Open, channels: int = 3) -> Photograph:
    """Read an image.

    Args:
        source: see `EXPECTED`; arrays may also have the channels of a multi-band model.
        open_file: reads a path, or content that is called by it.
        channels: of the network's input.

    Raises:
        TypeError: none of these types, or an array of another shape or dtype.
        OSError: the file or the address cannot be read.
        ValueError: no image, or damaged.
    """
    if isinstance(source, str) and is_address(source):
        from paddleseg_u2net.io.fetch import fetch  # most images need no network

        return open_file(source, fetch(source))
    if isinstance(source, (str, PathLike)):
        return open_file(Path(source), None)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return open_file(Path(f"{len(source)} bytes"), bytes(source))
    if isinstance(source, np.ndarray):
        return _of_array(source, channels)
    if callable(getattr(source, "read", None)):
        return open_file(Path(name_of(source)), read_all(source))
    if is_pillow(source):
        return _of_pillow(source)
    raise TypeError(f"{EXPECTED}; got {type(source).__name__}")


def read_all(file: BinaryIO) -> bytes:
    """The rest of a binary file.

    Raises:
        TypeError: it is opened as text.
        ValueError: it is larger than images are.
    """
    data = file.read(MAX_BYTES + 1)
    if not isinstance(data, bytes):
        raise TypeError(f"{name_of(file)}: gives {type(data).__name__}. Fix: open it as binary, with 'rb'")
    if len(data) > MAX_BYTES:
        raise ValueError(f"{name_of(file)}: more than {MAX_BYTES} bytes. Fix: make it smaller")
    return data


def _of_array(array: np.ndarray, channels: int) -> Photograph:
    """An array as a photograph; colours with opacity are not multiplied by it."""
    array = array[..., None] if array.ndim == 2 else array
    allowed = {channels} if channels not in (1, 3) else {1, 3, 4}
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in allowed or not array.size:
        more = "" if channels in (1, 3) else f", here (H, W, {channels})"
        raise TypeError(f"{EXPECTED}{more}; got an array {array.shape} of {array.dtype}")
    if channels not in (1, 3):
        return Photograph(array)
    colors = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else np.ascontiguousarray(array[..., :3])
    alpha, notes = split_alpha(np.ascontiguousarray(array[..., 3])) if array.shape[2] == 4 else (None, [])
    if alpha is None:
        return Photograph(colors, notes=tuple(notes))
    return Photograph(over_ground(colors, alpha), alpha=alpha, notes=tuple(notes), colors=colors)


def _of_pillow(image: Any) -> Photograph:
    """An image of Pillow as a network sees it; see `read_photograph`.

    Raises:
        TypeError: its mode is not read.
        ValueError: its file is damaged.
    """
    name = Path(getattr(image, "filename", "") or "image of Pillow")
    if image.mode not in BYTES and not image.mode.startswith("I"):
        raise TypeError(f"{name}: mode {image.mode}, expected 8 or 16 bits. Fix: an array of uint8 instead")
    try:
        image.load()
        orientation = image.getexif().get(ORIENTATION, UPRIGHT)
    except Exception as error:  # Pillow reads the pixels only now, and raises any kind of error
        raise ValueError(f"{name}: is damaged: {error}. Fix: another copy of its file") from error
    if image.mode in BYTES:
        kind = "RGBA" if image.has_transparency_data else "RGB"
        pixels = np.asarray(image.convert(kind))
        alpha = np.ascontiguousarray(pixels[..., 3]) if kind == "RGBA" else None
        stored = Stored(np.ascontiguousarray(pixels[..., :3]), alpha)
    else:
        grey = in_whole_numbers(name, np.asarray(image))
        stored = Stored(np.repeat(grey[..., None], 3, axis=2))
    profile, cmyk = image.info.get("icc_profile"), image if image.mode == "CMYK" else None
    orientation = orientation if orientation in TURNS else UPRIGHT
    return as_seen(stored, profile, image.mode, orientation, None, cmyk)
