"""COCO and LabelMe against published annotations, scikit-image, Pillow, hand-made RLE, and every refusal."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from annotation_files import SQUARE, coco, encode, labelme, shape
from PIL import Image, ImageDraw

from paddleseg_u2net.importers.annotations import (
    IGNORE_LABEL,
    Annotated,
    Region,
    class_values,
    draw,
    join_labels,
)
from paddleseg_u2net.importers.coco import read_coco
from paddleseg_u2net.importers.labelme import read_labelme
from paddleseg_u2net.importers.rasterize import (
    decode_counts,
    fill_circle,
    fill_polygon,
    fill_polygons,
    fill_rectangle,
    fill_rle,
)

# annotation 1768 of instances_val2017.json, as published: area 702.1057, bbox [473.07, 395.93, 38.65, 28.67]
DOG = """510.66 423.01 511.72 420.03 510.45 416.0 510.34 413.02 510.77 410.26 510.77 407.5 510.34 405.16
511.51 402.83 511.41 400.49 510.24 398.16 509.39 397.31 504.61 399.22 502.17 399.64 500.89 401.66
500.47 402.08 499.09 401.87 495.79 401.98 490.59 401.77 488.79 401.77 485.39 398.58 483.9 397.31
481.56 396.35 478.48 395.93 476.68 396.03 475.4 396.77 473.92 398.79 473.28 399.96 473.49 401.87
474.56 403.47 473.07 405.59 473.39 407.71 476.68 409.41 479.23 409.73 481.56 410.69 480.4 411.85
481.35 414.93 479.86 418.65 477.32 420.03 476.04 422.58 479.02 422.58 480.29 423.01 483.79 419.93
486.66 416.21 490.06 415.57 492.18 416.85 491.65 420.24 492.82 422.9 493.56 424.39 496.43 424.6
498.02 423.01 498.13 421.31 497.07 420.03 497.07 415.15 496.33 414.51 501.1 411.96 502.06 411.32
503.02 415.04 503.33 418.12 501.1 420.24 498.98 421.63 500.47 424.39 505.03 423.32 506.2 421.31
507.69 419.5 506.31 423.32 510.03 423.01 510.45 423.01"""
# of a 574 x 640 image, written by pycocotools for the tests of a detector's evaluation
PUBLISHED = {
    "bZk47fa0;F2OO01O00000000000000O2OYbS6": 261,
    "icR5?^a04M0000O01001O0000000000001NVgk5": 270,
    "[nT5<_a08B9O2O01O0O2O6K2M1N5K[Rk5": 284,
}


def whole(window, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    rows, columns = window.inside.shape
    mask[window.top : window.top + rows, window.left : window.left + columns] = window.inside
    return mask


# -- polygons ---------------------------------------------------------------------------------------------


def test_polygons_are_those_of_scikit_image_pixel_for_pixel():
    polygon2mask = pytest.importorskip("skimage.draw").polygon2mask
    rng = np.random.default_rng(0)
    for corners in (3, 4, 5, 9, 40):  # most of them cross themselves, and reach beyond the image
        points = rng.uniform(-8, 40, (corners, 2))
        expected = polygon2mask((30, 34), points[:, ::-1] - 0.5)  # there a pixel's centre is whole
        assert expected.any()
        np.testing.assert_array_equal(whole(fill_polygon(points.tolist(), 30, 34), 30, 34), expected)
        np.testing.assert_array_equal(whole(fill_polygon(points.ravel().tolist(), 30, 34), 30, 34), expected)


def test_polygons_are_those_of_pillow_but_for_the_outline_it_draws():
    rng = np.random.default_rng(1)
    for _ in range(5):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        points = 50 + rng.uniform(20, 45, 12)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        picture = Image.new("1", (100, 100))
        ImageDraw.Draw(picture).polygon([tuple(point) for point in points], fill=1, outline=1)
        own, other = whole(fill_polygon(points, 100, 100), 100, 100), np.asarray(picture)
        share = np.linspace(0, 1, 200)[:, None, None]
        outline = (share * points + (1 - share) * np.roll(points, 1, axis=0)).reshape(-1, 2)
        differing = np.argwhere(own != other)[:, ::-1] + 0.5
        away = np.hypot(*(differing[:, None] - outline).transpose(2, 0, 1)).min(axis=1)
        assert away.max() < 1.5
        assert (own & other).sum() / (own | other).sum() > 0.93


def test_a_polygon_that_coco_publishes_has_its_area_and_box():
    window = fill_polygon([float(number) for number in DOG.split()], 427, 640)
    assert abs(window.inside.sum() - 702.1) < 3
    rows, columns = np.nonzero(whole(window, 427, 640))
    assert (columns.min(), rows.min()) == (473, 396)
    assert (columns.max() + 1 - 473, rows.max() + 1 - 396) == (39, 29)


def test_squares_have_their_area_and_neighbours_share_no_pixel():
    square = fill_polygon([2, 3, 12, 3, 12, 13, 2, 13], 20, 20)
    assert (square.top, square.left, square.inside.shape) == (3, 2, (10, 10))
    assert square.inside.all()
    pieces = [
        [0, 0, 20, 0, 7.5, 7.5],
        [20, 0, 20, 20, 7.5, 7.5],
        [20, 20, 0, 20, 7.5, 7.5],
        [0, 20, 0, 0, 7.5, 7.5],
    ]
    covered = sum(whole(fill_polygon(piece, 20, 20), 20, 20).astype(int) for piece in pieces)
    np.testing.assert_array_equal(covered, 1)


@pytest.mark.parametrize(
    "points", [[5, 5, 5, 5, 5, 5], [0, 3.6, 9, 3.6, 9, 4.4], [-9, -9, -5, -9, -5, -5], [30, 0, 40, 0, 40, 9]]
)
def test_what_holds_no_centre_of_a_pixel_has_no_pixel(points):
    assert not fill_polygon(points, 10, 10).inside.any()


def test_one_pixel_and_the_whole_image_are_found():
    assert fill_polygon([0, 0, 1, 0, 1, 1, 0, 1], 1, 1).inside.tolist() == [[True]]
    assert whole(fill_polygon([-9, -9, 99, -9, 99, 99, -9, 99], 4, 7), 4, 7).all()


def test_parts_of_an_object_are_joined():
    parts = [[0, 0, 2, 0, 2, 2, 0, 2], [1, 1, 3, 1, 3, 3, 1, 3]]
    assert whole(fill_polygons(parts, 4, 4), 4, 4).sum() == 7
    with pytest.raises(ValueError, match="polygon 1: expected 3 or more points"):
        fill_polygons([parts[0], [1, 1, 2, 2]], 4, 4)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "expected 3 or more points"),
        ([1, 2, 3, 4], "expected 3 or more points"),
        ([1, 2, 3, 4, 5], "expected x and y of each point as numbers"),
        (["a", "b"] * 3, "expected x and y of each point as numbers"),
        ([[1, 2], [3]], "expected x and y of each point as numbers"),
        ({"x": 1}, "expected x and y of each point as numbers"),
        (None, "expected x and y of each point as numbers, got None"),
        ([1, 2, 3, 4, 5, float("nan")], "expected 3 or more points inside an image"),
        ([1, 2, 3, 4, 5, 1e300], "expected 3 or more points inside an image"),
        ([0, 0, 1, 8192] * 10000, "its outline crosses"),
    ],
)
def test_points_that_are_no_polygon_are_refused(points, message):
    with pytest.raises(ValueError, match=message):
        fill_polygon(points, 8192, 8192)


def test_rectangles_and_circles_have_their_area():
    assert fill_rectangle([[8, 9], [2, 4]], 20, 20).inside.sum() == 30  # corners in any order
    rows, columns = np.mgrid[:40, :50] + 0.5
    expected = np.hypot(columns - 20.3, rows - 11.8) <= 13
    np.testing.assert_array_equal(whole(fill_circle([[20.3, 11.8], [20.3, 24.8]], 40, 50), 40, 50), expected)


# -- RLE --------------------------------------------------------------------------------------------------


def test_published_compressed_rle_add_up_to_their_image():
    assert decode_counts("52203") == [5, 2, 2, 2, 5]
    for text, area in PUBLISHED.items():
        assert sum(decode_counts(text)) == 574 * 640
        window = fill_rle({"size": [574, 640], "counts": text}, 574, 640)
        assert window.inside.sum() == area
        assert encode(window.inside)[1] == text


def test_rle_goes_down_the_columns():
    expected = [[0, 0, 1], [1, 0, 1]]
    for counts in ([1, 1, 2, 2], "1121"):
        window = fill_rle({"size": [2, 3], "counts": counts}, 2, 3)
        assert window.inside.astype(int).tolist() == expected


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 1])
def test_rle_gives_masks_back(share):
    mask = np.random.default_rng(0).random((37, 61)) < share
    for counts in encode(mask):
        window = fill_rle({"size": [37, 61], "counts": counts}, 37, 61)
        np.testing.assert_array_equal(window.inside, mask)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({}, r"size: expected \[2, 3\]"),
        ({"size": [3, 2], "counts": [6]}, r"size: expected \[2, 3\] \(H, W\), got \[3, 2\]"),
        ({"size": [2, 3], "counts": [5]}, "add up to 5 pixels, expected 6"),
        ({"size": [2, 3], "counts": [8, -2]}, "expected run lengths or compressed text"),
        ({"size": [2, 3], "counts": [2.0, 4.0]}, "expected run lengths or compressed text"),
        ({"size": [2, 3]}, "expected run lengths or compressed text, got None"),
        ({"size": [2, 3], "counts": "11 21"}, "' ' does not belong"),
        ({"size": [2, 3], "counts": "11é"}, "'é' does not belong"),
        ({"size": [2, 3], "counts": "112Q"}, "ends within a number"),
        ({"size": [2, 3], "counts": "o" * 10**6}, "'o' does not belong"),
    ],
)
def test_broken_rle_is_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        fill_rle(shape, 2, 3)


# -- files ------------------------------------------------------------------------------------------------

INNER = [[1, 1, 3, 1, 3, 3, 1, 3]]


def drawn(found, wanted=None, saliency=False) -> np.ndarray:
    _, values = class_values(join_labels([found])[0], wanted, saliency)
    ids, faults = draw(found.images[0], values, 4, 6)
    assert faults == []
    return ids


def test_coco_classes_are_in_the_order_of_their_ids_and_small_objects_on_top(tmp_path):
    rows = [{"category_id": 18, "segmentation": INNER}, {}]
    found = read_coco(coco(tmp_path / "a.json", rows), tmp_path)
    assert join_labels([found]) == (["cat", "dog"], [])
    assert found.faults == []
    assert (found.images[0].image, found.images[0].name) == (tmp_path / "sub" / "ü a.jpg", "sub/ü a")
    expected = np.zeros((4, 6), int)
    expected[:4, :4] = 1
    expected[1:3, 1:3] = 2
    np.testing.assert_array_equal(drawn(found), expected)
    np.testing.assert_array_equal(drawn(found, saliency=True), expected > 0)
    np.testing.assert_array_equal(drawn(found, ["dog"]), expected == 2)
    np.testing.assert_array_equal(drawn(found, ["dog", "cat"]), np.array([0, 2, 1])[expected])


def test_any_category_ids_are_classes_in_their_order_and_those_of_one_name_are_one(tmp_path):
    ids = {9000: "dog", 0: "cat", "a": "hare", 300: "dog"}
    names = [{"id": key, "name": name} for key, name in ids.items()]
    corners = [[[n, 0, n + 1, 0, n + 1, 4, n, 4]] for n in range(4)]
    rows = [{"category_id": key, "segmentation": part} for key, part in zip(ids, corners, strict=True)]
    found = read_coco(coco(tmp_path / "a.json", rows, categories=names), tmp_path)
    assert class_values(join_labels([found])[0])[0] == ["cat", "dog", "hare"]
    assert drawn(found)[0].tolist() == [2, 1, 3, 2, 0, 0]


@pytest.mark.parametrize(
    "points", [[1, 2, 3, 4, 5, "x"], [1, 2, 3, 4, 5, 10**400], [[1], [2, 3]], {}, "abcdef"]
)
def test_polygons_that_cannot_be_packed_are_told_when_they_are_drawn(tmp_path, points):
    found = read_coco(coco(tmp_path / "a.json", [{"segmentation": [points]}]), tmp_path)
    ((fault,),) = draw(found.images[0], {"cat": 1}, 4, 6)[1:]
    assert "annotations[0]: segmentation: expected x and y of each point as numbers, got " in fault


@pytest.mark.parametrize(("crowd", "value"), [("ignore", 255), ("class", 2), ("drop", 0)])
def test_crowds_do_not_count_or_as_asked_and_never_hide_an_object(tmp_path, crowd, value):
    rle = {"size": [4, 6], "counts": [20, 4]}
    rows = [{"category_id": 3, "segmentation": [[4, 0, 6, 0, 6, 2, 4, 2]]}]
    rows += [{"category_id": 18, "segmentation": rle, "iscrowd": 1}]
    rows += [{"category_id": 3, "segmentation": [[4, 0, 6, 0, 6, 2, 4, 2]]}]
    rows += [{"category_id": 18, "segmentation": {"size": [4, 6], "counts": [16, 1, 7]}, "iscrowd": 1}]
    ids = drawn(read_coco(coco(tmp_path / "a.json", rows), tmp_path, crowd))
    assert ids[2, 5] == value
    if crowd != "class":
        assert ids[0, 4] == 1


def test_only_a_format_is_taken_off_a_name(tmp_path):
    size = {"height": 4, "width": 6}
    images = [{"id": n, "file_name": name, **size} for n, name in enumerate(("a.001", "a.002", "b.JPG"))]
    found = read_coco(coco(tmp_path / "a.json", [], images=images), tmp_path)
    assert [image.name for image in found.images] == ["a.001", "a.002", "b"]


def test_every_fault_of_a_coco_file_has_its_place(tmp_path):
    image = {"id": 7, "file_name": "a.jpg", "height": 4, "width": 6}
    images = [image, image, {**image, "id": 8, "file_name": "../b.jpg"}, {**image, "id": 9, "width": "6"}]
    images += [
        {**image, "id": 10, "file_name": "/b.jpg"},
        {**image, "id": 11, "file_name": "c\\..\\..\\b.jpg"},
        5,
    ]
    rows = [{"image_id": 70}, {"category_id": 4}, {"segmentation": []}, {"segmentation": None}]
    categories = [{"id": 3, "name": "cat"}, {"id": True}, {"id": 3, "name": "dog"}]
    path = coco(tmp_path / "a.json", rows, images=images, categories=categories)
    assert [image.name for image in read_coco(path, tmp_path).images] == ["a"]
    for expected in (
        "images[1]: id 7 stands twice. Fix:",
        "images[2]: file_name '../b.jpg' leads out of",
        "images[3]: width: expected a whole number, got '6'",
        "images[4]: file_name '/b.jpg' leads out of",
        "images[5]: file_name 'c\\\\..\\\\..\\\\b.jpg' leads out of",
        "images[6]: expected an object in braces, got 5",
        "categories[1]: id: expected a whole number or text, got True",
        "categories[1]: name: expected text, got None",
        "categories[2]: id 3 stands twice. Fix: number the categories anew",
        "annotations[0]: image_id 70: not among the images",
        "annotations[1]: category_id 4: not among the categories",
        "annotations[2]: segmentation: empty; a box alone has no outline. Fix:",
        "annotations[3]: segmentation: expected a list or an object in braces, got None",
    ):
        faults = read_coco(path, tmp_path).faults
        assert any(f"{path}: {expected}" in fault for fault in faults), (expected, faults)
    assert len(faults) == 13
    path.write_text('{"info": {}}')
    assert [fault.split(": ")[1] for fault in read_coco(path, tmp_path).faults] == [
        "categories",
        "images",
        "annotations",
    ]


def test_a_shape_that_cannot_be_drawn_has_its_place(tmp_path):
    path = coco(tmp_path / "a.json", [{}, {"segmentation": [[1, 2, 3]]}, {"segmentation": {"size": [9, 9]}}])
    found = read_coco(path, tmp_path)
    _, faults = draw(found.images[0], {"cat": 1}, 4, 6)
    assert [fault.split(" expected")[0] for fault in faults] == [
        f"{path}: annotations[1]: segmentation: polygon 0:".replace(" polygon 0:", ""),
        f"{path}: annotations[2]: segmentation: size:",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ":1: not JSON: Expecting value"),
        (b'{"images":\n[1,', ":2: not JSON"),
        (b"\xff\xfe\xfa", ": not JSON"),
        (b"[" * 100000, ": not JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", ": not JSON"),  # Python reads 4300 digits
        (b"[]", ": expected an object in braces, got a list"),
        (None, ": no such file"),
    ],
)
def test_what_is_no_json_is_named_with_its_line(tmp_path, content, message):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"a.json{message}"):
        read_coco(path, tmp_path)


def test_labelme_draws_in_order_with_its_names_for_background_and_ignored(tmp_path, caplog):
    box = [[0, 0], [4, 4]]
    labelme(
        tmp_path / "sub" / "ü a.json",
        shape("dog", [[1, 1], [3, 3]], "rectangle"),
        shape("cat", box, "rectangle"),
        shape("_background_", [[1, 1], [2, 1], [2, 2], [1, 2]], None),
        shape("__ignore__", [[5, 0], [6, 0], [6, 4], [5, 4]]),
        shape("dog", [[4, 1], [4, 2]], "line"),
        shape("dog", [[4, 1]], "point"),
    )
    found = read_labelme(tmp_path)
    labels, _ = join_labels([found])
    assert labels == ["__ignore__", "_background_", "cat", "dog"]
    assert class_values(labels)[0] == ["cat", "dog"]
    assert found.images[0].image == tmp_path / "sub" / "ü a.jpg"
    ids = drawn(found)
    assert ids[0, 0] == ids[2, 2] == 1  # the cat was drawn over the dog
    assert ids[1, 1] == ids[0, 4] == 0
    assert (ids[:, 5] == 255).all()
    assert "shapes without an area are left out: 1 line, 1 point" in caplog.text


def test_labelme_images_are_where_windows_says_and_their_masks_never_outside(tmp_path):
    more = {"imagePath": "..\\photos\\ü a.jpg", "imageData": "x" * 1000}
    group = [shape("cat", [[0, 0], [n, n]], "rectangle", group_id=7) for n in (2, 4)]
    labelme(tmp_path / "json" / "sub" / "b.json", *group, **more)
    labelme(tmp_path / "json" / "c.json", shape("cat", [[3, 3]], "circle"), imagePath="../../etc/x.jpg")
    found = read_labelme(tmp_path / "json")
    assert [image.name for image in found.images] == ["c", "sub/b"]
    assert found.images[1].image.resolve() == tmp_path / "json" / "photos" / "ü a.jpg"
    assert draw(found.images[1], {"cat": 1}, 4, 6)[0].sum() == 16
    assert draw(found.images[0], {"cat": 1}, 4, 6)[1] == [
        f"{tmp_path / 'json' / 'c.json'}: shapes[0]: expected 2 or more points inside an image, got [[3, 3]]"
    ]


def test_masks_that_labelme_stores_as_pictures_are_drawn(tmp_path):
    picture = io.BytesIO()
    Image.fromarray(np.array([[1, 0, 1], [0, 1, 0]], np.uint8)).save(picture, "PNG")
    text = base64.b64encode(picture.getvalue()).decode()
    labelme(tmp_path / "a.json", shape("cat", [[4, 1], [6, 2]], "mask", mask=text))
    expected = np.zeros((4, 6), int)
    expected[1, 4] = expected[2, 5] = 1  # its last column lies outside
    np.testing.assert_array_equal(drawn(read_labelme(tmp_path)), expected)
    for broken, points in (("%", [[0, 0]]), (text[:40], [[0, 0]]), (None, [[0, 0]]), (text, [[-3, 0]])):
        labelme(tmp_path / "a.json", shape("cat", points, "mask", mask=broken))
        found = read_labelme(tmp_path)
        (fault,) = draw(found.images[0], {"cat": 1}, 4, 6)[1]
        assert f"{tmp_path / 'a.json'}: shapes[0]: mask: " in fault


def test_every_fault_of_labelme_files_has_its_place(tmp_path):
    labelme(tmp_path / "a.json", shape("cat", [[0, 0]], "polygo"), {"label": 5, "points": []}, 3)
    labelme(tmp_path / "b.json", imagePath=None)
    (tmp_path / "c.json").write_text("no")
    labelme(tmp_path / "d.json", shape("cat", [[0, 0], [1, 1], [1, 0]]))
    found = read_labelme(tmp_path)
    text = "\n".join(found.faults)
    for expected in (
        "a.json: shapes[0]: shape_type: 'polygo'. Did you mean 'polygon'?",
        "a.json: shapes[1]: label: expected text, got 5",
        "a.json: shapes[2]: expected an object in braces, got 3",
        "b.json: imagePath: expected text, got None",
        "c.json:1: not JSON",
    ):
        assert expected in text
    assert len(text.splitlines()) == 5
    assert [image.name for image in found.images] == ["d"]
    with pytest.raises(FileNotFoundError, match="no JSON file there. Fix:"):
        read_labelme(tmp_path / "absent")


def test_classes_that_are_not_there_or_too_many_are_refused():
    with pytest.raises(ValueError, match="class 'dgo': nothing is called so. Did you mean 'dog'"):
        class_values(["dog", "cat"], ["cat", "dgo"])
    with pytest.raises(ValueError, match="no object is annotated"):
        class_values([IGNORE_LABEL])
    with pytest.raises(ValueError, match="255 classes, at most 254 fit a mask. Fix:"):
        class_values([f"c{n}" for n in range(255)])
    assert set(class_values([f"c{n}" for n in range(255)], saliency=True)[1].values()) == {0, 1, 255}
    assert class_values(["b", "a", "b"], saliency=True) == (
        ["b", "a"],
        {"_background_": 0, "b": 1, "a": 1, "__ignore__": 255},
    )


def test_an_image_without_shapes_is_background():
    image = Annotated(Path("a.jpg"), "a", "", None, [Region("", "dog", "polygons", SQUARE)], False)
    assert not draw(image, {}, 4, 6)[0].any()
