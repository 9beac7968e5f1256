"""Conversion of other networks to ONNX by paddle2onnx, if it is installed (Python 3.10 to 3.12)."""

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
    """Contains what paddle2onnx converts wrongly: doubles as attributes (Paddle 3.3), adaptive pooling."""

    def __init__(self, cells: int):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2D(3, 4, 3), nn.GroupNorm(2, 4, 0.1), nn.Conv2D(4, 3, 1)
        self.cells = cells

    def forward(self, x):
        features = nn.functional.leaky_relu(self.norm(self.first(x)), 0.3)
        pooled = nn.functional.adaptive_avg_pool2d(features, self.cells)
        return [self.last(nn.functional.interpolate(pooled, x.shape[2:], mode="bilinear"))]


class Unsupported(nn.Layer):
    """Contains an operation that paddle2onnx does not support."""

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
    """A function that exports a network for a shape to the folder `out`."""
    pytest.importorskip("paddle2onnx")

    def save(layer, shape=ANY, file_format="onnx"):
        layer.eval()
        pair = make_sample(found, RNG.integers(0, 256, (40, 48, 3), dtype=np.uint8), None, shape)
        return export(layer, found, tmp_path / "out", [pair], file_format, shape=shape)

    return save


@pytest.mark.parametrize("file_format", ["onnx", "openvino"])
def test_converted_network_predicts_like_paddle_without_printing(
    found, save, tmp_path, capfd, request, file_format
):
    if file_format == "openvino":  # that of onnx is converted in a process of its own
        request.getfixturevalue("forked_paddle2onnx")
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


@pytest.mark.usefixtures("forked_paddle2onnx")
def test_network_that_needs_a_fixed_size_is_rejected_without_one(save, tmp_path):
    with pytest.raises(
        ValueError,
        match="Pooled: paddle2onnx cannot convert it: pool2d: Adaptive only support static input shape. "
        "Fix: --format paddle, or a fixed size, such as --input_shape 1 3 512 512",
    ):
        save(Pooled(2))
    assert not (tmp_path / "out").exists()
    assert save(Pooled(2), (1, 3, 42, 34))["max_difference"] < 1e-5  # doubles are read correctly


@pytest.mark.usefixtures("forked_paddle2onnx")
def test_conversion_with_another_result_is_not_kept(save, tmp_path):
    with pytest.raises(
        VerificationError, match="not kept. Fix: --format paddle, or another --input_shape: pad"
    ):
        save(Pooled(5), (1, 3, 34, 34))  # 32 pixels in 5 cells
    assert not (tmp_path / "out").exists()
    assert save(Pooled(5), (1, 3, 37, 37))["agreement"] == 1


@pytest.mark.usefixtures("forked_paddle2onnx")
def test_file_that_would_crash_onnx_runtime_is_not_opened(save, tmp_path):
    with pytest.raises(ValueError, match=r"Pooled: it pools to more cells than .* \[6, 34\]. Fix: a larger"):
        save(Pooled(8), (1, 3, 6, 34))
    assert not (tmp_path / "out").exists()
    assert save(Pooled(8), (1, 3, 10, 34))["agreement"] == 1


@pytest.mark.usefixtures("forked_paddle2onnx")
def test_unsupported_operation_is_reported(save, tmp_path):
    with pytest.raises(
        ValueError, match="Unsupported: .* it: Due to the unsupported operators.* Fix: --format p"
    ):
        save(Unsupported(), (1, 3, 8, 8))
    assert not (tmp_path / "out").exists()
    assert save(Unsupported(), (1, 3, 8, 8), "paddle")["agreement"] == 1


@pytest.mark.usefixtures("forked_paddle2onnx")
def test_conversion_that_crashes_without_a_message_is_reported(tmp_path):
    pytest.importorskip("paddle2onnx")
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(ValueError, match="Net: paddle2onnx cannot .*: its process ended with -?[1-9]"):
        convert(tmp_path, "Net", ANY)


def test_missing_paddle2onnx_is_reported_before_anything_is_read(found, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "paddle2onnx", None)
    words = ["--config", str(tmp_path / "tiny.yaml"), "--model_path", "absent.pdparams", "--save_dir", "out"]
    assert main(["export", *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: paddle2onnx is not installed. Fix: pip install --no-deps paddle2onnx==")
    assert main(["export", *words, "--precision", "int8"]) == 1
    assert "int8: supported for U²-Net only, not for TinyNet. Fix: fp32" in capsys.readouterr().err
