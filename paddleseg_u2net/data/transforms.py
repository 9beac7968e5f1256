"""Training transforms that paddleseg lacks: resizing of soft masks, crops, the official scaling.

Each takes and returns paddleseg's sample dict: `img` (H, W, C) float32 RGB in [0, 255], `label` (H, W), and
`gt_fields`, the keys of arrays that are transformed together with the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paddleseg_u2net.data.crops import square_around
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.data.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    INTERPOLATION,
    normalize_by_max,
    resize,
)
from paddleseg_u2net.registry import TRANSFORMS


def height_width(name: str, size: Sequence[int]) -> tuple[int, int]:
    """Convert a size [W, H] of a config to (H, W); raise ValueError if it is not a size."""
    if (
        not isinstance(size, (list, tuple))
        or len(size) != 2
        or not all(type(n) is int and n > 0 for n in size)
    ):
        raise ValueError(f"{name}: expected [W, H] in pixels, got {size!r}")
    return size[1], size[0]


def resize_soft_mask(
    mask: np.ndarray, size: tuple[int, int], interpolation: int = INTERPOLATION["LINEAR"]
) -> np.ndarray:
    """Resize a soft mask; a pixel is ignored if any ignored pixel contributes to it.

    Args:
        mask: (H, W) float32 in [0, 1], or `IGNORE`.
        size: (H, W) of the result.
        interpolation: of OpenCV.
    """
    valid = (mask != IGNORE).astype(np.float32)
    soft = np.clip(resize(mask * valid, size, interpolation), 0, 1)
    whole = resize(valid, size, interpolation) > 1 - 1e-3
    return np.where(whole, soft, np.float32(IGNORE))


@TRANSFORMS.register
class ResizeSoftMask:
    """Resize image and soft mask (saliency) with the same interpolation, so that the mask stays soft.

    Args:
        target_size: (W, H), as in paddleseg.
        interp: NEAREST, LINEAR, CUBIC, AREA or LANCZOS4.

    Source: Qin et al. 2020, section 4.2 (bilinear both ways); RescaleT of data_loader.py:15@ac7e1c8
    resizes the mask by nearest neighbour.
    """

    def __init__(self, target_size: Sequence[int] = (320, 320), interp: str = "LINEAR"):
        if interp not in INTERPOLATION:
            raise ValueError(f"interp: '{interp}', expected {', '.join(INTERPOLATION)}")
        self.size = height_width("target_size", target_size)
        self.interpolation = INTERPOLATION[interp]

    def __call__(self, data: dict) -> dict:
        data["trans_info"].append(("resize", data["img"].shape[:2]))
        data["img"] = resize(data["img"], self.size, self.interpolation)
        for key in data["gt_fields"]:
            data[key] = resize_soft_mask(data[key], self.size, self.interpolation)
        return data


@TRANSFORMS.register
class RandomCrop:
    """Crop a random window from image and mask.

    Args:
        crop_size: (W, H) of the window; at most the size of the image.

    Source: data_loader.py:76-101@ac7e1c8; as there, the window never includes the last row and column
    unless it is as large as the image.
    """

    def __init__(self, crop_size: Sequence[int] = (288, 288)):
        self.size = height_width("crop_size", crop_size)

    def __call__(self, data: dict) -> dict:
        (height, width), size = self.size, data["img"].shape[:2]
        if height > size[0] or width > size[1]:
            raise ValueError(f"(H, W) {self.size} exceeds the image's {size}")
        top = np.random.randint(0, max(size[0] - height, 1))
        left = np.random.randint(0, max(size[1] - width, 1))
        for key in ("img", *data["gt_fields"]):
            data[key] = data[key][top : top + height, left : left + width]
        return data


@TRANSFORMS.register
class CropForeground:
    """Crop a square around the foreground of the mask, with a random margin and shift, at random.

    It is for the second model of a two-pass prediction, whose crops are cut by the same `square_around`.
    Crops differ in size, so a resize must follow. A sample with an empty mask is kept whole.

    Args:
        margin: (least, most) width of the margin, as a share of the longer side of the foreground's box.
        shift: most that the square is moved off the centre of the box, in widths of the margin; up to 1 the
            whole foreground stays in the crop.
        min_size: smallest side of the square in pixels.
        prob: probability that a sample is cropped.
    """

    def __init__(
        self,
        margin: Sequence[float] = (0.3, 0.8),
        shift: float = 0.5,
        min_size: int = 1,
        prob: float = 1.0,
    ):
        if len(margin) != 2 or not 0 <= margin[0] <= margin[1]:
            raise ValueError(f"margin: expected [least, most], 0 or more, got {list(margin)}")
        if shift < 0:
            raise ValueError(f"shift: expected a number, 0 or more, got {shift}")
        self.margin, self.shift, self.min_size, self.prob = margin, shift, min_size, prob

    def __call__(self, data: dict) -> dict:
        margin, draw = np.random.uniform(self.margin[0], self.margin[1]), np.random.random()
        down, right = np.random.uniform(-self.shift, self.shift, 2)
        label = data["label"]
        foreground = (label >= 0.5) & (label != IGNORE)
        crop = square_around(foreground, margin, self.min_size, (down, right))
        if crop is not None and draw < self.prob:
            for key in ("img", *data["gt_fields"]):
                data[key] = data[key][crop]
        return data


@TRANSFORMS.register
class NormalizeByMax:
    """Divide by the image's own maximum, then subtract `mean` and divide by `std`.

    Args:
        mean: of R, G and B, after the division.
        std: of R, G and B, after the division.

    Source: see `normalize_by_max`.
    """

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD):
        self.mean, self.std = mean, std

    def __call__(self, data: dict) -> dict:
        data["img"] = normalize_by_max(data["img"], self.mean, self.std)
        return data
