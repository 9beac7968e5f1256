"""Projects of Supervisely become masks; what has no area or no annotation is counted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from annotation_files import RING
from built_sets import nothing_is_written, pairs_of
from support import pixels, write_mask

from paddleseg_u2net.errors import DataError
from paddleseg_u2net.importers.supervisely import read_supervisely

CLASSES = [
    {"title": "dog", "shape": "polygon", "color": "#FF0000"},
    {"title": "cat", "shape": "any", "color": "#00FF00"},
]


def figure(title: str, kind: str | None, points=None, **more) -> dict:
    shape = {"points": {"exterior": points, "interior": []}} if points else {}
    return {"classTitle": title, **({"geometryType": kind} if kind else {}), **shape, "tags": [], **more}


SQUARE = figure("dog", None, [[1, 1], [5, 1], [5, 5], [1, 5]])  # its kind is that of its class
RECTANGLE = figure("cat", "rectangle", [[4, 4], [6, 5]])
BITMAP = figure("cat", "bitmap", bitmap={"data": RING, "origin": [0, 0]})
# 1 dog, 2 cat; drawn by hand, the later object is on top
TRUTH = """
2220000
2121110
2221110
0111110
0111222
0111222
"""


def write_project(root: Path, names: dict[str, list], **changes) -> Path:
    """Write a project with a data set for each name, which holds one image for each list of objects."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "meta.json").write_text(json.dumps({"classes": CLASSES, "tags": []}))
    rng = np.random.default_rng(len(root.name))
    for dataset, images in names.items():
        for index, objects in enumerate(images):
            name = f"ü {index}.png"
            write_mask(root / dataset / "img" / name, rng.integers(0, 255, (6, 7, 3), np.uint8))
            content = {"size": {"height": 6, "width": 7}, "tags": [], "objects": objects} | changes
            (root / dataset / "ann").mkdir(exist_ok=True)
            (root / dataset / "ann" / f"{name}.json").write_text(json.dumps(content))
    return root


def test_objects_are_drawn_in_the_order_of_the_file(make, tmp_path):
    write_project(
        tmp_path / "p",
        {"ds0": [[SQUARE, RECTANGLE, BITMAP]] * 2, "ds0/datasets/sub": [[RECTANGLE, SQUARE]] * 2},
    )
    code, out, err = make("--supervisely", tmp_path / "p", "--split", 0.5, 0.5, 0)
    assert (code, err) == (0, "")
    assert "train 2, val 2" in out
    assert "classes: 0 background, 1 dog, 2 cat" in out
    expected = [[int(char) for char in line] for line in TRUTH.split()]
    np.testing.assert_array_equal(pixels("data/mine/masks/ds0/img/ü 1.png"), expected)
    assert pixels("data/mine/masks/ds0/datasets/sub/img/ü 0.png").sum() == 25 + 2 * 2  # the larger one on top


def test_data_sets_called_train_and_val_are_the_parts(make, tmp_path):
    line = figure("cat", "line", [[1, 1], [2, 2]])
    write_project(
        tmp_path / "p", {"Train": [[SQUARE, BITMAP]] * 3, "valid": [[RECTANGLE, line]], "test": [[SQUARE]]}
    )
    annotations = tmp_path / "p" / "valid" / "ann"
    (annotations / "ü 0.png.json").rename(annotations / "ü 0.json")  # as older versions name them
    code, out, err = make("--supervisely", tmp_path / "p")
    assert (code, err) == (0, "")
    assert "train 3, val 1, test 1" in out
    assert re.search("left out +annotations +1 +shape without an area: line", out)
    ((image, mask),) = pairs_of("data/mine/config.yaml", "val")
    assert image == (tmp_path / "p/valid/img/ü 0.png").resolve()
    assert (pixels(mask) == 2).sum() == 6
    assert make("--supervisely", tmp_path / "p", "--split", 0.6, 0.4, 0, "--save_dir", "b")[0] == 0


def test_what_is_left_out_is_counted(make, tmp_path):
    objects = [SQUARE, figure("cat", "point", [[1, 1]]), figure("cat", "line", [[1, 1], [2, 2]])]
    root = write_project(tmp_path / "p", {"ds": [objects, objects, [SQUARE]]})
    (root / "ds" / "ann" / "ü 2.png.json").unlink()
    write_mask(root / "loose.png", np.zeros((6, 7), np.uint8))
    assert make("--supervisely", root, "--split", 0.5, 0.5, 0)[0] == 0
    record = json.loads(Path("data/mine/dataset.json").read_text())
    (row,) = (row for row in record["items"] if row["items"] == "files")
    assert (row["reason"], row["first"]) == ("in no pair", [str(root / "loose.png")])
    (found,) = read_supervisely(root)
    assert len(found.images) == 2
    rows = {(row.outcome, row.items, row.reason): row.count for row in found.counts.rows()}
    assert rows == {
        ("left out", "images", "no annotation file"): 1,
        ("left out", "annotations", "shape without an area: point"): 2,
        ("left out", "annotations", "shape without an area: line"): 2,
    }


def test_data_sets_and_annotations_in_linked_folders_are_read(tmp_path):
    root = write_project(tmp_path / "p", {"ds": [[SQUARE]], "other": [[SQUARE]]})
    for name in ("ds", "other/ann"):
        place = tmp_path / name.replace("/", "-")
        (root / name).rename(place)
        (root / name).symlink_to(place)
    (tmp_path / "other-ann" / "absent.png.json").write_text("{}")
    (tmp_path / "other-ann" / "._absent.png.json").write_bytes(b"\0")  # as macOS adds
    (found,) = read_supervisely(root)
    assert [image.name for image in found.images] == ["ds/img/ü 0", "other/img/ü 0"]
    assert [str(fault.where) for fault in found.faults] == [str(root / "other/ann/absent.png.json")]


def test_every_fault_is_reported_with_its_place(make, tmp_path):
    objects = [
        figure("dgo", "polygon", [[0, 0]] * 3),
        figure("cat", "alpha_mask", [[0, 0]] * 3),
        figure("cat", "bitmap"),
        {"classTitle": 5},
        figure("cat", ["polygon"]),
    ]
    root = write_project(tmp_path / "p", {"ds": [objects, [SQUARE], [figure("dog", None, [[1, 1]])]]})
    (root / "ds" / "ann" / "absent.png.json").write_text("{}")
    (root / "ds" / "ann" / "ü 1.png.json").write_text('{"objects": [], "size": {"height": 6}}')
    code, _, err = make("--supervisely", root)
    assert code == 1
    for message in (
        "ü 0.png.json: objects[0]: classTitle 'dgo': not in meta.json. Did you mean 'dog'?",
        "ü 0.png.json: objects[1]: geometryType 'alpha_mask': expected polygon, rectangle, bitmap",
        "ü 0.png.json: objects[2]: bitmap: expected an object, got None",
        "ü 0.png.json: objects[3]: classTitle: expected a string, got 5",
        "ü 0.png.json: objects[4]: geometryType \"['polygon']\": expected polygon",
        "ü 1.png.json: size: width: expected an integer, got None",
        "ü 2.png.json: objects[0]: points: exterior: expected 3 or more points",
        "absent.png.json: no such image in",
    ):
        assert message in err
    assert nothing_is_written()


def test_folders_that_are_no_project_are_named(tmp_path):
    with pytest.raises(DataError, match="meta.json: no such file"):
        read_supervisely(tmp_path)
    for content, message in (
        ('{"classes": 5}', "meta.json: classes: expected a list, got 5"),
        ('{"classes": [{"shape": "any"}]}', r"meta.json: classes\[0\]: title: expected a string, got None"),
    ):
        (tmp_path / "meta.json").write_text(content)
        with pytest.raises(DataError, match=message):
            read_supervisely(tmp_path)
    (tmp_path / "meta.json").write_text('{"classes": []}')
    with pytest.raises(FileNotFoundError, match="no folder with img and ann. Fix:"):
        read_supervisely(tmp_path)


def test_skip_faulty_keeps_the_other_objects_of_an_image(make, tmp_path):
    objects = [SQUARE, figure("dgo", "polygon", [[0, 0]] * 3), BITMAP]
    root = write_project(
        tmp_path / "p", {"ds": [objects, [SQUARE], [figure("dgo", "polygon", [[0, 0]] * 3)]]}
    )
    code, out, err = make("--supervisely", root, "--skip_faulty", "--split", 0.5, 0.5, 0)
    assert (code, err) == (0, "")
    assert "train 1, val 1" in out
    assert set(np.unique(pixels("data/mine/masks/ds/img/ü 0.png"))) == {0, 1, 2}
    rows = json.loads(Path("data/mine/dataset.json").read_text())["items"]
    skipped = {(row["items"], row["count"]) for row in rows if row["outcome"] == "skipped"}
    assert skipped == {("annotations", 2), ("images", 1)}
