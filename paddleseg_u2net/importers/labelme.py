"""Read the JSON files of LabelMe, one per image."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from paddleseg_u2net.errors import DataError, Fault, suggest
from paddleseg_u2net.importers.annotations import (
    AnnotatedImage,
    AnnotationSet,
    Region,
    find_key_faults,
    read_json,
)
from paddleseg_u2net.importers.rasterize import abbreviate

log = logging.getLogger(__name__)

FILE_KEYS = {"shapes": (list,), "imagePath": (str,)}
SHAPE_KEYS = {"label": (str,), "points": (list,)}
AREA_SHAPES = ("polygon", "rectangle", "circle", "mask")
SHAPES_WITHOUT_AREA = ("point", "points", "line", "linestrip")


def read_labelme(folder: Path) -> AnnotationSet:
    """Read a folder of LabelMe files; the classes are ordered alphabetically.

    Points and lines have no area and are left out. The label `_background_` is drawn as background, and
    `__ignore__` as ignored pixels.

    Args:
        folder: searched with its sub-folders; each file names its image relative to itself.

    Returns:
        The images with their shapes, and the faults of all files.

    Raises:
        FileNotFoundError: there is no JSON file.
    """
    paths = sorted(path for path in folder.rglob("*.json") if not path.name.startswith("."))
    if not paths:
        raise FileNotFoundError(f"{folder}: no JSON file found. Fix: name the folder that LabelMe saves to")
    images: list[AnnotatedImage] = []
    faults: list[Fault | str] = []
    left_out: Counter[str] = Counter()
    for path in paths:
        try:
            images.append(_image(path, path.relative_to(folder), left_out))
        except DataError as error:
            faults += error.faults
    if left_out:
        shown = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
        log.warning("%s: shapes without an area are left out: %s", folder, shown)
    labels = {region.label: region.label for image in images for region in image.regions}
    return AnnotationSet(folder, images, labels, faults)


def _image(path: Path, name: Path, left_out: Counter[str]) -> AnnotatedImage:
    """Read one file; raises DataError with all of its faults."""
    content = read_json(path)
    faults = find_key_faults(str(path), content, FILE_KEYS)
    regions = []
    for index, shape in enumerate(content["shapes"] if not faults else []):
        where = f"{path}: shapes[{index}]"
        if wrong := find_key_faults(where, shape, SHAPE_KEYS):
            faults += wrong
            continue
        kind = shape.get("shape_type") or "polygon"
        if kind in SHAPES_WITHOUT_AREA:
            left_out[kind] += 1
        elif kind in AREA_SHAPES:
            regions.append(Region(where, shape["label"], kind, shape if kind == "mask" else shape["points"]))
        else:
            what = f"unknown shape_type {abbreviate(kind)}.{suggest(str(kind), AREA_SHAPES)}"
            faults.append(Fault(where, what))
    if faults:
        raise DataError(faults)
    height, width = content.get("imageHeight"), content.get("imageWidth")
    size = None
    if isinstance(height, int) and isinstance(width, int) and bool not in (type(height), type(width)):
        size = height, width
    image = path.parent / content["imagePath"].replace("\\", "/")
    return AnnotatedImage(image, name.with_suffix("").as_posix(), str(path), size, regions, in_order=True)
