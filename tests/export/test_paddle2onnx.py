"""Other networks as ONNX, by paddle2onnx, where it is installed (Python 3.10 to 3.12)."""

from __future__ import annotations

import sys

import numpy as np
import paddle
import pytest
from paddle import nn
from support import make_config

from paddleseg_u2net.builders import build_network
from paddleseg_u2net.cli.app import main
from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.engines.paddle import PaddleEngine
from paddleseg_u2net.errors import VerificationError
from paddleseg_u2net.export.exporter import export
from paddleseg_u2net.export.paddle2onnx import convert
from paddleseg_u2net.export.verify import make_sample
from paddleseg_u2net.inference.model_source import load_engine
from paddleseg_u2net.inference.predictor import Predictor

RNG = np.random.default_rng(0)
ANY = (-1, 3, -1, -1)


class Pooled(nn.Layer):
    """Has what paddle2onnx gets wrong: doubles as attributes (Paddle 3.3), pooling to a number of cells."""

    def __init__(self, cells: int):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2D(3, 4, 3), nn.GroupNorm(2, 4, 0.1), nn.Conv2D(4, 3, 1)
        self.cells = cells

    def forward(self, x):
        features = nn.functional.leaky_relu(self.norm(self.first(x)), 0.3)
        pooled = nn.functional.adaptive_avg_pool2d(features, self.cells)
        return [self.last(nn.functional.interpolate(pooled, x.shape[2:], mode="bilinear"))]


class Unknown(nn.Layer):
    """Computes what paddle2onnx does not know."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2D(3, 3, 1)

    def forward(self, x):
        return [paddle.lgamma(self.first(x))]


@pytest.fixture
def found(tmp_path, data):
    return load_config(make_config(tmp_path / "tiny.yaml", data, num_classes=3))


@pytest.fixture
def save(found, tmp_path):
    """Export a network for a shape, to the folder `out`."""
    pytest.importorskip("paddle2onnx")

    def save(layer, shape=ANY, file_format="onnx"):
        layer.eval()
        pair = make_sample(found, RNG.integers(0, 256, (40, 48, 3), dtype=np.uint8), None, shape)
        return export(layer, found, tmp_path / "out", [pair], file_format, shape=shape)

    return save


@pytest.mark.parametrize("file_format", ["onnx", "openvino"])
def test_any_network_predicts_quietly_from_its_converted_file(found, save, tmp_path, capfd, file_format):
    layer = build_network(found["model"])
    assert save(layer, file_format=file_format)["agreement"] == 1
    assert capfd.readouterr() == ("", "")
    image = RNG.normal(size=(2, 3, 21, 34)).astype(np.float32)
    np.testing.assert_allclose(
        load_engine(tmp_path / "out", {})(image), PaddleEngine(layer)(image), atol=1e-5
    )
    picture = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        Predictor(tmp_path / "out")(picture), Predictor(PaddleEngine(layer), found)(picture)
    )


def test_a_network_that_needs_a_fixed_size_says_so_and_gets_it(save, tmp_path):
    with pytest.raises(
        ValueError,
        match="Pooled: paddle2onnx cannot convert it: pool2d: Adaptive only support static input shape. "
        "Fix: --format paddle, or a fixed size, such as --input_shape 1 3 512 512",
    ):
        save(Pooled(2))
    assert not (tmp_path / "out").exists()
    assert save(Pooled(2), (1, 3, 42, 34))["max_difference"] < 1e-5  # its numbers are read as they are


def test_a_conversion_that_computes_something_else_is_not_kept(save, tmp_path):
    with pytest.raises(
        VerificationError, match="not kept. Fix: --format paddle, or another --input_shape: pad"
    ):
        save(Pooled(5), (1, 3, 34, 34))  # 32 pixels in 5 cells
    assert not (tmp_path / "out").exists()


def test_a_file_that_would_end_the_process_is_not_opened(save, tmp_path):
    with pytest.raises(ValueError, match=r"Pooled: it pools to more cells than .* \[6, 34\]. Fix: a larger"):
        save(Pooled(8), (1, 3, 6, 34))
    assert not (tmp_path / "out").exists()


def test_what_paddle2onnx_does_not_know_is_reported(save, tmp_path):
    with pytest.raises(
        ValueError, match="Unknown: .* it: Due to the unsupported operators.* Fix: --format p"
    ):
        save(Unknown(), (1, 3, 8, 8))
    assert not (tmp_path / "out").exists()


def test_a_conversion_that_ends_without_a_word_is_reported_too(tmp_path):
    pytest.importorskip("paddle2onnx")
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(ValueError, match="Net: paddle2onnx cannot .*: its process ended with -?[1-9]"):
        convert(tmp_path, "Net", ANY)


def test_the_command_says_what_is_missing_before_it_reads_anything(found, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "paddle2onnx", None)
    words = ["--config", str(tmp_path / "tiny.yaml"), "--model_path", "absent.pdparams", "--save_dir", "out"]
    assert main(["export", *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: paddle2onnx is not installed. Fix: pip install --no-deps paddle2onnx==")
    assert main(["export", *words, "--precision", "int8"]) == 1
    assert "int8: supported for U²-Net only, not for TinyNet. Fix: fp32" in capsys.readouterr().err
