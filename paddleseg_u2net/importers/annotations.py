"""What COCO and LabelMe say of images, in one form -> masks of class ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.errors import suggest
from paddleseg_u2net.importers.rasterize import FILLED, short

BACKGROUND_LABEL, IGNORE_LABEL = "_background_", "__ignore__"  # as LabelMe's own examples write them


class Region(NamedTuple):
    """One annotated shape.

    Args:
        where: its place, `instances.json: annotations[17]: `.
        label: name of its class, or BACKGROUND_LABEL or IGNORE_LABEL.
        kind: key of FILLED.
        shape: what that function takes, as the file has it.
    """

    where: str
    label: str
    kind: str
    shape: Any


class Annotated(NamedTuple):
    """One image and what is drawn on its mask.

    Args:
        image: its file.
        name: path without suffix that names it and its mask, relative and free of `..`.
        where: the place that names it, for messages.
        size: (H, W) by the annotation, None where it does not say.
        regions: its shapes.
        in_order: of overlapping shapes the later one is on top; else the smaller one.
    """

    image: Path
    name: str
    where: str
    size: tuple[int, int] | None
    regions: list[Region]
    in_order: bool


class Annotations(NamedTuple):
    """What a file of COCO or a folder of LabelMe holds.

    Args:
        path: the file or folder.
        images: those that can be drawn.
        labels: names of classes by what orders them: COCO's category id, LabelMe's name itself.
        faults: what is wrong with the files.
    """

    path: Path
    images: list[Annotated]
    labels: dict[Any, str]
    faults: list[str]


def join_labels(found: Sequence[Annotations]) -> tuple[list[str], list[str]]:
    """The class names of several sources in their one order, and a fault per key of two names."""
    first: dict[Any, tuple[str, Path]] = {}
    faults = []
    for source in found:
        for key, name in source.labels.items():
            known, path = first.setdefault(key, (name, source.path))
            if known != name:
                faults.append(
                    f"{source.path}: category {key} is '{name}', and '{known}' in {path}. "
                    "Fix: give all files the same ids and names"
                )
    return [first[key][0] for key in sorted(first, key=lambda key: (isinstance(key, str), key))], faults


def class_values(
    found: Sequence[str], wanted: Sequence[str] | None = None, saliency: bool = False
) -> tuple[list[str], dict[str, int]]:
    """Which labels are which class.

    Args:
        found: labels of the source, in its order.
        wanted: names of class 1, 2, …; all of `found` where it is None. Others are background.
        saliency: each of them is 1.

    Returns:
        The names of class 1, 2, …, and the value of each label that is drawn.

    Raises:
        ValueError: a wanted name that is not there, no class, or more than fit a mask.
    """
    found = [name for name in dict.fromkeys(found) if name not in (BACKGROUND_LABEL, IGNORE_LABEL)]
    classes = list(dict.fromkeys(wanted or found))
    absent = [name for name in classes if name not in found]
    faults = [f"class '{name}': nothing is called so.{suggest(name, found)}" for name in absent]
    if not found:
        faults = ["no object is annotated. Fix: draw some"]
    if len(classes) >= IGNORE and not saliency:
        faults.append(f"{len(classes)} classes, at most {IGNORE - 1} fit a mask. Fix: name those to draw")
    if faults:
        raise ValueError("\n".join(faults))
    values = {name: 1 if saliency else number for number, name in enumerate(classes, start=1)}
    return classes, {BACKGROUND_LABEL: 0, **values, IGNORE_LABEL: IGNORE}


def draw(
    annotated: Annotated, values: Mapping[str, int], height: int, width: int
) -> tuple[np.ndarray, list[str]]:
    """Draw the mask of an image.

    Args:
        annotated: its shapes.
        values: class id of each label that is drawn; shapes of others are left out.
        height: of the mask, in pixels.
        width: of the mask.

    Returns:
        (H, W) uint8 class ids, 0 for background and IGNORE for what does not count; and a fault per shape
        that cannot be drawn.
    """
    ids = np.zeros((height, width), np.uint8)
    depths = np.full((height, width), np.iinfo(np.int32).max, np.int32)
    faults = []
    for number, region in enumerate(annotated.regions):
        if region.label not in values:
            continue
        try:
            part = FILLED[region.kind](region.shape, height, width)
        except ValueError as error:
            faults.append(f"{region.where}{error}")
            continue
        depth = np.count_nonzero(part.inside) if region.label != IGNORE_LABEL else height * width
        depth = -number if annotated.in_order else depth
        nearest = part.of(depths)
        on_top = part.inside & (depth <= nearest)
        part.of(ids)[on_top] = values[region.label]
        nearest[on_top] = depth
    return ids, faults


# -- files -----------------------------------------------------------------------------------------------

Kinds = Mapping[str, tuple[type, ...]]
MEANT = {int: "a whole number", str: "text", list: "a list", dict: "an object in braces"}


def read_json(path: Path, row: Callable[[dict], dict] | None = None) -> dict[str, Any]:
    """The object a JSON file holds; `row` may make less of each object in it, as it is read."""
    try:
        content = json.loads(path.read_bytes(), object_hook=row)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of thousands of digits, too deep
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object in braces, got a {type(content).__name__}")
    return content


def wrong_keys(row: Any, kinds: Kinds) -> list[str]:
    """What is wrong with an object of a file that should have these keys."""
    if not isinstance(row, dict):
        return [f"expected an object in braces, got {short(row)}"]
    return [
        f"{key}: expected {' or '.join(MEANT[kind] for kind in expected)}, got {short(row.get(key))}"
        for key, expected in kinds.items()
        if not isinstance(row.get(key), expected) or isinstance(row[key], bool)
    ]
