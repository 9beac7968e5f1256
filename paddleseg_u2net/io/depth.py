"""Values of images with more than 8 bits -> 8 bits, by the range that is used.

Cameras and scanners store 10, 12 or 14 bits in 16-bit files. Their white is 1023, 4095 or 16383; scaled as 16
bits such an image would be almost black.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

log = logging.getLogger(__name__)

DEEPEST = 65535  # white of files that use all 16 bits
PHOTOMETRIC, WHITE_IS_0 = 262, 0  # tag of TIFF files, and its value where grey is inverted


class NegativeValues(ValueError):
    """An image with values below black."""


def white_of(top: int) -> int:
    """The value of white in files whose largest value is `top`: 2^n - 1 of the fewest bits n, 8 or more."""
    return (1 << max(int(top).bit_length(), 8)) - 1


def in_whole_numbers(path: Path, image: np.ndarray) -> np.ndarray:
    """Return an image of signed integers as uint8 or uint16.

    Raises:
        NegativeValues: there are any.
        ValueError: values that are no whole numbers of 8 or 16 bits.
    """
    if image.dtype in (np.uint8, np.uint16):
        return image
    if image.dtype not in (np.int8, np.int16):
        raise ValueError(
            f"{path}: holds values of type {image.dtype}, expected whole numbers of 8 or 16 bits. "
            "Fix: convert it to 16-bit TIFF or PNG"
        )
    if image.min() < 0:
        raise NegativeValues(
            f"{path}: holds negative values, down to {image.min()}. Fix: shift them, so that black is 0"
        )
    return image.astype(f"u{image.dtype}")


def top_of(image: np.ndarray) -> int:
    """The largest value of a uint16 image; 0 for uint8, whose range is known."""
    return int(image.max()) if image.dtype == np.uint16 else 0


def white_used(image: np.ndarray, white: int | None) -> int:
    """The stored value of a uint16 image that becomes 255; larger ones do so, too.

    Args:
        image: uint16.
        white: the value of the training data, or that the user has set. Larger values, such as hot pixels,
            clouds, and 65535 for pixels without data, do not change it, unless more than half of the image is
            larger, 65535 aside. Then, and for None, `white_of` the image is taken.
    """
    top = top_of(image)
    if white and (top <= white or np.count_nonzero((image > white) & (image < DEEPEST)) <= image.size / 2):
        return white
    return white_of(top)


def to_8bit(image: np.ndarray, white: int | None = None) -> np.ndarray:
    """Scale a uint16 image to uint8, rounded to the nearest; a uint8 image is returned unchanged.

    Args:
        image: (H, W) or (H, W, C), uint8 or uint16.
        white: see `white_used`.
    """
    if image.dtype == np.uint8:
        return image
    scale = 255 / white_used(image, white)
    flat = np.ascontiguousarray(image).reshape(image.shape[0], -1)  # OpenCV would refuse many channels
    return cv2.convertScaleAbs(flat, alpha=scale).reshape(image.shape)


def with_opacity(image: np.ndarray, white: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Scale an image like `to_8bit` whose last channel may be the opacity.

    Opacity is 0 or 65535 even where colours use fewer bits.

    Returns:
        The image, uint8, and the stored channels that share one white with other images.
    """
    colors, opacity = image[..., :-1], image[..., -1:]
    if not top_of(opacity) or not np.isin(opacity, (0, DEEPEST)).all():
        return to_8bit(image, white), image
    return np.concatenate([to_8bit(colors, white), to_8bit(opacity)], axis=2), colors


def bits_text(white: int) -> str:
    """`white is 4095 (12 bits)`."""
    return f"white is {white} ({white.bit_length()} bits)"


class Depth(NamedTuple):
    """How a 16-bit image is scaled; zeros for 8 bits.

    Args:
        top: its largest stored value.
        white: the stored value that becomes 255.
    """

    top: int = 0
    white: int = 0

    @classmethod
    def of(cls, image: np.ndarray, white: int | None) -> Depth:
        """That of an image as stored; see `white_used`."""
        return cls(top_of(image), white_used(image, white)) if image.dtype == np.uint16 else cls()


def announce(path: Path, depth: Depth, white: int | None = None) -> None:
    """Log how a 16-bit image is scaled; once for each value of white, and once if larger ones become white.

    Args:
        path: of the image.
        depth: of the image.
        white: that of the training data.
    """
    case = depth.white, depth.top > depth.white
    if not depth.top or case in _announced:
        return
    _announced.add(case)
    if white is None:
        why = f"its largest value is {depth.top}"
    elif case[1]:
        why = f"as in the training data; larger values, up to {depth.top}, become white too"
    elif depth.white == white:
        why = "as in the training data"
    else:
        why = f"most of its values are above the {white} of the training data"
    log.info("%s: 16-bit file, %s: %s (logged once for each range)", path, bits_text(depth.white), why)


_announced: set[tuple[int, bool]] = set()  # cases that a log line has named in this process
