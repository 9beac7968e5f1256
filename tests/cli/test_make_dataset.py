"""Flags and help of `u2net make-dataset`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected one source of --coco, --labelme, --list, --folder, --mask_dir, got 0"),
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
    for flag in ("--image_dir", "--folder", "--coco", "--labelme", "--list"):
        assert f"u2net make-dataset {flag} " in examples


def test_paths_with_spaces_are_quoted_in_recorded_and_printed_commands(run, data):
    flags = ["--image_dir", data / "images", "--mask_dir", data / "masks", "--save_dir", "new set"]
    code, out, err = run("make-dataset", *flags)
    assert (code, err) == (0, "")
    record = json.loads(Path("new set/dataset.json").read_text())
    assert shlex.split(record["made_by"]) == ["u2net", "make-dataset", *map(str, flags)]
    assert "train:  u2net train --config 'new set/config.yaml'" in out
