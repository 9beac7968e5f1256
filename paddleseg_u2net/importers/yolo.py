"""Read polygon labels of YOLO: one text file per image, and data.yaml with the names of the classes."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.config.yaml_text import read_yaml
from paddleseg_u2net.data.item_counts import ItemCounts
from paddleseg_u2net.errors import DataError, Fault, counted
from paddleseg_u2net.importers.annotations import AnnotatedImage, AnnotationSet, Region
from paddleseg_u2net.importers.list_writer import PARTS
from paddleseg_u2net.importers.rasterize import abbreviate
from paddleseg_u2net.importers.references import PART_NAMES, find_inside, read_lines
from paddleseg_u2net.io.listing import list_images, stem_of, visible_files

CONFIGS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAME_LISTS = ("classes.txt", "obj.names")  # one name per line
IMAGES, LABELS = "images", "labels"
TOLERANCE = 0.01  # of the side of the image that a corner may lie outside of it, as Ultralytics accepts
Images = list[list[Path]]  # of train, val and test


def read_yolo(path: Path) -> list[AnnotationSet]:
    """Read a YOLO data set of polygons; the classes keep the order of their numbers.

    An image without a label file has no object, as in Ultralytics. Smaller shapes are on top of larger ones.

    Args:
        path: its folder, or its YAML file.

    Returns:
        A set for train, val and test each, or a single one if the data set is not split, or if val names the
        images of train. Faults and counts of all parts are in the first one.

    Raises:
        DataError: there are no names of classes or no images, or the YAML file cannot be used.
    """
    folder = path if path.is_dir() else path.parent
    config = path
    if path.is_dir():
        config = next((folder / name for name in CONFIGS if (folder / name).is_file()), None)
    counts, faults = ItemCounts(), []
    if config:
        content, used = _read_config(config), [config]
        names = _names(config, content)
        parts = _configured_images(folder, config, content, faults, counts, used)
    else:
        names, used = _listed_names(folder)
        parts = _images_of_layout(folder)
    if not any(parts) and not faults:
        fix = f"put them into {IMAGES}/train and {IMAGES}/val, and name these folders in the YAML file"
        raise DataError([Fault(str(config or folder), "no image found for train, val or test", fix)])
    parts = _without_repeated(parts, counts)
    unused = _labels_without_image(folder, [image for images in parts for image in images])
    counts.add_all("left out", "files", "label file without an image in a part", unused)
    read = [[_read_image(image, folder, names, faults, counts) for image in images] for images in parts]
    first = AnnotationSet(folder, read[0], names, faults, counts, [*used, *unused])
    return [first, *(AnnotationSet(folder, images, names, [], ItemCounts()) for images in read[1:])]


# -- names and images -------------------------------------------------------------------------------------


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content, _ = read_yaml(path)
    except ValueError as error:
        raise DataError([str(error)]) from None
    if not isinstance(content, dict):
        raise DataError([Fault(str(path), "expected names, train and val of a YOLO data set")])
    return content


def _names(path: Path, content: dict[str, Any]) -> dict[int, str]:
    """Return the names of the classes by number."""
    names = content.get("names")
    rows = list(
        enumerate(names) if isinstance(names, list) else names.items() if isinstance(names, dict) else ()
    )
    if not rows or not all(type(key) is int and type(name) in (str, int) for key, name in rows):
        what = f"names: expected the names of the classes by number, got {abbreviate(names)}"
        raise DataError([Fault(str(path), what, "names: {0: 'cat', 1: 'dog'}")])
    return {key: str(name).strip() for key, name in rows}


def _listed_names(folder: Path) -> tuple[dict[int, str], list[Path]]:
    """Return the names of the classes from a text file, and that file."""
    for path in (place / name for place in (folder, folder / LABELS) for name in NAME_LISTS):
        if path.is_file():
            return dict(enumerate(line.strip() for line in read_lines(path) if line.strip())), [path]
    what = f"has none of {', '.join((*CONFIGS, *NAME_LISTS))}"
    raise DataError([Fault(str(folder), what, "add classes.txt with the name of one class per line")])


def _configured_images(
    folder: Path,
    path: Path,
    content: dict[str, Any],
    faults: list[Fault | str],
    counts: ItemCounts,
    used: list[Path],
) -> Images:
    """Return the images of each part as the YAML file names them; lists of images are added to `used`."""
    root = find_inside(folder, str(content.get("path") or ".")) or folder
    parts: Images = [[] for _ in PARTS]
    for key, value in content.items():
        if (part := PART_NAMES.get(str(key).lower())) is None or not value:
            continue
        for reference in value if isinstance(value, list) else [value]:
            found = find_inside(root, str(reference)) or find_inside(folder, str(reference))
            if found is None and PARTS[part] == "test":  # exports name one also if they have none
                counts.add("left out", "parts", "named by the file, not there", f"{key}: {reference}")
            elif found is None:
                what = f"{key}: {reference}: not found inside {folder}"
                faults.append(Fault(str(path), what, f"correct it, or move {path.name} to its images"))
            else:
                parts[part] += _images_of(found, root, faults)
                used.append(found)
    return parts


def _without_repeated(parts: Images, counts: ItemCounts) -> Images:
    """Leave out parts that name the images of train again, as small demonstration sets do."""
    for part in (1, 2):
        if parts[part:] and parts[part] == parts[0]:
            reason = f"{PARTS[part]} names the images of train again"
            counts.add_all("merged", "images", reason, parts[part])
            parts[part] = []
    return parts if any(parts[1:]) else parts[:1]


def _images_of(path: Path, root: Path, faults: list[Fault | str]) -> list[Path]:
    """Return the images of a folder, or those that a text file lists."""
    if path.is_dir():
        return list_images(path)
    found = []
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            image = find_inside(path.parent, line) or find_inside(root, line)
            if image:
                found.append(image)
            else:
                what = f"'{line.strip()}': not found inside {root}"
                faults.append(Fault(f"{path}:{number}", what, "add the image, or remove the line"))
    return found


def _images_of_layout(folder: Path) -> Images:
    """Return the images of folders `images/train` or `train/images`, or of a single `images`."""
    parts: Images = [[] for _ in PARTS]
    places = [(path.name, path) for path in sorted(folder.glob(f"{IMAGES}/*"))]
    places += [(path.parent.name, path) for path in sorted(folder.glob(f"*/{IMAGES}"))]
    for name, path in places:
        if name.lower() in PART_NAMES and path.is_dir():
            parts[PART_NAMES[name.lower()]] += list_images(path)
    if parts[0] and parts[1]:
        return parts
    return [list_images(folder / IMAGES if (folder / IMAGES).is_dir() else folder)]


# -- labels -----------------------------------------------------------------------------------------------


def label_path(image: Path, folder: Path) -> Path:
    """Return the label file of an image: the last folder `images` becomes `labels`, else beside the image."""
    parts = list(image.relative_to(folder).with_suffix(".txt").parts)
    places = [index for index, part in enumerate(parts[:-1]) if part == IMAGES]
    if places:
        parts[places[-1]] = LABELS
    return folder.joinpath(*parts)


def _read_image(
    image: Path, folder: Path, names: dict[int, str], faults: list[Fault | str], counts: ItemCounts
) -> AnnotatedImage:
    """Return an image with its polygons; append the faults of its label file to `faults`."""
    path, regions = label_path(image, folder), []
    lines, faulty = [], 0
    if path.is_file():
        try:
            lines = read_lines(path)
        except DataError as error:
            faults += error.faults
            faulty = 1
    else:
        counts.add("kept", "images", "no label file, so no object", image)
    for number, line in enumerate(lines, start=1):
        if line.strip():
            _add_region(f"{path}:{number}", line.split(), names, regions, faults)
    faulty += sum(bool(line.strip()) for line in lines) - len(regions)
    name = stem_of(image.relative_to(folder)).as_posix()
    return AnnotatedImage(image, name, str(path), None, regions, in_order=False, faulty=faulty)


def _add_region(
    where: str, words: list[str], names: dict[int, str], regions: list[Region], faults: list[Fault | str]
) -> None:
    """Append the polygon of a line to `regions`, or what is wrong with it to `faults`."""
    try:
        number, corners = float(words[0]), array("d", map(float, words[1:]))
    except ValueError:
        faults.append(
            Fault(where, f"expected a class and x y of each corner, got {abbreviate(' '.join(words))}")
        )
        return
    values = np.frombuffer(corners) if corners else np.empty(0)
    if number not in names:
        faults.append(Fault(where, f"class {words[0]} has no name", f"the names are 0 to {max(names)}"))
    elif len(corners) == 4:
        what = "a bounding box, which has no outline"
        faults.append(Fault(where, what, "export polygons, or remove the line"))
    elif len(corners) < 6 or len(corners) % 2:
        what = f"{counted(len(corners), 'number')} after the class, expected x and y of 3 corners or more"
        faults.append(Fault(where, what, "export polygons, or remove the line"))
    elif not ((values >= -TOLERANCE) & (values <= 1 + TOLERANCE)).all():
        what = f"{abbreviate(corners)}: expected shares of the width and height, 0 to 1"
        faults.append(Fault(where, what, "divide x by the width and y by the height of the image"))
    else:
        regions.append(Region(where, names[int(number)], "normalized polygon", corners))


def _labels_without_image(folder: Path, images: Iterable[Path]) -> list[Path]:
    """Return the label files of no image."""
    known = {label_path(image, folder) for image in images}
    texts = (path for path in sorted(visible_files(folder)) if path.suffix == ".txt")
    files = [path for path in texts if LABELS in path.relative_to(folder).parts[:-1]]
    return [path for path in files if path not in known and path.name not in NAME_LISTS]
