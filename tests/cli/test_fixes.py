"""Each fix that a message gives is followed, in the command that gave it, and succeeds."""

from __future__ import annotations

import re
import shlex

import cv2
import numpy as np
import paddle
import pytest
from PIL import Image
from support import TinyNet, draw_pair, make_config, write_mask

from paddleseg_u2net.cli.app import COMMANDS, MEMORY_FLAGS, command_module, guarded, main


def run(words, capsys) -> tuple[int, str]:
    """Exit code of a command, and all that it printed."""
    capsys.readouterr()
    try:
        code = main([str(word) for word in words])
    except SystemExit as stop:
        code = stop.code
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def flags_of(name: str) -> set[str]:
    return set(command_module(name).build_parser()._option_string_actions)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "w.pdparams"
    paddle.save(TinyNet(1).state_dict(), str(path))
    return path


@pytest.fixture
def dim(tmp_path):
    """Masks whose brightest value is 20, which may be class ids or brightness."""
    for index in range(4):
        draw_pair(tmp_path / "dim", f"p{index}", white=20)
    lines = "".join(f"images/p{index}.png masks/p{index}.png\n" for index in range(4))
    for part in ("train", "val"):
        (tmp_path / "dim" / f"{part}_list.txt").write_text(lines)
    return tmp_path / "dim"


def commands_with_masks(tmp_path, dim):
    config = make_config(tmp_path / "dim.yaml", dim)
    folders = ["--image_dir", dim / "images", "--mask_dir", dim / "masks"]
    yield ["train", "--config", config, "--iters", 1, "--save_dir", tmp_path / "run"]
    yield ["val", "--config", config, "--model_path", tmp_path / "w.pdparams"]
    yield ["check-dataset", "--config", config]
    yield ["check-dataset", *folders]
    yield ["check-dataset", "--list", dim / "train_list.txt"]
    yield ["make-dataset", *folders, "--save_dir", tmp_path / "made"]


@pytest.mark.parametrize("number", range(6))
def test_fixes_of_masks_name_what_the_command_takes(tmp_path, dim, weights, capsys, number):
    words = list(commands_with_masks(tmp_path, dim))[number]
    code, text = run(words if words[0] != "make-dataset" else [*words, "--saliency"], capsys)
    assert code == 1
    fixes = re.findall(r"(--(?:opts \S*)?mask_encoding[= ]grey)", text)
    assert fixes, text
    for flag in re.findall(r"--[a-z_]+", text.split("Fix:")[1].splitlines()[0]):
        assert flag in flags_of(words[0]), flag
    code, text = run([*words, *shlex.split(fixes[0])], capsys)
    if (
        words[0] == "check-dataset" and "--opts" in fixes[0] or words[0] == "train"
    ):  # both sections have masks
        assert "val_dataset" not in text or code == 1
        both = f"{fixes[0]} {fixes[0].split()[-1].replace('train_', 'val_')}"
        code, text = run([*words, *shlex.split(both)], capsys)
    assert code == 0, text


def test_flags_of_masks_beside_a_config_name_the_options_that_work(tmp_path, capsys):
    draw_pair(tmp_path / "d", "a", white=2)
    (tmp_path / "d" / "train_list.txt").write_text("images/a.png masks/a.png\n")
    config = make_config(tmp_path / "c.yaml", tmp_path / "d")
    config.write_text(re.sub(r"val_dataset:\n(  .*\n)+", "", config.read_text()))
    words = ["check-dataset", "--config", config]
    code, text = run([*words, "--num_classes", 3], capsys)
    assert code == 2
    assert "--num_classes cannot be used with --config. Fix: --opts model.num_classes=…" in text
    opts = ["model.num_classes=3", "train_dataset.num_classes=3"]
    assert run([*words, "--opts", *opts], capsys)[0] == 0


def test_evaluate_tells_what_to_do_to_the_masks(dim, tmp_path, capsys):
    words = [
        "evaluate",
        "--pred_dir",
        dim / "masks",
        "--label_dir",
        dim / "masks",
        "--save_dir",
        tmp_path / "s",
    ]
    code, text = run(words, capsys)
    assert code == 1
    assert "Fix: store objects as 255 and background as 0" in text
    for path in (dim / "masks").iterdir():
        write_mask(path, np.where(cv2.imread(str(path), 0) > 0, 255, 0).astype(np.uint8))
    assert run(words, capsys)[0] == 0


CONFIG_FIXES = [
    # a wrong option, the fix in its message, and the option that follows it
    (
        "train_dataset.transforms.1={type: Normalize, mean: [0.5], std: [0.5, 0.5]}",
        "std: [0.5, 0.5]. Fix: a list of 3 numbers, one per channel",
        "train_dataset.transforms.1={type: Normalize, mean: [0.5], std: [0.5, 0.5, 0.5]}",
    ),
    (
        "train_dataset.transforms.1={type: Normalize, std: [1, 0, 1]}",
        "none of them 0",
        "train_dataset.transforms.1={type: Normalize, std: [1, 1, 1]}",
    ),
    (
        "train_dataset.transforms.1={type: RandomPaddingCrop, crop_size: [0, 5]}",
        "crop_size: [0, 5]. Fix: [W, H], two whole numbers above 0",
        "train_dataset.transforms.1={type: RandomPaddingCrop, crop_size: [5, 5]}",
    ),
    (
        "train_dataset.transforms.1={type: RandomBlur, prob: x}",
        "prob: 'x'. Fix: a number",
        "train_dataset.transforms.1={type: RandomBlur, prob: 0.5}",
    ),
    (
        "train_dataset.transforms.1={type: ResizeByShort, short_size: [16, 24]}",
        "Fix: use multi_scale, or ResizeStepScaling",
        "train_dataset.multi_scale=[16, 24]",
    ),
    (
        "train_dataset.multi_scale=[0]",
        "Fix: sizes such as 320 or [320, 256]",
        "train_dataset.multi_scale=[16, [16, 24]]",
    ),
    ("train_dataset.edge=true", "Fix: edge: false", "train_dataset.edge=false"),
    ("lr_scheduler.power=x", "power: 'x'. Fix: a number", "lr_scheduler.power=1"),
    ("train_dataset.separator=','", "by ',', or remove the key separator", "train_dataset.separator=null"),
    ("loss.types.0={type: CrossEntropyLoss}", "Fix: type: SaliencyLoss", "loss.types.0={type: SaliencyLoss}"),
    (
        "test_config={scales: [2.0]}",
        "Fix: add test_config: {aug_eval: true}",
        "test_config={aug_eval: true, scales: [2.0]}",
    ),
    (
        "test_config={is_slide: true}",
        "Fix: test_config: {is_slide: true, crop_size: [W, H], stride: [W, H]}",
        "test_config={is_slide: true, crop_size: [8, 8], stride: [8, 8]}",
    ),
]


@pytest.mark.parametrize(("wrong", "fix", "right"), CONFIG_FIXES)
def test_fixes_of_a_config_in_training(config, tmp_path, capsys, wrong, fix, right):
    words = ["train", "--config", config, "--iters", 1, "--save_dir", tmp_path / "run", "--opts"]
    code, text = run([*words, wrong], capsys)
    assert (code, fix in text) == (1, True), text
    code, text = run([*words, right], capsys)
    assert code == 0, text


VAL_FIXES = [
    (
        ["--opts", "val_dataset.transforms.0.mean=[0.5, 0.5]"],
        "mean: [0.5, 0.5]. Fix: a list of 3 numbers",
        ["--opts", "val_dataset.transforms.0.mean=[0.5, 0.5, 0.5]"],
    ),
    (
        ["--opts", "val_dataset.transforms.0={type: Resize, target_size: [0, 4]}"],
        "Fix: [W, H], two whole numbers above 0",
        ["--opts", "val_dataset.transforms.0={type: Resize, target_size: [8, 4]}"],
    ),
    (
        ["--opts", "val_dataset.transforms.0={type: ResizeByLong}"],
        "long_size is missing",
        ["--opts", "val_dataset.transforms.0={type: ResizeByLong, long_size: 16}"],
    ),
    (
        ["--opts", "val_dataset.transforms.0={type: Padding, target_size: [8, 8]}"],
        "Fix: a larger target_size, or a Resize before it",
        ["--opts", "val_dataset.transforms.0={type: Padding, target_size: [64, 64]}"],
    ),
    (["--scales", "2"], "Fix: add --aug_", ["--aug", "--scales", "2"]),
    (["--aug"], "Fix: add --scales or --flip_horizontal", ["--aug", "--flip_horizontal"]),
    (
        ["--is_slide"],
        "Fix: --is_slide, --crop_size W H",
        ["--is_slide", "--crop_size", "8", "8", "--stride", "8", "8"],
    ),
    (["--precision", "int8"], "Fix: leave --precision out", []),
]


@pytest.mark.parametrize("command", ["val", "predict"])
@pytest.mark.parametrize(("wrong", "fix", "right"), VAL_FIXES)
def test_fixes_of_flags_and_transforms_in_val_and_predict(
    config, weights, data, tmp_path, capsys, command, wrong, fix, right
):
    switch = {"val": "--aug_eval", "predict": "--aug_pred"}[command]
    words = [command, "--config", config, "--model_path", weights]
    if command == "predict":
        words += ["--image_path", data / "images" / "p0.png", "--save_dir", tmp_path / "out"]
    code, text = run([*words, *(switch if word == "--aug" else word for word in wrong)], capsys)
    assert (code, fix in text) == (1, True), text
    assert {"val": "--aug_pred", "predict": "--aug_eval"}[command] not in text
    code, text = run([*words, *(switch if word == "--aug" else word for word in right)], capsys)
    assert code == 0, text


def test_a_limit_of_pixels_is_raised_only_where_it_can_be(config, weights, data, tmp_path, capsys):
    image = data / "images" / "p0.png"
    words = ["predict", image, "--config", config, "--model_path", weights, "--save_dir", tmp_path / "out"]
    code, text = run([*words, "--max_pixels", 10], capsys)
    assert (code, "Fix: make it smaller, or raise --max_pixels" in text) == (1, True)
    assert run([*words, "--max_pixels", 5000], capsys)[0] == 0
    for folder in ("images", "masks"):
        Image.new("1", (8200, 8200)).save(data / folder / "p0.png")
    code, text = run(["check-dataset", "--config", config], capsys)
    assert (code, "--max_pixels" in text, "Fix: make it smaller" in text) == (1, False, True)


def test_weights_without_a_config_work_with_one_beside_them(config, weights, data, tmp_path, capsys):
    words = ["predict", data / "images" / "p0.png", "--save_dir", tmp_path / "out"]
    code, text = run([*words, "--model_path", weights], capsys)
    assert code == 1
    place = re.search(r"Fix: put its config beside it, as (\S+);", text)
    assert place, text
    assert run([*words, "--model_path", weights, "--config", config], capsys)[0] == 0
    (tmp_path / "config.yaml").write_text(config.read_text())
    assert place[1] == str(tmp_path / "config.yaml")
    assert run([*words, "--model_path", weights], capsys)[0] == 0
    assert run([*words, "--model_path", weights, "--refine", weights], capsys)[0] == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_too_little_memory_names_flags_that_the_command_has(name, capsys):
    def fail():
        raise MemoryError

    assert guarded(fail, name=name) == 1
    named = re.findall(r"--\w+", capsys.readouterr().err)
    assert set(named) == flags_of(name) & set(MEMORY_FLAGS)


def test_lists_with_backslashes_are_read(data, config, weights, tmp_path, capsys):
    for path in data.glob("*_list.txt"):
        path.write_text(path.read_text().replace("/", "\\"))
    images = data / "predict.txt"
    images.write_text("images\\p0.png\nimages\\p1.png masks\\p1.png\n")
    model = ["--config", config, "--model_path", weights]
    assert run(["check-dataset", "--dataset_root", data], capsys)[0] == 0
    assert run(["train", "--config", config, "--iters", 1, "--save_dir", tmp_path / "run"], capsys)[0] == 0
    assert run(["val", *model], capsys)[0] == 0
    code, text = run(["predict", images, *model, "--save_dir", tmp_path / "out"], capsys)
    assert (code, "Predicted 2 of 2 images" in text) == (0, True)
    made = ["--list", data / "train_list.txt", "--dataset_root", data, "--save_dir", tmp_path / "made"]
    assert run(["make-dataset", *made], capsys)[0] == 0
