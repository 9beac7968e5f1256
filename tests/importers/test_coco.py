"""Reading COCO instances, and the benchmark of it."""

from __future__ import annotations

import numpy as np
import pytest
from annotation_files import draw_first, encode_rle, write_coco

from paddleseg_u2net.importers.coco import read_coco
from paddleseg_u2net.importers.drawing import draw_mask
from paddleseg_u2net.importers.labels import assign_classes, merge_labels
from tools.benchmarks import coco as benchmark_coco

LAST_COLUMN = np.arange(24).reshape(4, 6) % 6 == 5
INNER = [[1, 1, 3, 1, 3, 3, 1, 3]]


def test_classes_are_ordered_by_category_id_and_small_objects_are_on_top(tmp_path):
    rows = [{"category_id": 18, "segmentation": INNER}, {}]
    found = read_coco(write_coco(tmp_path / "a.json", rows), tmp_path)
    assert merge_labels([found]) == (["cat", "dog"], [])
    assert found.faults == []
    assert (found.images[0].image, found.images[0].name) == (tmp_path / "sub" / "ü a.jpg", "sub/ü a")
    expected = np.zeros((4, 6), int)
    expected[:4, :4] = 1
    expected[1:3, 1:3] = 2
    np.testing.assert_array_equal(draw_first(found), expected)
    np.testing.assert_array_equal(draw_first(found, saliency=True), expected > 0)
    np.testing.assert_array_equal(draw_first(found, ["dog"]), expected == 2)
    np.testing.assert_array_equal(draw_first(found, ["dog", "cat"]), np.array([0, 2, 1])[expected])


def test_categories_with_the_same_name_are_one_class(tmp_path):
    ids = {9000: "dog", 0: "cat", "a": "hare", 300: "dog"}
    names = [{"id": key, "name": name} for key, name in ids.items()]
    corners = [[[n, 0, n + 1, 0, n + 1, 4, n, 4]] for n in range(4)]
    rows = [{"category_id": key, "segmentation": part} for key, part in zip(ids, corners, strict=True)]
    found = read_coco(write_coco(tmp_path / "a.json", rows, categories=names), tmp_path)
    assert assign_classes(merge_labels([found])[0])[0] == ["cat", "dog", "hare"]
    assert draw_first(found)[0].tolist() == [2, 1, 3, 2, 0, 0]


@pytest.mark.parametrize("points", [[1, 2, 3, 4, 5, "x"], [1, 2, 3, 4, 5, 10**400], [[1], [2, 3]], "abcdef"])
def test_polygon_that_cannot_be_packed_is_reported_when_drawn(tmp_path, points):
    found = read_coco(write_coco(tmp_path / "a.json", [{"segmentation": [points]}]), tmp_path)
    (fault,) = draw_mask(found.images[0], {"cat": 1}, 4, 6).faults
    assert "annotations[0]: segmentation: expected x and y of each point as numbers, got " in str(fault)


@pytest.mark.parametrize(("crowd", "value"), [("ignore", 255), ("class", 2), ("drop", 0)])
def test_crowd_regions_follow_the_mode_and_never_hide_an_object(tmp_path, crowd, value):
    rle = {"size": [4, 6], "counts": [20, 4]}
    rows = [{"category_id": 3, "segmentation": [[4, 0, 6, 0, 6, 2, 4, 2]]}]
    rows += [{"category_id": 18, "segmentation": rle, "iscrowd": 1}]
    rows += [{"category_id": 3, "segmentation": [[4, 0, 6, 0, 6, 2, 4, 2]]}]
    rows += [{"category_id": 18, "segmentation": {"size": [4, 6], "counts": [16, 1, 7]}, "iscrowd": 1}]
    ids = draw_first(read_coco(write_coco(tmp_path / "a.json", rows), tmp_path, crowd))
    assert ids[2, 5] == value
    if crowd != "class":
        assert ids[0, 4] == 1


def test_only_image_suffixes_are_removed_from_names(tmp_path):
    size = {"height": 4, "width": 6}
    images = [{"id": n, "file_name": name, **size} for n, name in enumerate(("a.001", "a.002", "b.JPG"))]
    found = read_coco(write_coco(tmp_path / "a.json", [], images=images), tmp_path)
    assert [image.name for image in found.images] == ["a.001", "a.002", "b"]


def test_numbers_may_be_floats_sizes_absent_and_brackets_of_one_polygon_left_out(tmp_path):
    images = [{"id": 7.0, "file_name": "a.jpg", "height": 4.0}]
    rows = [{"image_id": 7.0, "category_id": 3.0, "segmentation": [0, 0, 4, 0, 4, 4, 0, 4]}]
    found = read_coco(write_coco(tmp_path / "a.json", rows, images=images), tmp_path)
    assert (found.faults, found.images[0].size) == ([], None)
    assert draw_first(found)[0].tolist() == [1, 1, 1, 1, 0, 0]


def test_ids_may_be_numbers_in_quotes_but_other_texts_keep_their_zeros(tmp_path):
    names = [{"id": "3", "name": "cat"}, {"id": "18", "name": "dog"}, {"id": "03", "name": "hare"}]
    rows = [{"image_id": "7", "category_id": key, "segmentation": INNER} for key in (3, "18", "03")]
    found = read_coco(write_coco(tmp_path / "a.json", rows, categories=names), tmp_path)
    assert (found.faults, list(found.labels)) == ([], [3, 18, "03"])
    assert [region.label for region in found.images[0].regions] == ["cat", "dog", "hare"]


def test_points_of_one_polygon_may_be_pairs(tmp_path):
    pairs = [[0, 0], [4, 0], [4, 4], [0, 4]]
    rows = [{"segmentation": pairs}, {"segmentation": [pairs]}]
    found = read_coco(write_coco(tmp_path / "a.json", rows), tmp_path)
    for region in found.images[0].regions:
        drawn = draw_mask(found.images[0]._replace(regions=[region]), {"cat": 1}, 4, 6)
        assert drawn.ids.tolist() == [[1, 1, 1, 1, 0, 0]] * 4


@pytest.mark.parametrize("value", [None, 5, True, "occluded", ["occluded"], {}, {"truncated": True}])
def test_attributes_of_another_program_are_passed_over(tmp_path, value):
    rows = [{"attributes": value, "segmentation": INNER}] * 9
    rows += [{"segmentation": {"size": [4, 6], "counts": [0, 4, 20]}, "iscrowd": 1}]
    found = read_coco(write_coco(tmp_path / "a.json", rows), tmp_path)
    assert draw_first(found)[0, 0] == 255


def test_list_of_rle_is_one_object(tmp_path):
    parts = [{"size": [4, 6], "counts": [0, 4, 20]}, {"size": [4, 6], "counts": encode_rle(LAST_COLUMN)[1]}]
    found = read_coco(write_coco(tmp_path / "a.json", [{"segmentation": parts}]), tmp_path)
    assert len(found.images[0].regions) == 1
    assert draw_first(found)[0].tolist() == [1, 0, 0, 0, 0, 1]


def test_every_fault_of_a_coco_file_names_its_place(tmp_path):
    image = {"id": 7, "file_name": "a.jpg", "height": 4, "width": 6}
    images = [image, image, {**image, "id": 8, "file_name": "../b.jpg"}, {**image, "id": 9, "width": "6"}]
    images += [
        {**image, "id": 10, "file_name": "/b.jpg"},
        {**image, "id": 11, "file_name": "c\\..\\..\\b.jpg"},
        5,
    ]
    rows = [{"image_id": 70}, {"category_id": 4}, {"segmentation": []}, {"segmentation": "a"}]
    rows += [{"segmentation": None}, {"iscrowd": "perhaps"}]
    categories = [{"id": 3, "name": "cat"}, {"id": True}, {"id": 3, "name": "dog"}]
    categories += [{"id": 9, "name": " "}]
    path = write_coco(tmp_path / "a.json", rows, images=images, categories=categories)
    assert [image.name for image in read_coco(path, tmp_path).images] == ["a"]
    for expected in (
        "images[1]: id 7 is used twice. Fix:",
        "images[2]: file_name '../b.jpg' is outside",
        "images[3]: width: expected an integer, got '6'",
        "images[4]: file_name '/b.jpg' is outside",
        "images[5]: file_name 'c\\\\..\\\\..\\\\b.jpg' is outside",
        "images[6]: expected an object, got 5",
        "categories[1]: id: expected an integer or a string, got True",
        "categories[1]: name: expected a string, got None",
        "categories[2]: id 3 is used twice. Fix: give all categories different ids",
        "categories[3]: name: expected a name, got ' '",
        "annotations[0]: image_id 70: not among the images",
        "annotations[1]: category_id 4: not among the categories",
        "annotations[2]: segmentation: empty; a bounding box alone has no outline. Fix:",
        "annotations[3]: segmentation: expected a list or an object, got 'a'",
        "annotations[4]: segmentation: empty; a bounding box alone has no outline. Fix:",
        "annotations[5]: iscrowd: expected 0 or 1, got 'perhaps'",
    ):
        faults = read_coco(path, tmp_path).faults
        assert any(f"{path}: {expected}" in str(fault) for fault in faults), (expected, faults)
    assert len(faults) == 16
    path.write_text('{"info": {}}')
    faults = read_coco(path, tmp_path).faults
    assert [fault.where for fault in faults] == [
        f"{path}: {table}" for table in ("categories", "images", "annotations")
    ]


def test_shape_that_cannot_be_drawn_names_its_place(tmp_path):
    path = write_coco(
        tmp_path / "a.json", [{}, {"segmentation": [[1, 2, 3]]}, {"segmentation": {"size": [9, 9]}}]
    )
    found = read_coco(path, tmp_path)
    faults = draw_mask(found.images[0], {"cat": 1}, 4, 6).faults
    assert [fault.where for fault in faults] == [f"{path}: annotations[{n}]: segmentation" for n in (1, 2)]
    assert faults[1].what == "size: expected [4, 6] (H, W), got [9, 9]"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ":1: not JSON: Expecting value"),
        (b'{"images":\n[1,', ":2: not JSON"),
        (b"\xff\xfe\xfa", ": not JSON"),
        (b"[" * 100000, ": not JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", ": not JSON"),  # Python reads 4300 digits
        (b"[]", ": expected an object, got a list"),
        (None, ": no such file"),
    ],
)
def test_invalid_json_is_reported_with_its_line(tmp_path, content, message):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"a.json{message}"):
        read_coco(path, tmp_path)


def test_benchmark_measures_every_step(tmp_path, capsys):
    benchmark_coco.write_annotations(tmp_path, 10)
    benchmark_coco.write_images(tmp_path, 10)
    for way in benchmark_coco.WAYS:
        benchmark_coco.measure(way, tmp_path)
        assert capsys.readouterr().out.splitlines()[-1].startswith(f"| {way} | ")
    assert len(list((tmp_path / "mine" / "masks").iterdir())) == 10
