"""Checks of the arguments of transforms before any image is read.

OpenCV fails on most of these values only when it meets an image, and for some of them only on some images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from paddleseg_u2net.bounds import LONGEST, MAX_PIXELS

INTERPOLATIONS = ("NEAREST", "LINEAR", "CUBIC", "AREA", "LANCZOS4", "RANDOM")
BLURS = ("gaussian", "median", "blur", "random")  # of RandomBlur in paddleseg 2.8.0


class Rule(NamedTuple):
    """What an argument must be.

    Args:
        valid: whether a value is allowed for images of a number of channels.
        expected: what is allowed, in words; `{channels}` stands for that number.
    """

    valid: Callable[[Any, int], bool]
    expected: str


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e9  # also neither NaN nor infinite


def _is_length(value: Any, channels: int = 0) -> bool:
    return type(value) is int and 0 < value <= LONGEST


def _is_size(value: Any, channels: int) -> bool:
    pair = isinstance(value, (list, tuple)) and len(value) == 2
    return pair and all(map(_is_length, value)) and math.prod(value) <= MAX_PIXELS


def _is_length_or_null(value: Any, channels: int) -> bool:
    return value is None or _is_length(value)


def _are_lengths(value: Any, channels: int) -> bool:
    several = isinstance(value, list) and bool(value) and all(map(_is_length, value))  # one is drawn
    return several or _is_length(value)


def _are_levels(value: Any, channels: int) -> bool:
    return isinstance(value, (list, tuple)) and len(value) in (1, channels) and all(map(_is_number, value))


def _are_scales(value: Any, channels: int) -> bool:
    return _are_levels(value, channels) and all(abs(number) > 1e-9 for number in value)


def _between(least: float, most: float) -> Callable[[Any, int], bool]:
    return lambda value, channels: _is_number(value) and least <= value <= most


def _number(least: float, most: float) -> Rule:
    return Rule(_between(least, most), f"a number from {least:g} to {most:g}")


def _one_of(names: tuple[str, ...]) -> Rule:
    return Rule(lambda value, channels: isinstance(value, str) and value in names, ", ".join(names))


def _are_shares(value: Any, channels: int) -> bool:
    share = _between(0.01, 1)
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(share(side, 0) for side in value)


SIZE = Rule(
    _is_size, f"[W, H], two whole numbers above 0 and below {LONGEST + 1}, of {MAX_PIXELS:,} pixels at most"
)
LENGTH = Rule(_is_length, f"a whole number above 0 and below {LONGEST + 1}")
LENGTH_OR_NULL = Rule(_is_length_or_null, f"{LENGTH.expected}, or null")
PROBABILITY = _number(0, 1)
PADDING = _number(0, 255)
SCALE = _number(0.01, 100)
LEVELS = "a list of {channels} numbers, one per channel"
# by the name of the argument, which means the same in all transforms
RULES = {
    "mean": Rule(_are_levels, LEVELS),
    "std": Rule(_are_scales, f"{LEVELS}, none of them 0"),
    **dict.fromkeys(("target_size", "crop_size", "size"), SIZE),
    **dict.fromkeys(("long_size", "min_value", "max_value", "min_size"), LENGTH),
    "short_size": Rule(_are_lengths, LENGTH.expected),
    **dict.fromkeys(("max_long", "min_long", "size_divisor"), LENGTH_OR_NULL),
    "retain_ratio": Rule(_are_shares, "two numbers from 0.01 to 1"),
    **{f"{name}prob": PROBABILITY for name in ("", "brightness_", "contrast_", "saturation_", "hue_")},
    "sharpness_prob": PROBABILITY,
    **{f"{name}_range": _number(0, 100) for name in ("brightness", "contrast", "saturation", "sharpness")},
    "hue_range": _number(0, 180),
    "max_rotation": _number(0, 360),
    "max_sigma": PADDING,
    **dict.fromkeys(("min_scale_factor", "max_scale_factor"), SCALE),
    "scale_step_size": _number(0, 100),
    "min_scale": PROBABILITY,
    "translation_offset": _number(0, LONGEST),
    **dict.fromkeys(("im_padding_value", "label_padding_value"), PADDING),
    "loop_times": LENGTH,
    "category_max_ratio": PROBABILITY,
    "shift": _number(0, 1000),
    "keep_ratio": Rule(lambda value, channels: type(value) is bool, "true or false"),
    "interp": _one_of(INTERPOLATIONS),
    "blur_type": _one_of(BLURS),
}
OF_TRANSFORM = {
    ("PaddingByAspectRatio", "aspect_ratio"): SCALE,
    ("RandomScaleAspect", "aspect_ratio"): PROBABILITY,
}


def fault_of(name: str, arguments: Mapping[str, Any], channels: int) -> str | None:
    """What is wrong with the arguments of a transform, and what to do; None if nothing is.

    Args:
        name: type of the transform.
        arguments: of its constructor.
        channels: those of the image that it gets.
    """
    for key, value in arguments.items():
        rule = OF_TRANSFORM.get((name, key)) or RULES.get(key)
        if rule and not rule.valid(value, channels):
            return f"{name}: {key}: {value!r}. Fix: {rule.expected.format(channels=channels)}"
    return None
