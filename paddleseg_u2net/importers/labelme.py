"""Read the JSON files of LabelMe, one per image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paddleseg_u2net.data.item_counts import ItemCounts
from paddleseg_u2net.errors import DataError, Fault, suggest
from paddleseg_u2net.importers.annotations import (
    AnnotatedImage,
    AnnotationSet,
    Region,
    find_key_faults,
    read_json,
)
from paddleseg_u2net.importers.embedded import BY_CONTENT, ImagesBeside
from paddleseg_u2net.importers.rasterize import RASTERIZERS, abbreviate
from paddleseg_u2net.io.listing import NO_IMAGE, list_files

FILE_KEYS = {"shapes": (list,), "imagePath": (str,)}
SHAPE_KEYS = {"label": (str,), "points": (list,)}
AREA_SHAPES = tuple(kind for kind in RASTERIZERS if kind not in ("outlines", "rle"))
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
    files = list_files(folder).unused.get(NO_IMAGE, [])
    paths = [path for path in files if path.suffix.lower() == ".json"]
    if not paths:
        raise FileNotFoundError(f"{folder}: no JSON file found. Fix: name the folder that LabelMe saves to")
    images: list[AnnotatedImage] = []
    faults: list[Fault | str] = []
    counts, beside = ItemCounts(), ImagesBeside()
    for path in paths:
        try:
            content = _read_file(path, beside)
        except DataError as error:
            faults += error.faults
            continue
        regions, wrong = _read_shapes(path, content["shapes"], counts)
        faults += wrong
        image = _image(path, path.relative_to(folder), content, beside)
        images.append(image._replace(regions=regions, faulty=len({fault.where for fault in wrong})))
    labels = {region.label: region.label for image in images for region in image.regions}
    return AnnotationSet(folder, images, labels, faults, counts)


def _read_file(path: Path, beside: ImagesBeside) -> dict[str, Any]:
    """Read one file; raises DataError if it is not a file of LabelMe."""
    content = read_json(path)
    without_path = content.get("imagePath") is None and "shapes" in content
    if without_path and (content.get("imageData") or beside.find(path, "", has_content=False)[1]):
        content["imagePath"] = ""
    if faults := find_key_faults(str(path), content, FILE_KEYS):
        if not content.keys() & FILE_KEYS.keys():
            keys = ", ".join(sorted(content)[:5])
            what = f"not a LabelMe file: neither shapes nor imagePath, got {keys or 'no key'}"
            faults = [Fault(str(path), what, "move it to another folder")]
        raise DataError(faults)
    return content


def _read_shapes(path: Path, shapes: list, counts: ItemCounts) -> tuple[list[Region], list[Fault]]:
    """Return the shapes that have an area, and the faults of the others; counts those without an area."""
    regions, faults = [], []
    for index, shape in enumerate(shapes):
        where = f"{path}: shapes[{index}]"
        if wrong := find_key_faults(where, shape, SHAPE_KEYS):
            faults += wrong
            continue
        kind = shape.get("shape_type") or "polygon"
        if kind in SHAPES_WITHOUT_AREA:
            reason = f"shapes without an area: {kind}"
            counts.add("left out", "annotations", reason, f"{where}: {shape['label']}")
        elif kind not in AREA_SHAPES:
            what = f"unknown shape_type {abbreviate(kind)}.{suggest(str(kind), AREA_SHAPES)}"
            faults.append(Fault(where, what))
        elif not shape["label"].strip():
            faults.append(Fault(where, f"label: expected a name, got {abbreviate(shape['label'])}"))
        else:
            regions.append(Region(where, shape["label"], kind, shape if kind == "mask" else shape["points"]))
    return regions, faults


def _image(path: Path, name: Path, content: dict[str, Any], beside: ImagesBeside) -> AnnotatedImage:
    """Return the image of a file, without shapes."""
    height, width = content.get("imageHeight"), content.get("imageWidth")
    size = None
    if isinstance(height, int) and isinstance(width, int) and bool not in (type(height), type(width)):
        size = height, width
    image, found = beside.find(path, content["imagePath"], bool(content.get("imageData")))
    return AnnotatedImage(
        image,
        name.with_suffix("").as_posix(),
        str(path),
        size,
        [],
        in_order=True,
        embedded=path if found == BY_CONTENT else None,
        found=found,
    )
