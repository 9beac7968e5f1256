"""COCO's `iscrowd`: regions of many objects that are not told apart, or only a mark of masks stored as RLE.

In COCO itself a crowd region stands for all further objects of a category in an image: there is at most one
for each category and image (its id is built from both numbers), and 1.2 % of the annotations of train2017 are
crowd regions. Annotation programs, CVAT's brush among them, set `iscrowd` for every mask that they write as
RLE, so the mark says nothing about the number of objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paddleseg_u2net.data.item_counts import ItemCounts
from paddleseg_u2net.importers.annotations import IGNORE_LABEL, AnnotatedImage, AnnotationSet, Region

CROWD_MODES = ("auto", "ignore", "class", "drop")  # how iscrowd regions are drawn
MAX_CROWD_SHARE = 1 / 3  # of the annotations; subsets of COCO with one category have up to about an eighth
FALSE, TRUE = ("", "0", "0.0", "false", "no", "none"), ("1", "1.0", "true", "yes")


def read_flag(value: Any) -> bool | None:
    """Read `iscrowd` as programs write it: a number, a boolean, or text; None if it is none of them."""
    if value is None or isinstance(value, bool):
        return bool(value)
    text = str(value).strip().casefold() if isinstance(value, (str, int, float)) else "?"
    return text in TRUE if text in (*TRUE, *FALSE) else None


def objects_because(sets: Sequence[AnnotationSet], exporter: bool) -> str:
    """Say why regions that are marked as crowd are single objects; empty if they are crowd regions.

    Args:
        sets: the annotations of all parts.
        exporter: whether the files are those of a program that marks every RLE.
    """
    regions = [region for source in sets for image in source.images for region in image.regions]
    marked = sum(region.crowd for region in regions)
    if exporter:
        return "the program that wrote the file marks every RLE"
    if marked > MAX_CROWD_SHARE * len(regions):
        return f"{marked} of {len(regions)} are marked"
    if any(_has_two_of_a_category(image) for source in sets for image in source.images):
        return "some image has two of one category"
    return ""


def _has_two_of_a_category(image: AnnotatedImage) -> bool:
    """Whether two regions of one label are marked in an image."""
    labels = [region.label for region in image.regions if region.crowd]
    return len(set(labels)) < len(labels)


def resolve_crowd(sets: Sequence[AnnotationSet], mode: str, exporter: bool = False) -> None:
    """Decide for all files together what regions with `iscrowd` are, and change their labels accordingly.

    Args:
        sets: the annotations of all parts; their images and counts are changed.
        mode: `auto` treats them as objects if `objects_because` finds a reason and else as `ignore` does;
            `ignore` makes them ignored pixels, `class` objects, `drop` background.
        exporter: see `objects_because`.
    """
    if not any(region.crowd for source in sets for image in source.images for region in image.regions):
        return
    reason = "iscrowd is set (--crowd class)"
    if mode == "auto":
        because = objects_because(sets, exporter)
        mode = "class" if because else "ignore"
        reason = f"iscrowd is set, but {because} (--crowd ignore leaves them out)"
    if mode == "ignore":
        reason = "crowd regions: iscrowd is set (--crowd class makes them objects)"
    for source in sets:
        for image in source.images:
            image.regions[:] = _resolve(image.regions, mode, reason, source.counts)


def _resolve(regions: Sequence[Region], mode: str, reason: str, counts: ItemCounts) -> list[Region]:
    """Return the regions of an image, those with `iscrowd` relabelled or removed."""
    if mode == "drop":
        for region in regions:
            if region.crowd:
                counts.add("left out", "annotations", "crowd regions (--crowd drop)", region.where)
        return [region for region in regions if not region.crowd]
    label = {"label": IGNORE_LABEL} if mode == "ignore" else {}
    return [region._replace(reason=reason, **label) if region.crowd else region for region in regions]
