"""What data sets that are used together share: the white of 16-bit images, the colours of palettes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from paddleseg_u2net.data.masks import MaskLevels
from paddleseg_u2net.data.palettes import PaletteAgreement, are_brightness, by_color, compare, report
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.io.depth import bits_text, white_of

log = logging.getLogger(__name__)


class ReadPair(Protocol):
    """What is compared of an image and its mask: `PairRecord`."""

    @property
    def top(self) -> int:
        """Largest stored value of a 16-bit image; 0 for 8 bits."""
        ...

    @property
    def mask_levels(self) -> MaskLevels | None:
        """Values of the mask; None if it cannot be read."""
        ...


class Agreement(NamedTuple):
    """What was decided for one data set, from all data sets that are used together.

    Args:
        white: stored value of white in 16-bit images; None if there are none.
        palettes: how indexed masks are read; faults are of this data set.
    """

    white: int | None = None
    palettes: PaletteAgreement = PaletteAgreement()


def agree(specs: Sequence[DatasetSpec], records: Sequence[Sequence[ReadPair]]) -> list[Agreement]:
    """Decide what several data sets share, and log what was assumed.

    Args:
        specs: the data sets.
        records: of the pairs of each.
    """
    white = _white(specs, records)
    palettes = _palettes(specs, records)
    return [Agreement(white, found) for found in palettes]


def _white(specs: Sequence[DatasetSpec], records: Sequence[Sequence[ReadPair]]) -> int | None:
    deep = [record for own in records for record in own if record.top]
    if not deep:
        return None
    top, given = max(record.top for record in deep), max((spec.white or 0 for spec in specs), default=0)
    white = given or white_of(top)
    names = ", ".join(spec.name for spec in specs)
    if given and top > given:
        brighter = sum(record.top > given for record in deep)
        log.warning(
            "%s: img_max: %d: larger values, up to %d in %d images, become white too, except in an image "
            "that mostly holds larger ones. Fix: remove img_max to scale by the largest value",
            *(names, given, top, brighter),
        )
    log.info(
        "%s: %d 16-bit images with values up to %d: %s%s",
        names,
        len(deep),
        top,
        bits_text(white),
        "" if white == given else ". Another one: img_max",
    )
    return white


def _palettes(specs: Sequence[DatasetSpec], records: Sequence[Sequence[ReadPair]]) -> list[PaletteAgreement]:
    """Compare the palettes of all data sets; `mask_encoding: index` asks for the values as they are."""
    given = next((spec.mask_colors for spec in specs if spec.mask_colors), None)
    if not given and _are_brightness(specs, records):
        return [PaletteAgreement(by_brightness=True)] * len(specs)
    by_index = [spec.mask_encoding == "index" and not spec.mask_colors for spec in specs]
    masks = [record.mask_levels for own in records for record in own]
    compared = [
        None if skip else _without(record.mask_levels, spec.ignore_index if given else None)
        for spec, own, skip in zip(specs, records, by_index, strict=True)
        for record in own
    ]
    agreement = compare(compared, given)
    report(", ".join(spec.name for spec in specs), agreement)
    if any(by_index) and not given:
        _warn_of_differences(specs, masks)
    found, start = [], 0
    for own, skip in zip(records, by_index, strict=True):
        faults = {i - start: f for i, f in agreement.faults.items() if start <= i < start + len(own)}
        found.append(PaletteAgreement() if skip else agreement._replace(faults=faults))
        start += len(own)
    return found


def _are_brightness(specs: Sequence[DatasetSpec], records: Sequence[Sequence[ReadPair]]) -> bool:
    """Whether palettes of saliency masks hold black and white, in any order; greys only if asked for."""
    masks = [record.mask_levels for own in records for record in own]
    saliency = all(spec.num_classes == 1 and spec.ignore_index is None for spec in specs)
    encodings = {spec.mask_encoding for spec in specs}
    return saliency and "index" not in encodings and are_brightness(masks, soft=encodings == {"grey"})


def _without(mask: MaskLevels | None, ignored: int | None) -> MaskLevels | None:
    """A mask without the value of ignored pixels, which needs no colour."""
    return mask and mask._replace(levels=mask.levels[mask.levels != ignored])


def _warn_of_differences(specs: Sequence[DatasetSpec], masks: Sequence[MaskLevels | None]) -> None:
    """Warn where the user asked for the values, although they have different colours."""
    other = compare(masks)
    places = [*other.reordered, *(fault.where for fault in other.faults.values())]
    if places:
        log.warning(
            "%s: mask_encoding: index takes the values, but the palettes of %d masks have other colours, "
            "first: %s. Without that key they are compared",
            ", ".join(spec.name for spec in specs),
            len(places),
            places[0],
        )


def as_classes(mask: MaskLevels | None, palettes: PaletteAgreement) -> MaskLevels | None:
    """The values of a mask after its palette is applied as all agreed; sorted, without a palette."""
    if mask is None or mask.palette is None:
        return mask
    if palettes.by_brightness:
        return MaskLevels(mask.where, "8-bit", np.unique(mask.palette[mask.levels, 0]))
    if palettes.colors is None:
        return mask
    levels = np.sort(by_color(mask.levels, mask.palette, palettes.colors))
    return mask._replace(levels=levels, palette=None)
