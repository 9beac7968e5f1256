"""What train, val and predict share, and all of them as whole programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import paddle
import pytest
from support import ROOT, environment, make_config, tree

from paddleseg_u2net.cli.app import COMMANDS, guarded
from paddleseg_u2net.models.u2net import U2Netp


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches(run, name):
    code, text, _ = run(name, "--help")
    assert code == 0
    assert "examples:" in text
    assert f"python {name}.py" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_scripts_at_the_top_are_the_commands(name):
    outcome = subprocess.run(
        [sys.executable, ROOT / f"{name}.py", "--help"], capture_output=True, text=True, env=environment()
    )
    assert outcome.returncode == 0
    assert outcome.stdout.startswith(f"usage: {name}.py")
    assert outcome.stderr == ""


@pytest.mark.parametrize("device", ["gpu", "xpu", "npu", "mlu", "tpu"])
def test_devices_that_are_not_there_are_refused(run, config, trained, device):
    for words in (
        ("train", "--config", config, "--save_dir", "new"),
        ("val", "--model_path", trained),
        ("predict", "--model_path", trained, "--image_path", trained.parent / "my data" / "images"),
    ):
        code, _, error = run(*words, "--device", device)
        assert code == 1
        assert f"--device {device}: " in error
        assert "unknown" in error or "has none to use. Fix: leave --device out" in error
    assert run("val", "--model_path", trained, "--device", "cpu")[0] == 0


@pytest.mark.parametrize("name", ["val", "predict"])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--scales", 2], "scales: of no effect alone. Fix: add --aug_eval (val) or --aug_pred (predict)"),
        (["--flip_horizontal"], "flip_horizontal: of no effect alone"),
        (["--flip_vertical"], "--flip_vertical: of no effect alone"),
        (["--is_slide"], "a sliding window needs --is_slide, --crop_size W H and --stride W H"),
        (["--crop_size", 8, 8, "--stride", 4, 4], "a sliding window needs --is_slide"),
        (["--is_slide", "--crop_size", 8, 8, "--stride", 9, 9], "exceeds crop_size"),
        (["--opts", "itters=1"], "--opts itters=1: no such key. Did you mean 'iters'?"),
    ],
)
def test_flags_without_effect_are_refused(run, trained, name, flags, message):
    words = ["--image_path", "my data/images"] if name == "predict" else []
    code, _, error = run(name, "--model_path", trained, *words, *flags)
    assert code == 1
    assert message in error


@pytest.mark.parametrize("package", ["paddle", "paddleseg", "cv2"])
def test_a_missing_package_is_one_line_with_the_command(tmp_path, package, config):
    """A child process in which the package cannot be found."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, importlib.abc\n"
        "class Absent(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {package!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    env = environment()
    env["PYTHONPATH"] = f"{tmp_path}:{env['PYTHONPATH']}"
    outcome = subprocess.run(
        [sys.executable, ROOT / "train.py", "--config", config], capture_output=True, text=True, env=env
    )
    assert outcome.returncode == 1
    (line,) = outcome.stderr.strip().splitlines()
    assert line.startswith(f"error: {package} is not installed. Fix: pip install ")


def test_two_processes_share_the_data_and_one_writes(config, tmp_path):
    """`paddle.distributed.launch` with two CPU processes; the official U²-Net† learns in both."""
    make_config(config, tmp_path / "my data", model="U2Netp")
    launch = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", "log"]
    flags = ["--config", config, "--iters", "2", "--save_interval", "1", "--do_eval", "--log_iters", "1"]
    outcome = subprocess.run(
        [*launch, ROOT / "train.py", *flags, "--seed", "1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        timeout=200,
    )
    logs = {path.name: path.read_text() for path in (tmp_path / "log").glob("workerlog.*")}
    assert outcome.returncode == 0, logs
    assert "epoch: 1, iter: 1/2" in logs["workerlog.0"]
    assert "epoch: 2, iter: 2/2" in logs["workerlog.0"]  # 2 processes x 2 images of 4
    assert "#Images: 2" in logs["workerlog.0"]
    assert "[TRAIN]" not in logs["workerlog.1"]
    assert "[EVAL]" not in logs["workerlog.1"]
    assert json.loads((tmp_path / "output/iter_2/state.json").read_text())["samples"] == 8
    assert sorted(p.name for p in (tmp_path / "output").glob("*")) == [
        *("best_model", "config.yaml", "iter_1", "iter_2", "settings.json")
    ]


def test_launched_ranks_predict_each_image_once_from_a_cold_cache(run, data, photos_dir, tmp_path):
    """Names and pixels are those of one process; a broken image fails the whole, and all others are done."""
    paddle.save(U2Netp(1).state_dict(), "w.pdparams")
    config = make_config(tmp_path / "a.yaml", data, model="U2Netp")
    words = ["--config", config, "--model_path", "w.pdparams", "--image_path", photos_dir]
    assert run("predict", *words, "--save_dir", "one")[0] == 0
    (photos_dir / "a.m.png").write_text("no image")  # the second in order, of rank 1
    launch = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", "log"]
    outcome = subprocess.run(
        [*launch, ROOT / "predict.py", *words, "--save_dir", "two"],
        capture_output=True,
        timeout=200,
        env=environment(U2NET_HOME="cold"),
    )
    logs = [(tmp_path / "log" / f"workerlog.{rank}").read_text() for rank in range(2)]
    assert outcome.returncode != 0
    assert "Rank 0 of 2 has 2 of 4 images" in logs[0]
    assert "Predicted 2 of 2 images into two" in logs[0]
    assert "Rank 1 of 2 has 2 of 4 images" in logs[1]
    assert "a.m.png: truncated, or not an image" in logs[1]
    assert tree("one") == tree("two")
    for name in tree("one"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()


def test_u2netp_trains_validates_and_predicts_from_one_yaml(run, data, tmp_path):
    config = make_config(tmp_path / "u2netp.yaml", data, model="U2Netp")
    code, text, error = run("train", "--config", config, "--iters", 2, "--do_eval", "--save_interval", 1)
    assert (code, error) == (0, "")
    assert "The model with the best validation maxF" in text
    assert run("val", "--config", config, "--model_path", "output/best_model/model.pdparams")[0] == 0
    words = ["--model_path", "output/best_model/model.pdparams", "--image_path", data / "images"]
    assert run("predict", "--config", config, *words)[0] == 0
    assert len(tree("output/result")) == 6 * 4


def test_known_weights_need_no_config_and_fine_tune(run, known_weights, data, tmp_path):
    words = ["--image_path", data / "images" / "p0.png", "--outputs", "saliency"]
    assert run("predict", "--model_path", "u2netp", *words)[0] == 0
    config = make_config(tmp_path / "a.yaml", data, 2, "U2Netp")
    code, text, _ = run("train", "--config", config, "--iters", 1, "--opts", "model.pretrained=u2netp")
    assert code == 0
    assert "the 7 heads start anew: 1 class(es) there, 2 here" in text
    assert "Measured BatchNorm statistics of 112 layers" in text


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt, 130, "Interrupted"),
        (MemoryError, 1, "error: not enough memory. Fix: a smaller batch"),
    ],
)
def test_interruptions_and_exhaustion_end_in_one_line(capsys, error, code, message):
    def command():
        raise error

    assert guarded(command) == code
    assert capsys.readouterr().err.startswith(message)


def test_an_empty_path_is_refused(run):
    code, _, error = run("predict", "--model_path", "u2netp", "--image_path", "")
    assert code == 2
    assert "--image_path: is empty" in error
