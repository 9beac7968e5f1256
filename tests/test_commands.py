"""train, val and predict as people type them; every flag changes what it says."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import resource
import struct
import subprocess
import sys
import termios
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
from conftest import ROOT, draw_pair, environment, make_config, write_mask
from PIL import Image

from paddleseg_u2net.__main__ import COMMANDS, guarded, main
from paddleseg_u2net.formats import read_state
from paddleseg_u2net.model import U2Netp

# ways to look at an image; --aug is --aug_eval or --aug_pred
LOOKS = [
    ["--aug", "--scales", 0.5],
    ["--aug", "--flip_horizontal"],
    ["--aug", "--flip_vertical"],
    ["--is_slide", "--crop_size", 9, 9, "--stride", 5, 5],
    ["--minmax"],
    ["--opts", "val_dataset.transforms.0.std=[0.05, 0.05, 0.05]"],
]


@pytest.fixture
def run(capsys):
    """Run a command in this process: (exit code, stdout, stderr)."""

    def call(name: str, *words) -> tuple[int, str, str]:
        try:
            code = main([name, *(str(word) for word in words)])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def trained(run, config, tmp_path) -> Path:
    """A run folder of the small network."""
    code, _, error = run(
        "train", "--config", config, "--save_dir", "run", "--iters", 2, "--do_eval", "--seed", 0
    )
    assert (code, error) == (0, "")
    return tmp_path / "run"


def scores(text: str) -> dict[str, float]:
    """The numbers of the [EVAL] lines."""
    return {name: float(value) for name, value in re.findall(r"(\w+): (-?\d+\.\d{4}|nan)", text)}


# -- all three ------------------------------------------------------------------------------------------


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


# -- train ----------------------------------------------------------------------------------------------


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
def test_flags_of_training_show_in_its_log(run, config, flags, expected):
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


def test_keep_checkpoint_max(run, config):
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


def test_classes_are_judged_by_miou(run, data, tmp_path):
    config = make_config(tmp_path / "two.yaml", data, num_classes=2)
    code, text, _ = run("train", "--config", config, "--iters", 1, "--do_eval")
    assert code == 0
    assert "The model with the best validation mIoU (" in text
    code, _, error = run("train", "--config", config, "--do_eval", "--opts", "metric=maxF")
    assert code == 1
    assert "metric: maxF measures saliency (num_classes: 1). Fix: mIoU" in error


def test_early_stop_intervals(run, config):
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


def test_use_ema_and_use_vdl(run, config):
    assert run("train", "--config", config, "--iters", 2, "--use_ema", "--use_vdl", "--log_iters", 1)[0] == 0
    assert Path("output/iter_2/ema_model.pdparams").is_file()
    (record,) = Path("output").glob("vdlrecords.*.log")
    from visualdl import LogReader

    assert len(LogReader(file_path=str(record)).get_data("scalar", "Train/loss")) == 2


def test_num_workers_change_no_weight(run, config):
    for folder, workers in (("a", 0), ("b", 2)):
        flags = ["--iters", 2, "--seed", 3, "--num_workers", workers, "--save_dir", folder]
        assert run("train", "--config", config, *flags)[0] == 0
    first, second = (read_state(f"{folder}/iter_2/model.pdparams") for folder in "ab")
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key])


def test_resume_model_goes_on(run, config):
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
    # a link to a checkpoint, into the same folder; what it replaces is kept
    Path("latest").symlink_to("output/iter_2")
    code, text, _ = run("train", "--config", config, "--iters", 3, "--resume_model", "latest")
    assert code == 0
    assert "What was in output before is kept in output/earlier_2" in text
    assert sorted(p.name for p in Path("output/earlier_2").iterdir()) == [
        "config.yaml",
        "iter_4",
        "settings.json",
    ]
    code, text, _ = run("train", "--config", config, "--iters", 3, "--resume_model", "output/iter_3")
    assert (code, "Nothing to do: " in text) == (0, True)
    code, _, error = run("train", "--config", config, "--resume_model", "output")
    assert (code, "is a whole run. Fix: --resume_model " in error, "output/iter_3" in error) == (
        1,
        True,
        True,
    )


def test_a_run_that_cannot_start_moves_nothing(run, config):
    assert run("train", "--config", config, "--iters", 1)[0] == 0
    crop = "train_dataset.transforms.0={type: RandomCrop, crop_size: [64, 64]}"
    code, _, error = run("train", "--config", config, "--opts", crop)
    assert (code, "RandomCrop: (H, W) (64, 64) exceeds the image's" in error) == (1, True)
    assert not Path("output/earlier_1").exists()


def test_a_changed_schedule_holds_from_the_first_step_after_resuming(run, config):
    flags = ["--config", config, "--log_iters", 1]
    assert run("train", *flags, "--iters", 2)[0] == 0
    flags += ["--iters", 4, "--learning_rate", 1, "--resume_model", "output/iter_2"]
    _, text, _ = run("train", *flags)
    assert f"lr: {0.5**0.9:.6f}" in train_line(text, 3)


def test_a_second_run_overwrites_nothing(run, config):
    assert run("train", "--config", config, "--iters", 1)[0] == 0
    before = Path("output/iter_1/model.pdparams").read_bytes()
    code, text, _ = run("train", "--config", config, "--iters", 1)
    assert code == 0
    assert "What was in output before is kept in output/earlier_1" in text
    assert Path("output/earlier_1/iter_1/model.pdparams").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--precision", "fp16"], 1, "--precision fp16: Paddle computes in fp32 on a CPU"),
        (["--precision", "bf16"], 1, "--precision bf16: Paddle computes in fp32 on a CPU"),
        (["--amp_level", "O2"], 2, "--amp_level needs --precision fp16 or bf16"),
        (["--early_stop_intervals", 2], 2, "--early_stop_intervals needs --do_eval"),
        (["--iters", 0], 2, "0 is not above 0"),
        (["--num_workers", -1], 2, "-1 is below 0"),
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
        (["--learning_rate", 0], 2, "0 is not above 0"),
        (["--iter", 3, "--do_eva1"], 2, "--do_eva1. Did you mean --do_eval?"),
        (["--opts", "scales=3"], 1, "--opts scales=3: no such key"),
    ],
)
def test_training_that_cannot_be_is_refused(run, config, flags, code, message):
    found, _, error = run("train", "--config", config, *flags)
    assert found == code
    assert message in error
    assert "Traceback" not in error
    assert not list(Path("output").glob("iter_*"))


@pytest.mark.parametrize("words", [("train",), ("train", "--do_eval")])
def test_data_faults_come_together_before_training(run, config, data, words):
    (data / "images" / "p0.png").unlink()
    write_mask(data / "masks" / "p1.png", np.full((9, 9), 255, np.uint8))
    (data / "masks" / "p4.png").write_bytes(b"")
    code, _, error = run(words[0], "--config", config, *words[1:])
    assert code == 1
    assert "train_list.txt:1: " in error
    assert "train_list.txt:2: " in error
    assert ("val_list.txt:1: " in error) == ("--do_eval" in words)
    assert not list(Path("output").glob("iter_*"))


def test_a_folder_that_cannot_be_written_is_named(run, config):
    Path("file").touch()
    code, _, error = run("train", "--config", config, "--save_dir", "file/sub")
    assert code == 1
    assert "file/sub: cannot be written to" in error
    assert "Fix: choose another --save_dir" in error


def test_a_full_disk_ends_in_one_line_and_leaves_what_was_whole(config, tmp_path):
    """A real limit on file sizes, in a child process, that the second checkpoint breaks."""
    path = tmp_path / "one_step.py"
    path.write_text(
        "import resource, signal, sys\n"
        f"sys.path[:0] = [{str(ROOT / 'tests')!r}, {str(ROOT)!r}]\n"
        "import conftest\n"
        "from paddleseg_u2net import checkpoint\n"
        "from paddleseg_u2net.__main__ import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "save = checkpoint.save_checkpoint\n"
        "def limited(folder, *args):\n"
        "    if folder.name == 'iter_2': resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))\n"
        "    save(folder, *args)\n"
        "checkpoint.save_checkpoint = limited\n"
        f"sys.exit(main(['train', '--config', {str(config)!r}, '--iters', '2', '--save_interval', '1']))\n"
    )
    assert resource.RLIMIT_FSIZE
    outcome = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, cwd=tmp_path, env=environment()
    )
    assert outcome.returncode == 1
    last = outcome.stderr.strip().splitlines()[-1]
    assert last.startswith("error: output/iter_2: cannot be written (File too large)"), last
    assert "Fix: make room" in last
    assert "Traceback" not in outcome.stderr
    assert [p.name for p in (tmp_path / "output").glob("*iter_*")] == ["iter_1"]


# -- val ------------------------------------------------------------------------------------------------


def test_val_equals_the_evaluation_of_training(run, trained, config):
    text = run("train", "--config", config, "--iters", 2, "--do_eval", "--seed", 0, "--save_dir", "again")[1]
    for model in (trained, trained / "best_model", trained / "iter_2" / "model.pdparams"):
        code, found, _ = run("val", "--model_path", model)
        assert code == 0
        assert scores(found).items() <= scores(text).items() | scores(found).items()
        assert {k: scores(text)[k] for k in scores(found)} == scores(found)
    assert run("val", "--config", config, "--model_path", trained)[0] == 0


def test_a_model_without_config_asks_for_one(run, trained, config, tmp_path):
    bare = tmp_path / "bare.pdparams"
    bare.write_bytes((trained / "best_model" / "model.pdparams").read_bytes())
    code, _, error = run("val", "--model_path", bare)
    assert code == 1
    assert "bare.pdparams carries no config (config.yaml beside it). Fix: add --config" in error
    assert run("val", "--model_path", bare, "--config", config)[0] == 0


@pytest.mark.parametrize("flags", [*LOOKS, ["--opts", "test_config={minmax: true}"]])
def test_flags_of_val_change_its_scores(run, trained, flags):
    flags = ["--aug_eval" if flag == "--aug" else flag for flag in flags]
    plain, changed = run("val", "--model_path", trained), run("val", "--model_path", trained, *flags)
    assert (plain[0], changed[0]) == (0, 0)
    assert scores(plain[1])["MAE"] != scores(changed[1])["MAE"]
    assert ("min-max stretched" in changed[1]) == ("minmax" in str(flags))


def test_strides_and_crops_matter(run, trained):
    found = [
        scores(run("val", "--model_path", trained, "--is_slide", "--crop_size", c, c, "--stride", s, s)[1])[
            "MAE"
        ]
        for c, s in ((9, 5), (9, 9), (16, 5))
    ]
    assert len(set(found)) == 3


def test_auc_roc_is_printed_where_asked(run, trained):
    assert "Auc_roc" not in run("val", "--model_path", trained)[1]
    assert 0 <= scores(run("val", "--model_path", trained, "--auc_roc")[1])["Auc_roc"] <= 1


@pytest.mark.parametrize("flags", [["--num_workers", 2], ["--batch_size", 2]])
def test_threads_and_batches_of_val_change_nothing(run, trained, flags):
    assert scores(run("val", "--model_path", trained, *flags)[1]) == scores(
        run("val", "--model_path", trained)[1]
    )


def test_classes_cannot_be_stretched(run, data, tmp_path):
    config = make_config(tmp_path / "two.yaml", data, num_classes=2)
    assert run("train", "--config", config, "--iters", 1)[0] == 0
    for words in (["val"], ["predict", "--image_path", data / "images"]):
        code, _, error = run(*words, "--model_path", "output", "--minmax")
        assert (code, "--minmax stretches saliency maps (num_classes: 1)" in error) == (1, True)


def test_the_log_says_which_weights_are_measured(run, trained):
    assert (
        f"Model {trained}/best_model/model.pdparams, fp32; backend paddle on cpu"
        in run("val", "--model_path", trained)[1]
    )


def test_weights_of_a_run_that_diverged_are_refused(run, trained):
    path = trained / "best_model" / "model.pdparams"
    import paddle

    state = {key: value * np.nan for key, value in read_state(path).items()}
    paddle.save({key: paddle.to_tensor(value) for key, value in state.items()}, str(path))
    code, _, error = run("val", "--model_path", trained)
    assert (code, "holds NaN or infinity. Fix: an earlier checkpoint" in error) == (1, True)


def test_weights_of_another_network_are_refused(run, trained, config):
    code, _, error = run("val", "--model_path", trained, "--config", config, "--opts", "model.type=U2Netp")
    assert code == 1
    assert "does not fit U2Netp" in error


def test_no_such_model_is_refused(run):
    for name, hint in (("u2nett", "Did you mean 'u2net'?"), ("a/b", "Fix: a path, or one of u2netp, u2net")):
        code, _, error = run("val", "--model_path", name)
        assert (code, f"{name}: no such weight file or run folder. {hint}" in error) == (1, True)
    Path("empty").mkdir()
    code, _, error = run("val", "--model_path", "empty")
    assert (code, "empty: holds no model.pdparams or ema_model.pdparams" in error) == (1, True)


# -- predict --------------------------------------------------------------------------------------------


@pytest.fixture
def photos_dir(tmp_path) -> Path:
    """Images in sub-folders, with names that clash."""
    root = tmp_path / "some photos"
    draw_pair(root, "a")
    draw_pair(root, "sub/ü b", size=(20, 45))
    for name in ("a.png", "sub/ü b.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / "images" / name).rename(root / name)
    picture = cv2.imread(str(root / "a.png"))
    cv2.imwrite(str(root / "a.jpg"), picture)
    for folder in ("images", "masks"):
        for path in sorted((root / folder).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        (root / folder).rmdir()
    return root


def pixels(path, mode: str | None = None) -> np.ndarray:
    """A picture as stored, or converted to `mode`."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert(mode) if mode else picture)


def tree(folder) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


def test_a_folder_is_mirrored_into_all_outputs(run, trained, photos_dir):
    code, text, error = run(
        "predict", "--model_path", trained, "--image_path", photos_dir, "--save_dir", "out"
    )
    assert (code, error) == (0, "")
    assert "Predicted 3 of 3 images into out" in text
    pngs = ["a.jpg.png", "a.png.png", "sub/ü b.png"]
    assert tree("out/saliency") == tree("out/cutout") == tree("out/pseudo_color_prediction") == pngs
    assert tree("out/added_prediction") == ["a.jpg", "a.png", "sub/ü b.png"]
    assert pixels("out/saliency/sub/ü b.png").shape == (20, 45)
    assert pixels("out/cutout/a.png.png").shape == (32, 32, 4)


def test_a_single_image_a_list_and_the_default_folder(run, trained, photos_dir):
    assert run("predict", "--model_path", trained, "--image_path", photos_dir / "a.png")[0] == 0
    assert tree("output/result/saliency") == ["a.png"]
    (photos_dir / "list.txt").write_text("a.png\tmask.png\nsub/ü b.png\tx\n# a.jpg\n")
    words = ["--image_path", photos_dir / "list.txt", "--save_dir", "out"]
    assert run("predict", "--model_path", trained, *words)[0] == 0
    assert tree("out/saliency") == ["a.png", "sub/ü b.png"]


def test_val_measures_what_predict_writes(run, trained, data):
    (data / "val_images.txt").write_text("images/p4.png\nimages/p5.png\n")
    words = ["--image_path", data / "val_images.txt", "--save_dir", "out", "--outputs", "saliency"]
    assert run("predict", "--model_path", trained, *words)[0] == 0
    errors = []
    for name in ("p4", "p5"):
        saliency = pixels(f"out/saliency/{name}.png") / 255
        errors.append(np.abs(saliency - pixels(data / "masks" / f"{name}.png") / 255).mean())
    assert scores(run("val", "--model_path", trained)[1])["MAE"] == pytest.approx(
        np.mean(errors), abs=0.5 / 255
    )


def test_a_list_may_name_images_anywhere_and_with_spaces(run, trained, photos_dir):
    (photos_dir / "sub" / "list").write_text("../a.png\nü b.png\n")
    words = ["--image_path", photos_dir / "sub" / "list", "--save_dir", "out", "--outputs", "saliency"]
    assert run("predict", "--model_path", trained, *words)[0] == 0
    assert tree("out/saliency") == ["a.png", "sub/ü b.png"]


def test_images_of_other_formats_are_mentioned(run, trained, photos_dir):
    (photos_dir / "moving.gif").touch()
    words = ["--image_path", photos_dir, "--save_dir", "out", "--outputs", "saliency"]
    code, text, _ = run("predict", "--model_path", trained, *words)
    assert code == 0
    assert "1 file(s) of other formats are left out, first: " in text


def test_resume_leaves_out_what_is_done_and_whole(run, trained, photos_dir):
    words = ["--model_path", trained, "--image_path", photos_dir, "--save_dir", "out"]
    assert run("predict", *words)[0] == 0
    broken = Path("out/saliency/a.jpg.png")
    broken.write_bytes(broken.read_bytes()[:60])
    before = Path("out/saliency/a.png.png").stat().st_mtime_ns
    code, text, _ = run("predict", *words, "--resume")
    assert code == 0
    assert "2 of 3 images are done already" in text
    assert pixels(broken).shape == (32, 32)
    assert Path("out/saliency/a.png.png").stat().st_mtime_ns == before


def test_resume_does_not_shift_the_shares_of_ranks(run, trained, photos_dir, monkeypatch):
    words = [
        "--model_path",
        trained,
        "--image_path",
        photos_dir,
        "--save_dir",
        "out",
        "--outputs",
        "saliency",
    ]
    shares = (["a.jpg.png", "sub/ü b.png"], ["a.jpg.png", "a.png.png", "sub/ü b.png"])
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    for rank, there in enumerate(shares):  # rank 1 finds what rank 0 has written
        monkeypatch.setenv("PADDLE_TRAINER_ID", str(rank))
        code, text, _ = run("predict", *words, "--resume")
        assert (code, tree("out/saliency")) == (0, there)
        assert f"Rank {rank} of 2 has {2 - rank} of 3 images" in text
        assert "done already" not in text
    assert "1 of 1 images are done already" in run("predict", *words, "--resume")[1]


def test_a_rank_without_images_ends_well_and_one_that_cannot_be_does_not(
    run, trained, photos_dir, monkeypatch
):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "4")
    words = ["--model_path", trained, "--image_path", photos_dir, "--save_dir", "out"]
    for rank, code in ((3, 0), (4, 1)):
        monkeypatch.setenv("PADDLE_TRAINER_ID", str(rank))
        assert run("predict", *words)[0] == code
    assert tree("out") == []


def test_the_bar_names_images_a_second_however_slow(trained, photos_dir):
    """On a terminal of 100 columns; elsewhere there is no bar."""
    script = "import time; from paddleseg_u2net.commands.predict import report\n"
    script += "report((time.sleep(1.2) or '' for _ in range(2)), 2, 'out')"
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    subprocess.run([sys.executable, "-c", script], stderr=child, env=environment(), check=True)
    shown = os.read(parent, 1 << 16).decode()
    assert re.search(r"1/2 \[00:01<00:01,  0\.8\d images/s\]", shown), shown


def test_max_pixels_refuses_before_decoding(run, trained, photos_dir):
    words = ["--model_path", trained, "--image_path", photos_dir, "--save_dir", "out", "--max_pixels", 1000]
    code, _, error = run("predict", *words)
    assert (code, "a.png: 32 x 32 pixels, more than 0 million" in error) == (1, True)
    assert tree("out/saliency") == ["sub/ü b.png"]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "paddle"])
def test_backends_of_predict_write_the_same_maps(run, data, tmp_path, backend):
    config = make_config(tmp_path / "u2netp.yaml", data, model="U2Netp")
    assert run("train", "--config", config, "--iters", 1, "--save_dir", "run", "--seed", 0)[0] == 0
    words = ["--model_path", "run", "--image_path", data / "images", "--outputs", "saliency"]
    for name in (backend, "auto"):
        code, text, _ = run("predict", *words, "--save_dir", name, "--backend", name)
        assert code == 0
        assert ("backend onnxruntime on cpu (auto" in text) == (name == "auto")
    for path in Path(backend).rglob("*.png"):
        difference = pixels(path).astype(int) - pixels(Path("auto", *path.parts[1:]))
        assert np.abs(difference).max() <= 1


def test_outputs_are_chosen(run, trained, photos_dir):
    words = ["--image_path", photos_dir / "a.png", "--save_dir", "out", "--outputs", "saliency,cutout"]
    assert run("predict", "--model_path", trained, *words)[0] == 0
    assert sorted(p.name for p in Path("out").iterdir()) == ["cutout", "saliency"]


@pytest.mark.parametrize("flags", LOOKS)
def test_flags_of_predict_change_the_map(run, trained, photos_dir, flags):
    flags = ["--aug_pred" if flag == "--aug" else flag for flag in flags]
    for folder, more in (("plain", []), ("changed", flags)):
        words = ["--image_path", photos_dir / "a.png", "--outputs", "saliency", "--save_dir", folder]
        assert run("predict", "--model_path", trained, *words, *more)[0] == 0
    plain, changed = (pixels(f"{folder}/saliency/a.png") for folder in ("plain", "changed"))
    assert not np.array_equal(plain, changed)
    if flags == ["--minmax"]:
        assert (changed.min(), changed.max()) == (0, 255)


def test_custom_color_colours(run, trained, photos_dir):
    words = ["--image_path", photos_dir / "a.png", "--outputs", "pseudo_color", "--save_dir", "out"]
    assert run("predict", "--model_path", trained, *words, "--custom_color", 1, 2, 3, 4, 5, 6)[0] == 0
    colors = pixels("out/pseudo_color_prediction/a.png", "RGB").reshape(-1, 3)
    assert {tuple(color) for color in colors.tolist()} <= {(1, 2, 3), (4, 5, 6)}
    for colors in ((1, 2), (1, 2, 3)):  # half a colour; no colour for the object
        code, _, error = run("predict", "--model_path", trained, *words, "--custom_color", *colors)
        assert code == 1
        assert "expected R G B of each of the 2 classes, background first" in error


def test_broken_files_are_reported_at_the_end_and_all_others_are_done(run, trained, photos_dir):
    (photos_dir / "0 empty.jpg").touch()
    (photos_dir / "truncated.png").write_bytes((photos_dir / "a.png").read_bytes()[:-40])
    (photos_dir / "text.jpg").write_text("no image")
    code, text, error = run(
        "predict", "--model_path", trained, "--image_path", photos_dir, "--save_dir", "out"
    )
    assert code == 1
    assert "Predicted 3 of 6 images" in text
    assert len(error.splitlines()) == 3
    assert "0 empty.jpg: the file is empty" in error
    assert "truncated.png: truncated, or not an image" in error
    assert len(tree("out/saliency")) == 3


def test_an_image_that_a_list_names_and_nobody_has_is_reported(run, trained, photos_dir):
    (photos_dir / "list.txt").write_text("a.png\nabsent.png\n")
    words = ["--image_path", photos_dir / "list.txt", "--save_dir", "out"]
    code, _, error = run("predict", "--model_path", trained, *words)
    assert code == 1
    assert re.search(r"list.txt:2: \S.*absent.png: no such image file", error)
    assert tree("out/saliency") == ["a.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image_path", "nothing"], "--image_path nothing: no such file or folder"),
        (["--image_path", "hollow"], "--image_path hollow: holds no images"),
        (["--image_path", "empty.txt"], "--image_path empty.txt: lists no images"),
        (["--image_path", "utf16.txt"], "utf16.txt: a list is text in UTF-8, and this is not. Fix: save it"),
        (["--image_path", "p.png", "--outputs", "masks"], "--outputs masks: expected some of added"),
        (["--image_path", "p.png", "--save_dir", "p.png/x"], "p.png/x: cannot be written to"),
    ],
)
def test_predictions_that_cannot_be_are_refused(run, trained, words, message):
    Path("hollow").mkdir()
    Path("empty.txt").touch()
    Path("utf16.txt").write_text("bö.png", encoding="latin-1")
    write_mask(Path("p.png"), np.zeros((4, 4), np.uint8))
    code, _, error = run("predict", "--model_path", trained, *words)
    assert code == 1
    assert message in error


def test_output_over_input_is_refused_and_nothing_is_lost(run, trained, photos_dir):
    folder = photos_dir / "added_prediction"
    folder.mkdir()
    (photos_dir / "a.png").rename(folder / "a.png")
    before = (folder / "a.png").read_bytes()
    code, _, error = run("predict", "--model_path", trained, "--image_path", folder, "--save_dir", photos_dir)
    assert code == 1
    assert "would be overwritten. Fix: another --save_dir" in error
    assert (folder / "a.png").read_bytes() == before


def test_earlier_results_are_not_predicted_again(run, trained, photos_dir):
    words = ["--model_path", trained, "--image_path", photos_dir, "--save_dir", photos_dir / "out"]
    assert run("predict", *words)[0] == 0
    code, text, _ = run("predict", *words)
    assert code == 0
    assert "Predicted 3 of 3 images" in text


# -- whole programs -------------------------------------------------------------------------------------


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


def test_known_weights_need_no_config_and_fine_tune(run, official_weights, data, tmp_path):
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
