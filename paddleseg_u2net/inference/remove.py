"""Removing the background of one image, as users of rembg know it: the type that is given comes back."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

import numpy as np

from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.inference.result import CutoutSettings, to_8bit
from paddleseg_u2net.io.encoding import FORMATS, encode

T = TypeVar("T")
DEFAULT_MODEL = "u2netp"


@functools.lru_cache(maxsize=2)
def _predictor(model: str) -> Predictor:
    return Predictor(model)


def remove(
    data: T,
    model: str | Predictor = DEFAULT_MODEL,
    settings: CutoutSettings = CutoutSettings(),  # noqa: B008 - frozen
    only_mask: bool = False,
) -> T:
    """Cut out the objects of an image.

    Args:
        data: content of an image file (bytes), an image of Pillow, or an array of uint8: (H, W, 3) RGB or
            (H, W, 4) RGBA.
        model: known name, weight file or folder, of which the last two are kept in memory; or a `Predictor`.
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
    is_pillow = type(data).__module__.partition(".")[0] == "PIL"
    if not (is_file or is_pillow or isinstance(data, np.ndarray)):
        raise TypeError(
            f"expected bytes, an image of Pillow or an array, got {type(data).__name__}. "
            "Fix: Predictor(...)(source).cutout() takes paths, addresses and files too"
        )
    predictor = _predictor(model) if isinstance(model, str) else model
    result = predictor(data, settings)
    pixels = to_8bit(result.saliency) if only_mask else result.cutout()
    profile = None if only_mask else result.photograph.profile
    return _as_given(pixels, profile, is_file, is_pillow)


def _as_given(pixels: np.ndarray, profile: bytes | None, is_file: bool, is_pillow: bool) -> Any:
    if is_file:
        return encode(pixels, FORMATS["png"], profile=profile)
    if not is_pillow:
        return pixels
    from PIL import Image

    image = Image.fromarray(pixels)
    if profile:
        image.info["icc_profile"] = profile
    return image
