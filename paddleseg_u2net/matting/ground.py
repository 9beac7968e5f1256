"""New backgrounds of cut-outs, and their trimming."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from paddleseg_u2net.io.color_profiles import from_srgb
from paddleseg_u2net.io.images import read_image

BLUR = "blur"
BLUR_SHARE = 0.02  # standard deviation of the blur, as a share of the photograph's longer side


Ground = str | tuple[int, int, int] | np.ndarray


@dataclass(frozen=True)
class Background:
    """What a cut-out is put over.

    Args:
        kind: `BLUR`: the photograph's own background, blurred; a colour (R, G, B), each 0 to 255; or a
            picture (H, W, 3) uint8 in sRGB, which is resized and trimmed to cover the photograph.

    Raises:
        ValueError: something else.
    """

    kind: Ground

    def __post_init__(self):
        kind = self.kind
        if isinstance(kind, np.ndarray):
            fits = kind.dtype == np.uint8 and kind.ndim == 3 and kind.shape[2] == 3 and kind.size > 0
        elif isinstance(kind, tuple):
            fits = len(kind) == 3 and all(value in range(256) for value in kind)
        else:
            fits = kind == BLUR
        if not fits:
            found = f"an array {kind.shape} of {kind.dtype}" if isinstance(kind, np.ndarray) else repr(kind)
            raise ValueError(
                f"expected '{BLUR}', (R, G, B) of 0 to 255, or an array (H, W, 3) of uint8, got {found}. "
                "Fix: Background.parse('white') for names of colours and files"
            )

    @classmethod
    def of(cls, value: Background | Ground) -> Background:
        """The background that a value stands for: itself, a text of `parse`, or a colour or picture."""
        if isinstance(value, Background):
            return value
        return cls.parse(value) if isinstance(value, str) else cls(value)

    @classmethod
    def parse(cls, text: str) -> Background:
        """The background that a flag names: `blur`, a colour (`white`, `#rrggbb`, `R,G,B`) or an image file.

        Raises:
            ValueError: neither; or an image that cannot be read.
        """
        if text != BLUR and Path(text).is_file():
            return cls(read_image(text))
        try:
            return cls.named(text)
        except ValueError as error:
            raise ValueError(
                f"expected blur, a colour or an image file, got '{text[:40]}'. "
                "Fix: a colour such as white, #ff8000 or 255,128,0, or the path of an image"
            ) from error

    @classmethod
    def named(cls, text: str) -> Background:
        """The background that a text names without a file: `blur`, or a colour.

        Raises:
            ValueError: neither.
        """
        if text == BLUR:
            return cls(BLUR)
        if (color := _color(text)) is not None:
            return cls(color)
        raise ValueError(
            f"expected blur or a colour, got '{text[:40]}'. Fix: such as white, #ff8000 or 255,128,0"
        )

    def picture(self, photograph: np.ndarray, alpha: np.ndarray, profile: bytes | None = None) -> np.ndarray:
        """The background of one photograph.

        Args:
            photograph: (H, W, 3) uint8.
            alpha: (H, W) uint8, the opacity of the objects before it.
            profile: ICC profile of the photograph's colours; None for sRGB.

        Returns:
            (H, W, 3) uint8 in the colours of the photograph.
        """
        if isinstance(self.kind, str):
            return _blurred(photograph, alpha)
        if isinstance(self.kind, np.ndarray):
            return from_srgb(cover(self.kind, photograph.shape[:2]), profile)
        color = from_srgb(np.array(self.kind, np.uint8).reshape(1, 1, 3), profile)
        return np.broadcast_to(color, photograph.shape)


def _color(text: str) -> tuple[int, int, int] | None:
    """A colour by its name, as #rrggbb, or as R,G,B; None if it is none of these."""
    from PIL import ImageColor

    with contextlib.suppress(ValueError):
        color = ImageColor.getrgb(f"rgb({text})" if text[:1].isdecimal() else text)[:3]
        return color if max(color) < 256 else None
    return None


def cover(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a picture (h, w, 3) uint8 to cover `size` (H, W), in proportion, and trim what is beyond."""
    height, width = size
    scale = max(height / picture.shape[0], width / picture.shape[1])
    rows, columns = (math.ceil(side * scale - 1e-6) for side in picture.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(picture, (max(columns, width), max(rows, height)), interpolation=interpolation)
    top, left = (resized.shape[0] - height) // 2, (resized.shape[1] - width) // 2
    return resized[top : top + height, left : left + width]


def _blurred(photograph: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The background of a photograph, blurred without the colours of the objects before it.

    It is blurred at an eighth of the size, which looks the same.
    """
    height, width = alpha.shape
    small = (max(width // 8, 1), max(height // 8, 1))
    colors = cv2.resize(photograph, small, interpolation=cv2.INTER_AREA).astype(np.float32)
    weight = 1 - cv2.resize(alpha, small, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    sigma = BLUR_SHARE * max(small)
    # far inside of large objects no background is near: there a wider blur counts
    weighted, total = np.dstack([colors * weight[..., None], weight]), np.zeros((), np.float32)
    for factor, part in ((1, 1), (8, 1e-3), (64, 1e-6)):
        total = total + np.float32(part) * cv2.GaussianBlur(weighted, (0, 0), max(factor * sigma, 0.1))
    count = total[..., 3:]
    ground = np.where(count > 1e-12, total[..., :3] / np.maximum(count, 1e-12), colors)  # or none at all
    large = cv2.resize(ground, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.rint(large.clip(0, 255)).astype(np.uint8)


def over(colors: np.ndarray, alpha: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Put colours over a background.

    Args:
        colors: (H, W, 3) uint8, not multiplied by alpha.
        alpha: (H, W) uint8.
        ground: (H, W, 3) uint8.

    Returns:
        (H, W, 3) uint8, rounded to the nearest.
    """
    weight = alpha[..., None].astype(np.uint16)
    mixed = colors * weight  # at most 65025
    mixed += ground * (255 - weight)
    mixed += 127
    return (mixed // 255).astype(np.uint8)


@dataclass(frozen=True)
class Margin:
    """Room that is left around objects when a picture is trimmed.

    Args:
        amount: pixels, or percent of the longer side of the objects' box.
        percent: which of the two.
    """

    amount: float
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> Margin:
        """`20` or `20px` are pixels, `5%` percent.

        Raises:
            ValueError: neither.
        """
        percent, number = text.endswith("%"), text.removesuffix("%").removesuffix("px")
        try:
            amount = float(number)
        except ValueError:
            amount = -1
        if not 0 <= amount <= 10000:
            raise ValueError(f"expected pixels or percent, got '{text[:40]}'. Fix: such as 20 or 5%")
        return cls(amount, percent)

    def box(self, alpha: np.ndarray, trace: int = 26) -> tuple[slice, slice]:
        """Rows and columns of the objects with the margin, inside the picture; all of it without objects.

        Args:
            alpha: (H, W) uint8.
            trace: the least opacity of pixels that count: a tenth.
        """
        rows, columns = (np.flatnonzero((alpha >= trace).any(axis)) for axis in (1, 0))
        if not rows.size:
            return slice(None), slice(None)
        longer = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
        room = round(self.amount * longer / 100) if self.percent else round(self.amount)
        height, width = alpha.shape
        return (
            slice(max(int(rows[0]) - room, 0), min(int(rows[-1]) + 1 + room, height)),
            slice(max(int(columns[0]) - room, 0), min(int(columns[-1]) + 1 + room, width)),
        )
