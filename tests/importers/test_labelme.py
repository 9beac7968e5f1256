"""Reading LabelMe files."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from annotation_files import draw_first, labelme_shape, write_labelme
from PIL import Image

from paddleseg_u2net.errors import Fault
from paddleseg_u2net.importers.drawing import draw_mask
from paddleseg_u2net.importers.labelme import read_labelme
from paddleseg_u2net.importers.labels import assign_classes, merge_labels


def test_later_shapes_are_on_top_and_special_labels_are_background_and_ignored(tmp_path):
    box = [[0, 0], [4, 4]]
    write_labelme(
        tmp_path / "sub" / "ü a.json",
        labelme_shape("dog", [[1, 1], [3, 3]], "rectangle"),
        labelme_shape("cat", box, "rectangle"),
        labelme_shape("_background_", [[1, 1], [2, 1], [2, 2], [1, 2]], None),
        labelme_shape("__ignore__", [[5, 0], [6, 0], [6, 4], [5, 4]]),
        labelme_shape("dog", [[4, 1], [4, 2]], "line"),
        labelme_shape("dog", [[4, 1]], "point"),
    )
    found = read_labelme(tmp_path)
    labels, _ = merge_labels([found])
    assert labels == ["__ignore__", "_background_", "cat", "dog"]
    assert assign_classes(labels)[0] == ["cat", "dog"]
    assert found.images[0].image == tmp_path / "sub" / "ü a.jpg"
    ids = draw_first(found)
    assert ids[0, 0] == ids[2, 2] == 1  # the cat was drawn over the dog
    assert ids[1, 1] == ids[0, 4] == 0
    assert (ids[:, 5] == 255).all()
    assert [(row.outcome, row.reason, row.count) for row in found.counts.rows()] == [
        ("left out", "shapes without an area: line", 1),
        ("left out", "shapes without an area: point", 1),
    ]


def test_windows_image_paths_are_read_and_mask_names_stay_inside_the_folder(tmp_path):
    more = {"imagePath": "..\\photos\\ü a.jpg", "imageData": "x" * 1000}
    group = [labelme_shape("cat", [[0, 0], [n, n]], "rectangle", group_id=7) for n in (2, 4)]
    write_labelme(tmp_path / "json" / "sub" / "b.json", *group, **more)
    write_labelme(
        tmp_path / "json" / "c.json", labelme_shape("cat", [[3, 3]], "circle"), imagePath="../../etc/x.jpg"
    )
    found = read_labelme(tmp_path / "json")
    assert [image.name for image in found.images] == ["c", "sub/b"]
    assert found.images[1].image.resolve() == tmp_path / "json" / "photos" / "ü a.jpg"
    assert draw_mask(found.images[1], {"cat": 1}, 4, 6)[0].sum() == 16
    where = f"{tmp_path / 'json' / 'c.json'}: shapes[0]"
    fault = Fault(where, "expected 2 or more points inside an image, got [[3, 3]]")
    assert draw_mask(found.images[0], {"cat": 1}, 4, 6)[1] == [fault]


def test_bitmaps_are_drawn(tmp_path):
    picture = io.BytesIO()
    Image.fromarray(np.array([[1, 0, 1], [0, 1, 0]], np.uint8)).save(picture, "PNG")
    text = base64.b64encode(picture.getvalue()).decode()
    write_labelme(tmp_path / "a.json", labelme_shape("cat", [[4, 1], [6, 2]], "mask", mask=text))
    expected = np.zeros((4, 6), int)
    expected[1, 4] = expected[2, 5] = 1  # its last column lies outside
    np.testing.assert_array_equal(draw_first(read_labelme(tmp_path)), expected)
    for broken, points in (("%", [[0, 0]]), (text[:40], [[0, 0]]), (None, [[0, 0]]), (text, [[-3, 0]])):
        write_labelme(tmp_path / "a.json", labelme_shape("cat", points, "mask", mask=broken))
        found = read_labelme(tmp_path)
        (fault,) = draw_mask(found.images[0], {"cat": 1}, 4, 6)[1]
        assert f"{tmp_path / 'a.json'}: shapes[0]: mask: " in str(fault)


def test_every_fault_of_labelme_files_names_its_place(tmp_path):
    write_labelme(
        tmp_path / "a.json", labelme_shape("cat", [[0, 0]], "polygo"), {"label": 5, "points": []}, 3
    )
    write_labelme(tmp_path / "b.json", imagePath=None)
    (tmp_path / "c.json").write_text("no")
    write_labelme(tmp_path / "d.json", labelme_shape("cat", [[0, 0], [1, 1], [1, 0]]))
    found = read_labelme(tmp_path)
    text = "\n".join(map(str, found.faults))
    for expected in (
        "a.json: shapes[0]: unknown shape_type 'polygo'. Did you mean 'polygon'?",
        "a.json: shapes[1]: label: expected a string, got 5",
        "a.json: shapes[2]: expected an object, got 3",
        "b.json: imagePath: expected a string, got None",
        "c.json:1: not JSON",
    ):
        assert expected in text
    assert len(text.splitlines()) == 5
    assert [(image.name, image.faulty) for image in found.images] == [("a", 3), ("d", 0)]
    with pytest.raises(FileNotFoundError, match="no JSON file found. Fix:"):
        read_labelme(tmp_path / "absent")
