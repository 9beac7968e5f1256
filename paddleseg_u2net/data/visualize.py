"""Colours of classes, and overlays of masks on photographs."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from paddleseg_u2net.data.masks import IGNORE

IMAGE_WEIGHT = 0.6  # weight of the photograph in an overlay, as in PaddleSeg
SALIENCY_PALETTE = (0, 0, 0, 0, 200, 90)
TINT = 0.5  # opacity of a mask with an outline
IGNORED_COLOR = (255, 0, 255)  # RGB of ignored pixels of a mask


def paddleseg_palette(num_classes: int) -> list[int]:
    """Return the VOC colours that PaddleSeg uses.

    Returns:
        R, G, B of each class, flat, each in 0 .. 255.

    Source: paddleseg 2.8.0 utils/visualize.py `get_color_map_list`.
    """
    palette = []
    for label in range(1, num_classes + 1):
        color = [0, 0, 0]
        for bit in range(3):
            for channel in range(3):
                color[channel] |= (label >> (3 * bit + channel) & 1) << (7 - bit)
        palette += color
    return palette


def make_palette(num_classes: int, custom: Sequence[int] | None = None) -> np.ndarray:
    """Return one colour per class.

    Args:
        num_classes: 1 for saliency, which has the two colours of background and object.
        custom: R, G, B of each class, flat, each in 0 .. 255; replaces the first colours.

    Returns:
        (256, 3) uint8, RGB.

    Raises:
        ValueError: `custom` does not hold three values per class, or a value is out of range.
    """
    palette = paddleseg_palette(256)
    if num_classes == 1:
        palette[: len(SALIENCY_PALETTE)] = SALIENCY_PALETTE
    if custom:
        needed = max(num_classes, 2)
        complete = len(custom) % 3 == 0 and needed <= len(custom) // 3 <= 256
        if not complete or not all(0 <= value <= 255 for value in custom):
            raise ValueError(
                f"--custom_color {' '.join(map(str, custom))}: expected R G B of each of the {needed} "
                "classes, background first, each 0 .. 255"
            )
        palette[: len(custom)] = custom
    return np.array(palette, np.uint8).reshape(256, 3)


def overlay(image: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Blend colours into a photograph; both and the result are (H, W, 3) uint8, RGB."""
    return cv2.addWeighted(image, IMAGE_WEIGHT, colors, 1 - IMAGE_WEIGHT, 0)


def outlined(image: np.ndarray, mask: np.ndarray, palette: np.ndarray, height: int) -> np.ndarray:
    """Draw a mask over its image with an outline, for pages that show many of them.

    Args:
        image: (H, W, 3) uint8, RGB.
        mask: (h, w) as `MaskEncoding.decode` returns it; it is stretched to the image.
        palette: (256, 3) uint8, RGB.
        height: of the result, in pixels.

    Returns:
        (height, w', 3) uint8, RGB: the colours of the classes with a black outline, ignored pixels magenta.
    """
    width = int(np.clip(image.shape[1] * height / image.shape[0], height / 3, height * 3))
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    values = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    soft = mask.dtype != np.uint8
    ids = (values > 0).astype(np.uint8) if soft else values.astype(np.uint8)
    strength = TINT * (np.minimum(values, 1) if soft else ids > 0)
    colors = palette[ids].copy()
    colors[values == IGNORE], strength[values == IGNORE] = IGNORED_COLOR, TINT
    mixed = small + strength[..., None] * (colors.astype(np.float32) - small)
    solid = (values >= 0.5).astype(np.uint8) if soft else ids
    mixed[cv2.morphologyEx(solid, cv2.MORPH_GRADIENT, np.ones((2, 2))) > 0] = 0
    return mixed.round().astype(np.uint8)
