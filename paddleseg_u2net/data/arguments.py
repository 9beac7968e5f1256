"""Checks of the arguments of transforms before any image is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

MAX_SIDE = 1 << 14  # pixels of the input of a network; more than any memory is enough for
MAX_AREA = MAX_SIDE * MAX_SIDE


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_size(value: Any, channels: int) -> bool:
    pair = isinstance(value, (list, tuple)) and len(value) == 2
    return pair and all(type(side) is int and side > 0 for side in value) and value[0] * value[1] <= MAX_AREA


def _is_length(value: Any, channels: int) -> bool:
    return isinstance(value, list) or (type(value) is int and 0 < value <= MAX_SIDE)  # a list is drawn from


def _are_levels(value: Any, channels: int) -> bool:
    return isinstance(value, (list, tuple)) and len(value) in (1, channels) and all(map(_is_number, value))


def _are_scales(value: Any, channels: int) -> bool:
    return _are_levels(value, channels) and all(value)


class Rule(NamedTuple):
    """What an argument must be.

    Args:
        valid: whether a value is allowed for images of a number of channels.
        expected: what is allowed, in words; `{channels}` stands for that number.
    """

    valid: Callable[[Any, int], bool]
    expected: str


SIZE = f"[W, H], two whole numbers above 0, at most {MAX_AREA} pixels"
LENGTH = f"a whole number above 0, at most {MAX_SIDE}"
LEVELS = "a list of {channels} numbers, one per channel"
RULES = {
    "mean": Rule(_are_levels, LEVELS),
    "std": Rule(_are_scales, f"{LEVELS}, none of them 0"),
    "target_size": Rule(_is_size, SIZE),
    "crop_size": Rule(_is_size, SIZE),
    "long_size": Rule(_is_length, LENGTH),
    "short_size": Rule(_is_length, LENGTH),
}


def fault_of(name: str, arguments: Mapping[str, Any], channels: int) -> str | None:
    """What is wrong with the arguments of a transform, and what to do; None if nothing is.

    Args:
        name: type of the transform.
        arguments: of its constructor.
        channels: those of the image that it gets.
    """
    for key, rule in RULES.items():
        if key in arguments and not rule.valid(arguments[key], channels):
            expected = rule.expected.format(channels=channels)
            return f"{name}: {key}: {arguments[key]!r}. Fix: {expected}"
    return None
