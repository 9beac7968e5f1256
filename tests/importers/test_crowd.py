"""COCO's iscrowd: crowd regions, or a mark that programs give to every mask stored as RLE."""

from __future__ import annotations

import numpy as np
import pytest
from annotation_files import draw_first, encode_rle, write_coco
from support import pixels, write_mask

from paddleseg_u2net.importers.coco import read_coco, read_coco_files
from paddleseg_u2net.importers.crowd import read_flag


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((4, 6), bool)
    mask[top:bottom, left:right] = True
    return mask


def rle(mask: np.ndarray, **more) -> dict:
    return {"segmentation": {"size": list(mask.shape), "counts": encode_rle(mask)[0]}, "iscrowd": 1, **more}


def outcomes(found) -> list[tuple[str, int]]:
    """Outcome and number of the annotations of the first image, as they are drawn."""
    from paddleseg_u2net.importers.drawing import draw_mask

    values = {"cat": 1, "dog": 2, "__ignore__": 255}
    counts = draw_mask(found.images[0], values, 4, 6).counts
    counts.merge(found.counts)
    return [(row.outcome, row.count) for row in counts.rows()]


@pytest.mark.parametrize("value", [0, 0.0, "0", "0.0", False, None, "", " 0 ", "False", "no"])
def test_iscrowd_of_any_spelling_of_0_is_false(tmp_path, value):
    assert read_flag(value) is False
    found = read_coco(write_coco(tmp_path / "a.json", [{"iscrowd": value}]), tmp_path)
    assert (found.faults, found.images[0].regions[0].crowd) == ([], False)


@pytest.mark.parametrize("value", [1, 1.0, "1", True, "true", "True", "yes"])
def test_iscrowd_of_any_spelling_of_1_is_true(value):
    assert read_flag(value) is True


@pytest.mark.parametrize("value", [2, -1, "2", "perhaps", [], {}, 0.5])
def test_iscrowd_of_another_value_is_unknown(value):
    assert read_flag(value) is None


def test_masks_of_single_objects_are_objects_though_all_are_marked_as_crowd(tmp_path):
    cat, dog = box(0, 0, 4, 3), box(1, 3, 3, 6)
    rows = [rle(cat), rle(dog, category_id=18)]
    found = read_coco(write_coco(tmp_path / "a.json", rows), tmp_path)
    np.testing.assert_array_equal(draw_first(found), cat + 2 * dog)
    assert outcomes(found) == [("kept", 2)]


def test_marked_masks_beside_as_many_polygons_are_objects(tmp_path):
    rows = [{"segmentation": [[0, 0, 2, 0, 2, 4, 0, 4]]}, rle(box(0, 3, 4, 6))]
    found = read_coco(write_coco(tmp_path / "a.json", rows), tmp_path)
    np.testing.assert_array_equal(draw_first(found), box(0, 0, 4, 2) | box(0, 3, 4, 6))


def polygons(count: int, **more) -> list[dict]:
    return [
        {"segmentation": [[n % 3, 0, n % 3 + 1, 0, n % 3 + 1, 4, n % 3, 4]], **more} for n in range(count)
    ]


def test_few_marked_masks_among_polygons_are_crowd_regions_and_are_counted(tmp_path):
    path = write_coco(tmp_path / "a.json", [*polygons(9), rle(box(0, 3, 4, 6))])
    found = read_coco(path, tmp_path)
    np.testing.assert_array_equal(draw_first(found), box(0, 0, 4, 3) + 255 * box(0, 3, 4, 6))
    assert outcomes(found)[-1] == ("ignored", 1)
    found = read_coco(path, tmp_path, "drop")
    assert (draw_first(found)[:, 3:] == 0).all()
    assert outcomes(found)[-1] == ("left out", 1)


def test_few_marked_masks_are_objects_in_files_of_programs_that_mark_every_rle(tmp_path):
    attributes = {"attributes": {"occluded": False, "rotation": 0.0}}
    rows = [*polygons(9, **attributes), rle(box(0, 3, 4, 6), **attributes)]
    found = read_coco(write_coco(tmp_path / "a.json", rows), tmp_path)
    np.testing.assert_array_equal(draw_first(found), np.ones((4, 6)))


def test_two_marked_masks_of_a_category_in_an_image_are_objects(tmp_path):
    path = write_coco(tmp_path / "a.json", [*polygons(9), rle(box(0, 3, 4, 4)), rle(box(0, 5, 4, 6))])
    assert draw_first(read_coco(path, tmp_path))[0].tolist() == [1, 1, 1, 1, 0, 1]
    assert draw_first(read_coco(path, tmp_path, "ignore"))[0].tolist() == [1, 1, 1, 255, 0, 255]


def test_the_files_of_all_parts_decide_together(tmp_path):
    train = write_coco(tmp_path / "train.json", [rle(box(0, 3, 4, 6))] * 2)
    val = write_coco(tmp_path / "val.json", [*polygons(2), rle(box(0, 3, 4, 6))])
    assert draw_first(read_coco(val, tmp_path))[0, 5] == 255
    assert draw_first(read_coco_files([train, val], [tmp_path] * 2)[1])[0, 5] == 1


def test_command_keeps_objects_of_a_brush_and_says_why(make, tmp_path):
    rows, images, truth = [], [], {}
    for index in range(4):
        write_mask(tmp_path / "photos" / f"{index}.png", np.full((20, 24, 3), 50 * index, np.uint8))
        mask = np.zeros((20, 24), bool)
        mask[index : index + 9, 3:15] = True
        images.append({"id": index, "file_name": f"{index}.png", "height": 20, "width": 24})
        rows.append(rle(mask, image_id=index))
        truth[index] = mask
    write_coco(tmp_path / "a.json", rows, images=images)
    code, out, err = make("--coco", "a.json", "--image_dir", "photos")
    assert (code, err) == (0, "")
    assert "kept      annotations      4  iscrowd is set, but 4 of 4 are marked (--crowd ignore" in out
    for index, mask in truth.items():
        np.testing.assert_array_equal(pixels(f"data/mine/masks/{index}.png"), mask)
