"""Sources of a data set: folders, lists, annotations, parts, and the meaning of mask values."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from annotation_files import encode_rle, labelme_shape, write_coco, write_labelme
from built_sets import folder_flags, nothing_is_written, pairs_of
from PIL import Image
from support import draw_pair, pixels, write_mask

from paddleseg_u2net.data.masks import MaskLevels
from paddleseg_u2net.importers.mask_meaning import MaskMeaning, count_classes


@pytest.mark.parametrize(
    "suffixes", [("", "_gt.png"), ("", "_gt"), ("_rgb", "_gt"), (".jpg", ".png"), ("", ".png")]
)
def test_suffixes_distinguish_images_from_masks_in_one_folder(make, photo_set, suffixes):
    image_suffix, mask_suffix = suffixes
    for path in [*(photo_set / "images").iterdir(), *(photo_set / "masks").iterdir()]:
        suffix = image_suffix if path.parent.name == "images" else mask_suffix
        own = ".jpg" if path.parent.name == "images" else ".png"
        name = path.stem + suffix + ("" if "." in suffix else own)
        (photo_set / "sub").mkdir(exist_ok=True)
        cv2.imwrite(str(photo_set / "sub" / name), cv2.imread(str(path)))
        path.unlink()
    words = ["--folder", photo_set, "--mask_suffix", mask_suffix]
    code, out, err = make(*words, *(["--image_suffix", image_suffix] if image_suffix else []))
    assert (code, err) == (0, "")
    assert "train 8, val 2" in out
    for image, mask in pairs_of(Path("data/mine/config.yaml"), "train"):
        assert image.name[:2] == mask.name[:2]
        assert image.suffix == ".jpg"
        assert mask.suffix == ".png"


def test_mask_dir_may_be_inside_image_dir(make, photo_set):
    for path in (photo_set / "images").iterdir():
        path.rename(photo_set / path.name)
    code, _, err = make("--image_dir", photo_set, "--mask_dir", photo_set / "masks")
    assert (code, err) == (0, "")
    assert len(pairs_of(Path("data/mine/config.yaml"), "train")) == 8


def test_split_joins_several_lists_first(make, data):
    lists = [data / "train_list.txt", data / "val_list.txt"]
    flags = ["--dataset_root", data, "--num_classes", 2, "--classes", "disc", "--split", 0.5, 0.5, 0]
    code, out, err = make("--list", *lists, *flags)
    assert (code, err) == (0, "")
    assert "train 3, val 3" in out
    assert "classes: 0 background, 1 disc" in out
    found = pairs_of(Path("data/mine/config.yaml"), "train") + pairs_of(Path("data/mine/config.yaml"), "val")
    assert sorted(image.name for image, _ in found) == [f"p{index}.png" for index in range(6)]


def test_several_lists_without_split_are_the_parts(make, data):
    words = ["--list", data / "train_list.txt", data / "val_list.txt", "--dataset_root", data]
    code, out, err = make(*words)
    assert (code, err) == (0, "")
    assert "train 4, val 2" in out
    found = pairs_of(Path("data/mine/config.yaml"), "val")
    assert [image.name for image, _ in found] == ["p4.png", "p5.png"]
    record = json.loads(Path("data/mine/dataset.json").read_text())
    assert (record["split"], record["seed"]) == ("as given", None)
    (data / "images" / "p5.png").write_bytes((data / "images" / "p0.png").read_bytes())
    _, out, _ = make(*words, "--save_dir", "b")
    assert "1 image of val or test is in train too. Fix: --split keeps copies together" in out


def test_what_is_changed_or_left_out_of_images_is_counted(make, data):
    path = data / "images" / "p0.png"
    rgba = np.dstack([pixels(path), np.zeros((32, 32), np.uint8)])
    rgba[8:, :, 3] = 255
    Image.fromarray(rgba).save(path)
    tifffile.imwrite(data / "images" / "p1.png", rgba, photometric="rgb", extrasamples=["unspecified"])
    code, _, err = make("--image_dir", data / "images", "--mask_dir", data / "masks")
    assert (code, err) == (0, "")
    rows = json.loads(Path("data/mine/dataset.json").read_text())["items"]
    found = {row["first"][0]: (row["outcome"], row["count"], row["reason"]) for row in rows if row["reason"]}
    assert found == {
        str(path): ("converted", 1, "have transparent pixels: seen over light grey"),
        str(path.with_name("p1.png")): (
            "ignored",
            1,
            "beyond the first 3 (img_channels and in_channels use them)",
        ),
    }


@pytest.fixture
def parts(tmp_path) -> list:
    """COCO's own layout: a file and a folder for train and for val, images of the same names in both."""
    for part, count in (("train", 3), ("val", 2)):
        images = [{"id": n, "file_name": f"{n}.png", "height": 40, "width": 48} for n in range(count)]
        for index in range(count):
            draw_pair(tmp_path / part, f"{index}", size=(40, 48), seed=len(part))
        rows = [{"image_id": n, "category_id": 18 if part == "val" else 3} for n in range(count)]
        write_coco(Path(f"{part}.json"), rows, images=images)
    return ["--coco", "train.json", "val.json", "--image_dir", "train/images", "val/images"]


def test_coco_files_of_train_and_val_are_the_parts(make, parts):
    code, out, err = make(*parts)
    assert (code, err) == (0, "")
    assert "train 3, val 2" in out
    assert "classes: 0 background, 1 cat, 2 dog" in out
    for part, value in (("train", 1), ("val", 2)):
        for image, mask in pairs_of(Path("data/mine/config.yaml"), part):
            assert image.is_relative_to(Path(part).resolve())
            assert mask == Path(f"data/mine/masks/{part}/{image.name}").resolve()
            assert set(np.unique(pixels(mask))) == {0, value}
    code, _, err = make(*parts, "--save_dir", "b", "--split", 0.6, 0.4, 0)
    assert (code, "val.json: images[0]: " in err, err.count("is used twice, first in")) == (1, True, 2)


def test_coco_files_with_different_categories_are_rejected(make, parts):
    content = json.loads(Path("val.json").read_text())
    content["categories"] = [{"id": 18, "name": "hare"}, {"id": 4, "name": "cat"}]
    Path("val.json").write_text(json.dumps(content))
    code, _, err = make(*parts)
    assert code == 1
    assert "val.json: category 18 is 'hare', but 'dog' in train.json. Fix: use the same ids and names" in err
    assert nothing_is_written()


def test_given_part_without_images_is_rejected(make, parts):
    write_coco(Path("val.json"), [], images=[{"id": 0, "file_name": "0.png", "height": 40, "width": 48}])
    code, _, err = make(*parts, "--skip_empty")
    assert code == 1
    assert "val: no image is left in this part. Fix: use --split" in err
    assert nothing_is_written()


def test_several_folders_or_labelme_folders_are_the_parts(make, tmp_path):
    for part in ("train", "val", "test"):
        draw_pair(tmp_path / part, "a", seed=len(part) + ord(part[0]))
        rectangle = labelme_shape("cat", [[0, 0], [4, 4]], "rectangle")
        write_labelme(
            tmp_path / part / "a.json", rectangle, imagePath="images\\a.png", imageHeight=32, imageWidth=32
        )
    dirs = [[f"{part}/{kind}" for part in ("train", "val", "test")] for kind in ("images", "masks")]
    for name, words in {
        "a": ["--image_dir", *dirs[0], "--mask_dir", *dirs[1]],
        "b": ["--labelme", "train", "val", "test"],
    }.items():
        code, out, err = make(*words, "--save_dir", name)
        assert (code, err) == (0, "")
        assert "train 1, val 1, test 1" in out
        assert "val/images/a.png" in Path(name, "val_list.txt").read_text()


def test_labelme_masks_are_drawn_below_save_dir(make, tmp_path):
    for index in range(4):
        write_mask(
            tmp_path / "lm" / f"sub {index % 2}" / f"ü{index}.jpg", np.full((30, 40, 3), index, np.uint8)
        )
        box = labelme_shape("cat", [[index, 2], [20, 22]], "rectangle")
        write_labelme(
            tmp_path / "lm" / f"sub {index % 2}" / f"ü{index}.json", box, imageHeight=30, imageWidth=40
        )
    code, out, err = make("--labelme", "lm", "--saliency", "--split", 0.5, 0.5, 0)
    assert (code, err) == (0, "")
    assert "train 2, val 2; mask_encoding: index" in out
    expected = np.zeros((30, 40), int)
    expected[2:22, 3:20] = 1
    np.testing.assert_array_equal(pixels("data/mine/masks/sub 1/ü3.png"), expected)
    assert [len(pairs_of(Path("data/mine/config.yaml"), part)) for part in ("train", "val")] == [2, 2]


def test_masks_of_sod_survive_encoding_as_coco_rle(make, shared):
    rows, images = [], []
    for index, path in enumerate(sorted((shared / "data/sod300/masks").iterdir())[:12]):
        mask = pixels(path, "L") > 127
        images.append(
            {"id": index, "file_name": f"{path.stem}.jpg", "height": mask.shape[0], "width": mask.shape[1]}
        )
        rle = {"size": list(mask.shape), "counts": encode_rle(mask)[index % 2]}
        rows.append({"image_id": index, "segmentation": rle})
    write_coco(Path("a.json"), rows, images=images)
    assert make("--coco", "a.json", "--image_dir", shared / "data/sod300/images")[0] == 0
    for path in Path("data/mine/masks").iterdir():
        np.testing.assert_array_equal(
            pixels(path) == 1, pixels(shared / "data/sod300/masks" / path.name, "L") > 127
        )


@pytest.mark.parametrize(
    ("masks", "options", "expected"),
    [
        ([[0, 1], [0, 1]], {}, (1, None)),
        ([[0, 255], [0]], {}, (1, None)),
        ([[0, 100, 180, 255]], {}, (1, None)),
        ([[0, 1], [0, 1, 2]], {}, (3, None)),
        ([[0, 1, 255], [0, 4]], {}, (5, 255)),
        ([[0, 1], [0, 255]], {}, (1, None)),  # a contradiction, which the inspection reports
        ([[0, 1]], {"num_classes": 2}, (2, None)),
        ([[0, 1]], {"classes": ["a", "b", "c"]}, (4, None)),
        ([[0, 1, 2, 255]], {"num_classes": 21}, (21, 255)),
        ([[0, 1, 7]], {"ignore_index": 7}, (1, 7)),
        ([[0, 1, 2]], {"saliency": True}, (1, None)),
        ([], {}, (1, None)),
    ],
)
def test_mask_values_decide_between_saliency_and_classes(masks, options, expected):
    surveys = [MaskLevels(f"{n}.png", "8-bit", np.array(levels)) for n, levels in enumerate(masks)]
    assert count_classes(surveys, MaskMeaning(**options)) == expected


def test_palettes_of_many_classes_are_classes():
    assert count_classes([MaskLevels("a", "palette", np.array([0, 3, 149, 255]))], MaskMeaning()) == (
        150,
        255,
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folder", "my photos"], "images and masks cannot be distinguished. Fix: --mask_suffix _gt"),
        (["--folder", "absent", "--mask_suffix", "_gt"], "absent: no such folder. Fix:"),
        (["--image_dir", "my photos/images", "--mask_dir", "absent"], "absent: no such folder"),
        (["--labelme", "my photos"], "no JSON file found"),
        (["--coco", "absent.json", "--image_dir", "my photos"], "absent.json: no such file"),
        (["--list", "absent.txt", "--dataset_root", "."], "absent.txt"),
        (["--coco", "a.json", "--image_dir", "absent"], "absent: no such folder. Fix:"),
        (
            ["--folder", "my photos", "--mask_suffix", "_gt"],
            "no image name ends with '_gt'. Fix:",
        ),
        (["--image_dir", "empty", "--mask_dir", "empty2"], "found 0 images. Fix:"),
    ],
)
def test_missing_source_is_named(make, photo_set, words, message):
    Path("empty").mkdir()
    Path("empty2").mkdir()
    code, _, err = make(*words)
    assert code == 1
    assert message in err
    assert nothing_is_written()


def assert_reported(code: int, err: str, faults: tuple[str, ...]) -> None:
    """All of them at once, and nothing is written."""
    assert code == 1
    assert [fault for fault in faults if fault not in err] == []
    assert nothing_is_written()


def test_all_faults_of_files_are_reported_together_and_nothing_is_written(make, photo_set):
    (photo_set / "masks" / "p1.png").unlink()
    (photo_set / "images" / "p2.png").write_bytes((photo_set / "images" / "p2.png").read_bytes()[:300])
    (photo_set / "masks" / "p3.png").write_bytes(b"")
    write_mask(photo_set / "masks" / "p4.png", np.zeros((9, 9), np.uint8))
    write_mask(photo_set / "masks" / "p5.png", np.ones((40, 48), np.uint8))
    code, _, err = make(*folder_flags(photo_set), "--saliency")
    assert_reported(
        code,
        err,
        (
            "p1.png: no mask named 'p1'",
            "p2.png: a PNG image that is truncated",
            "p3.png: cannot be read as a mask",
            "p5.png: holds 1, but 6 masks are grey",
            "p4.png: mask (H, W) (9, 9) differs from its image's (40, 48)",
        ),
    )


def test_all_faults_of_annotations_are_reported_together_and_nothing_is_written(make, photo_set):
    size = {"height": 40, "width": 48}
    images = [{"id": n, "file_name": f"p{n}.png", **size} for n in range(4)]
    images += [{"id": 4, "file_name": "absent.png", **size}, {"id": 5, "file_name": "p0.jpg", **size}]
    images += [{"id": 6, "file_name": "p6.png", "height": 48, "width": 40}]
    rows = [
        {"image_id": 0, "segmentation": [[1, 2, 3]]},
        {"image_id": 99},
        {"image_id": 1, "segmentation": [[0] * 6]},
    ]
    write_coco(Path("a.json"), rows, images=images)
    code, _, err = make("--coco", "a.json", "--image_dir", photo_set / "images", "--classes", "cat", "dgo")
    assert_reported(
        code,
        err,
        (
            "a.json: annotations[0]: segmentation: expected",
            "a.json: annotations[1]: image_id 99: not among",
            "a.json: images[4]: ",
            "absent.png: no such image file",
            "the name 'p0' is used twice, first in a.json: images[0]. Fix:",
            "a.json: images[6]: (H, W) (48, 40) differs from (40, 48)",
            "which has no EXIF tag. Fix: exchange width and height in the annotations",
            "class 'dgo': the annotations have no such label. Did you mean 'dog'?",
        ),
    )


def test_image_named_twice_is_a_fault(make, data):
    path = data / "train_list.txt"
    path.write_text(path.read_text() * 2)
    code, _, err = make("--list", path, "--dataset_root", data)
    assert code == 1
    assert f"{path}:5: " in err
    assert f"is used twice, first in {path}:1. Fix: remove or rename" in err


@pytest.mark.parametrize("tagged", [False, True])
def test_sizes_that_differ_name_what_can_be_done_and_that_works(make, tmp_path, tagged):
    """An annotation with width and height exchanged; only a tag makes turning the pixels an advice."""
    pixels = np.zeros((40, 48, 3), np.uint8)
    picture = Image.fromarray(pixels.transpose(1, 0, 2) if tagged else pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    images = []
    for number in range(3):
        place = tmp_path / f"set/{number}.png"
        place.parent.mkdir(exist_ok=True)
        shown = picture.copy()
        shown.putpixel((1, 1), (number, 9, 9))  # the files differ
        shown.save(place, exif=exif) if tagged else shown.save(place)
        images.append({"id": number, "file_name": place.name, "width": 48, "height": 40})
    rows = [{"image_id": number, "segmentation": [[1, 1, 20, 1, 20, 20, 1, 20]]} for number in range(3)]
    wrong = [{**images[0], "width": 40, "height": 48}, *images[1:]]
    write_coco(tmp_path / "a.json", rows, images=wrong)
    words = ("--coco", tmp_path / "a.json", "--image_dir", tmp_path / "set")
    code, _, error = make(*words)
    assert code == 1
    if tagged:
        assert "Fix: rotate the pixels of the image and annotate it again" in error
        picture.save(tmp_path / "set/0.png")  # now as the annotation has it
    else:
        assert "which has no EXIF tag. Fix: exchange width and height in the annotations" in error
        write_coco(tmp_path / "a.json", rows, images=images)
    assert make(*words)[0] == 0
