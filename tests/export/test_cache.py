"""The cache of exports without Paddle; for the rest see tests/inference/test_model_source.py."""

from __future__ import annotations

import numpy as np
import onnx
import paddle
import pytest
from onnx import numpy_helper

from paddleseg_u2net.engines.deploy_config import read_record
from paddleseg_u2net.engines.paddle import PaddleEngine
from paddleseg_u2net.errors import VerificationError
from paddleseg_u2net.export import cache, onnx_network
from paddleseg_u2net.export.cache import cached_export, drawn_object
from paddleseg_u2net.export.graph_digest import graph_digest
from paddleseg_u2net.export.onnx_network import build_onnx
from paddleseg_u2net.inference import model_source
from paddleseg_u2net.inference.model_source import config_of, load_engine
from paddleseg_u2net.models.known_weights import KNOWN
from paddleseg_u2net.models.u2net import U2Netp

MODEL = {"type": "U2Netp", "num_classes": 1}
CONFIG = {"model": MODEL, "val_dataset": {"transforms": []}}


@pytest.fixture
def _no_paddle(monkeypatch):
    """Paddle is not found; importing it would fail the test."""
    monkeypatch.setattr(cache, "has", lambda *modules: False)
    monkeypatch.setattr(model_source, "has", lambda *modules: modules == ("openvino",))
    monkeypatch.setattr(cache, "network_on_cpu", None)
    monkeypatch.setattr(cache, "load_network", None)
    monkeypatch.setattr(model_source, "load_network", None)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Weights that nobody published, an image of the drawn object, and the output of Paddle for it."""
    paddle.seed(5)
    network = U2Netp(1)
    path = tmp_path_factory.mktemp("own") / "own.pdparams"
    paddle.save(network.state_dict(), str(path))
    image = drawn_object(3)[:, :, ::3, ::3]
    return path, image, PaddleEngine(network)(image)


@pytest.fixture
def own_weights(made, small_drawing):
    """The same, where exports are compared on a small image too."""
    return made


@pytest.mark.usefixtures("_no_paddle")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_published_weights_are_verified_by_their_digest(official_weights, caplog, precision):
    caplog.set_level("INFO")
    engine = load_engine("u2netp", config_of("u2netp"), precision=precision)
    if precision == "fp32":  # for int8, which takes seconds to compile, see test_graph_digest.py
        maps = engine(drawn_object(3))[0, 0]
        assert maps[78, 65] > 0.9
        assert maps[2, 2] < 0.1
    assert "verifying it by its checksum, once" in caplog.text
    assert {record.levelname for record in caplog.records} == {"INFO"}
    caplog.clear()
    load_engine("u2netp", config_of("u2netp"), precision=precision)
    assert "Writing" not in caplog.text


@pytest.mark.usefixtures("_no_paddle")
def test_bf16_of_published_weights_is_the_verified_graph(official_weights):
    record = cached_export(official_weights, MODEL, "bf16")
    assert read_record(record).precision == "bf16"
    graph = onnx.load(record.parent / "model.onnx")
    assert graph_digest(graph) == KNOWN["u2netp"].graphs["fp32"]


@pytest.mark.usefixtures("_no_paddle")
def test_graph_with_other_values_is_not_kept(official_weights, monkeypatch, tmp_path):
    def build_wrongly(*args):
        model = build_onnx(*args)
        (bias,) = [tensor for tensor in model.graph.initializer if tensor.name == "outconv.bias"]
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(1e-6), bias.name))
        return model

    monkeypatch.setattr(onnx_network, "build_onnx", build_wrongly)
    with pytest.raises(
        VerificationError, match="the ONNX graph written here differs from the one that was t"
    ):
        load_engine("u2netp", config_of("u2netp"))
    assert not list((tmp_path / "u2net_home" / "exports").rglob("*.onnx"))


@pytest.mark.usefixtures("_no_paddle")
def test_own_weights_predict_with_a_warning_that_values_were_not_compared(own_weights, caplog):
    path, image, expected = own_weights
    for _ in range(2):
        caplog.clear()
        np.testing.assert_allclose(load_engine(path, CONFIG)(image), expected, atol=1e-4)
        (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert warning.startswith(
            f"{path}: Paddle is not installed, so the ONNX file of these weights was not"
        )
        assert "only its structure was verified. Fix: u2net export where Paddle is installed" in warning


def test_unverified_export_is_replaced_once_paddle_is_there(own_weights, caplog, monkeypatch):
    path, _, _ = own_weights
    with monkeypatch.context() as patch:
        patch.setattr(cache, "has", lambda *modules: False)
        unverified = cached_export(path, MODEL)
    verified = cached_export(path, MODEL)
    assert unverified.parent.name == f"{verified.parent.name}-unverified"
    with monkeypatch.context() as patch:
        patch.setattr(cache, "has", lambda *modules: False)
        caplog.clear()
        assert cached_export(path, MODEL) == verified
        assert not caplog.records


@pytest.mark.usefixtures("_no_paddle")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 2}, "does not fit U2Netp: 14 differences:\n.* side1.weight"),
        (
            {"type": "U2Net"},
            "does not fit U2Net: 571 differences:(.*\n)*Fix: in the config, model: {type: U2Netp",
        ),
        ({"in_channels": 4}, "does not fit U2Netp: 1 difference"),
    ],
)
def test_weights_that_do_not_fit_are_rejected_without_paddle(official_weights, changes, message):
    with pytest.raises(ValueError, match=message):
        load_engine("u2netp", {"model": {**MODEL, **changes}})


@pytest.mark.usefixtures("_no_paddle")
def test_without_paddle_a_cache_that_cannot_be_written_is_the_error(official_weights, monkeypatch):
    monkeypatch.setenv("U2NET_HOME", "/proc/nope")
    with pytest.raises(OSError, match="cannot be written to .* Fix: set U2NET_HOME to another folder"):
        load_engine(official_weights, CONFIG)


def test_cached_file_is_a_valid_model(own_weights):
    onnx.checker.check_model(onnx.load(cached_export(own_weights[0], MODEL).parent / "model.onnx"))
