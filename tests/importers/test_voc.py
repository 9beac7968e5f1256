"""Folders in the layout of Pascal VOC, as the original, CVAT and labelme write them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from built_sets import nothing_is_written, pairs_of
from PIL import Image
from support import pixels, write_mask

from paddleseg_u2net.importers.voc import read_voc

PERSON, CAT, VOID = (192, 128, 128), (64, 0, 0), (224, 224, 192)


def add(
    root: Path, name: str, index: np.ndarray, colors: list, mode: str, masks: str = "SegmentationClass"
) -> None:
    """Write an image and its mask: palette of `colors`, or their RGB."""
    rng = np.random.default_rng(list(map(ord, name)))
    write_mask(root / "JPEGImages" / f"{name}.jpg", rng.integers(0, 256, (*index.shape, 3), np.uint8))
    mask = Image.fromarray(index.astype(np.uint8))
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = colors
    palette[255] = VOID
    mask.putpalette(palette.tobytes())
    path = root / masks / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    mask.convert(mode).save(path)


def lists(root: Path, **names: list[str]) -> None:
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True, exist_ok=True)
    for part, members in names.items():
        (folder / f"{part}.txt").write_text("\n".join(members) + "\n")


INDEX = np.array([[0, 1, 1, 255], [0, 2, 255, 0], [0, 0, 1, 1]])


@pytest.mark.parametrize("mode", ["P", "RGB"])
def test_pascal_voc_has_its_parts_names_and_ignored_outlines(make, tmp_path, mode):
    root = tmp_path / "VOC2012"
    for name in ("2007_000001", "2007_000002", "2007_000003", "2007_000004"):
        add(root, name, INDEX, [(0, 0, 0), CAT, PERSON], mode)
    write_mask(root / "JPEGImages" / "2008_1.jpg", np.zeros((3, 4, 3), np.uint8))  # boxes only
    lists(root, train=["2007_000001", "2007_000002"], val=["2007_000003"], trainval=["2007_000001"])
    code, out, err = make("--voc", root)
    assert (code, err) == (0, "")
    assert "train 2, val 1" in out
    assert "classes: 0 background, 1 cat, 2 person" in out
    record = json.loads(Path("data/mine/dataset.json").read_text())
    assert (record["ignore_index"], record["split"]) == (255, "as given")
    ((_, mask),) = pairs_of("data/mine/config.yaml", "val")
    np.testing.assert_array_equal(pixels(mask), INDEX)  # cat and person are 1 and 2 here too
    counts = read_voc(root, None, "error").counts.rows()
    found = {(row.outcome, row.items, row.reason): (row.count, row.first) for row in counts}
    assert found["left out", "images", "no mask"] == (1, ("2008_1",))
    assert found["left out", "images", "in none of the lists"] == (1, ("2007_000004",))
    assert found["ignored", "pixels", "labels void, ignore, ignored, unlabeled, unlabelled"][0] == 6
    assert found["left out", "categories", "in no mask (--keep_unused keeps them)"][0] == 18


def test_lists_of_cvat_have_capital_names_and_other_files_are_counted(make, tmp_path):
    root = tmp_path / "cvat"
    for name in "abcd":
        add(root, name, INDEX, [(0, 0, 0), CAT, PERSON], "RGB")
    add(root, "a", INDEX, [(0, 0, 0), CAT, PERSON], "RGB", "SegmentationObject")
    write_mask(root / "SegmentationClass" / "z.png", INDEX.astype(np.uint8))
    (root / "JPEGImages" / "e.heic").write_bytes(b"\0\0\0\x18ftypheic")
    rows = "background:0,0,0::\ncat:64,0,0::\nperson:192,128,128::\nvoid:224,224,192::\n"
    (root / "labelmap.txt").write_text(rows)
    lists(root, Train=["a", "b"], Validation=["c"], notes=["d"])
    code, out, err = make("--voc", root)
    assert (code, err) == (0, "")
    assert "train 2, val 1" in out
    record = json.loads(Path("data/mine/dataset.json").read_text())
    left_out = [row for row in record["items"] if row["outcome"] == "left out"]
    assert {row["reason"]: row["count"] for row in left_out if row["items"] == "files"} == {
        "not read (HEIC image)": 1,
        "in no pair": 1,  # of SegmentationObject
        "not an image": 1,  # notes.txt
    }
    others = {row["reason"]: row["first"] for row in left_out if row["items"] != "files"}
    assert others == {"in none of the lists": ["d"], "no image": ["z"]}


def test_export_of_cvat_is_read_by_its_label_map(make, tmp_path):
    root = tmp_path / "cvat"
    for name in ("sub 1/img.7", "sub 1/img.8"):
        add(root, name, INDEX, [(0, 0, 0), (10, 20, 30), (40, 50, 60)], "RGB")
    lists(root, default=["sub 1/img.7", "sub 1/img.8"])
    rows = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nhare:40,50,60::\nfox:10,20,30::\n"
    (root / "labelmap.txt").write_text(rows)
    code, _, err = make("--voc", root, "--split", 0.5, 0.5, 0)
    assert code == 1
    assert f"{root / 'labelmap.txt'}: colour (224, 224, 192) has no label: 4 pixels in 2 masks" in err
    (root / "labelmap.txt").write_text(f"{rows}void:224,224,192::\n")
    code, out, err = make("--voc", root, "--split", 0.5, 0.5, 0)
    assert (code, err) == (0, "")
    assert "classes: 0 background, 1 hare, 2 fox" in out
    swapped = np.choose(np.minimum(INDEX, 3), [0, 2, 1, 255])
    np.testing.assert_array_equal(pixels("data/mine/masks/sub 1/img.7.png"), swapped)


def test_export_of_labelme_is_read_by_its_names(make, tmp_path):
    root = tmp_path / "labelme"
    colors = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]  # of the VOC colour map
    for name in "abc":
        add(root, name, INDEX, colors, "P", "SegmentationClassPNG")
    (root / "class_names.txt").write_text("__ignore__\n")
    assert "class_names.txt: names no class. Fix: write one name per line" in make("--voc", root)[2]
    (root / "class_names.txt").write_text("__ignore__\n_background_\nfox\nhare\n")
    code, out, err = make("--voc", root, "--split", 0.6, 0.4, 0)
    assert (code, err) == (0, "")
    assert "classes: 0 background, 1 fox, 2 hare" in out
    np.testing.assert_array_equal(pixels("data/mine/masks/b.png"), INDEX)


def test_every_fault_names_the_line_of_the_list(make, tmp_path):
    root = tmp_path / "voc"
    for name in "ab":
        add(root, name, INDEX, [(0, 0, 0), CAT, PERSON], "P")
    write_mask(root / "JPEGImages" / "c.jpg", np.zeros((3, 4, 3), np.uint8))
    write_mask(root / "JPEGImages" / "a.png", np.zeros((3, 4, 3), np.uint8))
    lists(root, train=["a", "c", "a"], val=["b", "../b", "/etc/passwd"])
    code, _, err = make("--voc", root)
    assert code == 1
    folder = root / "ImageSets" / "Segmentation"
    for message in (
        f"{root / 'JPEGImages' / 'a.png'}: a second file named 'a'. Fix: rename it",
        f"{folder / 'train.txt'}:2: 'c' has no file in SegmentationClass. Fix:",
        f"{folder / 'train.txt'}:3: 'a' is listed twice, first in {folder / 'train.txt'}:1",
        f"{folder / 'val.txt'}:2: '../b' has no file in JPEGImages and SegmentationClass",
        f"{folder / 'val.txt'}:3: '/etc/passwd' has no file in",
    ):
        assert message in err
    assert nothing_is_written()


def test_folders_without_masks_are_named(make, tmp_path):
    root = tmp_path / "voc"
    (root / "JPEGImages").mkdir(parents=True)
    (root / "Annotations").mkdir()
    code, _, err = make("--voc", root)
    assert code == 1
    assert (
        "no folder SegmentationClass. Annotations hold boxes, which have no outline. Fix: export masks" in err
    )
    add(tmp_path / "all" / "VOC2012", "a", INDEX, [(0, 0, 0), CAT, PERSON], "P")
    _, _, err = make("--voc", tmp_path / "all")
    assert f"all: no folder SegmentationClass. Fix: --voc {tmp_path / 'all' / 'VOC2012'}" in err
    (root / "SegmentationClass").mkdir()
    lists(root, train=["a"], other=["b"])
    code, _, err = make("--voc", root)
    assert (code, "has other.txt, train.txt. Fix: keep one list, or train.txt and val.txt" in err) == (
        1,
        True,
    )
