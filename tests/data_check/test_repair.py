"""A corrected copy: what is in it, and that the original is as it was."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_sets import append, image_of, mask_of, sets, turn
from mask_files import store
from PIL import Image, ImageOps
from support import draw_pair, pixels, tree, write_mask

from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data_check.findings import diagnose
from paddleseg_u2net.data_check.repair import check_destination, repair
from paddleseg_u2net.data_check.survey import examine
from paddleseg_u2net.errors import DataError
from paddleseg_u2net.io.files import digest


def fixed(root: Path, num_classes: int = 1, **options) -> dict:
    """Repair into `fixed`, see that no error is left and the original untouched; the record."""
    before = {path: digest(root / path, "sha256") for path in tree(root)}
    record = repair(examine(sets(root, num_classes, **options)), Path("fixed"))
    assert {path: digest(root / path, "sha256") for path in tree(root)} == before
    assert json.loads(Path("fixed/fixed.json").read_text()) == record
    again = {key: value for key, value in record["settings"].items() if key != "num_classes"}
    findings = diagnose(examine(sets(Path("fixed"), num_classes, **again)))
    assert [finding for finding in findings if finding.check.severity == "error"] == []
    return record


def done(record: dict) -> dict[str, list[str]]:
    return {Path(row["from"]).stem: row["done"] for row in record["files"] if row["done"]}


def test_sound_data_are_copied_as_they_are(data):
    record = fixed(data)
    assert (len(record["files"]), done(record), record["left out"]) == (6, {}, [])
    for name in ("p0", "p5"):
        assert Path(f"fixed/images/{name}.png").read_bytes() == image_of(data, name).read_bytes()
        np.testing.assert_array_equal(pixels(f"fixed/masks/{name}.png"), pixels(mask_of(data, name)))
    assert Path("fixed/train_list.txt").read_text().splitlines()[0] == "images/p0.png\tmasks/p0.png"


def test_broken_pairs_are_left_out_and_named(data):
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


def test_masks_of_another_size_are_resized_only_where_the_shape_is_the_same(data):
    small = np.kron(np.eye(4, dtype=np.uint8) * 255, np.ones((4, 4), np.uint8))
    write_mask(mask_of(data, "p0"), small)
    write_mask(mask_of(data, "p1"), np.eye(16, 32, dtype=np.uint8) * 255)
    record = fixed(data)
    assert done(record) == {"p0": ["mask resized from (16, 16) to (32, 32), nearest pixel"]}
    np.testing.assert_array_equal(pixels("fixed/masks/p0.png"), np.kron(small, np.ones((2, 2), np.uint8)))
    assert [Path(row["image"]).stem for row in record["left out"]] == ["p1"]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_pixels_become_upright_on_both_sides(tmp_path, orientation):
    draw_pair(tmp_path, "p", size=(20, 30))
    pair = Pair(image_of(tmp_path, "p"), mask_of(tmp_path, "p"))
    turn(pair.image, orientation)
    turn(pair.mask, orientation)
    repair(examine([DatasetSpec([pair], 1)]), Path("fixed"))
    for source, name in ((pair.image, "images/p.png"), (pair.mask, "masks/p.png")):
        with Image.open(source) as picture, Image.open(Path("fixed", name)) as result:
            np.testing.assert_array_equal(np.asarray(result), np.asarray(ImageOps.exif_transpose(picture)))
            assert 0x0112 not in result.getexif()


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_drawn_on_the_stored_pixels_is_turned_like_its_image(tmp_path, orientation):
    draw_pair(tmp_path, "p", size=(20, 30))
    pair = Pair(image_of(tmp_path, "p"), mask_of(tmp_path, "p"))
    turn(pair.image, orientation)
    record = repair(examine([DatasetSpec([pair], 1)]), Path("fixed"))
    assert done(record)["p"] == ["image turned upright", "mask turned as the EXIF tag of its image says"]
    image, mask = pixels("fixed/images/p.png"), pixels("fixed/masks/p.png")
    assert image.shape[:2] == mask.shape == (30, 20)
    assert image[mask > 0].min() >= 120 > 100 > image[mask == 0].max()  # the bright square of `draw_pair`


@pytest.mark.parametrize(("size", "orientation"), [((32, 32), 6), ((20, 30), 3)])
def test_a_mask_that_is_resized_and_may_lie_otherwise_is_to_be_looked_at(tmp_path, size, orientation):
    draw_pair(tmp_path, "p", size=size)
    pair = Pair(image_of(tmp_path, "p"), mask_of(tmp_path, "p"))
    turn(pair.image, orientation)
    write_mask(pair.mask, cv2.resize(pixels(pair.mask), None, fx=0.5, fy=0.5))
    record = repair(examine([DatasetSpec([pair], 1)]), Path("fixed"))
    told = done(record)["p"]
    assert any(line.startswith("mask resized from") for line in told)
    assert "LOOK whether image and mask fit: they were turned differently" in told


@pytest.mark.parametrize("mode", ["palette", "16-bit", "RGB", "1-bit", "grey + alpha"])
def test_masks_become_grey_png_for_saliency_and_ids_for_classes(tmp_path, mode):
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
def test_pixels_that_do_not_count_stay_so(data, num_classes, mark):
    for index in range(6):
        values = np.full((32, 32), 0, np.uint8)
        values[:9], values[9:12], values[12:14] = (255, 250, 128) if num_classes == 1 else (2, 250, 1)
        write_mask(mask_of(data, f"p{index}"), values)
    record = fixed(data, num_classes, ignore_index=250)
    assert record["settings"]["ignore_index"] == mark
    written = pixels("fixed/masks/p0.png")[[0, 9, 12, 14], 0].tolist()
    assert written == ([255, 128, 127, 0] if num_classes == 1 else [2, 255, 1, 0])


def test_what_validation_shows_too_is_taken_out_of_training(data):
    shutil.copy(image_of(data, "p4"), image_of(data, "p0"))
    cv2.imwrite(str(image_of(data, "p1")), cv2.imread(str(image_of(data, "p5")))[:, ::-1])
    record = fixed(data)
    assert [Path(row["image"]).stem for row in record["left out"]] == ["p0", "p1"]
    assert "shows the same as" in record["left out"][0]["why"]
    assert len(Path("fixed/val_list.txt").read_text().splitlines()) == 2


def copies(data: Path, name: str, names: list[str]) -> list[str]:
    """Files of one content; the lines that list them."""
    for other in names:
        shutil.copy(image_of(data, name), image_of(data, other))
        shutil.copy(mask_of(data, name), mask_of(data, other))
    return [f"images/{other}.png\tmasks/{other}.png\n" for other in names]


def listed_more(data: Path, mode: str, lines: list[str]) -> None:
    with (data / f"{mode}_list.txt").open("a") as file:
        file.writelines(lines)


@pytest.mark.parametrize("change", [None, "brighter"])
def test_no_copy_of_what_validation_shows_is_left_however_many_there_are(data, change):
    """Forty on each side, so that none is among the nearest of all."""
    listed_more(data, "train", copies(data, "p4", [f"t{i}" for i in range(40)]))
    listed_more(data, "val", copies(data, "p4", [f"v{i}" for i in range(40)]))
    for index in range(40 if change else 0):
        path = image_of(data, f"t{index}")
        cv2.imwrite(str(path), np.clip(cv2.imread(str(path)) * 0.8 + index, 0, 255).astype(np.uint8))
    record = fixed(data)
    left_out = {Path(row["image"]).stem for row in record["left out"]}
    assert left_out == {f"t{index}" for index in range(40)}
    again = diagnose(examine(sets(Path("fixed"))))
    assert not [finding.name for finding in again if "two sets" in finding.name]


def test_what_validation_loses_for_another_reason_does_not_count(data):
    """Of two copies in val one is useless; the other is there, and one of train's stays where none is."""
    listed_more(data, "train", copies(data, "p4", ["t0", "t1"]))
    listed_more(data, "val", copies(data, "p4", ["v0"]))
    shutil.copy(image_of(data, "p5"), image_of(data, "p1"))
    for name in ("p4", "p5"):
        mask_of(data, name).write_text("no")
    record = fixed(data)
    assert {Path(row["image"]).stem for row in record["left out"]} == {"p4", "p5", "t0", "t1"}


def test_two_sets_of_one_mode_are_refused(data):
    one, other = sets(data)
    other = replace(other, mode="train")
    with pytest.raises(
        ValueError, match="--fix new: train and val have one mode, train, and so one list in the copy. Fix: "
    ):
        repair(examine([one, other]), Path("new"))
    assert not Path("new").exists()


def test_a_half_turn_is_not_taken_for_what_makes_sizes_fit(tmp_path):
    for name in ("p", "q"):
        draw_pair(tmp_path, name, size=(20, 30))
    write_mask(mask_of(tmp_path, "p"), pixels(mask_of(tmp_path, "p")).T.copy())
    turn(image_of(tmp_path, "p"), 3)
    pairs = [Pair(image_of(tmp_path, name), mask_of(tmp_path, name)) for name in ("p", "q")]
    record = repair(examine([DatasetSpec(pairs, 1)]), Path("fixed"))
    assert [Path(row["image"]).stem for row in record["left out"]] == ["p"]


@pytest.mark.parametrize(("size", "doubtful"), [((20, 30), False), ((30, 30), True)])
def test_a_turned_image_whose_mask_may_lie_either_way_is_marked(tmp_path, size, doubtful):
    draw_pair(tmp_path, "p", size=size)
    write_mask(mask_of(tmp_path, "p"), pixels(mask_of(tmp_path, "p")).T.copy())  # drawn on the upright image
    turn(image_of(tmp_path, "p"), 6)
    pair = Pair(image_of(tmp_path, "p"), mask_of(tmp_path, "p"))
    record = repair(examine([DatasetSpec([pair], 1)]), Path("fixed"))
    doubt = ["LOOK whether image and mask fit: they were turned differently"]
    assert done(record)["p"] == ["image turned upright", *(doubt if doubtful else [])]


def test_names_that_clash_or_break_lists_become_safe(tmp_path):
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
    again = diagnose(examine([DatasetSpec(list_of(tmp_path / "fixed"), 1)]))
    assert not [finding.name for finding in again if finding.check.severity == "error"]


def list_of(root: Path) -> list[Pair]:
    from paddleseg_u2net.data.pairs import read_list

    pairs, faults = read_list(root / "train_list.txt", root)
    assert not faults
    return pairs


def test_what_cannot_be_is_refused_and_nothing_is_written(data):
    survey = examine(sets(data))
    Path("there").mkdir()
    with pytest.raises(FileExistsError, match="--fix there: exists already. Fix: another folder"):
        repair(survey, Path("there"))
    with pytest.raises(ValueError, match="lies among the originals in .*images. Fix: another folder"):
        repair(survey, data / "images" / "new")
    for index in range(6):
        write_mask(mask_of(data, f"p{index}"), np.eye(32, dtype=np.uint8) * 3)
    with pytest.raises(
        DataError, match="look like class ids.*\n--fix cannot decide how the masks are to be read"
    ):
        repair(examine(sets(data)), Path("new"))
    with pytest.raises(ValueError, match="lies among the originals in .*my data. Fix: another folder"):
        check_destination([surveyed.dataset for surveyed in survey.datasets], data / "new", [data])
    with pytest.raises(ValueError, match="no pair of .* would be left. Fix: mend by hand"):
        repair(examine([DatasetSpec([Pair(Path("a/no.png"), None)], 1)]), Path("new"))
    assert tree(".") == tree(data.parent)
    assert not Path("new").exists()


def test_a_failure_on_the_way_leaves_nothing(data, monkeypatch):
    survey = examine(sets(data))
    mask_of(data, "p3").unlink()
    with pytest.raises(FileNotFoundError, match="p3.png: no such mask file"):
        repair(survey, Path("new"))
    assert not Path("new").exists()
    assert not list(Path().glob(".new*"))


def test_a_read_only_original_is_enough(data):
    for folder in (data / "images", data / "masks", data):
        folder.chmod(0o555)
    try:
        assert len(fixed(data)["files"]) == 6
    finally:
        for folder in (data, data / "images", data / "masks"):
            folder.chmod(0o755)
