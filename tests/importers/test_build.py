"""Building a data set: whole commands, record, strata, split, and output paths."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from annotation_files import write_coco
from built_sets import folder_flags, nothing_is_written, pairs_of
from PIL import Image
from support import draw_pair, pixels, tree, write_mask

from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.data.masks import MaskEncoding, MaskLevels
from paddleseg_u2net.importers import build
from paddleseg_u2net.importers.build import strata

SMALL = "{0}_dataset.transforms.0.target_size=[32,32]"
ONE_STEP = ["--iters", 1, "--cpu_engine", "paddle"]  # which starts sooner than oneDNN
TINY = ["--opts", SMALL.format("train"), SMALL.format("val"), "model.pretrained=null", "batch_size=2"]


def test_config_of_two_folders_trains_validates_and_predicts_from_any_working_folder(
    make, run, photo_set, tmp_path, monkeypatch
):
    code, out, err = make(*folder_flags(photo_set))
    assert (code, err) == (0, "")
    assert "data/mine: train 8, val 2; mask_encoding: grey" in out
    assert "check:  u2net check-dataset --config data/mine/config.yaml\n" in out
    command = re.search(r"u2net train (--config data/mine/config.yaml .*)\n", out)[1]
    assert tree("data/mine") == ["config.yaml", "dataset.json", "train_list.txt", "val_list.txt"]
    crop = "train_dataset.transforms.1.crop_size=[24,24]"
    code, _, err = run("train", *command.split(), "--save_dir", "run", *ONE_STEP, *TINY, crop)
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
    code, _, err = run("predict", *where, "--image_path", photo_set / "images" / "p0.png")
    assert (code, err) == (0, "")
    assert "output/result/saliency/p0.png" in tree(".")


def test_config_of_coco_annotations_trains_and_validates_classes(make, run, tmp_path):
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
    write_coco(tmp_path / "a.json", rows, images=images)
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
    code, _, err = run("train", "--config", "data/pets/config.yaml", "--do_eval", *ONE_STEP, *TINY)
    assert (code, err) == (0, "")


def test_record_says_how_the_data_set_was_made(make, photo_set):
    make(
        *folder_flags(photo_set), "--split", 0.5, 0.3, 0.2, "--seed", 3, "--group_by", r"p(\d)", "--stratify"
    )
    assert json.loads(Path("data/mine/dataset.json").read_text()) == {
        "made_by": f"u2net make-dataset --image_dir '{photo_set}/images' --mask_dir '{photo_set}/masks' "
        r"--split 0.5 0.3 0.2 --seed 3 --group_by 'p(\d)' --stratify",
        "counts": {"train": 5, "val": 3, "test": 2},
        "num_classes": 1,
        "classes": ["background", "object"],
        "mask_encoding": "grey",
        "ignore_index": None,
        "mask_colors": None,
        "split": [0.5, 0.3, 0.2],
        "seed": 3,
        "stratify": True,
        "group_by": r"p(\d)",
        "items": [{"outcome": "kept", "items": "images", "reason": "", "count": 10, "first": []}],
    }


def test_foreground_share_of_a_stratum_leaves_out_ignored_pixels():
    encoding = MaskEncoding("grey", 1, ignore_index=7)
    contents = [
        encoding.measure(MaskLevels("", "8-bit", np.array(list(counts))), np.array(list(counts.values())))
        for counts in ({0: 100}, {0: 95, 7: 900, 255: 5}, {0: 100, 120: 300, 140: 1}, {255: 9})
    ]
    assert [name.split()[-1] for name in strata(contents, saliency=True)] == ["0.0", "0.05", "0.01", "1.0"]


def test_stratify_gives_each_part_its_share_of_small_objects(make, tmp_path):
    for index in range(20):
        mask = np.zeros((20, 20), np.uint8)
        mask[: 2 if index % 5 == 0 else 15] = 255
        write_mask(tmp_path / "d" / "images" / f"{index}.png", np.full((20, 20, 3), index, np.uint8))
        write_mask(tmp_path / "d" / "masks" / f"{index}.png", mask)
    assert make(*folder_flags(Path("d")), "--stratify", "--split", 0.5, 0.5, 0)[0] == 0
    small = [mask for _, mask in pairs_of(Path("data/mine/config.yaml"), "val") if pixels(mask).mean() < 50]
    assert len(small) == 2


def test_class_ids_are_detected_and_stratified_by_the_rarest_class(make, tmp_path):
    for index in range(20):
        draw_pair(tmp_path / "d", f"{index}")
        mask = np.ones((32, 32), np.uint8)
        mask[:9] = 2 if index % 5 == 0 else 0
        write_mask(tmp_path / "d" / "masks" / f"{index}.png", mask)
    code, out, err = make(*folder_flags(Path("d")), "--stratify", "--split", 0.5, 0.5, 0)
    assert (code, err) == (0, "")
    assert "classes: 0 background, 1 class 1, 2 class 2" in out
    rare = [mask for _, mask in pairs_of(Path("data/mine/config.yaml"), "val") if pixels(mask).max() == 2]
    assert len(rare) == 2


def test_empty_images_are_kept_unless_skip_empty_is_given(make, photo_set):
    for index in range(3):
        write_mask(photo_set / "masks" / f"p{index}.png", np.zeros((40, 48), np.uint8))
    _, out, _ = make(*folder_flags(photo_set), "--save_dir", "a")
    assert "kept     images      3  contain no object (--skip_empty leaves them out)  p0.png; p1" in out
    assert "train 8, val 2" in out
    _, out, _ = make(*folder_flags(photo_set), "--save_dir", "b", "--skip_empty")
    assert "left out  images      3  contain no object  p0.png; p1.png; p2.png" in out
    assert "train 6, val 1" in out


def test_copies_stay_in_one_part_and_names_without_group_are_reported(make, photo_set):
    for index in range(5):
        for folder in ("images", "masks"):
            content = (photo_set / folder / f"p{index}.png").read_bytes()
            (photo_set / folder / f"q{index}.png").write_bytes(content)
    _, out, _ = make(*folder_flags(photo_set), "--split", 0.6, 0.4, 0)
    assert "5 images are copies of others; copies stay in one part" in out
    sides = [
        {path.read_bytes() for path, _ in pairs_of(Path("data/mine/config.yaml"), part)}
        for part in ("train", "val")
    ]
    assert not sides[0] & sides[1]
    _, out, _ = make(*folder_flags(photo_set), "--group_by", "q.*", "--save_dir", "b")
    assert "--group_by does not match 10 names, first: p0.png" in out


def test_existing_outputs_are_not_overwritten(make, photo_set):
    for words in (["--save_dir", "there"], ["--config_out", "there"]):
        Path("there").mkdir(exist_ok=True)
        code, _, err = make(*folder_flags(photo_set), *words)
        assert code == 1
        assert "there: exists already. Fix: remove it, or choose another name" in err
    assert tree("there") == []
    assert not Path("data").exists()


def test_split_with_an_empty_part_is_rejected(make, photo_set):
    code, _, err = make(*folder_flags(photo_set), "--split", 0.95, 0.04, 0.01)
    assert code == 1
    assert "val: gets none of 10 images with --split 0.95 0.04 0.01. Fix: add images" in err
    code, _, err = make(*folder_flags(photo_set), "--group_by", "video")
    assert (
        "--group_by video: matches none of the names, for example 'p0.png'. Fix: correct the pattern" in err
    )
    code, _, err = make(*folder_flags(photo_set), "--group_by", "p")
    assert "Fix: add images, change the shares, or use smaller groups" in err
    assert nothing_is_written()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("my photos/images/p0.png/c.yaml", "images/p0.png: expected a folder, found a file. Fix:"),
        ("data/mine", "data/mine: is the folder of the data set, expected a file. Fix: name a file"),
        ("data", "data: is the folder of the data set, expected a file. Fix: name a file"),
        ("data/mine/train_list.txt", "is used by the data set itself. Fix: choose another name"),
        ("data/mine/masks/a.yaml", "is used by the data set itself. Fix: choose another name"),
        ("/sys/c.yaml", "/sys/c.yaml: cannot be written"),  # by anyone, root included
    ],
)
def test_config_path_that_cannot_be_used_is_rejected_and_nothing_is_written(make, photo_set, place, message):
    code, _, err = make(*folder_flags(photo_set), "--config_out", place)
    assert code == 1
    assert message in err
    assert nothing_is_written()


def test_config_that_fails_to_be_written_leaves_nothing_behind(make, photo_set, monkeypatch):
    monkeypatch.setattr(build, "config_text", lambda *_: "\udcff")  # not valid UTF-8
    for words in ([], ["--config_out", "configs/own.yaml"], ["--config_out", "data/mine/sub/own.yaml"]):
        assert make(*folder_flags(photo_set), *words)[0] == 1
        assert nothing_is_written()
        assert not Path("configs").exists() or not list(Path("configs").iterdir())


def test_config_out_may_be_inside_save_dir(make, photo_set):
    assert make(*folder_flags(photo_set), "--config_out", "data/mine/sub/own.yaml")[0] == 0
    assert len(pairs_of(Path("data/mine/sub/own.yaml"), "train")) == 8


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_read_only_folder_is_named(make, photo_set):
    Path("closed").mkdir(mode=0o500)
    code, _, err = make(*folder_flags(photo_set), "--save_dir", "closed/mine")
    assert code == 1
    assert "closed/mine: cannot be written" in err


def test_path_that_was_created_while_waiting_for_its_lock_is_kept(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "link").symlink_to("nothing")
    for name in ("set", "link"):
        with pytest.raises(FileExistsError, match=f"{name}: exists"), build._free_path(tmp_path / name):
            pass


def test_copies_in_two_given_parts_are_named_with_a_fix(caplog):
    images = [SimpleNamespace(part=part, digest=digest) for part, digest in ((0, b"a"), (1, b"a"), (2, b"b"))]
    with caplog.at_level("WARNING", "paddleseg_u2net"):
        assert [len(part) for part in build._keep_given_parts(images)] == [1, 1, 1]
    assert "1 image of val or test is in train too. Fix: --split keeps copies together" in caplog.text
