"""Read COCO instance annotations: polygons, uncompressed and compressed RLE."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from paddleseg_u2net.errors import Fault
from paddleseg_u2net.importers.annotations import (
    IGNORE_LABEL,
    AnnotatedImage,
    AnnotationSet,
    KeyTypes,
    Region,
    find_key_faults,
    read_json,
)
from paddleseg_u2net.io.images import SUFFIXES

CROWD_MODES = ("ignore", "class", "drop")  # how iscrowd regions are drawn
TABLES: dict[str, KeyTypes] = {
    "categories": {"id": (int, str), "name": (str,)},
    "images": {"id": (int, str), "file_name": (str,), "height": (int,), "width": (int,)},
    "annotations": {"image_id": (int, str), "category_id": (int, str), "segmentation": (list, dict)},
}
KEPT_KEYS = {*TABLES, *(key for table in TABLES.values() for key in table), "iscrowd", "size", "counts"}


def read_coco(path: Path, image_dir: Path, crowd: str = CROWD_MODES[0]) -> AnnotationSet:
    """Read a file of COCO instances; the classes are ordered by category id.

    Args:
        path: the JSON file.
        image_dir: folder that `file_name` is relative to.
        crowd: iscrowd regions are ignored pixels (`ignore`), objects of their class (`class`), or background
            (`drop`).

    Returns:
        The images with their shapes, and the faults of the file.

    Raises:
        FileNotFoundError: `image_dir` does not exist.
        DataError: the file does not exist or is not a JSON object.
    """
    if not image_dir.is_dir():
        raise FileNotFoundError(f"{image_dir}: no such folder. Fix: name the folder of the images")
    content = read_json(path, _compact_row)
    faults: list[Fault] = []
    names = {row["id"]: row["name"] for _, row in _rows(path, content, "categories", faults)}
    images = {
        row["id"]: _image(where, row, image_dir, faults)
        for where, row in _rows(path, content, "images", faults)
    }
    for where, row in _rows(path, content, "annotations", faults):
        unknown = [("image_id", "images")] * (row["image_id"] not in images)
        unknown += [("category_id", "categories")] * (row["category_id"] not in names)
        faults += [
            Fault(where, f"{key} {row[key]}: not among the {table}", f"correct it, or add it to {table}")
            for key, table in unknown
        ]
        if not row["segmentation"]:
            what = "segmentation: empty; a bounding box alone has no outline"
            faults.append(Fault(where, what, "draw the outline, or remove the annotation"))
        elif not unknown and (label := _label(row, names, crowd)):
            kind = "polygons" if isinstance(row["segmentation"], list) else "rle"
            region = Region(f"{where}: segmentation", label, kind, row["segmentation"])
            images[row["image_id"]].regions.append(region)
    drawable = [image for image in images.values() if image.name]  # the others have a fault already
    return AnnotationSet(path, drawable, names, faults)


def _compact_row(row: dict) -> dict:
    """Keep what is needed of an object of the file; polygons become arrays, which take far less memory."""
    kept = {key: value for key, value in row.items() if key in KEPT_KEYS}
    if isinstance(shape := kept.get("segmentation"), list):
        kept["segmentation"] = [_pack_polygon(polygon) for polygon in shape]
    return kept


def _pack_polygon(polygon: Any) -> Any:
    try:
        return array("d", polygon) if isinstance(polygon, list) else polygon
    except (TypeError, OverflowError):  # the rasterizer reports what is wrong with it
        return polygon


def _rows(path: Path, content: Mapping, table: str, faults: list[Fault]) -> Iterator[tuple[str, dict]]:
    """Yield place and content of the valid rows of a table; append the faults of the others to `faults`."""
    if not isinstance(content.get(table), list):
        faults.append(Fault(f"{path}: {table}", "expected a list", "use a file of COCO instances"))
        return
    ids = set()
    for index, row in enumerate(content[table]):
        where, types = f"{path}: {table}[{index}]", TABLES[table]
        wrong = find_key_faults(where, row, types)
        if not wrong and "id" in types:
            if row["id"] in ids:
                wrong = [Fault(where, f"id {row['id']} is used twice", f"give all {table} different ids")]
            ids.add(row["id"])
        faults += wrong
        if not wrong:
            yield where, row


def _label(row: dict, names: Mapping[Any, str], crowd: str) -> str | None:
    """Return the label that an annotation is drawn as, or None if it is not drawn."""
    if row.get("iscrowd") and crowd != "class":
        return IGNORE_LABEL if crowd == "ignore" else None
    return names[row["category_id"]]


def _image(where: str, row: dict, image_dir: Path, faults: list[Fault]) -> AnnotatedImage:
    """Return an image without shapes; its name is empty if its file lies outside `image_dir`."""
    file = Path(row["file_name"].replace("\\", "/"))
    inside = file.name and "\0" not in file.name and ".." not in file.parts and not file.is_absolute()
    if not inside:
        what = f"file_name {row['file_name']!r} is outside {image_dir}"
        faults.append(Fault(where, what, "use a path below the folder of the images"))
    stem = file.with_suffix("") if file.suffix.lower() in SUFFIXES else file  # keep the 7 of `img.7`
    name = stem.as_posix() if inside else ""
    return AnnotatedImage(image_dir / file, name, where, (row["height"], row["width"]), [], in_order=False)
