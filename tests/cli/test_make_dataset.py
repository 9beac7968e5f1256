"""Flags and help of `u2net make-dataset`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from support import write_mask


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [],
            "expected one source of --coco, --labelme, --list, --voc, --yolo, --supervisely, --folder, "
            "--mask_dir, got 0",
        ),
        (["--labelme", "a", "--colors", "voc"], "--colors cannot be used with --labelme"),
        (["--folder", "a", "--colors", "voc", "--labelmap", "b"], "--labelmap and --colors: expected one"),
        (["--folder", "a", "--unknown_colors", "ignore"], "--unknown_colors needs --labelmap or --colors"),
        (["--folder", "a", "--colors", "voc", "--num_classes", "3"], "cannot be used with colours"),
        (["--voc", "a", "--ignore_index", "3"], "--ignore_index cannot be used with --voc"),
        (["--yolo", "a", "b"], "unrecognized arguments: b"),
        (["--coco", "a", "--labelme", "b"], "got 2"),
        (["--coco", "a"], "--coco needs --image_dir"),
        (["--mask_dir", "a"], "--mask_dir needs --image_dir"),
        (["--list", "a"], "--list needs --dataset_root"),
        (["--labelme", "a", "--mask_suffix", "_m"], "--mask_suffix cannot be used with --labelme"),
        (["--labelme", "a", "--num_classes", "3"], "--num_classes cannot be used with --labelme"),
        (["--folder", "a", "--crowd", "drop"], "--crowd cannot be used with --folder"),
        (["--folder", "a", "--saliency", "--num_classes", "3"], "--saliency means one foreground class"),
        (["--folder", "a", "--saliency", "--classes", "b"], "--saliency means one foreground class"),
        (["--folder", "a", "--num_classes", "1"], "expected at least 2; --saliency for one foreground"),
        (
            ["--folder", "a", "--num_classes", "3", "--classes", "b"],
            "expected one more than the names of --classes",
        ),
        (["--folder", "a", "--classes", "disc", "Background"], "background is class 0; leave it out"),
        (["--folder", "a", "--classes", "background"], "background is class 0; leave it out"),
        (["--folder", "a", "--keep_unused"], "--keep_unused cannot be used with --folder"),
        (["--folder", "a", "--split", "0.8", "0.3", "0"], "shares that add up to 1"),
        (["--folder", "a", "--split", "1", "0", "0"], "with those of train and val above 0"),
        (["--folder", "a", "--split", "nan", "0.2", "0"], "shares that add up to 1"),
        (["--folder", "a", "--group_by", "("], "not a regular expression"),
        (["--coco", "a", "b", "--image_dir", "c", "d", "e"], "--image_dir: got 3 folders for 2 of --coco"),
        (["--mask_dir", "a", "--image_dir", "c", "d"], "--image_dir: got 2 folders for 1 of --mask_dir"),
        (["--labelme", *"abcd"], "--labelme: got 4, expected at most 3; --split joins them"),
        (["--labelme", *"ab", "--seed", "1"], "--seed needs --split, because several sources are"),
        (["--foldr", "a"], "Did you mean --folder?"),
    ],
)
def test_contradictory_flags_are_rejected(run, words, message):
    code, _, err = run("make-dataset", *words)
    assert code == 2
    assert message in err


def test_help_shows_an_example_of_each_source(run):
    code, out, _ = run("make-dataset", "--help")
    assert code == 0
    examples = out.split("examples:")[1]
    for flag in (
        *("--image_dir", "--folder", "--coco", "--labelme", "--list"),
        "--voc",
        "--yolo",
        "--supervisely",
    ):
        assert f"u2net make-dataset {flag} " in examples


def test_paths_with_spaces_are_quoted_in_recorded_and_printed_commands(run, data):
    flags = ["--image_dir", data / "images", "--mask_dir", data / "masks", "--save_dir", "new set"]
    code, out, err = run("make-dataset", *flags)
    assert (code, err) == (0, "")
    record = json.loads(Path("new set/dataset.json").read_text())
    assert shlex.split(record["made_by"]) == ["u2net", "make-dataset", *map(str, flags)]
    assert "train:  u2net train --config 'new set/config.yaml'" in out


def test_flags_of_a_split_need_one_if_the_source_has_parts(run, tmp_path):
    for name in ("images/train/a.png", "images/train/b.png", "images/val/c.png"):
        write_mask(tmp_path / name, np.full((8, 8, 3), ord(name[-5]), np.uint8))
        label = tmp_path / name.replace("images", "labels").replace(".png", ".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("0 0 0 1 0 1 1")
    (tmp_path / "classes.txt").write_text("cat")
    code, _, err = run("make-dataset", "--yolo", tmp_path, "--stratify")
    assert code == 1
    assert (
        "has train and val already, so it is not split. Fix: add --split, or remove --seed, --stratify" in err
    )
    assert run("make-dataset", "--yolo", tmp_path)[0] == 0
    split = ["--stratify", "--split", 0.6, 0.4, 0, "--save_dir", "b"]
    assert run("make-dataset", "--yolo", tmp_path, *split)[0] == 0
