"""Each fix that make-dataset gives for a source is followed, and then a data set is made."""

from __future__ import annotations

import base64
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from annotation_files import labelme_shape
from built_sets import HALVES, SQUARE, assert_fix_works, draw_image, folder_flags
from support import draw_pair, write_mask

from paddleseg_u2net.errors import DataError
from paddleseg_u2net.importers.labels import assign_classes

DOGS = {"categories": [{"id": 1, "name": "dog"}]}


def coco(
    root: Path, name: str = "a.json", folder: str = "img", split=HALVES, annotation=(), **tables
) -> list:
    """Two images with one annotation each; `annotation` changes the first, `tables` replace the tables."""
    rows = [{"id": n, "image_id": n, "category_id": 1, "segmentation": [sum(SQUARE, [])]} for n in (1, 2)]
    rows[0] |= dict(annotation)
    files = [{"id": n, "file_name": f"{n}.png", "height": 6, "width": 8} for n in (1, 2)]
    content = {"images": files, **DOGS, "annotations": rows} | tables
    (root / name).write_text(json.dumps({key: table for key, table in content.items() if table is not None}))
    for number in (1, 2, 3):
        draw_image(root / "img" / f"{number}.png", number)
    return ["--coco", root / name, "--image_dir", root / folder, *split]


def coco_images(first: dict, *more: dict) -> list[dict]:
    size = {"height": 6, "width": 8}
    return [{"id": 1, "file_name": "1.png", **size, **first}, {"id": 2, "file_name": "2.png", **size}, *more]


def coco_parts(root: Path, other: str, split: list = ()) -> list:
    """Two files, of which the second one calls the category `other`."""
    coco(root)
    coco(root, "b.json", images=coco_images({"file_name": "3.png"}), categories=[{"id": 1, "name": other}])
    return ["--coco", root / "a.json", root / "b.json", "--image_dir", root / "img", *HALVES, "--skip_faulty"]


def labelme(
    root: Path, folder: str = "lm", size=(6, 8), stored=(6, 8), tag=None, labels=("dog",), **keys
) -> list:
    """Two annotated images; the first one is stored with other sizes, tags or labels."""
    shutil.rmtree(root / "lm", ignore_errors=True)
    for number in (1, 2):
        draw_image(root / "lm" / f"{number}.png", number, *(stored if number == 1 else (6, 8)), tag)
        shapes = [labelme_shape(label, SQUARE) for label in labels]
        height, width = size if number == 1 else (6, 8)
        content = {"shapes": shapes, "imagePath": f"{number}.png", "imageData": None}
        content |= {"imageHeight": height, "imageWidth": width} | (keys if number == 1 else {})
        (root / "lm" / f"{number}.json").write_text(json.dumps(content))
    (root / "images").mkdir(exist_ok=True)
    return ["--labelme", root / folder, *HALVES]


def with_foreign_json(root: Path, folder: str) -> list:
    words = labelme(root)
    (root / folder).mkdir(exist_ok=True)
    (root / folder / "package.json").write_text('{"name": 1}')
    return words


def embedded(root: Path, data: str, beside: bool) -> list:
    """LabelMe files whose first image is embedded, and beside the file if so asked."""
    words = labelme(root, imageData=data)
    if not beside:
        (root / "lm" / "1.png").unlink()
    return words


def folders(root: Path, flags=HALVES, masks=(1, 2, 3, 4), value: int = 255, name: str = "p") -> list:
    """Pairs; the masks of some numbers have an object of `value`."""
    for number in (1, 2, 3, 4):
        draw_pair(root / "set", f"{name}{number}", size=(8, 8))
        mask = np.zeros((8, 8), np.uint8)
        mask[:4] = value if number in masks else 0
        write_mask(root / "set" / "masks" / f"{name}{number}.png", mask)
    return [*folder_flags(root / "set"), *flags]


def parts(root: Path, flags=(), empty: bool = False) -> list:
    """Lists of train and val; the mask of val is empty if so asked."""
    folders(root, masks=(1, 2, 3) if empty else (1, 2, 3, 4))
    for part, numbers in (("train", (1, 2, 3)), ("val", (4,))):
        lines = "".join(f"images/p{number}.png masks/p{number}.png\n" for number in numbers)
        (root / f"{part}.txt").write_text(lines)
    return ["--list", root / "train.txt", root / "val.txt", "--dataset_root", root / "set", *flags]


def named(root: Path, name: str) -> list:
    shutil.rmtree(root / "set", ignore_errors=True)
    return folders(root, name=name)


def one_folder(root: Path, flags=()) -> list:
    folders(root)
    for path in (root / "set" / "masks").iterdir():
        path.rename(root / "set" / "images" / f"{path.stem}_gt.png")
    return ["--folder", root / "set" / "images", *flags, *HALVES]


MAP = "background:0,0,0::\ndog:255,0,0::\n"


def colors(root: Path, table: str = MAP, flags=(), mask=None, encoding="utf-8") -> list:
    """Colour masks, half of them `mask`, and a label map."""
    (root / "map.txt").write_bytes(table.encode(encoding))
    for number in (1, 2):
        draw_image(root / "set" / "images" / f"{number}.png", number)
        pixels = np.zeros((6, 8, 3), np.uint8)
        pixels[:3, :, 2] = 255
        write_mask(root / "set" / "masks" / f"{number}.png", pixels)
    if mask is not None:
        write_mask(root / "set" / "masks" / "1.png", mask)
    given = flags or ("--labelmap", root / "map.txt")
    return [*folder_flags(root / "set"), *given, *HALVES]


STRIPE = np.repeat(np.uint8([[[0, 0, 0]], [[0, 255, 0]], [[0, 0, 255]]]).repeat(2, 0), 8, 1)  # BGR
MANY = np.arange(48 * 3).reshape(6, 8, 3).astype(np.uint8)
HALF_CLEAR = np.dstack([STRIPE, np.full((6, 8), 99, np.uint8)])


def ids(root: Path, flags=()) -> list:
    """Grey masks of class ids, where a label map may be given by mistake."""
    colors(root)
    for number in (1, 2):
        write_mask(root / "set" / "masks" / f"{number}.png", np.uint8(STRIPE[..., 1] > 0))
    return [*folder_flags(root / "set"), *flags, *HALVES]


# what is wrong, the fix in the message, and the same source after the fix is followed
ROWS = {
    "coco image": (
        partial(coco, annotation={"image_id": 3}),
        "not among the images. Fix: correct it, or add it to images",
        partial(coco, annotation={"image_id": 3}, images=coco_images({}, {"id": 3, "file_name": "3.png"})),
    ),
    "coco category": (
        partial(coco, annotation={"category_id": 2}),
        "not among the categories. Fix: correct it, or add it to categories",
        partial(
            coco, annotation={"category_id": 2}, categories=[*DOGS["categories"], {"id": 2, "name": "cat"}]
        ),
    ),
    "coco box": (
        partial(coco, annotation={"segmentation": []}),
        "Fix: draw the outline, or remove the annotation",
        coco,
    ),
    "coco captions": (partial(coco, categories=None), "Fix: use a file of COCO instances", coco),
    "coco ids": (
        partial(coco, images=coco_images({}, {"id": 2, "file_name": "3.png"})),
        "Fix: give all images different ids",
        partial(coco, images=coco_images({}, {"id": 3, "file_name": "3.png"})),
    ),
    "coco outside": (
        partial(coco, images=coco_images({"file_name": "../x.png"})),
        "Fix: use a path below the folder of the images",
        coco,
    ),
    "coco folder": (partial(coco, folder="imgs"), "Fix: name the folder of the images", coco),
    "coco names": (
        partial(coco_parts, other="cat"),
        "Fix: use the same ids and names in all files",
        partial(coco_parts, other="dog"),
    ),
    "skip": (
        partial(coco, annotation={"category_id": 2}),
        "Fix: --skip_faulty leaves these items out",
        partial(
            coco,
            annotation={"category_id": 2},
            images=coco_images({}, {"id": 3, "file_name": "3.png"}),
            split=[*HALVES, "--skip_faulty"],
        ),
    ),
    "no json": (partial(labelme, folder="images"), "Fix: name the folder that LabelMe saves to", labelme),
    "foreign json": (
        partial(with_foreign_json, folder="lm"),
        "Fix: move it to another folder",
        partial(with_foreign_json, folder="elsewhere"),
    ),
    "no object": (partial(labelme, labels=()), "Fix: annotate at least one", labelme),
    "only background": (
        lambda root: [*labelme(root), "--classes", "background"],
        "Fix: name the objects",
        lambda root: [*labelme(root), "--classes", "dog"],
    ),
    "turned": (
        partial(labelme, size=(8, 6)),
        "Fix: exchange width and height in the annotations, or use the annotated image",
        labelme,
    ),
    "tagged": (
        partial(labelme, size=(8, 6), stored=(8, 6), tag=6),
        "Fix: rotate the pixels of the image and annotate it again",
        partial(labelme, size=(6, 8), stored=(6, 8)),
    ),
    "resized": (partial(labelme, stored=(3, 4)), "Fix: use the annotated image", labelme),
    "not base64": (
        partial(embedded, data="?", beside=False),
        "Fix: put 1.png beside the JSON file",
        partial(embedded, data="?", beside=True),
    ),
    "no picture": (
        partial(embedded, data=base64.b64encode(b"text").decode(), beside=False),
        "Fix: put 1.png beside the JSON file",
        partial(embedded, data="x", beside=True),
    ),
    "empty masks": (partial(folders, masks=()), "Fix: check the masks", folders),
    "pattern": (
        partial(folders, flags=[*HALVES, "--group_by", "(video)"]),
        "Fix: correct the pattern",
        partial(folders, flags=[*HALVES, "--group_by", "(p.)"]),
    ),
    "shares": (
        partial(folders, flags=["--split", 0.96, 0.02, 0.02]),
        "Fix: add images, change the shares, or use smaller groups",
        folders,
    ),
    "groups": (
        partial(folders, flags=[*HALVES, "--group_by", "(p)"]),
        "Fix: add images, change the shares, or use smaller groups",
        partial(folders, flags=[*HALVES, "--group_by", "(p.)"]),
    ),
    "part": (
        partial(parts, flags=["--skip_empty"], empty=True),
        "val: no image is left in this part. Fix: use --split to split all images",
        partial(parts, flags=["--skip_empty", *HALVES], empty=True),
    ),
    "tab": (partial(named, name="a\tb"), "Fix: rename it", partial(named, name="a b")),
    "one folder": (
        one_folder,
        "Fix: --mask_suffix _gt, or --image_suffix .jpg --mask_suffix .png",
        partial(one_folder, flags=["--mask_suffix", "_gt"]),
    ),
    "unknown colour": (
        partial(colors, mask=STRIPE),
        "Fix: add it to the label map, or choose --unknown_colors ignore, background or nearest",
        partial(colors, table=f"{MAP}cat:0,255,0::\n", mask=STRIPE),
    ),
    "mixed colours": (
        partial(colors, mask=MANY),
        "Fix: --unknown_colors nearest takes the nearest label",
        lambda root: [*colors(root, mask=MANY), "--unknown_colors", "nearest"],
    ),
    "mask of ids": (
        lambda root: ids(root, ["--labelmap", root / "map.txt"]),
        "masks of class ids need no label map: --image_dir and --mask_dir read them",
        ids,
    ),
    "16 bits": (
        partial(colors, mask=np.ones((6, 8), np.uint16)),
        "Fix: save it as RGB",
        partial(colors, mask=np.zeros((6, 8, 3), np.uint8)),
    ),
    "alpha": (
        partial(colors, table=f"{MAP}cat:0,255,0::\n", mask=HALF_CLEAR),
        "Fix: save it without an alpha channel",
        partial(colors, table=f"{MAP}cat:0,255,0::\n", mask=STRIPE),
    ),
    "mask size": (
        partial(colors, mask=np.zeros((3, 4, 3), np.uint8)),
        "Fix: make them the same size",
        partial(colors, mask=np.zeros((6, 8, 3), np.uint8)),
    ),
    "two labels": (
        partial(colors, table=f"{MAP}cat:255,0,0::\n"),
        "Fix: give each label a colour of its own",
        partial(colors, table=f"{MAP}cat:0,255,0::\n"),
    ),
    "map line": (
        partial(colors, table=f"{MAP}lane 2 0 128 0\n"),
        "Fix: write the name and a colon before the numbers",
        partial(colors, table=f"{MAP}lane 2:0,128,0\n"),
    ),
    "map encoding": (
        partial(colors, table=f"{MAP}ä:0,255,0::\n", encoding="latin-1"),
        "Fix: save it as UTF-8",
        partial(colors, table=f"{MAP}ä:0,255,0::\n"),
    ),
    "colors": (
        partial(colors, flags=["--colors", "cat:255"]),
        "Fix: --colors background=0,0,0 cat=255,0,0",
        partial(colors, flags=["--colors", "background=0,0,0", "cat=255,0,0"]),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_following_the_fix_makes_a_data_set(make, tmp_path, name):
    assert_fix_works(make, tmp_path, *ROWS[name])


def test_classes_are_chosen_where_a_mask_cannot_hold_all():
    labels = [f"c{number}" for number in range(255)]
    with pytest.raises(DataError, match="255 classes.*Fix: choose the classes to use with --classes"):
        assign_classes(labels)
    assert assign_classes(labels, ["c7"])[0] == ["c7"]
