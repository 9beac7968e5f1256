"""`u2net check-dataset`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support import ROOT, environment, make_config, tree, write_mask

from paddleseg_u2net.cli.check_dataset import build_parser


@pytest.fixture
def check(run):
    """Run the command: (exit code, stdout, stderr)."""
    return partial(run, "check-dataset")


def test_sound_data_exits_with_0_for_every_kind_of_input(check, data, config):
    for words in (
        ["--config", config],
        ["--image_dir", data / "images", "--mask_dir", data / "masks"],
        ["--dataset_root", data],
        ["--list", data / "train_list.txt"],
        ["--list", data / "val_list.txt", "--dataset_root", data, "--num_classes", 2],
    ):
        code, text, error = check(*words)
        assert (code, error) == (0, ""), words
        assert "mask_encoding: grey" in text
        assert "suggested target_size: [256, 256]" in text


def test_config_is_checked_as_in_training(check, data, tmp_path):
    config = make_config(tmp_path / "c.yaml", data, num_classes=2)
    code, text, _ = check("--config", config, "--opts", "train_dataset.ignore_index=255")
    assert code == 1
    assert "none of the 4 masks has any foreground" in text
    assert "val_dataset: 2 pairs, mask_encoding: grey" in text


def test_findings_are_printed_as_a_table(check, data):
    (data / "images" / "p0.png").unlink()
    shutil.copy(data / "images" / "p4.png", data / "images" / "p1.png")
    code, text, _ = check("--dataset_root", data, "--save_dir", "out")
    assert code == 1
    rows = [line for line in text.splitlines() if line.startswith(("error", "warning", "note"))]
    assert [row.split()[0] for row in rows] == ["error", "warning", "warning"]
    assert "broken files" in rows[0]
    assert " 1  restore the file; --fix leaves the pair out" in rows[0]
    assert f"first: {data}/train_list.txt:1: {data}/images/p0.png: no such image file" in text
    assert tree("out") == ["report.html", "report.json"]
    assert json.loads(Path("out/report.json").read_text())["findings"][0]["check"] == "broken files"


def test_everything_that_preparing_changed_is_shown(check, data):
    rows = [
        {"outcome": outcome, "items": "annotations", "reason": f"reason {n}", "count": n, "first": ["x"]}
        for n, outcome in enumerate(("kept", "ignored", "skipped"), start=1)
    ]
    (data / "dataset.json").write_text(json.dumps({"items": rows}))
    code, text, _ = check("--dataset_root", data)
    assert code == 0
    lines = [line.strip() for line in text.splitlines() if "dataset.json: " in line]
    assert [line.split("dataset.json: ")[1] for line in lines] == [
        "1 annotations kept: reason 1; first: x",
        "2 annotations ignored: reason 2; first: x; …",
        "3 annotations skipped: reason 3; first: x; …",
    ]


def test_warnings_exit_with_0(check, data):
    write_mask(data / "masks" / "p0.png", np.zeros((32, 32), np.uint8))
    code, text, _ = check("--dataset_root", data)
    assert code == 0
    assert "warning  empty masks" in text


def test_fix_writes_a_copy_without_errors(check, data):
    (data / "masks" / "p0.png").write_text("no")
    code, text, _ = check("--dataset_root", data, "--fix", "fixed")
    assert code == 0
    assert f"left out: {data}/train_list.txt:1: {data}/masks/p0.png: cannot be read as a mask" in text
    assert "fixed: 5 pairs, 0 of them changed, 1 left out" in text
    assert "kept      pairs      5\nleft out  pairs      1  cannot be read as a mask" in text
    assert [row["count"] for row in json.loads(Path("fixed/fixed.json").read_text())["items"]] == [5, 1]
    assert text.endswith("fixed, checked: nothing was found\n")
    code, text, _ = check("--dataset_root", "fixed")
    assert (code, "fixed/fixed.json: 1 pairs left out: cannot be read as a mask" in text) == (0, True)
    code, _, error = check("--dataset_root", data, "--fix", "fixed")
    assert (code, error.startswith("error: --fix fixed: exists already")) == (1, True)


def test_fix_exits_with_the_code_of_the_copy(check, data):
    """0 for warnings in the copy, 1 for errors; nothing is written if a data set would have no pair."""
    write_mask(data / "masks" / "p0.png", np.zeros((32, 32), np.uint8))
    (data / "images" / "p1.png").unlink()
    code, text, _ = check("--dataset_root", data, "--fix", "warned")
    assert (code, text.splitlines()[-1]) == (0, "warned, checked: empty masks (1)")
    for name in ("p2", "p3"):  # the only ones with foreground become copies of val
        shutil.copy(data / "images" / "p4.png", data / "images" / f"{name}.png")
    code, text, _ = check("--dataset_root", data, "--fix", "emptied")
    assert (code, text.splitlines()[-1]) == (1, "emptied, checked: no foreground (1), empty masks (1)")
    for name in ("p4", "p5"):
        (data / "images" / f"{name}.png").unlink()
    code, _, error = check("--dataset_root", data, "--fix", "wrong")
    assert (code, "no pair of val would be left. Fix: correct the reported faults by hand" in error) == (
        1,
        True,
    )
    assert not Path("wrong").exists()


def test_val_and_test_may_be_the_same_images(check, data):
    """Most published data sets have one part for evaluation."""
    shutil.copy(data / "val_list.txt", data / "test_list.txt")
    code, text, _ = check("--dataset_root", data)
    assert (code, "in two sets" in text) == (0, False)


def test_output_that_cannot_be_written_is_rejected_before_the_check(check, data, tmp_path, monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.cli.check_dataset.examine", lambda datasets: pytest.fail("examined"))
    for name in ("report.json", "report.html"):
        path = tmp_path / name.partition(".")[2] / name
        path.parent.mkdir()
        path.write_text("mine")
        code, _, error = check("--dataset_root", data, "--save_dir", path.parent)
        assert code == 1
        assert error == f"error: {path}: exists already. Fix: another --save_dir, or remove it\n"
        assert (tree(path.parent), path.read_text()) == ([name], "mine")
    flags = ("--image_dir", data / "images", "--mask_dir", data / "masks", "--fix")
    code, _, error = check(*flags, data / "images" / "sub" / "new")
    assert (code, "a folder of originals" in error) == (1, True)
    code, _, error = check(*flags, "new", "--save_dir", "new/report")
    assert (code, "--save_dir new/report: is inside the copy. Fix: another folder" in error) == (1, True)
    Path("output").write_text("a file")
    code, _, error = check("--config", make_config(tmp_path / "o.yaml", data), "--overfit")
    assert (code, "output: expected a folder, found a file. Fix: " in error) == (1, True)
    code, _, error = check("--dataset_root", data, "--fix", data)
    assert (code, "exists already. Fix: another folder" in error) == (1, True)
    both = ["--opts", "val_dataset.mode=train", "val_dataset.train_path=val_list.txt"]
    code, _, error = check("--config", make_config(tmp_path / "c.yaml", data), *both, "--fix", "new")
    assert (code, "train_dataset and val_dataset both have mode train" in error) == (1, True)
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give one of --config, --image_dir with --mask_dir, --dataset_root, or --list"),
        (["--config", "a", "--list", "b"], "give one of"),
        (["--image_dir", "a"], "--image_dir needs --mask_dir"),
        (["--list", "a", "--overfit"], "--overfit needs --config"),
        (
            ["--config", "a", "--overfit", "--fix", "b"],
            "--overfit cannot be used with --fix. Fix: write the copy",
        ),
        (["--list", "a", "--opts", "b=1"], "--opts needs --config"),
        (["--config", "a", "--num_classes", "2"], "--num_classes cannot be used with --config"),
        (["--list", "a", "--num_classes", "0"], "expected a whole number above 0, got '0'"),
        (["--list", ""], "expected a path, got an empty text"),
        (["--list", "a", "--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_wrong_flags_exit_with_2(check, words, message):
    code, _, error = check(*words)
    assert code == 2
    assert message in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--list", "absent.txt"], "--list absent.txt: no such file"),
        (["--dataset_root", "absent"], "--dataset_root absent: has none of train_list.txt, val_list.txt"),
        (["--image_dir", "absent", "--mask_dir", "absent"], "absent: no such folder"),
        (["--config", "absent.yaml"], "--config absent.yaml: no such file"),
    ],
)
def test_missing_input_is_reported(check, words, message):
    code, _, error = check(*words)
    assert code == 1
    assert message in error


def test_folders_without_pairs_are_an_error(check):
    Path("images").mkdir()
    Path("masks").mkdir()
    code, _, error = check("--image_dir", "images", "--mask_dir", "masks")
    assert code == 1
    assert "--image_dir images: no images in this folder. Fix: a folder with images" in error
    write_mask(Path("images/a.png"), np.zeros((3, 3), np.uint8))
    code, text, _ = check("--image_dir", "images", "--mask_dir", "masks")
    assert (code, "no mask named 'a' in masks" in text) == (1, True)


def test_names_that_are_not_utf_8_are_printed_and_written(data):
    """Run as a process whose terminal cannot show the name."""
    name = os.fsdecode(b"\xff\xfe.png")
    (data / "images" / "p0.png").rename(data / "images" / name)
    (data / "masks" / "p0.png").rename(data / "masks" / name)
    write_mask(data / "masks" / "p1.png", np.zeros((32, 32), np.uint8))
    (data / "masks" / "p1.png").replace(data / "masks" / name)
    command = [sys.executable, ROOT / "tools" / "check_dataset.py", "--image_dir", data / "images"]
    command += ["--mask_dir", data / "masks", "--save_dir", "out", "--fix", "fixed"]
    outcome = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert "Traceback" not in outcome.stderr
    assert outcome.returncode == 0, outcome.stderr
    assert "\\udcff\\udcfe.png: nothing but background" in outcome.stdout
    assert "udcff" in Path("out/report.html").read_text()
    assert Path("fixed/images/__.png").is_file()


def test_help_shows_examples_and_grouped_flags(check):
    code, text, _ = check("--help")
    assert code == 0
    assert "u2net check-dataset --image_dir photos/ --mask_dir masks/" in text
    assert [text.index(f"\n{group}:\n") for group in ("input", "output", "settings")]
    assert text == build_parser().format_help()


def test_overfit_follows_the_check(check, config):
    code, text, _ = check("--config", config, "--overfit", "--save_dir", "out", "--device", "cpu")
    assert code in (0, 1)
    assert "[OVERFIT] 2 pairs, " in text
    assert "overfit.png" in tree("out")
