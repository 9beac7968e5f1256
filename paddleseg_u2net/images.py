"""Image files <-> arrays. Light: OpenCV and numpy only."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from paddleseg_u2net.files import arriving

MAX_PIXELS = int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"])

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


def read_image(path: str | Path) -> np.ndarray:
    """Decode an image file as people see it: upright by its EXIF tag, 8 bits, without alpha.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: empty, truncated, too large, or not an image.
    """
    path = Path(path)
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(f"{path}: no such image file") from None
    if not len(data):
        raise ValueError(f"{path}: the file is empty")
    too_large = (
        f"{path}: more than {MAX_PIXELS} pixels. Fix: make it smaller, or set OPENCV_IO_MAX_IMAGE_PIXELS"
    )
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        message = too_large if "MAX_IMAGE_PIXELS" in str(error) else f"{path}: {error.err}"
        raise ValueError(message) from None
    if image is None:
        raise ValueError(f"{path}: truncated, or not an image. Fix: save it anew as PNG or JPEG")
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        raise ValueError(too_large)  # OpenCV was imported before us, with its own limit of 2^30 pixels
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


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
    with arriving(path) as partial:
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
