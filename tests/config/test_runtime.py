"""Sections of current PaddleSeg's configs, and the number of classes of their data."""

from __future__ import annotations

import re

import pytest
import yaml
from support import draw_pair, make_config, tree

from paddleseg_u2net.cli.app import main
from paddleseg_u2net.cli.flags import parse_with_config
from paddleseg_u2net.cli.train import build_parser
from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.config.runtime import flag_values
from paddleseg_u2net.errors import ConfigError

# the sections, keys and values of PaddleSeg's configs/_base_/runtime.yml
RUNTIME = {
    "global": {"data_format": "NCHW", "device": "gpu", "num_workers": 0},
    "train": {
        "save_dir": "./output",
        "do_eval": False,
        "resume_model": None,
        "save_interval": 1000,
        "log_iters": 10,
        "keep_checkpoint_max": 5,
        "seed": None,
        "precision": "fp32",
        "amp_level": "O1",
        "repeats": 1,
    },
    "test": {
        "aug_eval": False,
        "scales": 1.0,
        "flip_horizontal": False,
        "flip_vertical": False,
        "is_slide": False,
        "crop_size": None,
        "stride": None,
        "auc_roc": False,
    },
}


@pytest.fixture
def quick_start(tmp_path):
    """A config over `runtime.yml` whose model has no number of classes, as PaddleSeg's quick start."""
    data = tmp_path / "data"
    for index in range(3):
        draw_pair(data, f"p{index}", white=1)
    lines = "".join(f"images/p{index}.png masks/p{index}.png\n" for index in range(3))
    for part in ("train", "val"):
        (data / f"{part}_list.txt").write_text(lines)
    (tmp_path / "_base_").mkdir()
    (tmp_path / "_base_" / "runtime.yml").write_text(yaml.safe_dump(RUNTIME))
    part = {"type": "OpticDiscSeg", "dataset_root": str(data), "transforms": [{"type": "Normalize"}]}
    sections = {f"{mode}_dataset": {**part, "mode": mode} for mode in ("train", "val")}
    path = make_config(tmp_path / "quick.yml", data, num_classes=2, _base_="_base_/runtime.yml", **sections)
    path.write_text(path.read_text().replace("model:\n  num_classes: 2\n", "model:\n"))
    return path


def test_a_quick_start_config_trains_with_the_classes_of_its_data(quick_start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config(quick_start)["model"]["num_classes"] == 2
    assert main(["train", "--config", str(quick_start), "--iters", "1"]) == 0
    assert "iter_1/model.pdparams" in tree(tmp_path / "output")


def test_values_of_flags_come_from_the_config_unless_they_are_given(quick_start, tmp_path):
    run = tmp_path / "run"
    opts = [
        "iters=2",
        f"train={{save_dir: {run}, save_interval: 1, do_eval: true, seed: 5, keep_checkpoint_max: 0}}",
    ]
    assert main(["train", "--config", str(quick_start), "--opts", *opts, "--save_interval", "2"]) == 0
    assert {path.split("/")[0] for path in tree(run) if path.startswith(("iter_", "best"))} == {
        "iter_2",
        "best_model",
    }
    assert main(["val", "--model_path", str(run)]) == 0  # --save_dir and --precision mean other things there


def test_test_is_test_config(quick_start):
    found = load_config(quick_start, opts=["test_config={flip_vertical: true}"])["test_config"]
    assert found == {**{k: v for k, v in RUNTIME["test"].items() if v is not None}, "flip_vertical": True}
    assert flag_values(load_config(quick_start)) == {
        "num_workers": 0,
        "save_dir": "./output",
        "do_eval": False,
        "save_interval": 1000,
        "log_iters": 10,
        "keep_checkpoint_max": 5,
        "precision": "fp32",
        "amp_level": "O1",
    }


@pytest.mark.parametrize(
    ("opt", "message"),
    [
        ("global={data_format: NHWC}", "global: data_format: NHWC: not supported. Fix: NCHW"),
        ("train={repeats: 3}", "train: repeats: 3: not supported. Fix: 1"),
        ("train={save_intervall: 3}", "train: save_intervall: no such key. Did you mean 'save_interval'?"),
    ],
)
def test_values_that_are_not_supported_are_rejected(quick_start, opt, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(quick_start, opts=[opt])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("train={precision: fp8}", "precision: expected fp32"),
        ("global={num_workers: -1}", "num_workers: exp"),
        ("global={num_workers: true}", "expected a whole number, 0 or more, got 'True'"),
        ("train={do_eval: 0}", "do_eval: expected true or false, got 0"),
    ],
)
def test_wrong_values_of_flags_in_a_config_exit_with_2(quick_start, capsys, section, message):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--config", str(quick_start), "--opts", section])
    assert stop.value.code == 2
    text = capsys.readouterr().err
    assert message in text
    assert f"error: {quick_start}: " in text


def test_the_amp_level_of_a_config_counts_where_the_precision_has_one(quick_start):
    words = ["--config", str(quick_start), "--opts", "train={amp_level: O2}"]
    assert parse_with_config(build_parser(), words).amp_level is None
    assert parse_with_config(build_parser(), [*words, "--precision", "bf16"]).amp_level == "O2"
