"""YOLO polygon labels become masks; references to other places are not followed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from built_sets import nothing_is_written, pairs_of
from support import pixels, write_mask

from paddleseg_u2net.errors import DataError
from paddleseg_u2net.importers.yolo import label_path, read_yolo

LABELS = "1 0 0 0.5 0 0.5 1 0 1\n\n0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n"  # a rectangle, a square on it
# an image of 4 rows and 8 columns: 1 cat, 2 dog; drawn by hand
TRUTH = [
    [2, 2, 2, 2, 0, 0, 0, 0],
    [2, 2, 1, 1, 1, 1, 0, 0],
    [2, 2, 1, 1, 1, 1, 0, 0],
    [2, 2, 2, 2, 0, 0, 0, 0],
]
NAMES = "names: [cat, dog]\n"
ALIASES = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 16))


def add(root: Path, image: str, labels: str | None = LABELS) -> None:
    """Write an image and the label file that belongs to it."""
    seed = np.random.default_rng(list(map(ord, image)))
    write_mask(root / image, seed.integers(0, 256, (4, 8, 3), np.uint8))
    path = Path(image).with_suffix(".txt").as_posix()
    head, found, tail = f"/{path}".rpartition("/images/")
    place = root / (f"{head}/labels/{tail}" if found else path).lstrip("/")
    if labels is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(labels)


def fill(root: Path, train: str, val: str = "", test: str = "") -> None:
    for folder, count in ((train, 3), (val, 1), (test, 1)):
        for index in range(count if folder else 0):
            add(root, f"{folder}/ü {index}.png")


@pytest.mark.parametrize("smaller_first", [False, True])
def test_smaller_polygons_are_on_top(make, tmp_path, smaller_first):
    labels = "\n".join(reversed(LABELS.splitlines())) if smaller_first else LABELS
    for index in range(2):
        add(tmp_path / "y", f"images/a{index}.png", labels)
    (tmp_path / "y" / "classes.txt").write_text("cat\ndog\n")
    code, out, err = make("--yolo", tmp_path / "y", "--split", 0.5, 0.5, 0)
    assert (code, err) == (0, "")
    assert "classes: 0 background, 1 cat, 2 dog" in out
    np.testing.assert_array_equal(pixels("data/mine/masks/images/a1.png"), TRUTH)


@pytest.mark.parametrize(
    ("config", "folders"),
    [
        # as Ultralytics writes it
        ("path: ../datasets/y\ntrain: images/train\nval: images/val\n", ("images/train", "images/val")),
        # Roboflow: the folders are not where the file says
        ("train: ../train/images\nval: ../valid/images\ntest: ../test/images\n",
         ("train/images", "valid/images", "test/images")),
        ("path: /drive/y\ntrain: /drive/y/images/train\nval: [images/val]\n", ("images/train", "images/val")),
        ("path: 'C:\\data\\y'\ntrain: images\\train\nval: images\\val\n", ("images/train", "images/val")),
        (None, ("images/train", "images/val")),
        (None, ("train/images", "valid/images", "test/images")),
        # subsets of CVAT
        ("Train: images/Train\nValidation: images/Validation\n", ("images/Train", "images/Validation")),
        (None, ("images/Train", "images/Validation")),
    ],
)  # fmt: skip
def test_layouts_of_train_and_val_are_the_parts(make, tmp_path, config, folders):
    fill(tmp_path / "y", *folders)
    if config:
        (tmp_path / "y" / "data.yaml").write_text(config + NAMES)
    else:
        (tmp_path / "y" / "classes.txt").write_text("cat\ndog\n")
    code, out, err = make("--yolo", tmp_path / "y")
    assert (code, err) == (0, "")
    assert ("train 3, val 1, test 1" if len(folders) == 3 else "train 3, val 1;") in out
    ((image, mask),) = pairs_of("data/mine/config.yaml", "val")
    assert image == (tmp_path / "y" / folders[1] / "ü 0.png").resolve()
    np.testing.assert_array_equal(pixels(mask), TRUTH)


def test_lists_of_images_are_read(make, tmp_path):
    root = tmp_path / "y"
    fill(root, "images/Train", "images/Val")
    (root / "Train.txt").write_text("".join(f"data/images/Train/ü {index}.png\n" for index in range(3)))
    (root / "Val.txt").write_text("./images/Val/ü 0.png\n")
    (root / "my.yaml").write_text("path: .\ntrain: Train.txt\nval: Val.txt\nnames: {0: cat, 1: dog}\n")
    code, out, err = make("--yolo", root / "my.yaml")
    assert (code, err) == (0, "")
    assert "train 3, val 1" in out
    (root / "Val.txt").write_text("images/Val/absent.png\n../../secret.png\n")
    write_mask(tmp_path.parent / "secret.png", np.zeros((4, 8, 3), np.uint8))
    code, _, err = make("--yolo", root / "my.yaml", "--save_dir", "b")
    assert code == 1
    assert "Val.txt:1: 'images/Val/absent.png': not found inside" in err
    assert "Val.txt:2: '../../secret.png': not found inside" in err


def test_files_that_are_not_used_are_counted_once(make, tmp_path):
    root = tmp_path / "y"
    fill(root, "images/train", "images/val")
    add(root, "images/other/o.png")
    (root / "labels" / "train" / "orphan.txt").write_text(LABELS)
    (root / "val.txt").write_text("images/val/ü 0.png\n")
    (root / "README.txt").touch()
    (root / "data.yaml").write_text(f"train: images/train\nval: val.txt\n{NAMES}")
    code, _, err = make("--yolo", root / "data.yaml")
    assert (code, err) == (0, "")
    record = json.loads(Path("data/mine/dataset.json").read_text())
    rows = {row["reason"]: row for row in record["items"] if row["outcome"] == "left out"}
    labels = rows.pop("label file without an image in a part")
    assert (labels["items"], labels["count"]) == ("files", 2)  # those of o.png and of orphan.png
    assert {reason: row["first"] for reason, row in rows.items()} == {
        "in no pair": [str(root / "images/other/o.png")],
        "not an image": [str(root / "README.txt")],
    }


def test_label_files_in_linked_folders_are_counted(tmp_path):
    root = tmp_path / "y"
    fill(root, "images/train", "images/val")
    (root / "data.yaml").write_text(f"train: images/train\nval: images/val\n{NAMES}")
    place = tmp_path / "elsewhere"
    (root / "labels" / "train").rename(place)
    (root / "labels" / "train").symlink_to(place)
    (place / "orphan.txt").write_text(LABELS)
    (place / ".hidden.txt").write_text(LABELS)
    first = read_yolo(root)[0]
    assert [(row.reason, row.count) for row in first.counts.rows()] == [
        ("label file without an image in a part", 1)
    ]


def test_folder_of_test_that_was_not_exported_is_counted(make, tmp_path):
    fill(tmp_path / "y", "train/images", "valid/images")
    parts = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    (tmp_path / "y" / "data.yaml").write_text(parts + NAMES)
    code, out, err = make("--yolo", tmp_path / "y")
    assert (code, err) == (0, "")
    assert re.search(r"left out  parts +1  named by the file, not there +test: ../test/images", out)


def test_images_of_train_that_are_named_for_val_again_are_split(make, tmp_path):
    """The demonstration sets coco8-seg and coco128-seg of Ultralytics are like this."""
    root = tmp_path / "y"
    fill(root, "images/train2017")
    (root / "data.yaml").write_text(f"train: images/train2017\nval: images/train2017\n{NAMES}")
    code, out, err = make("--yolo", root)
    assert (code, err) == (0, "")
    assert "train 2, val 1" in out
    assert "val names the images of train again" in out


def test_images_without_labels_are_kept_and_labels_without_images_counted(tmp_path):
    root = tmp_path / "y"
    fill(root, "images/train", "images/val")
    add(root, "images/train/empty.png", "")
    add(root, "images/train/none.png", None)
    (root / "labels" / "train" / "orphan.txt").write_text(LABELS)
    (root / "data.yaml").write_text(f"train: images/train\nval: images/val\n{NAMES}")
    train, val, test = read_yolo(root)
    assert [len(part.images) for part in (train, val, test)] == [5, 1, 0]
    assert {image.name: len(image.regions) for image in train.images if "ü" not in image.name} == {
        "images/train/empty": 0,
        "images/train/none": 0,
    }
    rows = {(row.outcome, row.items, row.reason): row.count for row in train.counts.rows()}
    assert rows == {
        ("kept", "images", "no label file, so no object"): 1,
        ("left out", "files", "label file without an image in a part"): 1,
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2 0.2", ":2: a bounding box, which has no outline. Fix: export polygons"),
        ("7 0 0 1 0 1 1", ":2: class 7 has no name. Fix: the names are 0 to 1"),
        ("0.5 0 0 1 0 1 1", ":2: class 0.5 has no name"),
        ("0 0 0 1 0 1 1 0.9", ":2: 7 numbers after the class, expected x and y of 3 corners or more"),
        ("0 0 0 1 0", ":2: a bounding box"),
        ("0 0 0", ":2: 2 numbers after the class"),
        ("cat 0 0 1 0 1 1", ":2: expected a class and x y of each corner, got 'cat 0 0 1 0 1 1'"),
        (
            "0 0 0 4 0 4 3",
            ":2: [0.0, 0.0, 4.0, 0.0, 4.0, 3.0]: expected shares of the width and height, 0 to 1",
        ),
        ("0 0 0 nan 0 1 1", ":2: [0.0, 0.0, nan, 0.0, 1.0, 1.0]: expected shares"),
    ],
)
def test_lines_that_are_no_polygon_are_reported(make, tmp_path, line, message):
    root = tmp_path / "y"
    fill(root, "images/train", "images/val")
    add(root, "images/train/b.png", f"{LABELS.splitlines()[0]}\n{line}\n")
    (root / "classes.txt").write_text("cat\ndog\n")
    code, _, err = make("--yolo", root)
    assert code == 1
    assert f"{root / 'labels/train/b.txt'}{message}" in err
    assert nothing_is_written()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            "train: images\nnames: [cat, no]\n",
            "names: expected the names of the classes by number, got ['cat'",
        ),
        (
            f"default: images\n{NAMES}",
            "no image found for train, val or test. Fix: put them into",
        ),
        ("train: images\nnames: cat\n", "names: expected the names of the classes by number, got 'cat'"),
        ("train: images\nnames: 2\n", "names: expected the names of the classes by number, got 2"),
        ("train: images\nnc: 2\n", "names: expected the names of the classes by number, got None"),
        (ALIASES, "not a YAML file: holds 24,575 values, aliases written out"),
        ("names: [", "not a YAML file"),
        ("- 1\n", "expected names, train and val"),
        (f"train: absent\nval: images\n{NAMES}", "train: absent: not found inside"),
    ],
)
def test_broken_configs_are_named(make, tmp_path, config, message):
    add(tmp_path / "y", "images/a.png")
    (tmp_path / "y" / "data.yaml").write_text(config)
    code, _, err = make("--yolo", tmp_path / "y")
    assert code == 1
    assert err.startswith(f"error: {tmp_path / 'y' / 'data.yaml'}: {message}")


def test_last_folder_called_images_holds_the_labels_beside_it(tmp_path):
    assert label_path(tmp_path / "images/a/images/b/c.png", tmp_path) == tmp_path / "images/a/labels/b/c.txt"
    assert label_path(tmp_path / "a/c.7.png", tmp_path) == tmp_path / "a/c.7.txt"


def test_corners_may_lie_a_hundredth_outside_and_names_beside_the_labels(tmp_path):
    add(tmp_path, "images/a.png", "0 -0.01 0 1.01 0 1 1.01\n0 -0.02 0 1 0 1 1\n")
    (tmp_path / "labels" / "classes.txt").write_text("cat\n")
    (found,) = read_yolo(tmp_path)
    assert [region.where for region in found.images[0].regions] == [f"{tmp_path / 'labels/a.txt'}:1"]
    assert [fault.where for fault in found.faults] == [f"{tmp_path / 'labels/a.txt'}:2"]
    assert found.counts.rows() == []


def test_folder_without_names_of_classes_is_named(tmp_path):
    add(tmp_path / "y", "images/a.png")
    with pytest.raises(DataError, match=r"has none of data.yaml, .* Fix: add classes.txt"):
        read_yolo(tmp_path / "y")


def test_skip_faulty_leaves_out_lines_and_images_of_which_nothing_is_left(make, tmp_path):
    root = tmp_path / "y"
    fill(root, "images/train", "images/val")
    polygon = LABELS.splitlines()[0]
    add(root, "images/train/mixed.png", f"{polygon}\n1 0.5 0.5 0.2 0.2\n")
    add(root, "images/train/boxes.png", "1 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2\n")
    (root / "classes.txt").write_text("cat\ndog\n")
    code, out, err = make("--yolo", root, "--skip_faulty")
    assert (code, err) == (0, "")
    assert "train 4, val 1" in out  # not the image with boxes only: its mask would be empty
    (mask,) = (mask for image, mask in pairs_of("data/mine/config.yaml", "train") if image.stem == "mixed")
    assert (pixels(mask) == 2).sum() == 16
    rows = json.loads(Path("data/mine/dataset.json").read_text())["items"]
    skipped = {(row["items"], row["count"]) for row in rows if row["outcome"] == "skipped"}
    assert skipped == {("lines", 3), ("images", 1)}
