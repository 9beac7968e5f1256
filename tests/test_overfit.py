"""Pairs learned by heart, and those that cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import draw_pair, make_config, write_mask

from paddleseg_u2net.config import load_config
from paddleseg_u2net.doctor import examine
from paddleseg_u2net.images import read_image
from paddleseg_u2net.overfit import Outcome, overfit
from paddleseg_u2net.registry import build_dataset


def tried(data, num_classes: int = 1, **options) -> Outcome:
    config = load_config(make_config(data / "c.yaml", data, num_classes=num_classes))
    examination = examine([build_dataset(config, "train_dataset")]).charts[0].examination
    return overfit(config, examination, data / "out", "cpu", steps=60, learning_rate=0.05, **options)


@pytest.fixture
def large(tmp_path):
    """Six pairs of 96 x 96, which are not resized on their way to the network."""
    for index in range(6):
        draw_pair(tmp_path, f"p{index}", size=(96, 96))
    lines = "".join(f"images/p{i}.png masks/p{i}.png\n" for i in range(6))
    for mode in ("train", "val"):
        (tmp_path / f"{mode}_list.txt").write_text(lines)
    return tmp_path


@pytest.mark.parametrize("num_classes", [1, 2])
def test_masks_that_lie_on_their_objects_are_learned(large, num_classes, caplog):
    caplog.set_level("INFO")
    outcome = tried(large, num_classes)
    assert outcome.learned
    assert outcome.last < outcome.first / 2
    assert "the masks can be learned. Image, mask and prediction: " in caplog.text
    assert read_image(large / "out" / "overfit.png").shape == (2 * 186, 3 * 180, 3)


@pytest.mark.parametrize("how", ["shuffled", "noise", "inverted noise"])
def test_masks_that_do_not_belong_to_their_images_are_told(large, how, caplog):
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
    outcome = tried(large)
    assert not outcome.learned, outcome
    assert "the masks cannot be learned in so many steps. Look at " in caplog.text


def test_a_small_loss_alone_is_no_success():
    """As that of 0/255 masks under ignore_index 255 in stock PaddleSeg, where nothing counts."""
    assert not Outcome(0.0, float("nan"), 1.0, 5).learned
    assert not Outcome(1.0, 0.0, 0.0, 5).learned


def test_the_command_ends_with_what_was_found(run, large):
    config = make_config(large / "c.yaml", large)
    flags = ["--config", config, "--overfit", "--save_dir", "here", "--learning_rate", 0.05]
    code, text, _ = run("train", *flags, "--iters", 60)
    assert (code, "the masks can be learned" in text) == (0, True)
    code, text, _ = run("train", *flags, "--iters", 1)
    assert (code, "cannot be learned in so many steps" in text) == (1, True)
    code, _, error = run("train", *flags, "--do_eval")
    assert (code, "--overfit tries new weights in one process" in error) == (2, True)
    (large / "images" / "p0.png").unlink()
    code, _, error = run("train", *flags)
    assert code == 1
    assert "p0.png: no such image file" in error
