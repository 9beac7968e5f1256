"""Own data in one line: every source, what train, val and predict make of it, and every refusal."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from annotation_files import coco, encode, labelme, shape
from PIL import Image
from support import draw_pair, pixels, tree, write_mask

from paddleseg_u2net.cli.make_dataset import main as tool
from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.data.masks import MaskEncoding, MaskLevels
from paddleseg_u2net.data.pairs import list_pairs
from paddleseg_u2net.importers.build import strata
from paddleseg_u2net.importers.sources import Meaning, count_classes
from tools.benchmarks import coco as benchmark_coco

SMALL = "{0}_dataset.transforms.0.target_size=[32,32]"
TINY = ["--opts", SMALL.format("train"), SMALL.format("val"), "model.pretrained=null", "batch_size=2"]


@pytest.fixture
def make(capsys):
    """Run the tool in this process: (exit code, stdout, stderr)."""

    def call(*words) -> tuple[int, str, str]:
        try:
            code = tool([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def photos(tmp_path) -> Path:
    """Ten pairs in two folders below `my photos`, masks of 0 and 255."""
    for index in range(10):
        draw_pair(tmp_path / "my photos", f"p{index}", size=(40, 48))
    return tmp_path / "my photos"


def folders(root: Path) -> list:
    return ["--image_dir", root / "images", "--mask_dir", root / "masks"]


def pairs_of(config: Path, part: str) -> list[tuple[Path, Path]]:
    """What the config's data set would read."""
    options = load_config(config)[f"{part}_dataset"]
    names = ("dataset_root", "mode", "train_path", "val_path")
    found, faults = list_pairs(**{name: options[name] for name in names if name in options})
    assert faults == []
    return [(pair.image.resolve(), pair.mask.resolve()) for pair in found]


def nothing_is_written() -> bool:
    return not Path("data").exists() or not list(Path("data").rglob("*"))


# -- whole commands ---------------------------------------------------------------------------------------


def test_two_folders_become_a_config_that_trains_validates_and_predicts_from_anywhere(
    make, run, photos, tmp_path, monkeypatch
):
    code, out, err = make(*folders(photos))
    assert (code, err) == (0, "")
    assert "data/mine: train 8, val 2; mask_encoding: grey" in out
    assert "python tools/check_dataset.py --config data/mine/config.yaml\n" in out
    command = re.search(r"python train.py (--config data/mine/config.yaml .*)\n", out)[1]
    assert tree("data/mine") == ["config.yaml", "dataset.json", "train_list.txt", "val_list.txt"]
    crop = "train_dataset.transforms.1.crop_size=[24,24]"
    code, _, err = run("train", *command.split(), "--iters", 1, "--save_dir", "run", *TINY, crop)
    assert (code, err) == (0, "")
    assert load_config("data/mine/config.yaml")["val_dataset"]["mask_encoding"] == "grey"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "val_list.txt").write_text("another list\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    where = ["--config", tmp_path / "data/mine/config.yaml", "--model_path", tmp_path / "run"]
    where += ["--backend", "paddle", *TINY[:1], TINY[2]]  # nothing is exported for two images
    code, out, err = run("val", *where)
    assert (code, err) == (0, "")
    assert "#Images: 2" in out
    code, _, err = run("predict", *where, "--image_path", photos / "images" / "p0.png")
    assert (code, err) == (0, "")
    assert "output/result/saliency/p0.png" in tree(".")


def test_annotations_become_a_config_of_classes_that_trains_and_validates(make, run, tmp_path):
    rng = np.random.default_rng(0)
    rows, images = [], []
    for index in range(10):
        image = rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)
        write_mask(tmp_path / "coco" / f"{index}.jpg", image)
        images.append({"id": index, "file_name": f"{index}.jpg", "height": 40, "width": 48})
        box = np.array([[4, 4], [30, 4], [30, 20], [4, 20]]) + index
        rows.append(
            {"image_id": index, "category_id": 3 + 15 * (index % 2), "segmentation": [box.ravel().tolist()]}
        )
    rows.append({"image_id": 0, "iscrowd": 1, "segmentation": {"size": [40, 48], "counts": [0, 40, 1880]}})
    coco(tmp_path / "a.json", rows, images=images)
    words = ["--coco", "a.json", "--image_dir", "coco", "--save_dir", "data/pets", "--stratify"]
    code, out, err = make(*words)
    assert (code, err) == (0, "")
    assert "classes: 0 background, 1 cat, 2 dog\n" in out
    assert "255 ignored" in out
    config = yaml.safe_load(Path("data/pets/config.yaml").read_text())
    assert config["model"] == {"num_classes": 3}
    assert config["val_dataset"]["ignore_index"] == 255
    assert "# classes:  0 background, 1 cat, 2 dog\n" in Path("data/pets/config.yaml").read_text()
    for _, mask in pairs_of(Path("data/pets/config.yaml"), "val"):
        index = int(mask.stem)
        expected = np.zeros((40, 48), int)
        expected[4 + index : 20 + index, 4 + index : 30 + index] = 1 + index % 2
        if index:
            np.testing.assert_array_equal(pixels(mask), expected)
    with Image.open("data/pets/masks/1.png") as picture:
        assert picture.mode == "P"
        assert picture.getpixel((10, 10)) == 2
    code, _, err = run("train", "--config", "data/pets/config.yaml", "--iters", 1, "--do_eval", *TINY)
    assert (code, err) == (0, "")


def test_the_record_says_how_the_set_was_made(make, photos):
    make(*folders(photos), "--split", 0.5, 0.3, 0.2, "--seed", 3, "--group_by", r"p(\d)", "--stratify")
    assert json.loads(Path("data/mine/dataset.json").read_text()) == {
        "made_by": f"python tools/make_dataset.py --image_dir '{photos}/images' --mask_dir '{photos}/masks' "
        r"--split 0.5 0.3 0.2 --seed 3 --group_by 'p(\d)' --stratify",
        "counts": {"train": 5, "val": 3, "test": 2},
        "num_classes": 1,
        "classes": ["background", "object"],
        "mask_encoding": "grey",
        "ignore_index": None,
        "split": [0.5, 0.3, 0.2],
        "seed": 3,
        "stratify": True,
        "group_by": r"p(\d)",
    }


# -- sources ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "suffixes", [("", "_gt.png"), ("", "_gt"), ("_rgb", "_gt"), (".jpg", ".png"), ("", ".png")]
)
def test_one_folder_is_told_apart_by_suffixes(make, photos, suffixes):
    image_suffix, mask_suffix = suffixes
    for path in [*(photos / "images").iterdir(), *(photos / "masks").iterdir()]:
        suffix = image_suffix if path.parent.name == "images" else mask_suffix
        own = ".jpg" if path.parent.name == "images" else ".png"
        name = path.stem + suffix + ("" if "." in suffix else own)
        (photos / "sub").mkdir(exist_ok=True)
        cv2.imwrite(str(photos / "sub" / name), cv2.imread(str(path)))
        path.unlink()
    words = ["--folder", photos, "--mask_suffix", mask_suffix]
    code, out, err = make(*words, *(["--image_suffix", image_suffix] if image_suffix else []))
    assert (code, err) == (0, "")
    assert "train 8, val 2" in out
    for image, mask in pairs_of(Path("data/mine/config.yaml"), "train"):
        assert image.name[:2] == mask.name[:2]
        assert image.suffix == ".jpg"
        assert mask.suffix == ".png"


def test_masks_may_lie_inside_the_folder_of_images(make, photos):
    for path in (photos / "images").iterdir():
        path.rename(photos / path.name)
    code, _, err = make("--image_dir", photos, "--mask_dir", photos / "masks")
    assert (code, err) == (0, "")
    assert len(pairs_of(Path("data/mine/config.yaml"), "train")) == 8


def test_lists_are_joined_and_split_anew(make, data):
    words = [
        "--list",
        data / "train_list.txt",
        data / "val_list.txt",
        "--dataset_root",
        data,
        "--num_classes",
        2,
    ]
    code, out, err = make(*words, "--classes", "disc", "--split", 0.5, 0.5, 0)
    assert (code, err) == (0, "")
    assert "train 3, val 3" in out
    assert "classes: 0 background, 1 disc" in out
    found = pairs_of(Path("data/mine/config.yaml"), "train") + pairs_of(Path("data/mine/config.yaml"), "val")
    assert sorted(image.name for image, _ in found) == [f"p{index}.png" for index in range(6)]


def test_lists_that_are_parts_stay_as_they_are(make, data):
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
    assert "1 images of val or test are in train too. Fix: --split keeps copies together" in out


@pytest.fixture
def parts(tmp_path) -> list:
    """COCO's own layout: a file and a folder for train and for val, images of the same names in both."""
    for part, count in (("train", 3), ("val", 2)):
        images = [{"id": n, "file_name": f"{n}.png", "height": 40, "width": 48} for n in range(count)]
        for index in range(count):
            draw_pair(tmp_path / part, f"{index}", size=(40, 48), seed=len(part))
        rows = [{"image_id": n, "category_id": 18 if part == "val" else 3} for n in range(count)]
        coco(Path(f"{part}.json"), rows, images=images)
    return ["--coco", "train.json", "val.json", "--image_dir", "train/images", "val/images"]


def test_coco_files_of_train_and_val_stay_apart(make, parts):
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
    assert (code, "val.json: images[0]: " in err, err.count("stands twice")) == (1, True, 2)


def test_coco_files_whose_categories_differ_are_refused(make, parts):
    content = json.loads(Path("val.json").read_text())
    content["categories"] = [{"id": 18, "name": "hare"}, {"id": 4, "name": "cat"}]
    Path("val.json").write_text(json.dumps(content))
    code, _, err = make(*parts)
    assert code == 1
    assert "val.json: category 18 is 'hare', and 'dog' in train.json. Fix: give all files the same" in err
    assert nothing_is_written()


def test_a_part_of_which_nothing_is_left_is_refused(make, parts):
    coco(Path("val.json"), [], images=[{"id": 0, "file_name": "0.png", "height": 40, "width": 48}])
    code, _, err = make(*parts, "--skip_empty")
    assert code == 1
    assert "val: no image is left of it. Fix: --split joins all and splits them anew" in err
    assert nothing_is_written()


def test_folders_and_labelme_come_in_parts_too(make, tmp_path):
    for part in ("train", "val", "test"):
        draw_pair(tmp_path / part, "a", seed=len(part) + ord(part[0]))
        rectangle = shape("cat", [[0, 0], [4, 4]], "rectangle")
        labelme(
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


def test_labelme_files_become_masks_beside_their_lists(make, tmp_path):
    for index in range(4):
        write_mask(
            tmp_path / "lm" / f"sub {index % 2}" / f"ü{index}.jpg", np.full((30, 40, 3), index, np.uint8)
        )
        box = shape("cat", [[index, 2], [20, 22]], "rectangle")
        labelme(tmp_path / "lm" / f"sub {index % 2}" / f"ü{index}.json", box, imageHeight=30, imageWidth=40)
    code, out, err = make("--labelme", "lm", "--saliency", "--split", 0.5, 0.5, 0)
    assert (code, err) == (0, "")
    assert "train 2, val 2; mask_encoding: index" in out
    expected = np.zeros((30, 40), int)
    expected[2:22, 3:20] = 1
    np.testing.assert_array_equal(pixels("data/mine/masks/sub 1/ü3.png"), expected)
    assert [len(pairs_of(Path("data/mine/config.yaml"), part)) for part in ("train", "val")] == [2, 2]


def test_the_masks_of_sod_come_back_from_coco(make, shared):
    rows, images = [], []
    for index, path in enumerate(sorted((shared / "data/sod300/masks").iterdir())[:12]):
        mask = pixels(path, "L") > 127
        images.append(
            {"id": index, "file_name": f"{path.stem}.jpg", "height": mask.shape[0], "width": mask.shape[1]}
        )
        rle = {"size": list(mask.shape), "counts": encode(mask)[index % 2]}
        rows.append({"image_id": index, "segmentation": rle})
    coco(Path("a.json"), rows, images=images)
    assert make("--coco", "a.json", "--image_dir", shared / "data/sod300/images")[0] == 0
    for path in Path("data/mine/masks").iterdir():
        np.testing.assert_array_equal(
            pixels(path) == 1, pixels(shared / "data/sod300/masks" / path.name, "L") > 127
        )


# -- where things are -------------------------------------------------------------------------------------


def test_a_project_that_moves_takes_its_data_along(make, photos, tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    photos.rename(tmp_path / "project" / "photos")
    monkeypatch.chdir(tmp_path / "project")
    assert make(*folders(Path("photos")))[0] == 0
    assert Path("data/mine/train_list.txt").read_text().startswith("images/p0.png masks/p0.png\n")
    assert (
        yaml.safe_load(Path("data/mine/config.yaml").read_text())["train_dataset"]["dataset_root"]
        == "${here}/../../photos"
    )
    moved = tmp_path / "moved here"
    (tmp_path / "project").rename(moved)
    monkeypatch.chdir(tmp_path)
    for image, _ in pairs_of(moved / "data/mine/config.yaml", "val"):
        assert image.is_file()


def test_a_config_elsewhere_names_the_same_files(make, photos):
    code, out, err = make(*folders(photos), "--config_out", "configs/my own.yaml")
    assert (code, err) == (0, "")
    assert "config.yaml" not in tree("data/mine")
    assert "train.py --config 'configs/my own.yaml'" in out
    assert len(pairs_of(Path("configs/my own.yaml"), "train")) == 8


def test_data_outside_the_project_are_named_by_absolute_paths(make, photos, tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    assert make(*folders(photos))[0] == 0
    config = yaml.safe_load(Path("data/mine/config.yaml").read_text())
    assert config["train_dataset"]["dataset_root"] == str(photos)
    assert config["train_dataset"]["train_path"] == "${here}/train_list.txt"


@pytest.mark.parametrize("ending", ["_gt", " gt"])
def test_names_with_spaces_and_signs_come_back(make, tmp_path, ending):
    names = ["#one", "#two", "ü", "plain", *([" two", "thr  ee", "vier\u00a0"] if " " in ending else [])]
    draw_pair(tmp_path / "d", "x")
    for index, name in enumerate(names):
        write_mask(tmp_path / "d" / f"{name}.png", np.full((32, 32, 3), index, np.uint8))
        (tmp_path / "d" / f"{name}{ending}.png").write_bytes((tmp_path / "d/masks/x.png").read_bytes())
    for folder in ("images", "masks"):
        (tmp_path / "d" / folder / "x.png").unlink()
    code, _, err = make("--folder", "d", "--mask_suffix", ending, "--split", 0.5, 0.5, 0)
    assert (code, err) == (0, "")
    found = [pair for part in ("train", "val") for pair in pairs_of(Path("data/mine/config.yaml"), part)]
    assert sorted(image.stem for image, _ in found) == sorted(names)
    assert all(mask.stem == image.stem + ending for image, mask in found)


def test_names_that_no_list_can_hold_are_faults_all_together(make, photos):
    for number, sign in enumerate(("\t", "\n", "\x85", "\udcff")):
        for folder in ("images", "masks"):
            (photos / folder / f"p{number}.png").rename(photos / folder / f"p{number}{sign}.png")
    code, _, err = make(*folders(photos))
    assert code == 1
    assert err.count("a tab or a line break. Fix: rename it") == 6
    assert err.count("a name that is not UTF-8. Fix: rename it") == 2
    assert nothing_is_written()


# -- what masks mean --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("masks", "options", "expected"),
    [
        ([[0, 1], [0, 1]], {}, (1, None)),
        ([[0, 255], [0]], {}, (1, None)),
        ([[0, 100, 180, 255]], {}, (1, None)),
        ([[0, 1], [0, 1, 2]], {}, (3, None)),
        ([[0, 1, 255], [0, 4]], {}, (5, 255)),
        ([[0, 1], [0, 255]], {}, (1, None)),  # a contradiction, for Dataset to tell
        ([[0, 1]], {"num_classes": 2}, (2, None)),
        ([[0, 1]], {"classes": ["a", "b", "c"]}, (4, None)),
        ([[0, 1, 2, 255]], {"num_classes": 21}, (21, 255)),
        ([[0, 1, 7]], {"ignore_index": 7}, (1, 7)),
        ([[0, 1, 2]], {"saliency": True}, (1, None)),
        ([], {}, (1, None)),
    ],
)
def test_masks_say_whether_they_hold_classes(masks, options, expected):
    surveys = [MaskLevels(f"{n}.png", "8-bit", np.array(levels)) for n, levels in enumerate(masks)]
    assert count_classes(surveys, Meaning(**options)) == expected


def test_palettes_of_many_classes_are_classes():
    assert count_classes([MaskLevels("a", "palette", np.array([0, 3, 149, 255]))], Meaning()) == (150, 255)


def test_class_ids_in_folders_are_found_and_stratified_by_the_rarest(make, tmp_path):
    for index in range(20):
        draw_pair(tmp_path / "d", f"{index}")
        mask = np.ones((32, 32), np.uint8)
        mask[:9] = 2 if index % 5 == 0 else 0
        write_mask(tmp_path / "d" / "masks" / f"{index}.png", mask)
    code, out, err = make(*folders(Path("d")), "--stratify", "--split", 0.5, 0.5, 0)
    assert (code, err) == (0, "")
    assert "classes: 0 background, 1 class 1, 2 class 2" in out
    rare = [mask for _, mask in pairs_of(Path("data/mine/config.yaml"), "val") if pixels(mask).max() == 2]
    assert len(rare) == 2


def test_the_share_of_the_foreground_counts_what_counts():
    encoding = MaskEncoding("grey", 1, ignore_index=7)
    contents = [
        encoding.measure(MaskLevels("", "8-bit", np.array(list(counts))), np.array(list(counts.values())))
        for counts in ({0: 100}, {0: 95, 7: 900, 255: 5}, {0: 100, 120: 300, 140: 1}, {255: 9})
    ]
    assert [name.split()[-1] for name in strata(contents, saliency=True)] == ["0.0", "0.05", "0.01", "1.0"]


def test_small_and_large_objects_are_shared_out(make, tmp_path):
    for index in range(20):
        mask = np.zeros((20, 20), np.uint8)
        mask[: 2 if index % 5 == 0 else 15] = 255
        write_mask(tmp_path / "d" / "images" / f"{index}.png", np.full((20, 20, 3), index, np.uint8))
        write_mask(tmp_path / "d" / "masks" / f"{index}.png", mask)
    assert make(*folders(Path("d")), "--stratify", "--split", 0.5, 0.5, 0)[0] == 0
    small = [mask for _, mask in pairs_of(Path("data/mine/config.yaml"), "val") if pixels(mask).mean() < 50]
    assert len(small) == 2


def test_empty_images_are_kept_or_left_out(make, photos):
    for index in range(3):
        write_mask(photos / "masks" / f"p{index}.png", np.zeros((40, 48), np.uint8))
    _, out, _ = make(*folders(photos), "--save_dir", "a")
    assert "3 images show no object: kept (--skip_empty leaves them out)" in out
    assert "train 8, val 2" in out
    _, out, _ = make(*folders(photos), "--save_dir", "b", "--skip_empty")
    assert "3 images show no object: left out" in out
    assert "train 6, val 1" in out


def test_copies_and_groups_stay_together(make, photos):
    for index in range(5):
        for folder in ("images", "masks"):
            content = (photos / folder / f"p{index}.png").read_bytes()
            (photos / folder / f"q{index}.png").write_bytes(content)
    _, out, _ = make(*folders(photos), "--split", 0.6, 0.4, 0)
    assert "5 images are copies of others; each stays with its original" in out
    sides = [
        {path.read_bytes() for path, _ in pairs_of(Path("data/mine/config.yaml"), part)}
        for part in ("train", "val")
    ]
    assert not sides[0] & sides[1]
    _, out, _ = make(*folders(photos), "--group_by", "q.*", "--save_dir", "b")
    assert "--group_by matches 10 names not, first: p0.png" in out


# -- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give one source of --coco, --labelme, --list, --folder, --mask_dir, got 0"),
        (["--coco", "a", "--labelme", "b"], "got 2"),
        (["--coco", "a"], "--coco needs --image_dir"),
        (["--mask_dir", "a"], "--mask_dir needs --image_dir"),
        (["--list", "a"], "--list needs --dataset_root"),
        (["--labelme", "a", "--mask_suffix", "_m"], "--mask_suffix means nothing with --labelme"),
        (["--labelme", "a", "--num_classes", "3"], "--num_classes means nothing with --labelme"),
        (["--folder", "a", "--crowd", "drop"], "--crowd means nothing with --folder"),
        (["--folder", "a", "--saliency", "--num_classes", "3"], "--saliency is one foreground"),
        (["--folder", "a", "--saliency", "--classes", "b"], "--saliency is one foreground"),
        (["--folder", "a", "--num_classes", "1"], "at least 2; --saliency for one foreground"),
        (
            ["--folder", "a", "--num_classes", "3", "--classes", "b"],
            "--num_classes is one more than --classes",
        ),
        (["--folder", "a", "--split", "0.8", "0.3", "0"], "shares that add up to 1"),
        (["--folder", "a", "--split", "1", "0", "0"], "those of train and val above 0"),
        (["--folder", "a", "--split", "nan", "0.2", "0"], "shares that add up to 1"),
        (["--folder", "a", "--group_by", "("], "not a regular expression"),
        (["--coco", "a", "b", "--image_dir", "c", "d", "e"], "--image_dir: 3 folders for 2 of --coco"),
        (["--mask_dir", "a", "--image_dir", "c", "d"], "--image_dir: 2 folders for 1 of --mask_dir"),
        (["--labelme", *"abcd"], "--labelme: 4 are more than train, val and test; --split joins them"),
        (["--labelme", *"ab", "--seed", "1"], "--seed means nothing for parts that are given; --split"),
        (["--foldr", "a"], "Did you mean --folder?"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(make, words, message):
    code, _, err = make(*words)
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folder", "my photos"], "images and masks cannot be told apart. Fix: --mask_suffix _gt"),
        (["--folder", "absent", "--mask_suffix", "_gt"], "absent: no such folder. Fix:"),
        (["--image_dir", "my photos/images", "--mask_dir", "absent"], "absent: no such folder"),
        (["--labelme", "my photos"], "no JSON file there"),
        (["--coco", "absent.json", "--image_dir", "my photos"], "absent.json: no such file"),
        (["--list", "absent.txt", "--dataset_root", "."], "absent.txt"),
        (["--coco", "a.json", "--image_dir", "absent"], "absent: no such folder. Fix:"),
        (
            ["--folder", "my photos", "--mask_suffix", "_gt"],
            "holds no image whose name ends with '_gt'. Fix:",
        ),
        (["--image_dir", "empty", "--mask_dir", "empty2"], "0 images. Fix:"),
    ],
)
def test_sources_that_are_not_there_are_named(make, photos, words, message):
    Path("empty").mkdir()
    Path("empty2").mkdir()
    code, _, err = make(*words)
    assert code == 1
    assert message in err
    assert nothing_is_written()


def assert_told(code: int, err: str, faults: tuple[str, ...]) -> None:
    """All of them at once, and nothing is written."""
    assert code == 1
    assert [fault for fault in faults if fault not in err] == []
    assert nothing_is_written()


def test_all_faults_of_files_come_together_and_nothing_is_written(make, photos):
    (photos / "masks" / "p1.png").unlink()
    (photos / "images" / "p2.png").write_bytes((photos / "images" / "p2.png").read_bytes()[:300])
    (photos / "masks" / "p3.png").write_bytes(b"")
    write_mask(photos / "masks" / "p4.png", np.zeros((9, 9), np.uint8))
    write_mask(photos / "masks" / "p5.png", np.ones((40, 48), np.uint8))
    code, _, err = make(*folders(photos), "--saliency")
    assert_told(
        code,
        err,
        (
            "p1.png: no mask named 'p1'",
            "p2.png: truncated",
            "p3.png: cannot be read as a mask",
            "p5.png: holds 1, but 6 masks are grey",
            "p4.png: mask (H, W) (9, 9) differs from its image's (40, 48)",
        ),
    )


def test_all_faults_of_annotations_come_together_and_nothing_is_written(make, photos):
    size = {"height": 40, "width": 48}
    images = [{"id": n, "file_name": f"p{n}.png", **size} for n in range(4)]
    images += [{"id": 4, "file_name": "absent.png", **size}, {"id": 5, "file_name": "p0.jpg", **size}]
    images += [{"id": 6, "file_name": "p6.png", "height": 48, "width": 40}]
    rows = [
        {"image_id": 0, "segmentation": [[1, 2, 3]]},
        {"image_id": 99},
        {"image_id": 1, "segmentation": [[0] * 6]},
    ]
    coco(Path("a.json"), rows, images=images)
    code, _, err = make("--coco", "a.json", "--image_dir", photos / "images", "--classes", "cat", "dgo")
    assert_told(
        code,
        err,
        (
            "a.json: annotations[0]: segmentation: expected",
            "a.json: annotations[1]: image_id 99: not among",
            "a.json: images[4]: ",
            "absent.png: no such image file",
            "the name 'p0' stands twice, first in a.json: images[0]. Fix:",
            "a.json: images[6]: (H, W) (48, 40) differs from the (40, 48)",
            "Fix: turn the image for good and annotate that",
            "class 'dgo': nothing is called so. Did you mean 'dog'?",
        ),
    )


def test_nothing_is_overwritten(make, photos):
    for words in (["--save_dir", "there"], ["--config_out", "there"]):
        Path("there").mkdir(exist_ok=True)
        code, _, err = make(*folders(photos), *words)
        assert code == 1
        assert "there: exists already. Fix: remove it, or choose another name" in err
    assert tree("there") == []
    assert not Path("data").exists()


def test_sets_too_small_for_their_parts_are_refused(make, photos):
    code, _, err = make(*folders(photos), "--split", 0.95, 0.04, 0.01)
    assert code == 1
    assert "val: gets none of 10 images by --split 0.95 0.04 0.01. Fix: more images" in err
    code, _, err = make(*folders(photos), "--group_by", "video")
    assert "--group_by video: matches no name, as 'p0.png'" in err
    code, _, err = make(*folders(photos), "--group_by", "p")
    assert "Fix: more images, other shares, or smaller groups" in err
    assert nothing_is_written()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("my photos/images/p0.png/c.yaml", "images/p0.png: a file, expected a folder. Fix:"),
        ("data/mine", "data/mine: the folder of the data set. Fix: --config_out names a file"),
        ("data", "data: the folder of the data set. Fix: --config_out names a file"),
        ("data/mine/train_list.txt", "belongs to the data set. Fix: another name for --config_out"),
        ("data/mine/masks/a.yaml", "belongs to the data set. Fix: another name for --config_out"),
        ("/sys/c.yaml", "/sys/c.yaml: cannot be written"),  # by anyone, root included
    ],
)
def test_without_a_place_for_the_config_nothing_is_written(make, photos, place, message):
    code, _, err = make(*folders(photos), "--config_out", place)
    assert code == 1
    assert message in err
    assert nothing_is_written()


def test_a_config_that_cannot_be_written_at_last_leaves_nothing(make, photos, monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.importers.build.config_text", lambda *_: "\udcff")  # no UTF-8
    for words in ([], ["--config_out", "configs/own.yaml"], ["--config_out", "data/mine/sub/own.yaml"]):
        assert make(*folders(photos), *words)[0] == 1
        assert nothing_is_written()
        assert not Path("configs").exists() or not list(Path("configs").iterdir())


def test_a_config_may_lie_anywhere_in_the_new_folder(make, photos):
    assert make(*folders(photos), "--config_out", "data/mine/sub/own.yaml")[0] == 0
    assert len(pairs_of(Path("data/mine/sub/own.yaml"), "train")) == 8


def test_an_image_named_twice_is_a_fault(make, data):
    path = data / "train_list.txt"
    path.write_text(path.read_text() * 2)
    code, _, err = make("--list", path, "--dataset_root", data)
    assert code == 1
    assert f"{path}:5: " in err
    assert f"stands twice, first in {path}:1. Fix: keep one" in err


def test_names_of_classes_cannot_leave_the_comment(make, photos):
    words = [*folders(photos), "--classes", "a\nbatch_size: 1", "--num_classes", 2]
    assert make(*words)[0] == 0
    assert load_config("data/mine/config.yaml")["batch_size"] == 4


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_place_is_named(make, photos):
    Path("closed").mkdir(mode=0o500)
    code, _, err = make(*folders(photos), "--save_dir", "closed/mine")
    assert code == 1
    assert "closed/mine: cannot be written" in err


def test_the_benchmark_measures_every_way(tmp_path, capsys):
    benchmark_coco.draw_annotations(tmp_path, 10)
    benchmark_coco.draw_images(tmp_path, 10)
    for way in benchmark_coco.WAYS:
        benchmark_coco.measure(way, tmp_path)
        assert capsys.readouterr().out.splitlines()[-1].startswith(f"| {way} | ")
    assert len(list((tmp_path / "mine" / "masks").iterdir())) == 10


def test_help_teaches_each_source(make):
    code, out, _ = make("--help")
    assert code == 0
    for flag in ("--image_dir photos", "--folder photos", "--coco", "--labelme", "--list", "--group_by"):
        assert f"make_dataset.py {flag}" in out or flag in out.split("examples:")[1]
