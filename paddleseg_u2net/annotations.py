"""Annotation files of COCO and LabelMe -> masks of class ids.

The pixel of row i and column j covers [j, j + 1) x [i, i + 1) in the coordinates of both formats, and belongs
to a shape where its centre (j + 0.5, i + 0.5) does: a square of 10 x 10 has 100 pixels, and two shapes that
share an edge share no pixel. A polygon that crosses itself is filled by the even-odd rule.
"""

from __future__ import annotations

import base64
import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paddleseg_u2net.config_keys import suggest
from paddleseg_u2net.images import MAX_PIXELS, check_size, pillow
from paddleseg_u2net.masks import IGNORE

log = logging.getLogger(__name__)

BACKGROUND_LABEL, IGNORE_LABEL = "_background_", "__ignore__"  # as LabelMe's own examples write them
CROWDS = ("ignore", "class", "drop")  # what becomes of COCO's iscrowd regions
FARTHEST = 1e7  # coordinates beyond are no pixels


class Region(NamedTuple):
    """One annotated shape.

    Args:
        where: its place, `instances.json: annotations[17]: `.
        label: name of its class, or BACKGROUND_LABEL or IGNORE_LABEL.
        kind: key of FILLED.
        shape: what that function takes, as the file has it.
    """

    where: str
    label: str
    kind: str
    shape: Any


class Annotated(NamedTuple):
    """One image and what is drawn on its mask.

    Args:
        image: its file.
        name: path without suffix that names it and its mask, relative and free of `..`.
        where: the place that names it, for messages.
        size: (H, W) by the annotation, None where it does not say.
        regions: its shapes.
        in_order: of overlapping shapes the later one is on top; else the smaller one.
    """

    image: Path
    name: str
    where: str
    size: tuple[int, int] | None
    regions: list[Region]
    in_order: bool


class Annotations(NamedTuple):
    """The images of a source, its class names in their order, and what is wrong with its files."""

    images: list[Annotated]
    labels: list[str]
    faults: list[str]


class Window(NamedTuple):
    """Part of a mask: (h, w) bool whose upper left pixel is at row `top` and column `left`."""

    top: int
    left: int
    inside: np.ndarray


# -- shapes -> pixels ------------------------------------------------------------------------------------


def _points(numbers: Any, least: int) -> np.ndarray:
    """(N, 2) float64: x and y of each point, from a flat list or one of pairs."""
    try:
        points = np.asarray(numbers, np.float64).reshape(-1, 2)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"expected x and y of each point as numbers, got {_short(numbers)}") from None
    if len(points) < least or not (np.abs(points) < FARTHEST).all():
        raise ValueError(f"expected {least} or more points inside an image, got {_short(numbers)}")
    return points


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _covered(low: Any, high: Any, length: int) -> tuple[Any, Any]:
    """Half-open range of the pixels whose centres lie in [low, high), for one range or many."""
    first, last = np.clip(np.ceil(np.array([low, high]) - 0.5), 0, length).astype(int)
    return first, last


def fill_polygon(numbers: Any, height: int, width: int) -> Window:
    """The pixels whose centres lie in a polygon.

    Args:
        numbers: x and y of 3 or more corners, flat or in pairs; the last is joined to the first.
        height: of the mask, in pixels.
        width: of the mask.

    Raises:
        ValueError: not numbers, or too few.
    """
    corners = _points(numbers, 3)
    left, right = _covered(corners[:, 0].min(), corners[:, 0].max(), width)
    top, bottom = _covered(corners[:, 1].min(), corners[:, 1].max(), height)
    height, width = bottom - top, right - left
    (x0, y0), (x1, y1) = (corners - [left, top]).T, (np.roll(corners, -1, axis=0) - [left, top]).T
    first, last = _covered(np.minimum(y0, y1), np.maximum(y0, y1), height)
    if (crossings := int((last - first).sum())) > MAX_PIXELS:
        raise ValueError(f"its outline crosses {crossings} rows, more than {MAX_PIXELS}")
    edge = np.repeat(np.arange(len(corners)), last - first)
    row = np.arange(crossings) - np.repeat(np.cumsum(last - first) - last, last - first)
    column = x0[edge] + (row + 0.5 - y0[edge]) / (y1 - y0)[edge] * (x1 - x0)[edge]
    column = np.clip(np.ceil(column - 0.5), 0, width).astype(int)
    # how often the outline is crossed left of a pixel's centre: odd inside
    crossed = np.bincount(row * (width + 1) + column, minlength=height * (width + 1))
    crossed = crossed.reshape(height, width + 1)[:, :width]
    return Window(top, left, np.cumsum(crossed, axis=1) % 2 == 1)


def fill_polygons(polygons: Any, height: int, width: int) -> Window:
    """The pixels in any of several polygons, which are one object; arguments as `fill_polygon`."""
    if len(polygons) == 1:
        return fill_polygon(polygons[0], height, width)
    inside = np.zeros((height, width), bool)
    for index, polygon in enumerate(polygons):
        try:
            _window(inside, part := fill_polygon(polygon, height, width))[part.inside] = True
        except ValueError as error:
            raise ValueError(f"polygon {index}: {error}") from None
    return Window(0, 0, inside)


def _window(mask: np.ndarray, part: Window) -> np.ndarray:
    """The view of a mask that a window covers."""
    height, width = part.inside.shape
    return mask[part.top : part.top + height, part.left : part.left + width]


def fill_rectangle(points: Any, height: int, width: int) -> Window:
    """The pixels between two opposite corners, or in a polygon of four."""
    corners = _points(points, 2)
    if len(corners) == 2:
        (x0, y0), (x1, y1) = corners
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    return fill_polygon(corners, height, width)


def fill_circle(points: Any, height: int, width: int) -> Window:
    """The pixels of a circle, given by its centre and a point on it."""
    center, rim = _points(points, 2)[:2]
    radius = float(np.hypot(*(rim - center)))
    left, right = _covered(center[0] - radius, center[0] + radius, width)
    top, bottom = _covered(center[1] - radius, center[1] + radius, height)
    across = np.arange(left, right) + 0.5 - center[0]
    down = np.arange(top, bottom)[:, None] + 0.5 - center[1]
    return Window(top, left, across**2 + down**2 <= radius**2)


def decode_counts(text: str) -> list[int]:
    """The run lengths of COCO's compressed RLE.

    A number is written in characters of 6 bits above '0': 5 bits of it, lowest first, and a sixth where more
    follow; its last character's fifth bit is the sign. From the fourth on it is the difference to the run
    two before.

    Source: rleToString, rleFrString in common/maskApi.c of cocodataset/cocoapi.
    """
    runs: list[int] = []
    value = bits = 0
    for character in text:
        code = ord(character) - ord("0")
        if not 0 <= code < 64 or bits > 40:
            raise ValueError(f"counts: '{character}' does not belong to a compressed RLE")
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << bits
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = bits = 0
    if bits:
        raise ValueError("counts: ends within a number")
    return runs


def fill_rle(shape: Any, height: int, width: int) -> Window:
    """The pixels of COCO's RLE: runs of outside and inside in turn, down the columns, from the left.

    Args:
        shape: `size` [H, W], and `counts` as a list of runs or as compressed text.
        height: of the mask, in pixels.
        width: of the mask.

    Raises:
        ValueError: another size, or runs that do not add up to it.
    """
    size, counts = shape.get("size"), shape.get("counts")
    if size != [height, width]:
        raise ValueError(f"size: expected {[height, width]} (H, W), got {_short(size)}")
    runs = decode_counts(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(isinstance(run, int) and run >= 0 for run in runs):
        raise ValueError(f"counts: expected run lengths or compressed text, got {_short(counts)}")
    if sum(runs) != height * width:
        raise ValueError(f"counts: add up to {sum(runs)} pixels, expected {height * width}")
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return Window(0, 0, inside.reshape(width, height).T)


def fill_bitmap(shape: Any, height: int, width: int) -> Window:
    """The pixels of a picture that LabelMe stores as base64 of a PNG, at its upper left point."""
    try:
        left, top = np.round(_points(shape.get("points"), 1)[0]).astype(int).tolist()
        data = base64.b64decode(shape.get("mask") or "", validate=True)
        with pillow().open(io.BytesIO(data)) as picture:
            check_size(Path("mask"), picture.size, MAX_PIXELS)
            inside = np.asarray(picture) > 0
    except (OSError, SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"mask: cannot be read: {error}") from None
    if inside.ndim != 2 or min(left, top) < 0:
        raise ValueError("mask: expected a grey picture inside the image")
    return Window(top, left, inside[: max(height - top, 0), : max(width - left, 0)])


FILLED: dict[str, Callable[[Any, int, int], Window]] = {
    "polygons": fill_polygons,
    "polygon": fill_polygon,
    "rectangle": fill_rectangle,
    "circle": fill_circle,
    "rle": fill_rle,
    "mask": fill_bitmap,
}


def draw(
    annotated: Annotated, values: Mapping[str, int], height: int, width: int
) -> tuple[np.ndarray, list[str]]:
    """Draw the mask of an image.

    Args:
        annotated: its shapes.
        values: class id of each label that is drawn; shapes of others are left out.
        height: of the mask, in pixels.
        width: of the mask.

    Returns:
        (H, W) uint8 class ids, 0 for background and IGNORE for what does not count; and a fault per shape
        that cannot be drawn.
    """
    ids = np.zeros((height, width), np.uint8)
    depths = np.full((height, width), np.iinfo(np.int32).max, np.int32)
    faults = []
    for number, region in enumerate(annotated.regions):
        if region.label not in values:
            continue
        try:
            part = FILLED[region.kind](region.shape, height, width)
        except ValueError as error:
            faults.append(f"{region.where}{error}")
            continue
        depth = np.count_nonzero(part.inside) if region.label != IGNORE_LABEL else height * width
        depth = -number if annotated.in_order else depth
        nearest = _window(depths, part)
        on_top = part.inside & (depth <= nearest)
        _window(ids, part)[on_top] = values[region.label]
        nearest[on_top] = depth
    return ids, faults


# -- files -> shapes -------------------------------------------------------------------------------------


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    except (UnicodeDecodeError, RecursionError):
        raise ValueError(f"{path}: not JSON") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object in braces, got a {type(content).__name__}")
    return content


Kinds = Mapping[str, tuple[type, ...]]
COCO: dict[str, Kinds] = {
    "categories": {"id": (int, str), "name": (str,)},
    "images": {"id": (int, str), "file_name": (str,), "height": (int,), "width": (int,)},
    "annotations": {"image_id": (int, str), "category_id": (int, str), "segmentation": (list, dict)},
}
MEANT = {int: "a whole number", str: "text", list: "a list", dict: "an object in braces"}
LABELME: Kinds = {"shapes": (list,), "imagePath": (str,)}
SHAPE: Kinds = {"label": (str,), "points": (list,)}
LABELME_KINDS = ("polygon", "rectangle", "circle", "mask")
NO_AREA = ("point", "points", "line", "linestrip")


def _wrong_keys(row: Any, kinds: Kinds) -> list[str]:
    if not isinstance(row, dict):
        return [f"expected an object in braces, got {_short(row)}"]
    return [
        f"{key}: expected {' or '.join(MEANT[kind] for kind in expected)}, got {_short(row.get(key))}"
        for key, expected in kinds.items()
        if not isinstance(row.get(key), expected) or isinstance(row[key], bool)
    ]


def _rows(path: Path, content: Mapping, table: str, faults: list[str]) -> Iterator[tuple[str, dict]]:
    """Place and content of the rows of a COCO table; what is wrong with the others goes to `faults`."""
    if not isinstance(content.get(table), list):
        faults.append(f"{path}: {table}: expected a list, as COCO's instances have it")
        return
    for index, row in enumerate(content[table]):
        where = f"{path}: {table}[{index}]: "
        wrong = _wrong_keys(row, COCO[table])
        faults += [f"{where}{fault}" for fault in wrong]
        if not wrong:
            yield where, row


def class_values(
    found: Sequence[str], wanted: Sequence[str] | None = None, saliency: bool = False
) -> tuple[list[str], dict[str, int]]:
    """Which labels are which class.

    Args:
        found: labels of the source, in its order.
        wanted: names of class 1, 2, …; all of `found` where it is None. Others are background.
        saliency: each of them is 1.

    Returns:
        The names of class 1, 2, …, and the value of each label that is drawn.

    Raises:
        ValueError: a wanted name that is not there, no class, or more than fit a mask.
    """
    found = [name for name in dict.fromkeys(found) if name not in (BACKGROUND_LABEL, IGNORE_LABEL)]
    classes = list(dict.fromkeys(wanted or found))
    faults = [f"class '{name}': nothing is called so.{suggest(name, found)}" for name in classes]
    faults = [fault for fault, name in zip(faults, classes, strict=True) if name not in found]
    if not found:
        faults = ["no object is annotated"]
    if len(classes) >= IGNORE:
        faults.append(f"{len(classes)} classes, at most {IGNORE - 1} fit a mask. Fix: name those to draw")
    if faults:
        raise ValueError("\n".join(faults))
    values = {name: 1 if saliency else number for number, name in enumerate(classes, start=1)}
    return classes, {BACKGROUND_LABEL: 0, **values, IGNORE_LABEL: IGNORE}


def read_coco(path: Path, image_dir: Path, crowd: str = CROWDS[0]) -> Annotations:
    """Read COCO's instances: polygons, and RLE as runs or compressed; labels are ordered by category id.

    Args:
        path: the JSON file.
        image_dir: folder that `file_name` is relative to.
        crowd: iscrowd regions do not count (`ignore`), are their class, or are background (`drop`).
    """
    if not image_dir.is_dir():
        raise FileNotFoundError(f"{image_dir}: no such folder. Fix: the one that file_name is relative to")
    content, faults = _read_json(path), []
    named = {row["id"]: row["name"] for _, row in _rows(path, content, "categories", faults)}
    images = _coco_images(path, content, image_dir, faults)
    for where, row in _rows(path, content, "annotations", faults):
        shape, crowded = row["segmentation"], bool(row.get("iscrowd"))
        if row["image_id"] not in images or row["category_id"] not in named:
            key, table = (
                ("image_id", "images") if row["image_id"] not in images else ("category_id", "categories")
            )
            faults.append(f"{where}{key} {row[key]}: not among the {table} of this file")
        elif not shape:
            faults.append(
                f"{where}segmentation: empty; a box alone has no outline. Fix: draw it, or take it out"
            )
        elif not (crowded and crowd == "drop"):
            label = IGNORE_LABEL if crowded and crowd == "ignore" else named[row["category_id"]]
            kind = "polygons" if isinstance(shape, list) else "rle"
            images[row["image_id"]].regions.append(Region(f"{where}segmentation: ", label, kind, shape))
    labels = [named[key] for key in sorted(named, key=lambda key: (isinstance(key, str), key))]
    named_images = [image for image in images.values() if image.name]  # no mask is written for the others
    return Annotations(named_images, labels, faults)


def _coco_images(path: Path, content: Mapping, image_dir: Path, faults: list[str]) -> dict[Any, Annotated]:
    """The images of a COCO file by their id, without shapes yet; without a name where it is none."""
    images: dict[Any, Annotated] = {}
    for where, row in _rows(path, content, "images", faults):
        file = Path(row["file_name"].replace("\\", "/"))
        inside = file.name and "\0" not in file.name and ".." not in file.parts and not file.is_absolute()
        if row["id"] in images:
            faults.append(f"{where}id {row['id']} stands twice. Fix: number the images anew")
        elif not inside:
            faults.append(
                f"{where}file_name {row['file_name']!r} leads out of {image_dir}. Fix: take folders out"
            )
        name, size = file.with_suffix("").as_posix() if inside else "", (row["height"], row["width"])
        images[row["id"]] = Annotated(image_dir / file, name, where, size, [], in_order=False)
    return images


def read_labelme(folder: Path) -> Annotations:
    """Read the JSON files that LabelMe writes, one an image; labels are ordered by the alphabet.

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
            images.append(_labelme_image(path, path.relative_to(folder), left_out))
        except ValueError as error:
            faults.append(str(error))
    if left_out:
        shown = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
        log.warning("%s: shapes without an area are left out: %s", folder, shown)
    return Annotations(images, sorted({r.label for image in images for r in image.regions}), faults)


def _labelme_image(path: Path, name: Path, left_out: Counter[str]) -> Annotated:
    """One file of LabelMe; raises ValueError with all that is wrong in it."""
    content = _read_json(path)
    faults = [f"{path}: {fault}" for fault in _wrong_keys(content, LABELME)]
    shapes = content.get("shapes") if not faults else []
    regions = []
    for index, shape in enumerate(shapes or []):
        where = f"{path}: shapes[{index}]: "
        wrong = [f"{where}{fault}" for fault in _wrong_keys(shape, SHAPE)]
        faults += wrong
        kind = (shape.get("shape_type") or "polygon") if not wrong else ""
        if kind in NO_AREA:
            left_out[kind] += 1
        elif not wrong and kind not in LABELME_KINDS:
            faults.append(f"{where}shape_type: {_short(kind)}.{suggest(str(kind), LABELME_KINDS)}")
        elif not wrong:
            geometry = shape if kind == "mask" else shape["points"]
            regions.append(Region(where, shape["label"], kind, geometry))
    if faults:
        raise ValueError("\n".join(faults))
    height, width = content.get("imageHeight"), content.get("imageWidth")
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    image = path.parent / content["imagePath"].replace("\\", "/")
    stem = name.with_suffix("").as_posix()
    return Annotated(image, stem, f"{path}: ", size, regions, in_order=True)
