"""COCO's instances -> annotated images: polygons, and RLE as runs or compressed."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from paddleseg_u2net.importers.annotations import (
    IGNORE_LABEL,
    Annotated,
    Annotations,
    Kinds,
    Region,
    read_json,
    wrong_keys,
)
from paddleseg_u2net.io.images import SUFFIXES

CROWDS = ("ignore", "class", "drop")  # what becomes of iscrowd regions
TABLES: dict[str, Kinds] = {
    "categories": {"id": (int, str), "name": (str,)},
    "images": {"id": (int, str), "file_name": (str,), "height": (int,), "width": (int,)},
    "annotations": {"image_id": (int, str), "category_id": (int, str), "segmentation": (list, dict)},
}
KEPT = {*TABLES, *(key for table in TABLES.values() for key in table), "iscrowd", "size", "counts"}


def read_coco(path: Path, image_dir: Path, crowd: str = CROWDS[0]) -> Annotations:
    """Read COCO's instances; classes are ordered by category id.

    Args:
        path: the JSON file.
        image_dir: folder that `file_name` is relative to.
        crowd: iscrowd regions do not count (`ignore`), are their class, or are background (`drop`).
    """
    if not image_dir.is_dir():
        raise FileNotFoundError(f"{image_dir}: no such folder. Fix: the one that file_name is relative to")
    content, faults = read_json(path, _compact), []
    names = {row["id"]: row["name"] for _, row in _rows(path, content, "categories", faults)}
    images = {
        row["id"]: _image(where, row, image_dir, faults)
        for where, row in _rows(path, content, "images", faults)
    }
    for where, row in _rows(path, content, "annotations", faults):
        unknown = [("image_id", "images")] * (row["image_id"] not in images)
        unknown += [("category_id", "categories")] * (row["category_id"] not in names)
        faults += [f"{where}{key} {row[key]}: not among the {table} of this file" for key, table in unknown]
        if not row["segmentation"]:
            faults.append(
                f"{where}segmentation: empty; a box alone has no outline. Fix: draw it, or take it out"
            )
        elif not unknown and (label := _label(row, names, crowd)):
            kind = "polygons" if isinstance(row["segmentation"], list) else "rle"
            region = Region(f"{where}segmentation: ", label, kind, row["segmentation"])
            images[row["image_id"]].regions.append(region)
    drawable = [image for image in images.values() if image.name]  # no mask is written for the others
    return Annotations(path, drawable, names, faults)


def _compact(row: dict) -> dict:
    """What is drawn of an object of the file, its polygons packed: far less memory."""
    kept = {key: value for key, value in row.items() if key in KEPT}
    if isinstance(shape := kept.get("segmentation"), list):
        kept["segmentation"] = [_packed(polygon) for polygon in shape]
    return kept


def _packed(polygon: Any) -> Any:
    try:
        return array("d", polygon) if isinstance(polygon, list) else polygon
    except (TypeError, OverflowError):  # drawing says what is wrong with it
        return polygon


def _rows(path: Path, content: Mapping, table: str, faults: list[str]) -> Iterator[tuple[str, dict]]:
    """Place and content of the rows of a table; what is wrong with the others goes to `faults`."""
    if not isinstance(content.get(table), list):
        faults.append(f"{path}: {table}: expected a list, as COCO's instances have it")
        return
    ids = set()
    for index, row in enumerate(content[table]):
        where, kinds = f"{path}: {table}[{index}]: ", TABLES[table]
        wrong = wrong_keys(row, kinds)
        if not wrong and "id" in kinds:
            if row["id"] in ids:
                wrong = [f"id {row['id']} stands twice. Fix: number the {table} anew"]
            ids.add(row["id"])
        faults += [f"{where}{fault}" for fault in wrong]
        if not wrong:
            yield where, row


def _label(row: dict, names: Mapping[Any, str], crowd: str) -> str | None:
    """The label that an annotation is drawn as, None where it is not."""
    if row.get("iscrowd") and crowd != "class":
        return IGNORE_LABEL if crowd == "ignore" else None
    return names[row["category_id"]]


def _image(where: str, row: dict, image_dir: Path, faults: list[str]) -> Annotated:
    """An image without shapes yet; without a name where its file is none below `image_dir`."""
    file = Path(row["file_name"].replace("\\", "/"))
    inside = file.name and "\0" not in file.name and ".." not in file.parts and not file.is_absolute()
    if not inside:
        faults.append(
            f"{where}file_name {row['file_name']!r} leads out of {image_dir}. Fix: take folders out"
        )
    stem = file.with_suffix("") if file.suffix.lower() in SUFFIXES else file  # not the 7 of `img.7`
    name = stem.as_posix() if inside else ""
    return Annotated(image_dir / file, name, where, (row["height"], row["width"]), [], in_order=False)
