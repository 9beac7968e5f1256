"""Read projects of Supervisely: meta.json, and data sets with the folders `img` and `ann`."""

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
from paddleseg_u2net.importers.list_writer import PARTS
from paddleseg_u2net.importers.references import PART_NAMES, all_parts_named
from paddleseg_u2net.io.listing import list_images, stem_of, visible_files

META, IMAGES, ANNOTATIONS = "meta.json", "img", "ann"
# geometryType -> kind of rasterizer, and the key of an object that holds the shape
AREA_SHAPES = {
    "polygon": ("pixel polygon", "points"),
    "rectangle": ("pixel rectangle", "points"),
    "bitmap": ("compressed bitmap", "bitmap"),
}
SHAPES_WITHOUT_AREA = ("point", "line", "polyline", "graph", "cuboid", "cuboid_2d")
OBJECT_KEYS = {"classTitle": (str,)}


def read_supervisely(folder: Path) -> list[AnnotationSet]:
    """Read a project; the classes have the order of meta.json, later objects are on top.

    Args:
        folder: the folder of meta.json.

    Returns:
        One set; or one for train, val and test each, if the data sets of the project have these names. What
        was left out is counted in the first one.

    Raises:
        DataError: meta.json cannot be used.
        FileNotFoundError: there is no data set with `img` and `ann`.
    """
    meta, where = read_json(folder / META), str(folder / META)
    faults = find_key_faults(where, meta, {"classes": (list,)})
    for index, row in enumerate(() if faults else meta["classes"]):
        faults += find_key_faults(f"{where}: classes[{index}]", row, {"title": (str,)})
    if faults:
        raise DataError(faults)
    shapes = {row["title"]: row.get("shape") for row in meta["classes"]}
    found = {path: _top(path, folder) for path in _data_sets(folder)}
    if not found:
        raise FileNotFoundError(
            f"{folder}: no folder with {IMAGES} and {ANNOTATIONS}. Fix: export the project with its images"
        )
    split = all_parts_named(dict.fromkeys(found.values()))
    counts = ItemCounts()
    labels = {number: title for number, title in enumerate(shapes)}
    used = [folder / META]
    first = AnnotationSet(folder, [], labels, [], counts, used)
    sets = [first, *(AnnotationSet(folder, [], labels, [], ItemCounts()) for _ in PARTS[1:] if split)]
    for path, name in found.items():
        part = sets[PART_NAMES[name.lower()] if split else 0]
        images, faults = _read_images(path, folder, shapes, counts, used)
        part.images.extend(images)
        part.faults.extend(faults)  # pyright: ignore[reportAttributeAccessIssue]
    return sets


def _data_sets(folder: Path) -> list[Path]:
    """Return the folders below a project that hold both images and annotations, sorted."""
    inside = (path.relative_to(folder).parents for path in visible_files(folder))
    places = {
        folder / part.parent for parts in inside for part in parts if part.name in (IMAGES, ANNOTATIONS)
    }
    return sorted(path for path in places if (path / IMAGES).is_dir() and (path / ANNOTATIONS).is_dir())


def _top(path: Path, folder: Path) -> str:
    """Return the name of the data set of a project that a folder belongs to."""
    return next(iter(path.relative_to(folder).parts), "")


def _read_images(
    path: Path, folder: Path, shapes: dict[str, Any], counts: ItemCounts, used: list[Path]
) -> tuple[list[AnnotatedImage], list[Fault | str]]:
    """Read the annotated images of one data set; files that need no further count are added to `used`."""
    images: list[AnnotatedImage] = []
    faults: list[Fault | str] = []
    files = {file.relative_to(path / IMAGES).as_posix(): file for file in list_images(path / IMAGES)}
    known = set()
    for name, file in files.items():
        candidates = (path / ANNOTATIONS / f"{stem}.json" for stem in (name, stem_of(Path(name))))
        annotation = next((place for place in candidates if place.is_file()), None)
        if annotation is None:
            counts.add("left out", "images", "no annotation file", file)
            used.append(file)
            continue
        known.add(annotation)
        try:
            images.append(_read_image(file, annotation, folder, shapes, counts, faults))
        except DataError as error:
            faults += error.faults
    annotations = sorted(file for file in visible_files(path / ANNOTATIONS) if file.suffix == ".json")
    used += annotations  # those without an image, or that cannot be read, are faults
    what, fix = f"no such image in {path / IMAGES}", "add it, or remove the file"
    faults += [Fault(str(place), what, fix) for place in annotations if place not in known]
    return images, faults


def _read_image(
    image: Path,
    path: Path,
    folder: Path,
    shapes: dict[str, Any],
    counts: ItemCounts,
    faults: list[Fault | str],
) -> AnnotatedImage:
    """Read one annotation file; faults of single objects are appended, others are raised as DataError."""
    content = read_json(path)
    wrong = find_key_faults(str(path), content, {"objects": (list,), "size": (dict,)})
    wrong = wrong or find_key_faults(f"{path}: size", content["size"], {"height": (int,), "width": (int,)})
    if wrong:
        raise DataError(wrong)
    regions: list[Region] = []
    for index, row in enumerate(content["objects"]):
        where = f"{path}: objects[{index}]"
        wrong += find_key_faults(where, row, OBJECT_KEYS) or _add_object(where, row, shapes, regions, counts)
    faults += wrong
    size = content["size"]["height"], content["size"]["width"]
    name = stem_of(image.relative_to(folder)).as_posix()
    return AnnotatedImage(image, name, str(path), size, regions, in_order=True, faulty=len(wrong))


def _add_object(
    where: str, row: dict, shapes: dict[str, Any], regions: list[Region], counts: ItemCounts
) -> list[Fault]:
    """Append an object to `regions`, count it as left out, or return its fault."""
    title = row["classTitle"]
    kind = str(row.get("geometryType") or shapes.get(title))
    if title not in shapes:
        return [Fault(where, f"classTitle '{title}': not in {META}.{suggest(title, shapes)}")]
    if kind in SHAPES_WITHOUT_AREA:
        counts.add("left out", "annotations", f"shape without an area: {kind}", where)
        return []
    if kind not in AREA_SHAPES:
        known = ", ".join((*AREA_SHAPES, *SHAPES_WITHOUT_AREA))
        return [Fault(where, f"geometryType {kind!r}: expected {known}", "convert it to a bitmap")]
    rasterizer, key = AREA_SHAPES[kind]
    wrong = find_key_faults(where, row, {key: (dict,)})
    if not wrong:
        regions.append(Region(f"{where}: {key}", title, rasterizer, row[key]))
    return wrong
