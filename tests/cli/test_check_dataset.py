"""tools/check_dataset.py as people type it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import ROOT, draw_pair, environment, make_config, tree, write_mask

from paddleseg_u2net.cli.check_dataset import FLAGS, main
from tools.benchmarks import data_check as benchmark_doctor


@pytest.fixture
def check(capsys):
    """Run the tool: (exit code, stdout, stderr)."""

    def call(*words) -> tuple[int, str, str]:
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


def test_sound_data_end_with_0_in_every_form(check, data, config):
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


def test_a_config_is_checked_as_train_would_read_it(check, data, tmp_path):
    config = make_config(tmp_path / "c.yaml", data, num_classes=2)
    code, text, _ = check("--config", config, "--opts", "train_dataset.ignore_index=255")
    assert code == 1
    assert "none of the 4 masks has any foreground" in text
    assert "val_dataset: 2 pairs, mask_encoding: grey" in text


def test_errors_warnings_and_notes_stand_in_one_table(check, data):
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


def test_warnings_alone_end_with_0(check, data):
    write_mask(data / "masks" / "p0.png", np.zeros((32, 32), np.uint8))
    code, text, _ = check("--dataset_root", data)
    assert code == 0
    assert "warning  empty masks" in text


def test_fix_writes_a_copy_that_passes(check, data):
    (data / "masks" / "p0.png").write_text("no")
    code, text, _ = check("--dataset_root", data, "--fix", "fixed")
    assert code == 0
    assert f"left out: {data}/train_list.txt:1: {data}/masks/p0.png: cannot be read as a mask" in text
    assert "fixed: 5 pairs, 0 of them changed, 1 left out" in text
    assert text.endswith("fixed, examined: nothing was found\n")
    assert check("--dataset_root", "fixed")[0] == 0
    code, _, error = check("--dataset_root", data, "--fix", "fixed")
    assert (code, error.startswith("error: --fix fixed: exists already")) == (1, True)


def test_fix_ends_as_the_copy_is(check, data):
    """With 0 for warnings that are left, with 1 for errors, and nothing where a set would hold no pair."""
    write_mask(data / "masks" / "p0.png", np.zeros((32, 32), np.uint8))
    (data / "images" / "p1.png").unlink()
    code, text, _ = check("--dataset_root", data, "--fix", "warned")
    assert (code, text.splitlines()[-1]) == (0, "warned, examined: empty masks (1)")
    for name in ("p2", "p3"):  # those with an object, which val shows as well
        shutil.copy(data / "images" / "p4.png", data / "images" / f"{name}.png")
    code, text, _ = check("--dataset_root", data, "--fix", "emptied")
    assert (code, text.splitlines()[-1]) == (1, "emptied, examined: no foreground (1), empty masks (1)")
    for name in ("p4", "p5"):
        (data / "images" / f"{name}.png").unlink()
    code, _, error = check("--dataset_root", data, "--fix", "wrong")
    assert (code, "no pair of val would be left. Fix: mend by hand" in error) == (1, True)
    assert not Path("wrong").exists()


def test_val_and_test_may_be_the_same(check, data):
    """As of most published sets, which have one part to measure on."""
    shutil.copy(data / "val_list.txt", data / "test_list.txt")
    code, text, _ = check("--dataset_root", data)
    assert (code, "in two sets" in text) == (0, False)


def test_what_cannot_be_written_is_refused_before_the_work(check, data, tmp_path, monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.cli.check_dataset.examine", lambda data: pytest.fail("examined"))
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
    assert (code, "lies among the originals" in error) == (1, True)
    code, _, error = check(*flags, "new", "--save_dir", "new/report")
    assert (code, "--save_dir new/report: lies in the copy. Fix: a folder beside it" in error) == (1, True)
    Path("output").write_text("a file")
    code, _, error = check("--config", make_config(tmp_path / "o.yaml", data), "--overfit")
    assert (code, "output/overfit: cannot be written to" in error) == (1, True)
    code, _, error = check("--dataset_root", data, "--fix", data)
    assert (code, "exists already. Fix: another folder" in error) == (1, True)
    both = ["--opts", "val_dataset.mode=train", "val_dataset.train_path=val_list.txt"]
    code, _, error = check("--config", make_config(tmp_path / "c.yaml", data), *both, "--fix", "new")
    assert (code, "train_dataset and val_dataset have one mode, train" in error) == (1, True)
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give one of --config, --image_dir with --mask_dir, --dataset_root, or --list"),
        (["--config", "a", "--list", "b"], "give one of"),
        (["--image_dir", "a"], "--image_dir and --mask_dir belong together"),
        (["--list", "a", "--overfit"], "--overfit needs --config"),
        (["--config", "a", "--overfit", "--fix", "b"], "--overfit cannot go with --fix. Fix: write the copy"),
        (["--list", "a", "--opts", "b=1"], "--opts needs --config"),
        (["--config", "a", "--num_classes", "2"], "--num_classes: the config says it"),
        (["--list", "a", "--num_classes", "0"], "0 is not above 0"),
        (["--list", ""], "is empty"),
        (["--list", "a", "--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_wrong_flags_end_with_2(check, words, message):
    code, _, error = check(*words)
    assert code == 2
    assert message in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--list", "absent.txt"], "--list absent.txt: no such file"),
        (["--dataset_root", "absent"], "--dataset_root absent: holds none of train_list.txt, val_list.txt"),
        (["--image_dir", "absent", "--mask_dir", "absent"], "absent: no such folder"),
        (["--config", "absent.yaml"], "--config absent.yaml: no such file"),
    ],
)
def test_what_is_not_there_is_named(check, words, message):
    code, _, error = check(*words)
    assert code == 1
    assert message in error


def test_folders_without_pairs_are_an_error(check):
    Path("images").mkdir()
    Path("masks").mkdir()
    code, _, error = check("--image_dir", "images", "--mask_dir", "masks")
    assert code == 1
    assert "there is no pair of image and mask" in error
    write_mask(Path("images/a.png"), np.zeros((3, 3), np.uint8))
    code, text, _ = check("--image_dir", "images", "--mask_dir", "masks")
    assert (code, "no mask named 'a' in masks" in text) == (1, True)


def test_names_that_are_no_text_are_shown_and_written(data):
    """As a user would run it, with a terminal that knows UTF-8 only."""
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


def test_help_shows_examples_and_every_flag(check):
    code, text, _ = check("--help")
    assert code == 0
    assert "python tools/check_dataset.py --image_dir photos/ --mask_dir masks/" in text
    assert all(f"--{name}" in text for name in FLAGS)


def test_overfit_follows_the_check(check, config, caplog):
    caplog.set_level("INFO")
    code, text, _ = check("--config", config, "--overfit", "--save_dir", "out", "--device", "cpu")
    assert code in (0, 1)
    assert "[OVERFIT] 2 pairs, " in text
    assert "overfit.png" in tree("out")


def test_the_benchmark_of_the_doctor_measures_time_and_memory(tmp_path, capsys, monkeypatch):
    for index in range(4):
        draw_pair(tmp_path, f"p{index}")
    monkeypatch.setattr(benchmark_doctor, "PARTS", (2,))
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: None)
    words = ["--image_path", str(tmp_path / "images"), "--mask_path", str(tmp_path / "masks"), "--turns", "1"]
    threads = cv2.getNumThreads()
    assert benchmark_doctor.main(words) == 0
    cv2.setNumThreads(threads)
    text = capsys.readouterr().out
    assert "time over decoding alone: " in text
    assert "| doctor | 2 | " in text


def test_the_benchmark_of_the_doctor_counts_the_copies_found(tmp_path, capsys):
    for index in range(4):
        image = np.random.default_rng(index).integers(0, 256, (6, 8, 3), np.uint8)
        write_mask(tmp_path / f"{index}.png", cv2.resize(image, (160, 120), interpolation=cv2.INTER_CUBIC))
    assert benchmark_doctor.main(["--image_path", str(tmp_path), "--copies"]) == 0
    text = capsys.readouterr().out
    assert "among 4 photographs: 0 pairs that show the same" in text
    assert "| mirrored | 100.0% | 0 |" in text
    assert "| cropped by a tenth | 0.0% | 0 |" in text
    with pytest.raises(SystemExit):
        benchmark_doctor.main(["--image_path", str(tmp_path)])
    assert "give --mask_path, or --copies" in capsys.readouterr().err
