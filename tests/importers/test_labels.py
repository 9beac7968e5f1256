"""Labels: spellings, background, and categories without annotations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from annotation_files import labelme_shape, write_coco, write_labelme
from support import draw_pair, pixels, write_mask

from paddleseg_u2net.data.item_counts import ItemCounts
from paddleseg_u2net.importers.coco import read_coco
from paddleseg_u2net.importers.labelme import read_labelme
from paddleseg_u2net.importers.labels import assign_classes, is_background, merge_labels, unite_labels

SIZE = {"height": 40, "width": 48}
HALVES = [[[0, 0, 24, 0, 24, 40, 0, 40]], [[24, 0, 48, 0, 48, 40, 24, 40]]]


@pytest.fixture
def roboflow(tmp_path) -> list:
    """Four images with a cat on the left and a dog on the right; the root category 0 has no annotation."""
    for index in range(4):
        draw_pair(tmp_path / "d", str(index), size=(40, 48), seed=index)
    images = [{"id": n, "file_name": f"{n}.png", **SIZE} for n in range(4)]
    names = [{"id": n, "name": name} for n, name in enumerate(("pets-Zx3k", "cat", "dog", "hare"))]
    rows = [
        {"image_id": n, "category_id": 1 + side, "segmentation": HALVES[side]}
        for n in range(4)
        for side in range(2)
    ]
    write_coco(tmp_path / "a.json", rows, images=images, categories=names)
    return ["--coco", "a.json", "--image_dir", "d/images"]


def items(folder: str = "data/mine") -> list[tuple]:
    """Outcome, items, reason and first names in dataset.json."""
    rows = json.loads(Path(folder, "dataset.json").read_text())["items"]
    return [(row["outcome"], row["items"], row["reason"].split(" (")[0], row["first"]) for row in rows]


def test_categories_that_are_never_annotated_are_left_out_and_named(make, roboflow):
    code, out, err = make(*roboflow)
    assert (code, err) == (0, "")
    assert "classes: 0 background, 1 cat, 2 dog\n" in out
    assert ("left out", "categories", "never annotated", ["pets-Zx3k", "hare"]) in items()
    assert json.loads(Path("data/mine/dataset.json").read_text())["num_classes"] == 3
    assert pixels("data/mine/masks/0.png")[0].tolist() == [1] * 24 + [2] * 24


def test_keep_unused_keeps_them_as_classes(make, roboflow):
    code, out, err = make(*roboflow, "--keep_unused")
    assert (code, err) == (0, "")
    assert "classes: 0 background, 1 pets-Zx3k, 2 cat, 3 dog, 4 hare\n" in out
    assert pixels("data/mine/masks/0.png")[0].tolist() == [2] * 24 + [3] * 24


def test_never_annotated_categories_are_named_for_saliency_too(make, roboflow):
    assert make(*roboflow, "--saliency")[0] == 0
    assert ("left out", "categories", "never annotated", ["pets-Zx3k", "hare"]) in items()


def test_named_classes_are_kept_though_never_annotated(make, roboflow):
    code, out, err = make(*roboflow, "--classes", "hare", "cat")
    assert (code, err) == (0, "")
    assert "classes: 0 background, 1 hare, 2 cat\n" in out
    assert ("left out", "annotations", "label is not among --classes", ["dog"]) in items()


def test_category_that_is_used_in_one_part_only_is_a_class(make, roboflow):
    content = json.loads(Path("a.json").read_text())
    for part, side in (("train", 1), ("val", 2)):
        rows = [row for row in content["annotations"] if row["category_id"] == side]
        Path(f"{part}.json").write_text(json.dumps({**content, "annotations": rows}))
    code, out, _ = make("--coco", "train.json", "val.json", *roboflow[2:])
    assert code == 0
    assert "classes: 0 background, 1 cat, 2 dog\n" in out


@pytest.mark.parametrize(
    "name", ["background", "Background", " BACKGROUND ", "_background_", "__background__", "back ground"]
)
def test_category_called_background_is_class_0(tmp_path, name):
    assert is_background(name)
    categories = [{"id": 0, "name": name}, {"id": 1, "name": "cat"}]
    rows = [{"category_id": 1}, {"category_id": 0, "segmentation": [[1, 1, 2, 1, 2, 2, 1, 2]]}]
    counts = ItemCounts()
    path = write_coco(tmp_path / "a.json", rows, categories=categories)
    (found,) = unite_labels([read_coco(path, tmp_path)], counts)
    classes, values = assign_classes(merge_labels([found])[0])
    assert classes == ["cat"]
    assert [values[region.label] for region in found.images[0].regions] == [1, 0]
    assert counts.count("merged", "labels") == (name != "_background_")


@pytest.mark.parametrize("name", ["background noise", "foreground", "bg", "sky background"])
def test_other_names_are_not_background(name):
    assert not is_background(name)


def test_background_may_be_named_first_among_the_classes_of_mask_files(make, tmp_path):
    for index in range(4):
        draw_pair(tmp_path / "d", str(index))
        write_mask(tmp_path / "d" / "masks" / f"{index}.png", np.full((32, 32), index % 3, np.uint8))
    words = ["--image_dir", "d/images", "--mask_dir", "d/masks", "--classes"]
    for number, names in enumerate((["Background", "cat", "dog"], ["cat", "dog"])):
        code, out, err = make(*words, *names, "--save_dir", str(number))
        assert (code, err) == (0, "")
        assert "classes: 0 background, 1 cat, 2 dog\n" in out


def test_classes_of_mask_files_that_no_mask_shows_are_named(make, tmp_path):
    for index in range(4):
        draw_pair(tmp_path / "d", str(index))
        mask = np.zeros((32, 32), np.uint8)
        mask[:9], mask[9:20] = 2, 5
        write_mask(tmp_path / "d" / "masks" / f"{index}.png", mask)
    assert make("--image_dir", "d/images", "--mask_dir", "d/masks")[0] == 0
    names = ["1 class 1", "3 class 3", "4 class 4"]
    assert ("kept", "classes", "no mask shows them", names) in items()


def test_labels_that_differ_by_case_or_blanks_are_one_class_and_named(make, tmp_path):
    labels = ["cat", "cat", "Cat", " cat ", "dog", "traffic light", "Traffic  Light", "traffic light"]
    for index, label in enumerate(labels):
        draw_pair(tmp_path / "lm", str(index), size=(40, 48), seed=index)
        shape = labelme_shape(label, [[0, 0], [10 + index, 40]], "rectangle")
        write_labelme(
            tmp_path / "lm" / f"{index}.json",
            shape,
            imagePath=f"images/{index}.png",
            imageHeight=40,
            imageWidth=48,
        )
    code, out, err = make("--labelme", "lm")
    assert (code, err) == (0, "")
    assert "classes: 0 background, 1 cat, 2 dog, 3 traffic light\n" in out
    (row,) = [row for row in items() if row[0] == "merged"]
    assert row[2] == "differ by case or blanks only"
    assert row[3] == ["'Cat' is 'cat'", "' cat ' is 'cat'", "'Traffic  Light' is 'traffic light'"]
    values = [pixels(f"data/mine/masks/{index}.png")[0, 0] for index in range(len(labels))]
    assert values == [1, 1, 1, 1, 2, 3, 3, 3]


def test_unicode_forms_of_a_label_are_one_class(tmp_path):
    for index, label in enumerate(("café", "cafe\u0301")):
        shape = labelme_shape(label, [[0, 0], [4, 4]], "rectangle")
        write_labelme(tmp_path / f"{index}.json", shape)
    (found,) = unite_labels([read_labelme(tmp_path)], ItemCounts())
    assert len(found.labels) == 1


def test_classes_are_chosen_in_any_spelling():
    assert assign_classes(["traffic light", "cat"], ["Cat", "TrafficLight", "background"]) == (
        ["Cat", "TrafficLight"],
        {"_background_": 0, "cat": 1, "traffic light": 2, "__ignore__": 255},
    )
    with pytest.raises(ValueError, match="--classes: names only background, which is class 0. Fix:"):
        assign_classes(["cat"], ["background"])


def test_spellings_in_two_files_are_no_conflict(tmp_path):
    sets = [
        read_coco(write_coco(tmp_path / f"{name}.json", [{}], categories=[{"id": 3, "name": name}]), tmp_path)
        for name in ("cat", "Cat")
    ]
    assert merge_labels(unite_labels(sets, ItemCounts())) == (["cat"], [])


def test_categories_of_the_same_name_are_counted_as_merged(tmp_path):
    names = [{"id": key, "name": "dog"} for key in (3, 7)]
    counts = ItemCounts()
    unite_labels([read_coco(write_coco(tmp_path / "a.json", [{}], categories=names), tmp_path)] * 2, counts)
    assert [(row.reason, row.count, row.first) for row in counts.rows()] == [
        ("have the same name", 1, ("dog (ids 3, 7)",))
    ]
