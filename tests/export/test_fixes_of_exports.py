"""Fixes that the export of U²-Net gives are followed, and the export then succeeds."""

from __future__ import annotations

import shutil
from pathlib import Path

import paddle
import pytest
from support import make_config

from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.export.quantization import read_calibration
from paddleseg_u2net.models.known_weights import CALIBRATIONS

MODEL = {"type": "U2Netp", "num_classes": 1}


@pytest.fixture
def weights(network):
    paddle.save(network.state_dict(), "w.pdparams")
    return Path("w.pdparams")


def test_preprocessing_that_a_graph_does_not_support_is_left_out(run, weights, data, monkeypatch):
    make_config(Path("a.yaml"), data, model="U2Netp")  # which does not resize to a fixed size
    words = [
        "--config",
        "a.yaml",
        "--model_path",
        weights,
        "--save_dir",
        "e",
        "--image_path",
        data / "images",
    ]
    code, _, error = run("export", *words, "--with_preprocessing")
    assert (code, "0 changes of size" in error, "Fix: leave out --with_preprocessing" in error) == (
        1,
        True,
        True,
    )
    monkeypatch.setattr("paddleseg_u2net.cli.export.export", lambda **_: {})  # it takes a second
    assert run("export", *words)[0] == 0


def test_a_damaged_calibration_is_that_of_the_package(tmp_path):
    (tmp_path / "c.yaml").write_text("a")
    with pytest.raises(ConfigError, match="Fix: install paddleseg_u2net again, whose file it is"):
        read_calibration(tmp_path / "c.yaml")
    shutil.copy(CALIBRATIONS / "u2netp.yaml", tmp_path / "c.yaml")
    assert read_calibration(tmp_path / "c.yaml").ranges
