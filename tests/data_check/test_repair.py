"""The corrected copy: its content, and that the originals are unchanged."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_sets import append, image_of, load_sets, mask_of, set_orientation
from mask_files import store
from PIL import Image, ImageOps
from support import draw_pair, pixels, tree, write_mask

from paddleseg_u2net.data.pairs import Pair, read_list
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data_check.checks import run_checks
from paddleseg_u2net.data_check.repair import check_destination, repair
from paddleseg_u2net.data_check.survey import examine
from paddleseg_u2net.errors import DataError
from paddleseg_u2net.io.files import digest


def fixed(root: Path, num_classes: int = 1, **options) -> dict:
    """Repair into `fixed`, assert that no error is left and the originals are unchanged; the record."""
    before = {path: digest(root / path, "sha256") for path in tree(root)}
    record = repair(examine(load_sets(root, num_classes, **options)), Path("fixed"))
    assert {path: digest(root / path, "sha256") for path in tree(root)} == before
    assert json.loads(Path("fixed/fixed.json").read_text()) == record
    again = {key: value for key, value in record["settings"].items() if key != "num_classes"}
    findings = run_checks(examine(load_sets(Path("fixed"), num_classes, **again)))
    assert [finding for finding in findings if finding.check.severity == "error"] == []
    return record


def done(record: dict) -> dict[str, list[str]]:
    return {Path(row["from"]).stem: row["done"] for row in record["files"] if row["done"]}


def test_sound_data_is_copied_unchanged(data):
    record = fixed(data)
    assert (len(record["files"]), done(record), record["left out"]) == (6, {}, [])
    for name in ("p0", "p5"):
        assert Path(f"fixed/images/{name}.png").read_bytes() == image_of(data, name).read_bytes()
        np.testing.assert_array_equal(pixels(f"fixed/masks/{name}.png"), pixels(mask_of(data, name)))
    assert Path("fixed/train_list.txt").read_text().splitlines()[0] == "images/p0.png\tmasks/p0.png"


def test_broken_pairs_are_left_out_with_reasons(data):
    image_of(data, "p0").unlink()
    mask_of(data, "p1").write_text("no")
    write_mask(mask_of(data, "p2"), np.eye(32, dtype=np.uint8))
    append(data, "images/p3.png\tmasks/p3.png\n")
    record = fixed(data)
    reasons = {Path(row["image"]).stem: row["why"] for row in record["left out"]}
    assert "no such image file" in reasons["p0"]
    assert "cannot be read as a mask" in reasons["p1"]
    assert "holds 0, 1, but" in reasons["p2"]
    assert reasons["p3"].endswith("train_list.txt:5: " + str(image_of(data, "p3")) + ": listed before")
    assert [row["image"] for row in record["files"]] == [f"images/p{i}.png" for i in (3, 4, 5)]


def test_images_without_a_mask_are_counted(data):
    append(data, "images/p3.png\n")
    rows = [row for row in fixed(data)["items"] if row["outcome"] == "left out"]
    assert [(row["items"], row["count"]) for row in rows] == [("pairs", 1)]
    assert rows[0]["first"][0].endswith("train_list.txt:5")


def test_masks_are_resized_only_if_the_aspect_ratio_is_the_same(data):
    small = np.kron(np.eye(4, dtype=np.uint8) * 255, np.ones((4, 4), np.uint8))
    write_mask(mask_of(data, "p0"), small)
    write_mask(mask_of(data, "p1"), np.eye(16, 32, dtype=np.uint8) * 255)
    record = fixed(data)
    assert done(record) == {"p0": ["mask resized from (16, 16) to (32, 32), nearest pixel"]}
    np.testing.assert_array_equal(pixels("fixed/masks/p0.png"), np.kron(small, np.ones((2, 2), np.uint8)))
    assert [Path(row["image"]).stem for row in record["left out"]] == ["p1"]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_image_and_mask_are_stored_upright(tmp_path, orientation):
    draw_pair(tmp_path, "p", size=(20, 30))
    pair = Pair(image_of(tmp_path, "p"), mask_of(tmp_path, "p"))
    set_orientation(pair.image, orientation)
    set_orientation(pair.mask, orientation)
    repair(examine([DatasetSpec([pair], 1)]), Path("fixed"))
    for source, name in ((pair.image, "images/p.png"), (pair.mask, "masks/p.png")):
        with Image.open(source) as picture, Image.open(Path("fixed", name)) as result:
            np.testing.assert_array_equal(np.asarray(result), np.asarray(ImageOps.exif_transpose(picture)))
            assert 0x0112 not in result.getexif()


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_mask_drawn_on_the_stored_pixels_is_rotated_like_its_image(tmp_path, orientation):
    draw_pair(tmp_path, "p", size=(20, 30))
    pair = Pair(image_of(tmp_path, "p"), mask_of(tmp_path, "p"))
    set_orientation(pair.image, orientation)
    record = repair(examine([DatasetSpec([pair], 1)]), Path("fixed"))
    assert done(record)["p"] == ["image rotated upright", "mask rotated by the EXIF tag of its image"]
    image, mask = pixels("fixed/images/p.png"), pixels("fixed/masks/p.png")
    assert image.shape[:2] == mask.shape == (30, 20)
    assert image[mask > 0].min() >= 120 > 100 > image[mask == 0].max()  # the bright square of `draw_pair`


@pytest.mark.parametrize(("size", "orientation"), [((32, 32), 6), ((20, 30), 3)])
def test_resized_mask_of_doubtful_orientation_is_marked(tmp_path, size, orientation):
    draw_pair(tmp_path, "p", size=size)
    pair = Pair(image_of(tmp_path, "p"), mask_of(tmp_path, "p"))
    set_orientation(pair.image, orientation)
    write_mask(pair.mask, cv2.resize(pixels(pair.mask), None, fx=0.5, fy=0.5))
    record = repair(examine([DatasetSpec([pair], 1)]), Path("fixed"))
    changes = done(record)["p"]
    assert any(line.startswith("mask resized from") for line in changes)
    assert "CHECK that image and mask fit: their EXIF orientations differ" in changes


@pytest.mark.parametrize("mode", ["palette", "16-bit", "RGB", "1-bit", "grey + alpha"])
def test_masks_are_written_as_grey_png_or_class_ids(tmp_path, mode):
    binary = np.zeros((8, 8), np.uint8)
    binary[2:5, 2:7] = 1
    write_mask(tmp_path / "in" / "a.png", np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
    mask = store(tmp_path / "in" / ("m.tif" if mode == "1-bit" else "m.png"), binary, mode)
    pair = Pair(tmp_path / "in" / "a.png", mask)
    for num_classes, white in ((1, 255), (2, 1)):
        record = repair(examine([DatasetSpec([pair], num_classes)]), tmp_path / f"fixed {num_classes}")
        assert ("a" in done(record)) == ((mode, num_classes) != ("grey + alpha", 2))
        with Image.open(tmp_path / f"fixed {num_classes}" / "masks" / "a.png") as mask:
            assert (mask.mode, mask.format) == ("L", "PNG")
            np.testing.assert_array_equal(np.asarray(mask), binary * white)


@pytest.mark.parametrize(("num_classes", "mark"), [(1, 128), (3, 255)])
def test_ignored_pixels_stay_ignored(data, num_classes, mark):
    for index in range(6):
        values = np.full((32, 32), 0, np.uint8)
        values[:9], values[9:12], values[12:14] = (255, 250, 128) if num_classes == 1 else (2, 250, 1)
        write_mask(mask_of(data, f"p{index}"), values)
    record = fixed(data, num_classes, ignore_index=250)
    assert record["settings"]["ignore_index"] == mark
    written = pixels("fixed/masks/p0.png")[[0, 9, 12, 14], 0].tolist()
    assert written == ([255, 128, 127, 0] if num_classes == 1 else [2, 255, 1, 0])


def test_images_of_validation_are_removed_from_training(data):
    shutil.copy(image_of(data, "p4"), image_of(data, "p0"))
    cv2.imwrite(str(image_of(data, "p1")), cv2.imread(str(image_of(data, "p5")))[:, ::-1])
    record = fixed(data)
    assert [Path(row["image"]).stem for row in record["left out"]] == ["p0", "p1"]
    assert "shows the same as" in record["left out"][0]["why"]
    assert len(Path("fixed/val_list.txt").read_text().splitlines()) == 2


def copies(data: Path, name: str, names: list[str]) -> list[str]:
    """Copy a pair under several names; the lines that list the copies."""
    for other in names:
        shutil.copy(image_of(data, name), image_of(data, other))
        shutil.copy(mask_of(data, name), mask_of(data, other))
    return [f"images/{other}.png\tmasks/{other}.png\n" for other in names]


def append_lines(data: Path, mode: str, lines: list[str]) -> None:
    with (data / f"{mode}_list.txt").open("a") as file:
        file.writelines(lines)


@pytest.mark.parametrize("change", [None, "brighter"])
def test_every_copy_of_a_validation_image_is_removed_from_training(data, change):
    """Forty copies in each set, so that none is among the nearest of all others."""
    append_lines(data, "train", copies(data, "p4", [f"t{i}" for i in range(40)]))
    append_lines(data, "val", copies(data, "p4", [f"v{i}" for i in range(40)]))
    for index in range(40 if change else 0):
        path = image_of(data, f"t{index}")
        cv2.imwrite(str(path), np.clip(cv2.imread(str(path)) * 0.8 + index, 0, 255).astype(np.uint8))
    record = fixed(data)
    left_out = {Path(row["image"]).stem for row in record["left out"]}
    assert left_out == {f"t{index}" for index in range(40)}
    again = run_checks(examine(load_sets(Path("fixed"))))
    assert not [finding.check.name for finding in again if "two sets" in finding.check.name]


def test_images_that_validation_leaves_out_may_stay_in_training(data):
    """Validation keeps one of two copies of p4, and none of p5, so p1, a copy of p5, stays in training."""
    append_lines(data, "train", copies(data, "p4", ["t0", "t1"]))
    append_lines(data, "val", copies(data, "p4", ["v0"]))
    shutil.copy(image_of(data, "p5"), image_of(data, "p1"))
    for name in ("p4", "p5"):
        mask_of(data, name).write_text("no")
    record = fixed(data)
    assert {Path(row["image"]).stem for row in record["left out"]} == {"p4", "p5", "t0", "t1"}


def test_two_sets_of_one_mode_are_rejected(data):
    one, other = load_sets(data)
    other = replace(other, mode="train")
    with pytest.raises(
        ValueError, match="--fix new: train and val both have mode train and would share one list file. Fix: "
    ):
        repair(examine([one, other]), Path("new"))
    assert not Path("new").exists()


def test_half_turn_does_not_make_sizes_fit(tmp_path):
    for name in ("p", "q"):
        draw_pair(tmp_path, name, size=(20, 30))
    write_mask(mask_of(tmp_path, "p"), pixels(mask_of(tmp_path, "p")).T.copy())
    set_orientation(image_of(tmp_path, "p"), 3)
    pairs = [Pair(image_of(tmp_path, name), mask_of(tmp_path, name)) for name in ("p", "q")]
    record = repair(examine([DatasetSpec(pairs, 1)]), Path("fixed"))
    assert [Path(row["image"]).stem for row in record["left out"]] == ["p"]


@pytest.mark.parametrize(("size", "doubtful"), [((20, 30), False), ((30, 30), True)])
def test_rotated_image_whose_mask_may_be_drawn_either_way_is_marked(tmp_path, size, doubtful):
    draw_pair(tmp_path, "p", size=size)
    write_mask(mask_of(tmp_path, "p"), pixels(mask_of(tmp_path, "p")).T.copy())  # drawn on the upright image
    set_orientation(image_of(tmp_path, "p"), 6)
    pair = Pair(image_of(tmp_path, "p"), mask_of(tmp_path, "p"))
    record = repair(examine([DatasetSpec([pair], 1)]), Path("fixed"))
    doubt = ["CHECK that image and mask fit: their EXIF orientations differ"]
    assert done(record)["p"] == ["image rotated upright", *(doubt if doubtful else [])]


def test_names_that_collide_or_break_lists_are_replaced(tmp_path):
    pairs = []
    for folder in ("a", "b"):
        for name in ("same", "Same", "ünï 图 #", "tab\there"):
            draw_pair(tmp_path / folder, name, seed=ord(folder))
            pairs.append(Pair(image_of(tmp_path / folder, name), mask_of(tmp_path / folder, name)))
    record = repair(examine([DatasetSpec(pairs, 1)]), tmp_path / "fixed")
    names = [row["image"] for row in record["files"]]
    assert len({name.casefold() for name in names}) == 8
    assert names[0] == "images/same.png"
    assert "images/ünï 图 _.png" in names
    again = run_checks(examine([DatasetSpec(list_of(tmp_path / "fixed"), 1)]))
    assert not [finding.check.name for finding in again if finding.check.severity == "error"]


def list_of(root: Path) -> list[Pair]:
    pairs, faults = read_list(root / "train_list.txt", root)
    assert not faults
    return pairs


def test_impossible_repair_is_rejected_and_writes_nothing(data):
    survey = examine(load_sets(data))
    Path("there").mkdir()
    with pytest.raises(FileExistsError, match="--fix there: exists already. Fix: another folder"):
        repair(survey, Path("there"))
    with pytest.raises(ValueError, match="is inside .*images, a folder of originals. Fix: another folder"):
        repair(survey, data / "images" / "new")
    for index in range(6):
        write_mask(mask_of(data, f"p{index}"), np.eye(32, dtype=np.uint8) * 3)
    with pytest.raises(
        DataError, match="look like class ids.*\n--fix: cannot decide the encoding of the masks"
    ):
        repair(examine(load_sets(data)), Path("new"))
    with pytest.raises(ValueError, match="is inside .*my data, a folder of originals. Fix: another folder"):
        check_destination([dataset.spec for dataset in survey.datasets], data / "new", [data])
    with pytest.raises(
        ValueError, match="no pair of .* would be left. Fix: correct the reported faults by hand"
    ):
        repair(examine([DatasetSpec([Pair(Path("a/no.png"), None)], 1)]), Path("new"))
    assert tree(".") == tree(data.parent)
    assert not Path("new").exists()


def test_failure_during_repair_leaves_no_files(data, monkeypatch):
    survey = examine(load_sets(data))
    mask_of(data, "p3").unlink()
    with pytest.raises(FileNotFoundError, match="p3.png: no such mask file"):
        repair(survey, Path("new"))
    assert not Path("new").exists()
    assert not list(Path().glob(".new*"))


def test_originals_may_be_read_only(data):
    for folder in (data / "images", data / "masks", data):
        folder.chmod(0o555)
    try:
        assert len(fixed(data)["files"]) == 6
    finally:
        for folder in (data, data / "images", data / "masks"):
            folder.chmod(0o755)
