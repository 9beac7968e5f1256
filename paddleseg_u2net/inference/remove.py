"""Removing the background of one image, as users of rembg know it: the type that is given comes back."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from paddleseg_u2net.inference.calls import SourcePredictor
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.inference.result import CutoutSettings, to_8bit
from paddleseg_u2net.inference.sources import is_pillow
from paddleseg_u2net.io.encoding import FORMATS, encode

T = TypeVar("T")
DEFAULT_MODEL = "u2netp"


@functools.lru_cache(maxsize=2)
def _predictor(model: str) -> Predictor:
    return Predictor(model)


def remove(
    data: T,
    model: str | Path | SourcePredictor = DEFAULT_MODEL,
    settings: CutoutSettings = CutoutSettings(),  # noqa: B008 - frozen
    only_mask: bool = False,
) -> T:
    """Cut out the objects of an image.

    Args:
        data: content of an image file (bytes), an image of Pillow, or an array of uint8: (H, W, 3) RGB or
            (H, W, 4) RGBA.
        model: known name, weight file or folder, of which the last two are kept in memory, even if their
            files change; or a `Predictor`.
        settings: background, margins, edges: see `CutoutSettings`; by default edges are refined, which rembg
            does on request only.
        only_mask: return the saliency map instead, grey, without refined edges.

    Returns:
        The cut-out, of the type of `data`: a PNG file, an image of Pillow, or an array; RGBA, or RGB over the
        background of the settings.

    Raises:
        TypeError: another type.
        ValueError: no image, or damaged.

    Example:
        >>> photograph = np.zeros((40, 60, 3), np.uint8)
        >>> remove(photograph, "u2netp_msra").shape
        (40, 60, 4)
    """
    is_file = isinstance(data, (bytes, bytearray, memoryview))
    if not (is_file or is_pillow(data) or isinstance(data, np.ndarray)):
        raise TypeError(
            f"expected bytes, an image of Pillow or an array, got {type(data).__name__}. "
            "Fix: Predictor(...)(source).cutout() takes paths, addresses and files too"
        )
    predictor = model if isinstance(model, SourcePredictor) else _predictor(str(model))
    result = predictor(data, settings)
    pixels = to_8bit(result.saliency) if only_mask else result.cutout()
    profile = None if only_mask else result.photograph.profile
    found: Any = pixels
    if is_file:
        found = encode(pixels, FORMATS["png"], profile=profile)
    elif is_pillow(data):
        found = _as_image(pixels, profile)
    return found


def _as_image(pixels: np.ndarray, profile: bytes | None) -> Any:
    """An image of Pillow."""
    from PIL import Image

    image = Image.fromarray(pixels)
    if profile:
        image.info["icc_profile"] = profile
    return image
