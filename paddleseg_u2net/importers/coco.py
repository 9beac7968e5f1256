"""Read COCO instance annotations: polygons, uncompressed and compressed RLE."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from paddleseg_u2net.data.item_counts import ItemCounts
from paddleseg_u2net.errors import Fault
from paddleseg_u2net.importers.annotations import (
    AnnotatedImage,
    AnnotationSet,
    KeyTypes,
    Region,
    find_key_faults,
    read_json,
)
from paddleseg_u2net.importers.crowd import CROWD_MODES, read_flag, resolve_crowd
from paddleseg_u2net.importers.embedded import ImageFolder
from paddleseg_u2net.importers.faulty_items import OF_SKIPPED_IMAGES
from paddleseg_u2net.importers.rasterize import abbreviate
from paddleseg_u2net.io.file_kinds import READ_SUFFIXES

TABLES: dict[str, KeyTypes] = {
    "categories": {"id": (int, str), "name": (str,)},
    "images": {"id": (int, str), "file_name": (str,), "height": (int,), "width": (int,)},
    "annotations": {"image_id": (int, str), "category_id": (int, str)},
}
SIZE = ("height", "width")
EXPORTER_KEY = "occluded"  # CVAT and Datumaro write it with every annotation, COCO does not
KEPT_KEYS = {*TABLES, *(key for table in TABLES.values() for key in table)}
KEPT_KEYS |= {"segmentation", "size", "counts", "iscrowd", "attributes", EXPORTER_KEY}


def read_coco(path: Path, image_dir: Path, crowd: str = CROWD_MODES[0]) -> AnnotationSet:
    """Read one file of COCO instances; see `read_coco_files`."""
    return read_coco_files([path], [image_dir], crowd)[0]


def read_coco_files(
    paths: Sequence[Path], image_dirs: Sequence[Path], crowd: str = CROWD_MODES[0]
) -> list[AnnotationSet]:
    """Read the COCO instances of one or more parts; the classes are ordered by category id.

    Args:
        paths: the JSON files.
        image_dirs: folder that the `file_name` of each file is relative to.
        crowd: how iscrowd regions are drawn, for all files alike; see `crowd.resolve_crowd`.

    Returns:
        For each file the images with their shapes, and the faults of the file.

    Raises:
        FileNotFoundError: a folder of images does not exist.
        DataError: a file does not exist or is not a JSON object.
    """
    read = [_read(path, image_dir) for path, image_dir in zip(paths, image_dirs, strict=True)]
    sets = [annotations for annotations, _ in read]
    resolve_crowd(sets, crowd, exporter=any(exporter for _, exporter in read))
    return sets


def _read(path: Path, image_dir: Path) -> tuple[AnnotationSet, bool]:
    """Read a file; also returns whether a program wrote it that marks every RLE as crowd."""
    if not image_dir.is_dir():
        raise FileNotFoundError(f"{image_dir}: no such folder. Fix: name the folder of the images")
    content = read_json(path, _compact_row)
    faults: list[Fault] = []
    exporter, folder = False, ImageFolder(image_dir)
    names = {row["id"]: row["name"] for _, row in _rows(path, content, "categories", faults)}
    # None for images that have a fault
    images: dict[Any, AnnotatedImage | None] = dict.fromkeys(_ids(content.get("images")))
    for where, row in _rows(path, content, "images", faults):
        images[row["id"]] = _image(where, row, folder, faults)
    counts = ItemCounts()
    for where, row in _rows(path, content, "annotations", faults):
        wrong = _faults_of_annotation(where, row, names, images)
        exporter |= isinstance(extra := row.get("attributes"), dict) and EXPORTER_KEY in extra
        image = images.get(row["image_id"])
        if wrong and image:
            images[row["image_id"]] = image._replace(faulty=image.faulty + 1)
        elif image:
            image.regions.append(_region(where, row, names))
        elif not wrong:
            counts.add("skipped", "annotations", OF_SKIPPED_IMAGES, where)
        faults += wrong
    return AnnotationSet(path, [image for image in images.values() if image], names, faults, counts), exporter


def _ids(rows: Any) -> list:
    """Return the ids of all rows of a table, with faults or without."""
    rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [key for row in rows if isinstance(key := _as_number("id", row.get("id")), (int, str))]


def _faults_of_annotation(
    where: str, row: dict, names: Mapping[Any, str], images: Mapping[Any, AnnotatedImage | None]
) -> list[Fault]:
    """List what is wrong with an annotation, except for its shape, which is checked when it is drawn."""
    faults = [
        Fault(where, f"{key} {row[key]!r}: not among the {table}", f"correct it, or add it to {table}")
        for key, table, known in (("image_id", "images", images), ("category_id", "categories", names))
        if row[key] not in known
    ]
    shape, crowd = row.get("segmentation"), row.get("iscrowd")
    if not shape:
        what = "segmentation: empty; a bounding box alone has no outline"
        faults.append(Fault(where, what, "draw the outline, or remove the annotation"))
    elif not isinstance(shape, (list, dict)):
        what = f"segmentation: expected a list or an object, got {abbreviate(shape)}"
        faults.append(Fault(where, what))
    if read_flag(crowd) is None:
        faults.append(Fault(where, f"iscrowd: expected 0 or 1, got {abbreviate(crowd)}"))
    return faults


def _region(where: str, row: dict, names: Mapping[Any, str]) -> Region:
    """Return the shape of an annotation without faults."""
    shape = row["segmentation"]
    kind = "outlines" if isinstance(shape, list) else "rle"
    label = names[row["category_id"]]
    return Region(f"{where}: segmentation", label, kind, shape, bool(read_flag(row.get("iscrowd"))))


def _compact_row(row: dict) -> dict:
    """Keep what is needed of an object of the file; polygons become arrays, which take far less memory."""
    kept = {key: value for key, value in row.items() if key in KEPT_KEYS}
    if isinstance(shape := kept.get("segmentation"), list):
        if shape and (isinstance(shape[0], (int, float)) or all(map(_is_point, shape))):
            shape = [shape]  # one polygon, without its brackets
        kept["segmentation"] = [_pack_polygon(polygon) for polygon in shape]
    return kept


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and [type(number) in (int, float) for number in value] == [True, True]


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
        for key in types if isinstance(row, dict) else ():
            row[key] = _as_number(key, row.get(key))
        if table == "images" and isinstance(row, dict):  # the size of the file is used where none is stated
            types = {
                key: kinds for key, kinds in types.items() if key not in SIZE or row.get(key) is not None
            }
        wrong = find_key_faults(where, row, types)
        if not wrong and not str(row.get("name", "-")).strip():
            wrong = [Fault(where, f"name: expected a name, got {abbreviate(row['name'])}")]
        if not wrong and "id" in types:
            if row["id"] in ids:
                wrong = [Fault(where, f"id {row['id']} is used twice", f"give all {table} different ids")]
            ids.add(row["id"])
        faults += wrong
        if not wrong:
            yield where, row


def _as_number(key: str, value: Any) -> Any:
    """Return a whole number or an id as programs write it, 7.0 or "7", as an integer; else the value."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if key.endswith("id") and isinstance(value, str) and re.fullmatch("0|[1-9][0-9]{0,17}", value):
        return int(value)
    return value


def _image(where: str, row: dict, folder: ImageFolder, faults: list[Fault]) -> AnnotatedImage | None:
    """Return an image without shapes; None, and a fault, if its file lies outside the folder of images."""
    file = Path(row["file_name"].replace("\\", "/"))
    inside = file.name and "\0" not in file.name and ".." not in file.parts and not file.is_absolute()
    path, found = folder.find(row["file_name"])
    if path:
        file = path.relative_to(folder.folder)
    elif not inside:
        what = f"file_name {row['file_name']!r} is outside {folder.folder}"
        faults.append(Fault(where, what, "use a path below the folder of the images"))
        return None
    stem = file.with_suffix("") if file.suffix.lower() in READ_SUFFIXES else file  # keep the 7 of `img.7`
    height, width = (row.get(key) for key in SIZE)
    size = None if height is None or width is None else (height, width)
    return AnnotatedImage(folder.folder / file, stem.as_posix(), where, size, [], in_order=False, found=found)
