"""The training transforms that paddleseg lacks: those that keep masks soft, and the official scaling.

Each takes and returns paddleseg's sample: `img` (H, W, C) float32 RGB in [0, 255], `label` (H, W), and
`gt_fields`, the names of what moves with the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
    """(H, W) of a size that is written [W, H]; ValueError where it is none."""
    if (
        not isinstance(size, (list, tuple))
        or len(size) != 2
        or not all(type(n) is int and n > 0 for n in size)
    ):
        raise ValueError(f"{name}: expected [W, H] in pixels, got {size!r}")
    return size[1], size[0]


@TRANSFORMS.register
class ResizeSoftMask:
    """Resize image and soft mask (saliency); the mask by the same interpolation, so that it stays soft.

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
            data[key] = self._resize_mask(data[key])
        return data

    def _resize_mask(self, mask: np.ndarray) -> np.ndarray:
        """A pixel that an ignored one has a share in is ignored; the mark itself is never mixed in."""
        valid = (mask != IGNORE).astype(np.float32)
        soft = np.clip(resize(mask * valid, self.size, self.interpolation), 0, 1)
        whole = resize(valid, self.size, self.interpolation) > 1 - 1e-3
        return np.where(whole, soft, np.float32(IGNORE))


@TRANSFORMS.register
class RandomCrop:
    """Cut a random window out of image and mask.

    Args:
        crop_size: (W, H) of the window; smaller than the image, or equal to it.

    Source: data_loader.py:76-101@ac7e1c8, whose offsets never reach the last row and column either.
    """

    def __init__(self, crop_size: Sequence[int] = (288, 288)):
        self.size = height_width("crop_size", crop_size)

    def __call__(self, data: dict) -> dict:
        margin = [have - want for have, want in zip(data["img"].shape[:2], self.size, strict=True)]
        if min(margin) < 0:
            raise ValueError(f"(H, W) {self.size} exceeds the image's {data['img'].shape[:2]}")
        top, left = (np.random.randint(0, max(room, 1)) for room in margin)
        for key in ("img", *data["gt_fields"]):
            data[key] = data[key][top : top + self.size[0], left : left + self.size[1]]
        return data


@TRANSFORMS.register
class NormalizeByMax:
    """Divide by the image's own maximum, then subtract `mean` and divide by `std`; see `normalize_by_max`."""

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD):
        self.mean, self.std = mean, std

    def __call__(self, data: dict) -> dict:
        data["img"] = normalize_by_max(data["img"], self.mean, self.std)
        return data
