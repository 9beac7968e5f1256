"""Palettes of indexed masks: whether an index has the same colour in all files, and classes by colour.

An index means a class only if it has one colour in all files. Programs that sort palettes by frequency, or
keep only the colours in use, give a class another index in each file; its colour stays.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from paddleseg_u2net.errors import ConfigError, Fault

log = logging.getLogger(__name__)

Color = tuple[int, int, int]  # RGB, 0 .. 255
Colors = Mapping[int, Color]
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
ONE_PALETTE = "store all masks with one palette, or u2net make-dataset --colors converts them by colour"


class Indexed(Protocol):
    """What is compared: `MaskLevels`."""

    @property
    def where(self) -> str:
        """Path of the mask, for messages."""
        ...

    @property
    def levels(self) -> np.ndarray:
        """(L,), the distinct stored values."""
        ...

    @property
    def palette(self) -> np.ndarray | None:
        """(N, 3) uint8, or None."""
        ...


class PaletteAgreement(NamedTuple):
    """The result of comparing the palettes of all masks.

    Args:
        colors: index -> colour, by which classes are found; None if each index has one colour everywhere.
        reordered: masks with the same colours in another order.
        faults: index of the mask -> fault of one with other colours.
        by_brightness: whether the greys of the palettes count, not the values.
    """

    colors: dict[int, Color] | None = None
    reordered: Sequence[str] = ()
    faults: Mapping[int, Fault] = {}
    by_brightness: bool = False


def colors_of(image: Any) -> np.ndarray:
    """The palette of an image of Pillow: (N, 3) uint8 RGB."""
    return _palette(bytes(image.getpalette("RGB") or ()))


@functools.lru_cache(maxsize=64)
def _palette(colors: bytes) -> np.ndarray:
    """(N, 3) uint8; the masks of a data set mostly share one, so that it is kept once."""
    return np.frombuffer(colors, np.uint8).reshape(-1, 3)


def used_colors(levels: np.ndarray, palette: np.ndarray | None) -> dict[int, Color]:
    """The colours of the values that occur; empty where they say no more than the values do.

    That is so without a palette, where value i is (i, i, i), and where two values have one colour. Black
    alone at value 0 says something, unless the whole palette repeats its values.
    """
    if palette is None or not len(palette):
        return {}
    found: dict[int, Color] = {}
    for level in levels[levels < len(palette)].tolist():
        red, green, blue = palette[level].tolist()
        found[level] = red, green, blue
    only_black = found == {0: BLACK} and (len(palette) == 1 or palette[1].tolist() != [1, 1, 1])
    plain = not only_black and all(color == (level,) * 3 for level, color in found.items())
    return {} if plain or len(set(found.values())) < len(levels) else found


def are_brightness(masks: Sequence[Indexed | None], *, soft: bool) -> bool:
    """Whether masks have palettes of black and white, other than 0 for black and 1 for white.

    Args:
        masks: None where a mask cannot be read.
        soft: whether any greys will do, at any values.
    """
    indexed = [(mask.levels, mask.palette) for mask in masks if mask and mask.palette is not None]
    if not indexed or any(levels[-1] >= len(palette) for levels, palette in indexed):
        return False
    colors = np.unique(np.concatenate([palette[levels] for levels, palette in indexed]), axis=0)
    if soft:
        return not np.ptp(colors, axis=1).any()
    same = all((palette[levels, 0] == 255 * levels).all() for levels, palette in indexed)
    return not same and WHITE in (found := set(map(tuple, colors.tolist()))) and found <= {BLACK, WHITE}


def by_color(values: np.ndarray, palette: np.ndarray | None, colors: Colors | None) -> np.ndarray:
    """Replace each value by the one that has its colour in `colors`.

    Args:
        values: of an indexed mask, any shape; uint8 or uint16.
        palette: of the mask, see `used_colors`.
        colors: value -> colour; None leaves the values as they are.

    Returns:
        Values of the same shape and type; those whose colour is not in `colors` are unchanged.
    """
    own = used_colors(np.unique(values), palette) if colors else {}
    wanted = {color: value for value, color in (colors or {}).items()}
    changes = {value: wanted.get(color, value) for value, color in own.items()}
    if all(value == new for value, new in changes.items()):
        return values
    table = np.arange(256, dtype=values.dtype)
    table[list(changes)] = list(changes.values())
    return table[values]


def compare(masks: Sequence[Indexed | None], given: Colors | None = None) -> PaletteAgreement:
    """Compare the palettes of masks that are used together.

    The colours of the most frequent palette count, of equally frequent ones of that whose value 0 is black,
    and of all palettes that agree with it. A palette that holds some of these colours in another order is
    read by colour.

    Args:
        masks: None where a mask cannot be read.
        given: value -> colour set by the user; None to decide it from the masks.
    """
    own = {i: used_colors(mask.levels, mask.palette) for i, mask in enumerate(masks) if mask is not None}
    own = {index: colors for index, colors in own.items() if colors}
    colors = dict(given or {})
    counts = Counter(tuple(found.items()) for found in own.values())
    # sorted is stable: of palettes that are equal in both respects the first one counts
    order = sorted(counts, key=lambda items: (-counts[items], (0, BLACK) not in items))
    for items in order if not given else ():
        if next(_conflicts(dict(items), colors), None) is None:
            colors |= dict(items)
    clashes = {i: next(_conflicts(found, colors), None) for i, found in own.items()}
    differ = {i: value for i, value in clashes.items() if value is not None}
    known = set(colors.values())
    strange = {i: level for i, level in differ.items() if not set(own[i].values()) <= known}
    if given:
        unknown = {i: next((v for v, c in own[i].items() if c not in known), None) for i in own}
        strange |= {i: level for i, level in unknown.items() if level is not None}
    fix = "add it to mask_colors" if given else ONE_PALETTE
    faults = {i: _fault(masks, own, colors, i, strange[i])._replace(fix=fix) for i in sorted(strange)}
    reordered = [mask.where for i in differ if i not in faults and (mask := masks[i]) is not None]
    return PaletteAgreement(colors if reordered else None, reordered, faults)


def _conflicts(found: Colors, colors: Colors) -> Iterator[int]:
    """Yield the values that have another colour in `colors`, or whose colour has another value there."""
    values = {color: value for value, color in colors.items()}
    for value, color in found.items():
        if colors.get(value, color) != color or values.get(color, value) != value:
            yield value


def _fault(
    masks: Sequence[Indexed | None], own: Mapping[int, Colors], colors: Colors, index: int, value: int
) -> Fault:
    """The fault of a mask that has a colour which no agreeing palette holds."""
    mask, known = masks[index], set(colors.values())
    assert mask is not None
    value = next((other for other, color in own[index].items() if color not in known), value)
    what = f"the palette has the colour {own[index][value]} for the value {value}"
    if expected := colors.get(value):
        alike = (masks[i] for i, found in own.items() if found.get(value) == expected)
        place = next((other.where for other in alike if other is not None), "mask_colors")
        what += f", but {expected} in {place}"
    else:
        what += f", which is none of {', '.join(map(str, colors.values()))}"
    return Fault(mask.where, what)


def report(name: str, agreement: PaletteAgreement) -> None:
    """Log that masks are read by colour; nothing is logged where all palettes agree."""
    if agreement.reordered and agreement.colors:
        shown = ", ".join(f"{value} {color}" for value, color in sorted(agreement.colors.items()))
        log.warning(
            "%s: the palettes of %d masks hold the same colours in another order, first: %s. Classes are "
            "found by colour: %s",
            name,
            len(agreement.reordered),
            agreement.reordered[0],
            shown,
        )


def read_colors(key: str, value: Any) -> dict[int, Color] | None:
    """Check `mask_colors` of a dataset section.

    Args:
        key: name of the section, for messages.
        value: class id -> [R, G, B], or None.

    Raises:
        ConfigError: it is something else, or two values have one colour.
    """
    if value is None:
        return None
    colors = (
        {
            id_: tuple(color)
            for id_, color in value.items()
            if type(id_) is int and isinstance(color, (list, tuple)) and len(color) == 3
        }
        if isinstance(value, dict)
        else {}
    )
    numbers = [*colors, *(number for color in colors.values() for number in color)]
    good = all(type(number) is int and 0 <= number <= 255 for number in numbers)
    if not colors or not good or len(set(colors.values())) < len(value):
        raise ConfigError(
            f"{key}: mask_colors: expected different colours as {{0: [0, 0, 0], 1: [255, 0, 0]}}, "
            f"got {value!r}. Fix: correct it, or leave it out to compare the palettes"
        )
    return colors
