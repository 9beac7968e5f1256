"""Each fix for folders of Supervisely, VOC and YOLO is followed, and then a data set is made."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from annotation_files import RING
from built_sets import HALVES, SQUARE, assert_fix_works, draw_image
from PIL import Image


def project(root: Path, extra=(), shape=None) -> list:
    """A project of Supervisely, with annotations of `extra` names, and one object of another shape."""
    shutil.rmtree(root / "sv", ignore_errors=True)
    square = {"classTitle": "dog", "points": {"exterior": SQUARE, "interior": []}, "geometryType": "polygon"}
    for number in (1, 2):
        draw_image(root / "sv" / "ds" / "img" / f"{number}.png", number)
    (root / "sv" / "meta.json").write_text('{"classes": [{"title": "dog", "shape": "any"}]}')
    (root / "sv" / "ds" / "ann").mkdir()
    for name in ("1.png", "2.png", *extra):
        objects = [square | (shape or {})] if name == "1.png" else [square]
        content = {"size": {"height": 6, "width": 8}, "objects": objects}
        (root / "sv" / "ds" / "ann" / f"{name}.json").write_text(json.dumps(content))
    return ["--supervisely", root / "sv", *HALVES]


def without_images(root: Path) -> list:
    words = project(root)
    shutil.rmtree(root / "sv" / "ds" / "img")
    return words


def with_image_3(root: Path) -> list:
    words = project(root, extra=["3.png"])
    draw_image(root / "sv" / "ds" / "img" / "3.png", 3)
    return words


def voc(
    root: Path, folder: str = "v", lists=(("train", "1"), ("val", "2")), names: str | None = None
) -> list:
    """A folder of VOC with two images, its lists, and class_names.txt where `names` is given."""
    shutil.rmtree(root / "v", ignore_errors=True)
    for number in (1, 2):
        draw_image(root / "v" / "JPEGImages" / f"{number}.png", number)
        mask = Image.fromarray(np.repeat(np.uint8([[0], [1]]), 24, 0).reshape(6, 8))
        mask.putpalette([0, 0, 0, 128, 0, 0])
        (root / "v" / "SegmentationClass").mkdir(exist_ok=True)
        mask.save(root / "v" / "SegmentationClass" / f"{number}.png")
    (root / "v" / "ImageSets" / "Segmentation").mkdir(parents=True)
    for name, text in lists:
        (root / "v" / "ImageSets" / "Segmentation" / f"{name}.txt").write_text(text)
    if names is not None:
        (root / "v" / "class_names.txt").write_text(names)
    split = [] if {"train", "val"} <= {name for name, _ in lists} else HALVES
    return ["--voc", root / folder, *split]


def boxes_only(root: Path) -> list:
    words = voc(root)
    shutil.rmtree(root / "v" / "SegmentationClass")
    (root / "v" / "Annotations").mkdir()
    return words


def yolo(
    root: Path, label="0 0 0 0.5 0 0.5 1", names="dog\n", config=None, listed="", images="images"
) -> list:
    """Two images with labels; names in classes.txt, or a YAML file and a list of images."""
    shutil.rmtree(root / "y", ignore_errors=True)
    for number in (1, 2):
        draw_image(root / "y" / images / f"{number}.png", number)
        path = root / "y" / images.replace("images", "labels") / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(label if number == 1 else "0 0 0 0.5 0 0.5 1")
    if names:
        (root / "y" / "classes.txt").write_text(names)
    if config:
        (root / "y" / "data.yaml").write_text(config)
        (root / "y" / "list.txt").write_text(f"images/1.png\nimages/2.png\n{listed}")
    return ["--yolo", root / "y", *HALVES]


CONFIG = "train: images\nnames: [dog]\n"

# what is wrong, the fix in the message, and the same source after the fix is followed
ROWS = {
    "supervisely": (without_images, "Fix: export the project with its images", project),
    "supervisely image": (
        partial(project, extra=["3.png"]),
        "Fix: add it, or remove the file",
        with_image_3,
    ),
    "solid": (
        partial(project, shape={"geometryType": "mesh"}),
        "Fix: convert it to a bitmap",
        partial(project, shape={"geometryType": "bitmap", "bitmap": {"data": RING, "origin": [0, 0]}}),
    ),
    "voc inside": (partial(voc, folder="."), "Fix: --voc ", voc),
    "voc boxes": (boxes_only, "Fix: export masks for segmentation", voc),
    "voc names": (
        partial(voc, names="\n"),
        "Fix: write one name per line, or remove the file",
        partial(voc, names="background\ndog\n"),
    ),
    "voc lists": (
        partial(voc, lists=[("train", "1"), ("other", "2")]),
        "Fix: keep one list, or train.txt and val.txt",
        partial(voc, lists=[("all", "1\n2")]),
    ),
    "voc twice": (
        partial(voc, lists=[("train", "1\n2"), ("val", "2")]),
        "Fix: remove one",
        partial(voc, lists=[("train", "1"), ("val", "2")]),
    ),
    "voc missing": (
        partial(voc, lists=[("train", "1\n3"), ("val", "2")]),
        "Fix: add it, or remove the name",
        voc,
    ),
    "yolo names": (partial(yolo, names=""), "Fix: add classes.txt with the name of one class per line", yolo),
    "yolo class": (partial(yolo, label="1 0 0 1 0 1 1"), "Fix: the names are 0 to 0", yolo),
    "yolo box": (partial(yolo, label="0 .5 .5 .2 .2"), "Fix: export polygons, or remove the line", yolo),
    "yolo line": (
        partial(yolo, label="0 .5 .5 .2 .2 .3"),
        "Fix: export polygons, or remove the line",
        partial(yolo, label=""),
    ),
    "yolo pixels": (
        partial(yolo, label="0 0 0 4 0 4 6"),
        "Fix: divide x by the width and y by the height of the image",
        partial(yolo, label=f"0 0 0 {4 / 8} 0 {4 / 8} {6 / 6}"),
    ),
    "yolo images": (
        partial(yolo, config="train: images/train\nval: images/val\nnames: [dog]\n"),
        "Fix: correct it, or move data.yaml to its images",
        partial(yolo, config=CONFIG),
    ),
    "yolo none": (
        partial(yolo, config="names: [dog]\n"),
        "Fix: put them into images/train and images/val, and name these folders in the YAML file",
        partial(yolo, config="train: images/train\nnames: [dog]\n", images="images/train"),
    ),
    "yolo alias": (
        partial(yolo, config="x: &x [" + "dog, " * 4999 + "]\ntrain: images\nnames: [*x, *x, *x, *x, *x]\n"),
        "aliases written out, expected at most 20,000. Fix: give a file with fewer",
        partial(yolo, config="x: &x [dog]\ntrain: images\nnames: *x\n"),
    ),
    "yolo yaml": (
        partial(yolo, config="train: images\nnames: 2\n"),
        "Fix: names: {0: 'cat', 1: 'dog'}",
        partial(yolo, config="train: images\nnames: {0: 'cat', 1: 'dog'}\n"),
    ),
    "yolo list": (
        partial(yolo, config="train: list.txt\nnames: [dog]\n", listed="images/3.png\n"),
        "Fix: add the image, or remove the line",
        partial(yolo, config="train: list.txt\nnames: [dog]\n"),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_following_the_fix_makes_a_data_set(make, tmp_path, name):
    assert_fix_works(make, tmp_path, *ROWS[name])
