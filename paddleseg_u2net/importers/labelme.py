"""The JSON files of LabelMe, one an image -> annotated images."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from paddleseg_u2net.errors import suggest
from paddleseg_u2net.importers.annotations import Annotated, Annotations, Kinds, Region, read_json, wrong_keys
from paddleseg_u2net.importers.rasterize import short

log = logging.getLogger(__name__)

FILE: Kinds = {"shapes": (list,), "imagePath": (str,)}
SHAPE: Kinds = {"label": (str,), "points": (list,)}
DRAWN = ("polygon", "rectangle", "circle", "mask")
NO_AREA = ("point", "points", "line", "linestrip")


def read_labelme(folder: Path) -> Annotations:
    """Read a folder of LabelMe; classes are ordered by the alphabet.

    Points and lines have no area and are left out; `_background_` is 0, and `__ignore__` does not count.

    Args:
        folder: with sub-folders; each file names its image relative to itself.
    """
    paths = sorted(path for path in folder.rglob("*.json") if not path.name.startswith("."))
    if not paths:
        raise FileNotFoundError(f"{folder}: no JSON file there. Fix: name the folder that LabelMe saves to")
    images, faults = [], []
    left_out: Counter[str] = Counter()
    for path in paths:
        try:
            images.append(_image(path, path.relative_to(folder), left_out))
        except ValueError as error:
            faults.append(str(error))
    if left_out:
        shown = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
        log.warning("%s: shapes without an area are left out: %s", folder, shown)
    labels = {region.label: region.label for image in images for region in image.regions}
    return Annotations(folder, images, labels, faults)


def _image(path: Path, name: Path, left_out: Counter[str]) -> Annotated:
    """One file; raises ValueError with all that is wrong in it."""
    content = read_json(path)
    faults = [f"{path}: {fault}" for fault in wrong_keys(content, FILE)]
    regions = []
    for index, shape in enumerate(content["shapes"] if not faults else []):
        where = f"{path}: shapes[{index}]: "
        if wrong := wrong_keys(shape, SHAPE):
            faults += [f"{where}{fault}" for fault in wrong]
            continue
        kind = shape.get("shape_type") or "polygon"
        if kind in NO_AREA:
            left_out[kind] += 1
        elif kind in DRAWN:
            regions.append(Region(where, shape["label"], kind, shape if kind == "mask" else shape["points"]))
        else:
            faults.append(f"{where}shape_type: {short(kind)}.{suggest(str(kind), DRAWN)}")
    if faults:
        raise ValueError("\n".join(faults))
    height, width = content.get("imageHeight"), content.get("imageWidth")
    size = None
    if isinstance(height, int) and isinstance(width, int) and bool not in (type(height), type(width)):
        size = height, width
    image = path.parent / content["imagePath"].replace("\\", "/")
    return Annotated(image, name.with_suffix("").as_posix(), f"{path}: ", size, regions, in_order=True)
