"""Annotated images in one form for COCO and LabelMe, and their masks of class ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paddleseg_u2net.data.item_counts import ItemCounts
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.errors import DataError, Fault, suggest
from paddleseg_u2net.importers.pixel_shapes import RASTERIZERS
from paddleseg_u2net.importers.rasterize import abbreviate

BACKGROUND_LABEL, IGNORE_LABEL = "_background_", "__ignore__"  # as in LabelMe's own examples


class Region(NamedTuple):
    """One annotated shape.

    Args:
        where: place in the file, as `instances.json: annotations[17]: segmentation`.
        label: class name, or BACKGROUND_LABEL or IGNORE_LABEL.
        kind: key of RASTERIZERS.
        shape: the shape as stored in the file; the argument of that rasterizer.
    """

    where: str
    label: str
    kind: str
    shape: Any


class AnnotatedImage(NamedTuple):
    """An image and the shapes of its mask.

    Args:
        image: image file.
        name: path without suffix that identifies the image and its mask; relative, without `..`.
        where: place in the annotations that names the image, as `instances.json: images[3]`.
        size: (H, W) according to the annotations, or None if they do not state it.
        regions: the shapes.
        in_order: if shapes overlap, True puts the later one on top, False the smaller one.
        draw: draws the whole mask instead of shapes; arguments and results as those of `draw_mask`.
    """

    image: Path
    name: str
    where: str
    size: tuple[int, int] | None
    regions: list[Region]
    in_order: bool
    draw: Callable[[Mapping[str, int], int, int], tuple[np.ndarray, list[Fault]]] | None = None


class AnnotationSet(NamedTuple):
    """The content of one COCO file or one LabelMe folder.

    Args:
        path: the file or folder.
        images: the images whose annotations can be read.
        labels: class names; the keys define their order (COCO: category id, LabelMe: the name itself).
        faults: everything that is wrong with the files.
        counts: what was left out on purpose.
    """

    path: Path
    images: list[AnnotatedImage]
    labels: dict[Any, str]
    faults: Sequence[Fault | str]
    counts: ItemCounts | None = None


def merge_labels(sets: Sequence[AnnotationSet]) -> tuple[list[str], list[Fault]]:
    """Merge the class names of several annotation sets.

    Returns:
        The class names in the order of their keys, and a fault for each key with two different names.
    """
    first: dict[Any, tuple[str, Path]] = {}
    faults = []
    for source in sets:
        for key, name in source.labels.items():
            known, path = first.setdefault(key, (name, source.path))
            if known != name:
                what = f"category {key} is '{name}', but '{known}' in {path}"
                faults.append(Fault(str(source.path), what, "use the same ids and names in all files"))
    return [first[key][0] for key in sorted(first, key=lambda key: (isinstance(key, str), key))], faults


def assign_classes(
    labels: Sequence[str], wanted: Sequence[str] | None = None, saliency: bool = False
) -> tuple[list[str], dict[str, int]]:
    """Assign a mask value to each label.

    Args:
        labels: labels of the annotations, in class order.
        wanted: labels of class 1, 2, …; other labels become background. None uses all labels.
        saliency: give every class the value 1.

    Returns:
        The names of class 1, 2, …, and the mask value of each label that is drawn.

    Raises:
        DataError: a wanted label does not exist, there are no labels, or more classes than a mask can hold.
    """
    labels = [name for name in dict.fromkeys(labels) if name not in (BACKGROUND_LABEL, IGNORE_LABEL)]
    classes = list(dict.fromkeys(wanted or labels))
    absent = [name for name in classes if name not in labels]
    faults = [
        Fault(f"class '{name}'", f"the annotations have no such label.{suggest(name, labels)}")
        for name in absent
    ]
    if not labels:
        faults = [Fault("", "the annotations contain no object", "annotate at least one")]
    if len(classes) >= IGNORE and not saliency:
        what = f"{len(classes)} classes, expected at most {IGNORE - 1}"
        faults.append(Fault("", what, "choose the classes to use with --classes"))
    if faults:
        raise DataError(faults)
    values = {name: 1 if saliency else number for number, name in enumerate(classes, start=1)}
    return classes, {BACKGROUND_LABEL: 0, **values, IGNORE_LABEL: IGNORE}


def draw_mask(
    image: AnnotatedImage, values: Mapping[str, int], height: int, width: int
) -> tuple[np.ndarray, list[Fault]]:
    """Draw the mask of an image.

    Args:
        image: the image with its shapes.
        values: mask value of each label to draw; shapes with other labels are left out.
        height: height of the mask in pixels.
        width: width of the mask in pixels.

    Returns:
        (H, W) uint8 class ids, 0 for background and IGNORE for ignored pixels; and a fault for each shape
        that cannot be drawn.
    """
    if image.draw:
        return image.draw(values, height, width)
    ids = np.zeros((height, width), np.uint8)
    depths = np.full((height, width), np.iinfo(np.int32).max, np.int32)
    faults = []
    for number, region in enumerate(image.regions):
        if region.label not in values:
            continue
        try:
            window = RASTERIZERS[region.kind](region.shape, height, width)
        except ValueError as error:
            faults.append(Fault(region.where, str(error)))
            continue
        depth = np.count_nonzero(window.inside) if region.label != IGNORE_LABEL else height * width
        depth = -number if image.in_order else depth
        nearest = window.crop(depths)
        on_top = window.inside & (depth <= nearest)
        window.crop(ids)[on_top] = values[region.label]
        nearest[on_top] = depth
    return ids, faults


# -- JSON files ------------------------------------------------------------------------------------------

KeyTypes = Mapping[str, tuple[type, ...]]
TYPE_NAMES = {int: "an integer", str: "a string", list: "a list", dict: "an object"}


def read_json(path: Path, row: Callable[[dict], dict] | None = None) -> dict[str, Any]:
    """Read a JSON file that contains an object.

    Args:
        path: the file.
        row: function that may reduce each object of the file while it is read, to save memory.

    Raises:
        DataError: the file does not exist, is not JSON, or does not contain an object.
    """
    try:
        content = json.loads(path.read_bytes(), object_hook=row)
    except FileNotFoundError:
        raise DataError([Fault(str(path), "no such file")]) from None
    except json.JSONDecodeError as error:
        raise DataError([Fault(f"{path}:{error.lineno}", f"not JSON: {error.msg}")]) from None
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of thousands of digits, too deep
        raise DataError([Fault(str(path), f"not JSON: {error}")]) from None
    if not isinstance(content, dict):
        raise DataError([Fault(str(path), f"expected an object, got a {type(content).__name__}")])
    return content


def find_key_faults(where: str, row: Any, types: KeyTypes) -> list[Fault]:
    """List the required keys that an object of a file lacks or whose value has a wrong type.

    Args:
        where: place of the object, for the faults.
        row: the object.
        types: the required keys and the types each of them accepts.
    """
    if not isinstance(row, dict):
        return [Fault(where, f"expected an object, got {abbreviate(row)}")]
    return [
        Fault(
            where,
            f"{key}: expected {' or '.join(TYPE_NAMES[kind] for kind in expected)}, "
            f"got {abbreviate(row.get(key))}",
        )
        for key, expected in types.items()
        if not isinstance(row.get(key), expected) or isinstance(row[key], bool)
    ]
