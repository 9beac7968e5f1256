"""Read and write image files as arrays, upright and with bounded size."""

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


class TooLarge(ValueError):
    """An image with more pixels than allowed."""


class Header(NamedTuple):
    """Header of an encoded image: (width, height) as stored, and EXIF orientation 1 to 8."""

    size: tuple[int, int]
    orientation: int = UPRIGHT


def check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    """Raise ValueError if an image has too many pixels according to its header."""
    if size[0] * size[1] > max_pixels:
        raise TooLarge(
            f"{path}: {size[0]} x {size[1]} pixels, more than {max_pixels / 1e6:.0f} million. "
            "Fix: make it smaller"
        )


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode an image file to 8-bit RGB: rotated by its EXIF tag, alpha dropped.

    Args:
        path: file of a format in SUFFIXES, under any name; of animations the first frame is read.
        max_pixels: larger images are rejected before decoding.

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
    """Return the content of a file; FileNotFoundError if there is none."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(f"{path}: no such {kind} file") from None


def decode_image(path: Path, data: bytes, header: Header | None, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode the content of an image file like `read_image`; `path` is named in messages."""
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
            "Fix: save it again as PNG or JPEG"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_header(data: bytes) -> Header | None:
    """Read the header of an encoded image; None if it is not an image.

    Without Pillow the image has to be decoded to learn its size; OpenCV bounds that.
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


def list_images(folder: Path) -> list[Path]:
    """List all image files below a folder, sorted, without hidden files and folders."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
