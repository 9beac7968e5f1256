"""How the user wants masks to be interpreted, and the number of classes that follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from paddleseg_u2net.data.masks import IDS_BELOW, IGNORE, MaskLevels, decide_encoding


class MaskMeaning(NamedTuple):
    """How the user wants masks to be interpreted.

    Args:
        saliency: one foreground class, possibly soft. If False, annotations become classes, and mask files
            become classes if their values are class ids.
        classes: names of class 1, 2, …
        num_classes: number of classes with background; needed if the masks do not show all of them.
        ignore_index: mask value of ignored pixels.
        keep_unused: labels without any annotation become classes too.
        mask_encoding: `index`, `grey`, or None to decide it from all masks.
    """

    saliency: bool = False
    classes: list[str] | None = None
    num_classes: int | None = None
    ignore_index: int | None = None
    keep_unused: bool = False
    mask_encoding: str | None = None


def count_classes(levels: Sequence[MaskLevels], meaning: MaskMeaning) -> tuple[int, int | None]:
    """Determine `num_classes` and `ignore_index` of mask files, from the user's options or from their values.

    Masks are saliency unless their values contradict it. Then they are class ids: 0 is background, the
    largest value is the last class, and with three classes or more 255 marks ignored pixels.

    Args:
        levels: the values of each mask.
        meaning: the user's options, which take precedence.
    """
    values = set().union(*(mask.levels.tolist() for mask in levels)) - {meaning.ignore_index}
    largest = max(values - {IGNORE}, default=0)
    if meaning.saliency:
        count = 1
    elif meaning.num_classes or meaning.classes:
        count = meaning.num_classes or len(meaning.classes or ()) + 1
    else:
        contradictions = decide_encoding(levels, 1, meaning.ignore_index, meaning.mask_encoding)[1]
        as_ids = all(mask.kind == "palette" for mask in levels) or largest <= IDS_BELOW
        count = largest + 1 if contradictions and as_ids and largest > 1 else 1
    implied = meaning.ignore_index is None and count > 2 and IGNORE in values
    return count, IGNORE if implied else meaning.ignore_index
