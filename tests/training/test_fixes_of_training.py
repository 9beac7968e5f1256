"""Fixes that training gives for its data and its precision are followed, and the training then succeeds."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support import draw_pair, make_config, pixels, write_mask
from training_runs import trainer

from paddleseg_u2net import builders
from paddleseg_u2net.data.dataset import open_datasets
from paddleseg_u2net.errors import ConfigError


@pytest.fixture
def large(tmp_path):
    """Pairs of 480 x 480 pixels whose objects, of one row and two columns, vanish at 96 x 96."""
    for name in ("a", "b"):
        draw_pair(tmp_path / "d", name, size=(480, 480))
        mask = np.zeros((480, 480), np.uint8)
        mask[201, 220:222] = 255
        write_mask(tmp_path / "d" / "masks" / f"{name}.png", mask)
    (tmp_path / "d" / "train_list.txt").write_text("images/a.png masks/a.png\nimages/b.png masks/b.png\n")
    make_config(tmp_path / "c.yaml", tmp_path / "d")
    return tmp_path / "d"


def test_objects_that_vanish_are_cropped(run, large):
    words = ["train", "--config", "c.yaml", "--overfit", "--iters", 1, "--save_dir", "out"]
    code, _, error = run(*words)
    assert (code, "Fix: crop the images to their objects" in error) == (1, True), error
    for path in large.glob("*/*.png"):
        write_mask(path, pixels(path)[185:217, 205:237])
    _, text, error = run(*words)
    assert error == ""
    assert "in this number of steps" in text  # one step is not enough to learn them


def test_weights_in_half_precision_are_kept_in_float32(config, tmp_path, monkeypatch):
    """As on a GPU: with O2 Paddle turns the weights into half precision when a run is prepared."""
    monkeypatch.setattr(paddle.amp, "decorate", lambda net, rate, **_: (net.to(dtype="bfloat16"), rate))
    run = trainer(config, tmp_path / "run", ["finetune={l2_sp: 0.1}"])
    (data,) = open_datasets([builders.build_dataset_spec(run.config, "train_dataset")])
    run.amp = {"enable": True, "level": "O2", "dtype": "bfloat16"}
    with pytest.raises(ConfigError, match="Fix: --amp_level O1"):
        run.prepare(data)
    run = trainer(config, tmp_path / "run", ["finetune={l2_sp: 0.1}"])
    run.amp = {"enable": True, "level": "O1", "dtype": "bfloat16"}
    run.prepare(data)
    run.start.pull(0.1)
