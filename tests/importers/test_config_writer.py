"""Paths and comments in the config of a new data set."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import yaml
from built_sets import folder_flags, pairs_of
from PIL import Image
from support import tree

from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.data.masks import MaskEncoding
from paddleseg_u2net.importers.config_writer import config_text


def test_project_can_be_moved_with_its_data(make, photo_set, tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    photo_set.rename(tmp_path / "project" / "photos")
    monkeypatch.chdir(tmp_path / "project")
    assert make(*folder_flags(Path("photos")))[0] == 0
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


def test_config_out_in_another_folder_names_the_same_files(make, photo_set):
    code, out, err = make(*folder_flags(photo_set), "--config_out", "configs/my own.yaml")
    assert (code, err) == (0, "")
    assert "config.yaml" not in tree("data/mine")
    assert "u2net train --config 'configs/my own.yaml'" in out
    assert len(pairs_of(Path("configs/my own.yaml"), "train")) == 8


def test_data_outside_the_project_has_absolute_paths(make, photo_set, tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    assert make(*folder_flags(photo_set))[0] == 0
    config = yaml.safe_load(Path("data/mine/config.yaml").read_text())
    assert config["train_dataset"]["dataset_root"] == str(photo_set)
    assert config["train_dataset"]["train_path"] == "${here}/train_list.txt"


def test_palettes_of_another_order_are_counted_and_their_colours_written(make, photo_set):
    for number, path in enumerate(sorted((photo_set / "masks").iterdir())):
        swapped = number == 3
        values = ((np.asarray(Image.open(path)) > 0) ^ swapped).astype(np.uint8)
        picture = Image.frombytes("P", values.shape[::-1], values.tobytes())
        picture.putpalette([9, 0, 0, 0, 0, 0] if swapped else [0, 0, 0, 9, 0, 0])
        picture.save(path)
    code, out, _ = make(*folder_flags(photo_set))
    assert code == 0
    assert re.search(r"converted +masks +1 +palettes of another order, read by colour .*p3.png\n", out)
    text = Path("data/mine/config.yaml").read_text()
    assert "&" not in text  # YAML's name for a value that is used twice
    config = yaml.safe_load(text)
    for part in ("train", "val"):
        assert config[f"{part}_dataset"]["mask_colors"] == {0: [0, 0, 0], 1: [9, 0, 0]}


def test_line_break_in_a_class_name_does_not_end_the_comment(make, photo_set):
    words = [*folder_flags(photo_set), "--classes", "a\nbatch_size: 1", "--num_classes", 2]
    assert make(*words)[0] == 0
    assert load_config("data/mine/config.yaml")["batch_size"] == 4


def test_class_names_are_written_where_they_are_all_different(make, photo_set):
    words = [*folder_flags(photo_set), "--classes"]
    assert make(*words, "leaf", "--num_classes", 2, "--save_dir", "data/leaf")[0] == 0
    assert load_config("data/leaf/config.yaml")["class_names"] == ["background", "leaf"]
    names = ["background", "leaf", "leaf"]
    text = config_text("data", {"train": "a.txt", "val": "b.txt"}, MaskEncoding("index", 3), [], names)
    assert "class_names" not in yaml.safe_load(text)
