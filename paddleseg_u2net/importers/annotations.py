"""Annotated images in one form for COCO and LabelMe, and reading their JSON files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from json import JSONDecodeError
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paddleseg_u2net.data.item_counts import ItemCounts
from paddleseg_u2net.errors import DataError, Fault
from paddleseg_u2net.importers.rasterize import abbreviate
from paddleseg_u2net.io.text_files import parse_json

BACKGROUND_LABEL, IGNORE_LABEL = "_background_", "__ignore__"  # as in LabelMe's own examples


class Region(NamedTuple):
    """One annotated shape.

    Args:
        where: place in the file, as `instances.json: annotations[17]: segmentation`.
        label: class name, or BACKGROUND_LABEL or IGNORE_LABEL.
        kind: key of RASTERIZERS.
        shape: the shape as stored in the file; the argument of that rasterizer.
        crowd: whether COCO's `iscrowd` is set.
        reason: why it is treated in another way than others; for the summary.
    """

    where: str
    label: str
    kind: str
    shape: Any
    crowd: bool = False
    reason: str = ""


class AnnotatedImage(NamedTuple):
    """An image and the shapes of its mask.

    Args:
        image: image file.
        name: path without suffix that identifies the image and its mask; relative, without `..`.
        where: place in the annotations that names the image, as `instances.json: images[3]`.
        size: (H, W) according to the annotations, or None if they do not state it.
        regions: the shapes.
        in_order: if shapes overlap, True puts the later one on top, False the smaller one.
        faulty: number of annotations of the image that cannot be read and are in the faults of the set.
        embedded: JSON file that holds the image itself; None if the image is a file.
        found: how the image was found, if not by the path in the annotations; for the summary.
        draw: draws the whole mask instead of shapes, from the value of each label, height and width.
    """

    image: Path
    name: str
    where: str
    size: tuple[int, int] | None
    regions: list[Region]
    in_order: bool
    faulty: int = 0
    embedded: Path | None = None
    found: str = ""
    draw: Callable[[Mapping[str, int], int, int], tuple[np.ndarray, list[Fault]]] | None = None


class AnnotationSet(NamedTuple):
    """The content of one COCO file or one LabelMe folder.

    Args:
        path: the file or folder.
        images: the images whose annotations can be read.
        labels: class names; the keys define their order (COCO: category id, LabelMe: the name itself).
        faults: everything that is wrong with the files.
        counts: what was left out on purpose.
        used: files that are read besides images and annotations, or are in `counts`.
    """

    path: Path
    images: list[AnnotatedImage]
    labels: dict[Any, str]
    faults: Sequence[Fault | str]
    counts: ItemCounts
    used: Sequence[Path] = ()


KeyTypes = Mapping[str, tuple[type, ...]]
TYPE_NAMES = {int: "an integer", str: "a string", list: "a list", dict: "an object"}


def read_json(path: Path, row: Callable[[dict], dict] | None = None, list_as: str = "") -> dict[str, Any]:
    """Read a JSON file that contains an object.

    Args:
        path: the file.
        row: function that may reduce each object of the file while it is read, to save memory.
        list_as: a file that contains a list is read as an object with the list under this key.

    Raises:
        DataError: the file does not exist, is not JSON, or does not contain an object.
    """
    try:
        content = parse_json(path, row)
    except FileNotFoundError:
        raise DataError([Fault(str(path), "no such file")]) from None
    except JSONDecodeError as error:
        raise DataError([Fault(f"{path}:{error.lineno}", f"not JSON: {error.msg}")]) from None
    except ValueError as error:  # not UTF-8, a number of thousands of digits, too deep, too large
        raise DataError([Fault(str(path), f"not JSON: {error}")]) from None
    if list_as and isinstance(content, list):
        return {list_as: content}
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
