"""Quantization to 8-bit integers: measured ranges, kept convolutions, accuracy."""

from __future__ import annotations

import cv2
import numpy as np
import paddle
import pytest
from paddleseg.models import u2net as stock

from paddleseg_u2net.engines.onnxruntime import OnnxRuntimeEngine
from paddleseg_u2net.engines.openvino import OpenVinoEngine
from paddleseg_u2net.engines.paddle import PaddleEngine
from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.export.onnx_network import Quantization, build_onnx
from paddleseg_u2net.export.quantization import (
    always_kept,
    calibrate,
    measured,
    read_calibration,
    write_calibration,
)
from paddleseg_u2net.inference import model_source
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.models.architecture import NETWORKS, dataflow
from paddleseg_u2net.models.known_weights import CALIBRATIONS, KNOWN
from paddleseg_u2net.models.u2net import U2Netp
from paddleseg_u2net.models.weight_files import read_state, state_of

RNG = np.random.default_rng(0)
FLOW = dataflow(NETWORKS["U2Netp"])


@pytest.fixture(scope="module")
def network():
    """A network of two classes, which no test changes."""
    paddle.seed(3)
    layer = U2Netp(2)
    layer.eval()
    return layer


@pytest.fixture(scope="module")
def rounded(network):
    """An input, and the 8-bit graph of the network with the ranges of that input."""
    batch = np.random.default_rng(0).normal(size=(1, 3, 40, 40)).astype(np.float32)
    state = state_of(network)
    return batch, build_onnx(state, quantization=calibrate(state, [batch])).SerializeToString()


def test_ranges_are_the_largest_activations_of_paddleseg(network):
    batches = [RNG.normal(size=(1, 3, 24, 17)).astype(np.float32) for _ in range(3)]
    found = calibrate(state_of(network), batches).ranges
    assert list(found) == measured(FLOW)
    seen = []
    reference = stock.U2Netp(2)
    reference.set_state_dict(network.state_dict())
    reference.eval()
    reference.stage2d.register_forward_post_hook(lambda *call: seen.append(float(call[2].numpy().max())))
    for batch in batches:
        reference(paddle.to_tensor(batch))
    assert found["stage2d"] == pytest.approx(max(seen), rel=1e-4)


def test_convolution_that_cancels_large_terms_is_kept_in_float(network):
    """The last level of a block whose input is far above its result, as one in the published U²-Net†."""
    images = [RNG.normal(size=(1, 3, 40, 40)).astype(np.float32)]
    state = state_of(network)
    assert calibrate(state, images).kept == always_kept(FLOW)
    large, small = "stage3d.rebnconv2d", "stage3d.rebnconv1d"
    state[f"{large}.bn_s1.bias"] += 1000.0
    mid = state[f"{large}.bn_s1.bias"].size
    # each filter sums to zero over the large channels, so that their common part cancels out
    weight = state[f"{small}.conv_s1.weight"]
    center = weight[:, :mid, 1, 1].copy()
    weight[:, :mid] = 0
    weight[:, :mid, 1, 1] = center - center.mean(axis=1, keepdims=True)
    assert small in calibrate(state, images).kept


@pytest.mark.parametrize("engine", [OnnxRuntimeEngine, OpenVinoEngine])
def test_int8_is_close_to_float_in_both_engines(network, rounded, engine, tmp_path):
    batch, model = rounded
    (tmp_path / "a.onnx").write_bytes(model)
    differences = np.abs(engine(tmp_path / "a.onnx")(batch) - PaddleEngine(network)(batch))
    assert 0 < differences.mean() < 0.02


def test_all_but_kept_weights_are_stored_in_8_bits(network):
    state = state_of(network)
    quantization = Quantization(dict.fromkeys(measured(FLOW), 1.0), frozenset({"outconv", "side1"}))
    model = build_onnx(state, quantization=quantization)
    floats = {t.name for t in model.graph.initializer if len(t.dims) == 4 and t.data_type == 1}
    assert floats == {"outconv.weight", "side1.weight"}
    assert len(model.SerializeToString()) < 0.35 * len(build_onnx(state).SerializeToString())


def test_calibration_file_reads_back_as_written(tmp_path):
    quantization = Quantization({"a": 1.2345, "b": 0.0}, frozenset({"outconv"}))
    write_calibration(tmp_path / "c.yaml", quantization)
    assert read_calibration(tmp_path / "c.yaml") == Quantization(
        {"a": 1.23, "b": 0.0}, frozenset({"outconv"})
    )
    (tmp_path / "c.yaml").write_text("a: b")
    for text in ("", "[", "kept: a\nranges: {}", "kept: []\nranges: {a: .nan}", "kept: []\nranges: {a: b}"):
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"c.yaml: not a (calibration. Fix: install|YAML file: )"):
            read_calibration(tmp_path / "c.yaml")


def test_shipped_calibration_fits_its_network_and_keeps_the_known_layer():
    shipped = read_calibration(CALIBRATIONS / str(KNOWN["u2netp"].calibration))
    assert list(shipped.ranges) == measured(FLOW)
    assert shipped.kept == always_kept(FLOW) | {"stage2d.rebnconv1d"}


@pytest.mark.slow
def test_int8_changes_saliency_of_photographs_by_less_than_a_hundredth(known_weights, photos, monkeypatch):
    monkeypatch.setattr(model_source, "has_int8_units", lambda: True)
    exact, rounded = (Predictor("u2netp", precision=name) for name in ("fp32", "int8"))
    for name, image in photos.items():
        image = cv2.resize(image, None, fx=0.5, fy=0.5)
        difference = np.abs(exact(image) - rounded(image)).mean()
        assert 0 < difference < 0.01, name


def test_int8_is_the_default_only_on_a_cpu_that_has_units_for_it(known_weights, monkeypatch, caplog):
    caplog.set_level("INFO")
    for units, expected in ((True, "int8; backend openvino"), (False, "fp32; backend onnxruntime")):
        monkeypatch.setattr(model_source, "has_int8_units", lambda units=units: units)
        caplog.clear()
        Predictor("u2netp")
        assert expected in caplog.text
        assert ("float32 instead of 8-bit integers: this CPU has no units for it" in caplog.text) != units


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "--precision int4: unknown, expected auto, fp32, int8 or bf16"),
        ({"precision": "int8", "backend": "onnxruntime"}, "int8: backend onnxruntime gains nothing from it"),
        (
            {"precision": "int8", "backend": "paddle"},
            "--precision int8: backend paddle computes in fp32. Fix: leave --precision out",
        ),
    ],
)
def test_impossible_precision_is_rejected(known_weights, options, message):
    with pytest.raises(ValueError, match=message):
        Predictor("u2netp", **options)


def test_int8_of_weights_without_calibration_is_rejected(tmp_path, network):
    paddle.save(network.state_dict(), str(tmp_path / "w.pdparams"))
    config = {"model": {"type": "U2Netp", "num_classes": 2}, "val_dataset": {"transforms": []}}
    with pytest.raises(ValueError, match="int8: these weights have no calibration. Fix: u2net export"):
        Predictor(tmp_path / "w.pdparams", config, precision="int8")


def test_only_u2netp_has_a_calibration(known_weights):
    assert read_state(known_weights)  # the row's checksum is verified when they are resolved
    assert KNOWN["u2netp"].calibration == "u2netp.yaml"
    assert KNOWN["u2net"].calibration is None
