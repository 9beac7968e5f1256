"""Image files <-> arrays. Light: OpenCV and numpy only."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from paddleseg_u2net.io.files import atomic_write

MAX_PIXELS = 64 << 20  # bounds memory against images that are small on disk only
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
ORIENTATION = 0x0112  # the EXIF tag that says how to turn the pixels; 1 is as stored
UPRIGHT, SIDEWAYS = 1, 5  # values of that tag: as stored; from here on width and height change places
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
XMP = ("xmp", "XML:com.adobe.xmp")  # where Pillow keeps these of a file


class Header(NamedTuple):
    """What an encoded image says of itself: (width, height) as stored, and its EXIF orientation."""

    size: tuple[int, int]
    orientation: int = UPRIGHT


def check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    """Raise ValueError where an image, by its header, has too many pixels."""
    if size[0] * size[1] > max_pixels:
        raise ValueError(
            f"{path}: {size[0]} x {size[1]} pixels, more than {max_pixels / 1e6:.0f} million. "
            "Fix: make it smaller, or predict.py --max_pixels"
        )


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode an image file as people see it: upright by its EXIF tag, 8 bits, without alpha.

    Args:
        path: file of a format in SUFFIXES, whatever it is called; of animations the first frame.
        max_pixels: larger images are refused before they are decoded.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: empty, truncated, too large, or not an image.
    """
    path = Path(path)
    data = read_bytes(path)
    return decode_image(path, data, read_header(data), max_pixels)


def read_bytes(path: Path, kind: str = "image") -> bytes:
    """The content of a file; FileNotFoundError where there is none."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(f"{path}: no such {kind} file") from None


def decode_image(path: Path, data: bytes, header: Header | None, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """What `read_image` returns of the content of a file and its header; `path` is for messages."""
    if not data:
        raise ValueError(f"{path}: the file is empty")
    image = None
    if header:
        check_size(path, header.size, max_pixels)
        with contextlib.suppress(cv2.error):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(
            f"{path}: truncated, or not an image of {', '.join(sorted(SUFFIXES))} in whole numbers. "
            "Fix: save it anew as PNG or JPEG"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_header(data: bytes) -> Header | None:
    """The header of an encoded image, None where it has none.

    Pillow reads it; on a machine without Pillow the size is known after decoding only, which OpenCV bounds.
    """
    with contextlib.suppress(OSError, SyntaxError, ValueError, cv2.error):
        try:
            with pillow().open(io.BytesIO(data)) as image:
                return Header(image.size, orientation_of(image, data))
        except ModuleNotFoundError:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            return None if image is None else Header((image.shape[1], image.shape[0]))
    return None


def orientation_of(image: Any, data: bytes) -> int:
    """The EXIF orientation of an opened picture, 1 to 8; `data` is the content of its file."""
    if image.format == "PNG" and b"eXIf" not in data:  # Pillow would decode it all to look for the tag
        return UPRIGHT
    for name in XMP:  # which Pillow would ask next, and OpenCV never
        image.info.pop(name, None)
    try:
        tag = image.getexif().get(ORIENTATION)
    except Exception:  # a broken tag raises whatever its parser does, and turns nothing
        return UPRIGHT
    return int(tag) if tag in range(1, 9) else UPRIGHT


def upright(image: Any, orientation: int) -> Any:
    """A picture of Pillow as it is meant to be seen."""
    # not `ImageOps.exif_transpose`, which writes the other tags anew and fails where one is broken
    return image if orientation == UPRIGHT else image.transpose(pillow().Transpose[TURNS[orientation]])


def pillow() -> Any:
    """The module PIL.Image, whose own bound only warns at first; `check_size` refuses."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    return Image


def write_image(path: Path, image: np.ndarray) -> None:
    """Encode an image by the suffix of its path; it appears there whole or not at all.

    Args:
        path: file to write; its folder is created.
        image: uint8; (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA.
    """
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    done, encoded = cv2.imencode(path.suffix, image)
    if not done:
        raise ValueError(
            f"{path}: an image of {image.shape} cannot be encoded so. Fix: another format or size"
        )
    with atomic_write(path) as partial:
        partial.write_bytes(encoded.tobytes())


def list_images(folder: Path) -> list[Path]:
    """All image files below a folder, sorted; hidden files and folders are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
