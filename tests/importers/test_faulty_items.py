"""Faulty items: one table of all of them, or left out, counted and named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from annotation_files import labelme_shape, write_coco, write_labelme
from built_sets import folder_flags, nothing_is_written, pairs_of
from support import pixels, write_mask

from paddleseg_u2net.errors import DataError, Fault
from paddleseg_u2net.importers.faulty_items import items_of, kind_of, raise_all

LEFT = [[0, 0, 10, 0, 10, 40, 0, 40]]
SIZE = {"height": 40, "width": 48}


def skipped(folder: str = "data/mine") -> list[tuple]:
    """Items, number, reason and first names of what was skipped, in dataset.json."""
    rows = json.loads(Path(folder, "dataset.json").read_text())["items"]
    return [
        (row["items"], row["count"], row["reason"], row["first"])
        for row in rows
        if row["outcome"] == "skipped"
    ]


@pytest.fixture
def coco(photo_set) -> list:
    """Ten images with a good annotation each, except for the faults that stop a strict run."""
    images = [{"id": n, "file_name": f"p{n}.png", **SIZE} for n in range(9)]
    images += [{"id": 9, "file_name": "absent.png", **SIZE}]
    rows = [{"image_id": n, "segmentation": LEFT} for n in range(10) if n not in (3, 4)]
    rows += [
        {"image_id": 0, "segmentation": [*LEFT, [20, 0, 30, 0]]},  # two points beside a good outline
        {"image_id": 1, "segmentation": [[20, 0, 30, 0]]},  # two points, beside a good annotation
        {"image_id": 2, "segmentation": [], "bbox": [1, 1, 9, 9]},
        {"image_id": 3, "segmentation": [], "bbox": [1, 1, 9, 9]},  # and no other annotation
        {"image_id": 4, "segmentation": [[20, 0, 30, 0]]},  # and no other annotation
        {"image_id": 99},
    ]
    write_coco(Path("a.json"), rows, images=images)
    return ["--coco", "a.json", "--image_dir", photo_set / "images"]


def test_strict_run_reports_all_faults_with_a_table_of_their_kinds(make, coco):
    code, _, err = make(*coco)
    assert code == 1
    assert nothing_is_written()
    for line in (
        "a.json: annotations[8]: segmentation: outline 1: expected 3 or more points",
        "a.json: annotations[9]: segmentation: expected 3 or more points",
        "absent.png: no such image file",
        "7 faults:",
        "items        count  reason",
        "annotations      2  segmentation: empty; a bounding box alone has no outline",
        "annotations      1  image_id …: not among the images",
        "Fix: --skip_faulty leaves these items out, and goes on with the others",
    ):
        assert line in err, err


def test_skip_faulty_goes_on_counts_and_names_what_it_left_out(make, coco):
    code, out, err = make(*coco, "--skip_faulty")
    assert (code, err) == (0, "")
    assert "train 6, val 1" in out
    found = {(items, reason): (count, first) for items, count, reason, first in skipped()}
    points = "expected … or more points inside an image"
    box = "segmentation: empty; a bounding box alone has no outline"
    where, image = "a.json: annotations[{}]".format, "a.json: images[{}]".format
    assert found == {
        ("annotations", box): (2, [where(10), where(11)]),
        ("annotations", "image_id …: not among the images"): (1, [where(13)]),
        ("annotations", points): (2, [f"{where(9)}: segmentation", f"{where(12)}: segmentation"]),
        ("outlines", points): (1, [f"{where(8)}: segmentation: outline 1"]),
        ("images", "all annotations of the image are faulty"): (2, [image(3), image(4)]),
        ("images", "no such image file"): (1, [image(9)]),
        ("annotations", "of images that are skipped"): (1, [image(9)]),
    }
    assert "skipped   images           1  no such image file" in out
    expected = np.zeros((40, 48), int)
    expected[:, :10] = 1
    for path in Path("data/mine/masks").iterdir():
        np.testing.assert_array_equal(pixels(path), expected)
    assert len(list(Path("data/mine/masks").iterdir())) == 7


def test_every_annotation_and_every_image_is_counted_once(make, coco):
    content = json.loads(Path("a.json").read_text())
    content["images"][5]["width"] = "x"
    content["images"][6]["file_name"] = "p7.png"  # a second image of this name is left out
    content["images"][8]["file_name"] = "../../outside.png"
    content["annotations"] += [
        {"image_id": 0, "category_id": 99, "segmentation": [], "iscrowd": "?"},  # three faults
        {"image_id": None},
        {"image_id": 0, "category_id": 3, "segmentation": [[1, 2], [3, 4, 5]]},  # two outlines, both faulty
        {"image_id": 0, "category_id": 3, "segmentation": [[90, 90, 99, 90, 99, 99]]},
        {"image_id": 1, "category_id": 18, "segmentation": LEFT, "iscrowd": 1},
    ]
    Path("a.json").write_text(json.dumps(content))
    code, _, err = make(*coco, "--skip_faulty", "--classes", "cat")
    assert (code, err) == (0, "")
    rows = json.loads(Path("data/mine/dataset.json").read_text())["items"]
    for items in ("annotations", "images"):
        assert sum(row["count"] for row in rows if row["items"] == items) == len(content[items])
    (lost,) = [row for row in rows if row["reason"] == "of images that are skipped"]
    assert lost["count"] == 4  # of the images 5, 7 and 8, which have such faults, and of 9, which is absent


def test_faulty_files_of_folders_are_skipped_and_do_not_decide_the_encoding(make, photo_set):
    (photo_set / "masks" / "p1.png").unlink()
    (photo_set / "images" / "p2.png").write_bytes(b"no image")
    write_mask(photo_set / "masks" / "p4.png", np.full((9, 9), 3, np.uint8))  # another size
    write_mask(photo_set / "masks" / "p5.png", np.ones((40, 48), np.uint8))
    code, out, err = make(*folder_flags(photo_set), "--skip_faulty")
    assert (code, err) == (0, "")
    assert "train 5, val 1; mask_encoding: grey" in out
    names = {Path(first[0].split(": ")[-1]).name for _, _, _, first in skipped()}
    assert names == {"p1.png", "p2.png", "p4.png", "p5.png"}
    used = {image.name for part in ("train", "val") for image, _ in pairs_of("data/mine/config.yaml", part)}
    assert used == {f"p{n}.png" for n in (0, 3, 6, 7, 8, 9)}


def test_lines_of_lists_and_repeated_names_are_skipped(make, data):
    path = data / "train_list.txt"
    path.write_text(path.read_text() + "one column\nimages/p0.png masks/p0.png\nonly\n")
    words = ["--list", path, "--dataset_root", data]
    assert make(*words)[0] == 1
    code, out, err = make(*words, "--skip_faulty")
    assert (code, err) == (0, "")
    assert "train 3, val 1" in out
    assert sum(count for _, count, _, _ in skipped()) == 3


def test_foreign_json_and_bad_shapes_of_labelme_are_skipped(make, tmp_path):
    box = [[0, 0], [9, 9]]
    for index in range(4):
        write_mask(tmp_path / "lm" / f"{index}.jpg", np.full((30, 40, 3), 50 * index, np.uint8))
        shapes = [labelme_shape("cat", box, "rectangle")]
        shapes += [labelme_shape("cat", [[1, 1], [2, 2]])] * (index == 1)
        write_labelme(tmp_path / "lm" / f"{index}.json", *shapes, imageHeight=30, imageWidth=40)
    (tmp_path / "lm" / "package.json").write_text('{"name": "site", "version": "1"}')
    (tmp_path / "lm" / "list.json").write_text("[]")
    code, _, err = make("--labelme", "lm")
    assert code == 1
    assert "lm/package.json: not a LabelMe file: neither shapes nor imagePath, got name, version. Fix:" in err
    code, out, err = make("--labelme", "lm", "--skip_faulty")
    assert (code, err) == (0, "")
    assert "train 3, val 1" in out
    assert {(items, first[0]) for items, _, _, first in skipped()} == {
        ("files", "lm/list.json"),
        ("files", "lm/package.json"),
        ("annotations", "lm/1.json: shapes[1]"),
    }
    assert "left out  files" not in out  # the two files are counted once


def test_faults_of_the_whole_source_stop_the_command_all_the_same(make, coco):
    code, _, err = make(*coco, "--skip_faulty", "--classes", "dgo")
    assert code == 1
    assert "class 'dgo': the annotations have no such label. Did you mean 'dog'?" in err
    Path("empty.json").write_text("{}")
    code, _, err = make("--coco", "empty.json", *coco[2:], "--skip_faulty")
    assert (code, "empty.json: images: expected a list" in err, "--skip_faulty" in err) == (1, True, False)
    code, _, err = make(*coco, "--classes", "dgo")  # the flag alone would not help
    assert (code, "7 faults:" in err, "--skip_faulty" in err) == (1, True, False)


def test_table_of_faults_has_a_row_per_kind():
    faults = [Fault(f"a.json: annotations[{n}]", f"image_id {n}: not among the images") for n in range(200)]
    faults += [Fault("", "b.png: no such image file")]
    with pytest.raises(DataError) as caught:
        raise_all(faults, [], some_left=False)
    assert [line.split("  ")[0] for line in str(caught.value).splitlines()[-4:]] == [
        "201 faults:",
        "items",
        "annotations",
        "files",
    ]
    assert "200  image_id …: not among the images  a.json: annotations[0]; a.json: " in str(caught.value)
    assert "1  no such image file " in str(caught.value)
    assert "… and 101 more" in str(caught.value)


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("the name 'a' is used twice, first in b.json: images[0]", "the name … is used twice"),
        ("(H, W) (48, 40) differs from (40, 48) of /data/a b.jpg", "(H, W) … differs from … of"),
        (
            "counts: the runs add up to 12 pixels, expected 24",
            "counts: the runs add up to … pixels",
        ),
    ],
)
def test_kind_of_a_fault_is_its_text_without_names_and_numbers(what, kind):
    assert kind_of(Fault("a.json: images[6]", what)).startswith(kind)
    assert items_of("a.json: images[6]") == "images"
