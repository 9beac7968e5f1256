"""`train.py` from the command line: every flag, and every error."""

from __future__ import annotations

import csv
import json
import re
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from support import make_config, scores, small_files, write_mask

from paddleseg_u2net.cli.train import build_parser
from paddleseg_u2net.models import checkpoint
from paddleseg_u2net.models.weight_files import read_state
from paddleseg_u2net.training.settings import TrainingSettings


def train_line(text: str, iteration: int) -> str:
    return next(line for line in text.splitlines() if f"iter: {iteration}/" in line)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--iters", 3], "iter: 3/3"),
        (["--learning_rate", 0.5], "lr: 0.500000"),
        (["--seed", 123], "Seed 123: --seed 123 repeats"),
        (["--device", "cpu"], "Training on cpu"),
        (["--opts", "lr_scheduler.learning_rate=0.25"], "lr: 0.250000"),
    ],
)
def test_flags_show_in_the_log(run, config, flags, expected):
    code, text, _ = run("train", "--config", config, "--iters", 1, "--log_iters", 1, *flags)
    assert code == 0
    assert expected in text
    assert Path("output/iter_3" if "--iters" in flags else "output/iter_1").is_dir()


def test_log_iters_batch_size_and_save_interval(run, config):
    flags = ["--iters", 6, "--log_iters", 3, "--batch_size", 4, "--save_interval", 2, "--save_dir", "there"]
    code, text, _ = run("train", "--config", config, *flags)
    assert code == 0
    assert re.findall(r"epoch: (\d), iter: (\d)", text) == [("3", "3"), ("6", "6")]  # four images an epoch
    assert sorted(p.name for p in Path("there").glob("iter_*")) == ["iter_2", "iter_4", "iter_6"]


def test_accumulate_counts_steps_and_ema_decay_is_recorded(run, config):
    flags = ["--iters", 2, "--accumulate", 2, "--use_ema", "--ema_decay", 0.1, "--log_iters", 1]
    code, text, _ = run("train", "--config", config, *flags)
    assert code == 0
    assert re.findall(r"epoch: (\d), iter: (\d)", text) == [
        ("1", "1"),
        ("2", "2"),
    ]  # 2 x 2 of 4 images a step
    assert json.loads(Path("output/iter_2/state.json").read_text())["samples"] == 8
    settings = json.loads(Path("output/settings.json").read_text())
    assert (settings["accumulate"], settings["ema_decay"]) == (2, 0.1)


def test_help_groups_the_flags_and_shows_examples(run):
    code, text, _ = run("train", "--help")
    assert code == 0
    groups = ["options", "input", "schedule", "output", "evaluation", "settings", "examples"]
    assert re.findall(r"^(\w+):$", text, re.M) == groups
    assert "usage: u2net train [-h] --config CONFIG" in text
    assert "  u2net train --config configs/" in text
    assert "  python train.py --config configs/" in text


def test_every_setting_but_the_metric_has_a_flag_of_its_name():
    flags = {action.dest for action in build_parser()._actions}
    assert {field.name for field in fields(TrainingSettings)} - flags == {"metric"}


def test_metrics_that_do_not_suit_the_model_are_rejected_without_evaluation(run, data, tmp_path):
    config = make_config(tmp_path / "two.yaml", data, num_classes=2, metrics=["s_measure"])
    code, _, error = run("train", "--config", config, "--iters", 1)
    assert (code, "s_measure: for saliency maps (num_classes: 1) only" in error) == (1, True)


def test_keep_checkpoint_max_removes_older_checkpoints(run, config):
    flags = ["--iters", 4, "--save_interval", 1, "--keep_checkpoint_max", 2]
    assert run("train", "--config", config, *flags)[0] == 0
    assert sorted(p.name for p in Path("output").glob("iter_*")) == ["iter_3", "iter_4"]


def test_do_eval_keeps_a_best_model_and_names_its_metric(run, config):
    assert run("train", "--config", config, "--iters", 1)[0] == 0
    assert not Path("output/best_model").exists()
    for opts, name in (([], "maxF"), (["--opts", "metric=MAE"], "MAE")):
        code, text, _ = run("train", "--config", config, "--iters", 1, "--do_eval", *opts)
        assert code == 0
        assert f"The model with the best validation {name} (" in text
        assert Path("output/best_model/model.pdparams").is_file()


def test_default_metric_of_classes_is_miou(run, data, tmp_path):
    config = make_config(tmp_path / "two.yaml", data, num_classes=2)
    code, text, _ = run("train", "--config", config, "--iters", 1, "--do_eval")
    assert code == 0
    assert "The model with the best validation mIoU (" in text
    code, _, error = run("train", "--config", config, "--do_eval", "--opts", "metric=maxF")
    assert code == 1
    assert "metric, metrics: max_f: for saliency maps (num_classes: 1) only" in error


def test_best_model_may_be_selected_by_any_metric(run, config):
    flags = ["--iters", 2, "--do_eval", "--opts", "metric=s_measure", "metrics=[max_e, mae]"]
    code, text, _ = run("train", "--config", config, *flags)
    assert code == 0
    assert re.search(r"MAE: \S+ maxF: \S+ s_measure: (\S+) max_e: \S+ \(maps as predicted", text)
    score = scores(text)["s_measure"]
    assert f"The model with the best validation s_measure ({score:.4f}) was saved at iter 2." in text
    assert json.loads(Path("output/best_model/state.json").read_text())["metric"] == "s_measure"


def test_both_spellings_of_a_metric_are_accepted(run, config):
    code, text, _ = run("train", "--config", config, "--iters", 1, "--do_eval", "--opts", "metric=max_f")
    assert (code, "the best validation maxF (" in text) == (0, True)


def test_early_stop_intervals_ends_the_run(run, config):
    flags = [
        "--iters",
        50,
        "--save_interval",
        1,
        "--do_eval",
        "--early_stop_intervals",
        1,
        "--learning_rate",
        1e-12,
    ]
    code, text, _ = run("train", "--config", config, *flags)
    assert code == 0
    assert "Stopped early at iter" in text
    assert not Path("output/iter_50").exists()


def test_use_ema_and_use_vdl_write_their_files(run, config):
    assert run("train", "--config", config, "--iters", 2, "--use_ema", "--use_vdl", "--log_iters", 1)[0] == 0
    assert Path("output/iter_2/ema_model.pdparams").is_file()
    (record,) = Path("output").glob("vdlrecords.*.log")
    from visualdl import LogReader

    assert len(LogReader(file_path=str(record)).get_data("scalar", "Train/loss")) == 2


def test_num_workers_does_not_change_the_weights(run, config):
    for folder, workers in (("a", 0), ("b", 2)):
        flags = ["--iters", 2, "--seed", 3, "--num_workers", workers, "--save_dir", folder]
        assert run("train", "--config", config, *flags)[0] == 0
    first, second = (read_state(f"{folder}/iter_2/model.pdparams") for folder in "ab")
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key])


def test_resume_model_continues_the_run(run, config):
    flags = ["--iters", 4, "--save_interval", 2, "--seed", 1, "--log_iters", 1]
    assert run("train", "--config", config, *flags)[0] == 0
    code, text, _ = run(
        "train", "--config", config, *flags[:4], "--log_iters", 1, "--resume_model", "output/iter_2"
    )
    assert code == 0
    assert "output/iter_2 at iter 2, seed 1" in text
    assert "iter: 3/4" in text
    assert "iter: 2/4" not in text
    assert json.loads(Path("output/settings.json").read_text())["seed"] == 1
    # resume by a symbolic link into the same folder; newer files are moved
    Path("latest").symlink_to("output/iter_2")
    code, text, _ = run("train", "--config", config, "--iters", 3, "--resume_model", "latest")
    assert code == 0
    assert "Moved the earlier files in output to output/earlier_2" in text
    assert sorted(p.name for p in Path("output/earlier_2").iterdir()) == [
        "config.yaml",
        "curves.png",
        "history.csv",
        "iter_4",
        "run.json",
        "settings.json",
    ]
    with Path("output/history.csv").open() as file:
        assert [row["iter"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    code, text, _ = run("train", "--config", config, "--iters", 3, "--resume_model", "output/iter_3")
    assert (code, "Nothing to do: " in text) == (0, True)
    code, _, error = run("train", "--config", config, "--resume_model", "output")
    assert (code, "is the folder of a run. Fix: --resume_model " in error, "output/iter_3" in error) == (
        1,
        True,
        True,
    )


def test_run_that_cannot_start_moves_no_files(run, config):
    assert run("train", "--config", config, "--iters", 1)[0] == 0
    crop = "train_dataset.transforms.0={type: RandomCrop, crop_size: [64, 64]}"
    code, _, error = run("train", "--config", config, "--opts", crop)
    assert (code, "RandomCrop: (H, W) (64, 64) exceeds the image's" in error) == (1, True)
    assert not Path("output/earlier_1").exists()


def test_changed_schedule_applies_to_the_first_step_after_resuming(run, config):
    flags = ["--config", config, "--log_iters", 1]
    assert run("train", *flags, "--iters", 2)[0] == 0
    flags += ["--iters", 4, "--learning_rate", 1, "--resume_model", "output/iter_2"]
    _, text, _ = run("train", *flags)
    assert f"lr: {0.5**0.9:.6f}" in train_line(text, 3)


def test_second_run_overwrites_no_files(run, config):
    assert run("train", "--config", config, "--iters", 1)[0] == 0
    before = Path("output/iter_1/model.pdparams").read_bytes()
    code, text, _ = run("train", "--config", config, "--iters", 1)
    assert code == 0
    assert "Moved the earlier files in output to output/earlier_1" in text
    assert Path("output/earlier_1/iter_1/model.pdparams").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--precision", "fp16"], 1, "--precision fp16 on a CPU: training in fp16 needs a GPU"),
        (["--precision", "bf16"], 1, "--precision bf16 on a CPU: "),
        (["--amp_level", "O2"], 2, "--amp_level needs --precision fp16 or bf16"),
        (["--early_stop_intervals", 2], 2, "--early_stop_intervals needs --do_eval"),
        (["--iters", 0], 2, "argument --iters: "),
        (["--num_workers", -1], 2, "argument --num_workers: "),
        (["--opts", "itters=5"], 1, "tiny.yaml: --opts itters=5: no such key. Did you mean 'iters'?"),
        (["--config", "absent.yaml"], 1, "--config absent.yaml: no such file"),
        (
            ["--resume_model", "absent"],
            1,
            "absent: no such folder. Fix: give an iter_N folder",
        ),
        (["--opts", "loss.coef=[1,1]"], 1, "2 coef given, but the model has 1 outputs"),
        (["--opts", "train_dataset.transforms=null"], 1, "tiny.yaml: train_dataset: expected a mapping with"),
        (["--opts", "optimizer.type=Adan"], 1, "tiny.yaml: optimizer: type: Adan"),
        (["--learning_rate", 0], 2, "argument --learning_rate: "),
        (["--iter", 3, "--do_eva1"], 2, "--do_eva1. Did you mean --do_eval?"),
        (["--opts", "scales=3"], 1, "--opts scales=3: no such key"),
        (
            ["--iters", "9" * 5000],
            2,
            "argument --iters: expected a whole number above 0, at most 2147483647, got",
        ),
        (
            ["--batch_size", 65537],
            2,
            "--batch_size: expected a whole number above 0, at most 65536, got '65537'",
        ),
        (
            ["--num_workers", 10**20],
            2,
            "--num_workers: expected a whole number, 0 or more, at most 1024, got",
        ),
        (
            ["--seed", 2**31],
            2,
            "--seed: expected a whole number, 0 or more, at most 2147483647, got '2147483648'",
        ),
        (
            ["--learning_rate", "1e308"],
            1,
            "tiny.yaml: lr_scheduler.learning_rate: expected a finite number, at",
        ),
        (["--accumulate", 0], 2, "argument --accumulate: expected a whole number above 0"),
        (["--ema_decay", 0.9], 2, "--ema_decay needs --use_ema"),
        (
            ["--use_ema", "--ema_decay", 1],
            2,
            "--ema_decay: expected a number above 0 and below 1",
        ),
        (
            ["--opts", "finetune.freeze=[frst]"],
            1,
            "tiny.yaml: finetune: freeze: frst: no such layer. Did you mean 'first'?",
        ),
    ],
)
def test_wrong_flags_and_configs_are_rejected(run, config, flags, code, message):
    found, _, error = run("train", "--config", config, *flags)
    assert found == code
    assert message in error
    assert "Traceback" not in error
    assert not list(Path("output").glob("iter_*"))


@pytest.mark.parametrize("words", [("train",), ("train", "--do_eval")])
def test_all_data_faults_are_reported_before_training(run, config, data, words):
    (data / "images" / "p0.png").unlink()
    write_mask(data / "masks" / "p1.png", np.full((9, 9), 255, np.uint8))
    (data / "masks" / "p4.png").write_bytes(b"")
    code, _, error = run(words[0], "--config", config, *words[1:])
    assert code == 1
    assert "train_list.txt:1: " in error
    assert "train_list.txt:2: " in error
    assert ("val_list.txt:1: " in error) == ("--do_eval" in words)
    assert not list(Path("output").glob("iter_*"))


def test_folder_that_cannot_be_written_is_named(run, config):
    Path("file").touch()
    code, _, error = run("train", "--config", config, "--save_dir", "file/sub")
    assert code == 1
    assert "file: expected a folder, found a file" in error
    assert "Fix: choose another --save_dir" in error


def test_full_disk_gives_one_error_line_and_keeps_earlier_checkpoints(run, config, monkeypatch):
    """A real limit on file sizes, which the second checkpoint exceeds."""
    save = checkpoint.save_checkpoint

    with ExitStack() as disk:

        def limited(folder, *args):
            if folder.name == "iter_2":
                disk.enter_context(small_files(600))
            save(folder, *args)

        monkeypatch.setattr(checkpoint, "save_checkpoint", limited)
        code, _, error = run("train", "--config", config, "--iters", 2, "--save_interval", 1)
    assert code == 1
    last = error.strip().splitlines()[-1]
    assert last.startswith("error: output/iter_2: cannot be written (File too large)"), last
    assert "Fix: free some space" in last
    assert [p.name for p in Path("output").glob("*iter_*")] == ["iter_1"]
