"""Overfitting two samples: masks that can be learned, and masks that cannot."""

from __future__ import annotations

import numpy as np
import pytest
from support import draw_pair, make_config, tree, write_mask

from paddleseg_u2net.builders import build_dataset_spec
from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.data.inspection import inspect
from paddleseg_u2net.io.images import read_image
from paddleseg_u2net.training.overfit import OverfitResult, overfit


def check(data, num_classes: int = 1, **options) -> OverfitResult:
    config = load_config(make_config(data / "c.yaml", data, num_classes=num_classes))
    inspection = inspect(build_dataset_spec(config, "train_dataset"))
    options = {"steps": 60, "learning_rate": 0.05, **options}
    return overfit(config, inspection, data / "out", "cpu", **options)


@pytest.fixture
def large(tmp_path):
    """Six pairs of 96 x 96 pixels, the size of the check."""
    for index in range(6):
        draw_pair(tmp_path, f"p{index}", size=(96, 96))
    lines = "".join(f"images/p{i}.png masks/p{i}.png\n" for i in range(6))
    for mode in ("train", "val"):
        (tmp_path / f"{mode}_list.txt").write_text(lines)
    return tmp_path


@pytest.mark.parametrize("num_classes", [1, 2])
def test_masks_that_match_their_objects_are_learned(large, num_classes, caplog):
    caplog.set_level("INFO")
    outcome = check(large, num_classes)
    assert outcome.learned
    assert outcome.last_loss < outcome.first_loss / 2
    assert "the masks can be learned. Image, mask and prediction: " in caplog.text
    assert read_image(large / "out" / "overfit.png").shape == (2 * 186, 3 * 180, 3)


@pytest.mark.parametrize("how", ["shuffled", "noise", "inverted noise"])
def test_masks_that_do_not_match_their_images_are_not_learned(large, how, caplog):
    rng = np.random.default_rng(0)
    for index in range(6):
        path = large / "masks" / f"p{index}.png"
        if how == "shuffled":
            (large / "images" / f"p{index}.png").rename(large / "images" / f"{(index + 1) % 6}.png")
            continue
        noise = (rng.random((96, 96)) < 0.3) * np.uint8(255)
        write_mask(path, 255 - noise if how == "inverted noise" else noise)
    if how == "shuffled":
        for index in range(6):
            (large / "images" / f"{index}.png").rename(large / "images" / f"p{index}.png")
    outcome = check(large)
    assert not outcome.learned, outcome
    assert "the masks cannot be learned in this number of steps. Look at " in caplog.text


def test_objects_that_vanish_at_the_small_size_are_an_error(tmp_path):
    """An object of two pixels in a large image vanishes at 96 x 96; empty masks would be learned at once."""
    for index in range(6):
        draw_pair(tmp_path, f"p{index}", size=(960, 960), white=0)
        mask = np.zeros((960, 960), np.uint8)
        mask[100 * index + 4, 500:502] = 255
        write_mask(tmp_path / "masks" / f"p{index}.png", mask)
    lines = "".join(f"images/p{i}.png masks/p{i}.png\n" for i in range(6))
    for mode in ("train", "val"):
        (tmp_path / f"{mode}_list.txt").write_text(lines)
    for num_classes in (1, 2):
        with pytest.raises(ValueError, match="vanish at 96 x 96 pixels. Fix: crop the images"):
            check(tmp_path, num_classes)
    assert not (tmp_path / "out" / "overfit.png").exists()


def test_masks_without_foreground_are_an_error(data, tmp_path):
    for path in (data / "masks").iterdir():
        write_mask(path, np.zeros((32, 32), np.uint8))
    config = load_config(make_config(tmp_path / "a.yaml", data))
    inspection = inspect(build_dataset_spec(config, "val_dataset"))  # only training needs objects
    with pytest.raises(
        ValueError, match="no mask has any foreground, so there is nothing to learn. Fix: check"
    ):
        overfit(config, inspection, tmp_path / "out", "cpu")
    for path in (data / "masks").iterdir():
        draw_pair(data, path.stem)
    inspection = inspect(build_dataset_spec(config, "val_dataset"))
    assert overfit(config, inspection, tmp_path / "out", "cpu", steps=1).first_loss > 0


def test_equal_seeds_give_equal_results_and_no_picture_is_overwritten(large):
    first, again, other = (check(large, steps=2, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert tree(large / "out") == ["overfit.png", "overfit_2.png", "overfit_3.png"]


def test_half_precision_on_a_cpu_is_rejected(large):
    with pytest.raises(ValueError, match="--precision bf16 on a CPU: "):
        check(large, precision="bf16")


def test_small_loss_without_overlap_is_no_success():
    """As with 0/255 masks and ignore_index 255 in PaddleSeg, where all foreground is ignored."""
    assert not OverfitResult(0.0, float("nan"), 1.0, 5).learned
    assert not OverfitResult(1.0, 0.0, 0.0, 5).learned


def test_exit_code_of_the_command_is_the_result(run, large):
    config = make_config(large / "c.yaml", large)
    flags = ["--config", config, "--overfit", "--save_dir", "here", "--learning_rate", 0.05]
    code, text, _ = run("train", *flags, "--iters", 60)
    assert (code, "the masks can be learned" in text) == (0, True)
    code, text, _ = run("train", *flags, "--iters", 1)
    assert (code, "cannot be learned in this number of steps" in text) == (1, True)
    code, _, error = run("train", *flags, "--do_eval")
    assert (code, "--overfit trains new weights in one process" in error) == (2, True)
    code, _, error = run("train", *flags, "--precision", "fp16", "--device", "cpu")
    assert (code, "--precision fp16 on a CPU: training in fp16 needs a GPU" in error) == (1, True)
    lines = [run("train", *flags, "--iters", 1, "--seed", seed)[1] for seed in (3, 3, 4)]
    losses = [line.partition("loss ")[2].partition(":")[0] for line in lines]
    assert losses[0] == losses[1] != losses[2]
    (large / "images" / "p0.png").unlink()
    code, _, error = run("train", *flags)
    assert code == 1
    assert "p0.png: no such image file" in error
