"""Read folders in the layout of Pascal VOC, which CVAT, labelme and others write for segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from paddleseg_u2net.data.item_counts import ItemCounts
from paddleseg_u2net.data.pairs import Pair, by_stem, second_files
from paddleseg_u2net.errors import DataError, Fault
from paddleseg_u2net.importers.annotations import IGNORE_LABEL
from paddleseg_u2net.importers.color_masks import from_color_masks
from paddleseg_u2net.importers.color_tables import (
    KNOWN,
    ColorTable,
    LabelColor,
    indexed_colors,
    make_table,
    read_label_map,
)
from paddleseg_u2net.importers.references import PART_NAMES, read_lines
from paddleseg_u2net.importers.sources import ImageSource, ImportedImage

IMAGES, LISTS = "JPEGImages", Path("ImageSets/Segmentation")
MASKS = ("SegmentationClass", "SegmentationClassPNG")  # the second as labelme's converter writes it
LABEL_MAP, NAMES = "labelmap.txt", "class_names.txt"
Found = Mapping[str, list[Path]]


def read_voc(folder: Path, table: ColorTable | None, unknown: str, keep_unused: bool = False) -> ImageSource:
    """Read a folder with JPEGImages, SegmentationClass and lists in ImageSets/Segmentation.

    The masks are RGB or palettes. The lists train, val and test are the parts; without them, one other list
    or all masks are taken.

    Args:
        folder: the folder of the data set.
        table: colours of the masks. None takes `labelmap.txt` (CVAT) or the names in `class_names.txt`
            (labelme), otherwise the 20 classes of PASCAL VOC.
        unknown: see `from_color_masks`.
        keep_unused: see `from_color_masks`.

    Raises:
        FileNotFoundError: there are no JPEGImages or no SegmentationClass.
        DataError: the label map cannot be read.
    """
    masks, images, counts = by_stem(_mask_dir(folder)), by_stem(folder / IMAGES), ItemCounts()
    faults = second_files(images) + second_files(masks)
    lists = _lists(folder / LISTS)
    listed: dict[str, tuple[int, str]] = {}
    for part, path in lists.items():
        faults += _add_list(path, part, listed)
    if not lists:
        listed = dict.fromkeys(masks, (0, ""))
    pairs, wrong = _pair(listed, images, masks, folder)
    rest = images.keys() - listed.keys()
    counts.add_all("left out", "images", "no mask", sorted(rest - masks.keys()))
    counts.add_all("left out", "images", "in none of the lists", sorted(rest & masks.keys()))
    counts.add_all("left out", "masks", "no image", sorted(masks.keys() - images.keys() - listed.keys()))
    # files of these names are counted here already, or have a fault
    files = [path for found in (images, masks) for paths in found.values() for path in paths]
    used = [*files, *lists.values(), folder / LABEL_MAP, folder / NAMES]
    source = ImageSource(pairs, [*faults, *wrong], counts=counts, folders=[folder], used=used)
    return from_color_masks(source, table or _own_table(folder), unknown, keep_unused)


def _mask_dir(folder: Path) -> Path:
    """Return the folder of masks of a data set."""
    for name in MASKS:
        if (folder / name).is_dir():
            return folder / name
    inside = next((path.parent for name in MASKS for path in sorted(folder.glob(f"*/{name}"))), None)
    boxes = " Annotations hold boxes, which have no outline." if (folder / "Annotations").is_dir() else ""
    fix = f"--voc {inside}" if inside else "export masks for segmentation"
    raise FileNotFoundError(f"{folder}: no folder {MASKS[0]}.{boxes} Fix: {fix}")


def _own_table(folder: Path) -> ColorTable:
    """Return the table of colours of a folder, or that of PASCAL VOC."""
    if (folder / LABEL_MAP).is_file():
        return read_label_map(folder / LABEL_MAP)
    if not (folder / NAMES).is_file():
        return make_table("--colors voc", (LabelColor("", *row) for row in KNOWN["voc"]))
    where, names = str(folder / NAMES), [line.strip() for line in read_lines(folder / NAMES)]
    # the ignored label may be listed first, for the index -1
    names = [name for name in names if name not in ("", IGNORE_LABEL)]
    if not names:
        raise DataError([Fault(where, "names no class", "write one name per line, or remove the file")])
    return make_table(where, (LabelColor(where, *row) for row in indexed_colors(names)))


def _lists(folder: Path) -> dict[int, Path]:
    """Return the lists that are used, by their part: train, val and test, or else a single other one."""
    paths = sorted(folder.glob("*.txt"))
    parts = {PART_NAMES[path.stem.lower()]: path for path in paths if path.stem.lower() in PART_NAMES}
    if 0 in parts and 1 in parts:
        return parts
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise DataError([Fault(str(folder), f"has {names}", "keep one list, or train.txt and val.txt")])
    return dict(enumerate(paths))


def _add_list(path: Path, part: int, listed: dict[str, tuple[int, str]]) -> list[Fault]:
    """Add the names of a list to `listed`, with part and place; return a fault for each that is repeated."""
    faults = []
    for number, line in enumerate(read_lines(path), start=1):
        name, where = line.strip(), f"{path}:{number}"
        if name in listed:
            faults.append(Fault(where, f"'{name}' is listed twice, first in {listed[name][1]}", "remove one"))
        elif name:
            listed[name] = part, where
    return faults


def _pair(
    listed: Mapping[str, tuple[int, str]], images: Found, masks: Found, folder: Path
) -> tuple[list[ImportedImage], list[Fault]]:
    """Pair images and masks of the listed names; a name that lacks one is a fault."""
    pairs, faults = [], []
    for name, (part, where) in listed.items():
        missing = [word for word, found in ((IMAGES, images), (MASKS[0], masks)) if name not in found]
        if missing:
            what = f"'{name}' has no file in {' and '.join(missing)}"
            faults.append(Fault(where or str(folder), what, "add it, or remove the name"))
        else:
            pair = Pair(images[name][0], masks[name][0], where)
            pairs.append(ImportedImage(name, pair, part=part))
    return pairs, faults
