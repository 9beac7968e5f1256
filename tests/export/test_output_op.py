"""`export --output_op`: class ids or logits instead of probabilities."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import numpy as np
import paddle
import pytest
from support import TinyNet, make_config

from paddleseg_u2net.builders import build_network
from paddleseg_u2net.config.loader import load_config, preprocessing_of
from paddleseg_u2net.engines.base import open_engine
from paddleseg_u2net.engines.deploy_config import read_record
from paddleseg_u2net.engines.onnxruntime import OnnxRuntimeEngine
from paddleseg_u2net.engines.paddle import PaddleEngine
from paddleseg_u2net.errors import VerificationError
from paddleseg_u2net.export import formats
from paddleseg_u2net.export.exporter import export
from paddleseg_u2net.export.formats import FORMATS
from paddleseg_u2net.export.verify import TOLERANCES, check, make_sample
from paddleseg_u2net.inference.predictor import Predictor

RNG = np.random.default_rng(0)
SHAPE = (-1, 3, -1, -1)
OPENERS = {"onnx": "onnxruntime", "openvino": "openvino", "paddle": "paddle_inference"}


@pytest.fixture(autouse=True)
def _plain_sessions(monkeypatch):
    """Let ONNX Runtime run graphs as they are written; optimizing them takes longer than all else here."""
    real = OnnxRuntimeEngine._session

    def session(engine, shape=(), optimized=True):
        if "plain" not in vars(engine):
            engine.plain = real(engine, (), optimized=False)
        return engine.plain

    monkeypatch.setattr(OnnxRuntimeEngine, "_session", session)


@cache
def network_of(kind: str, num_classes: int):
    """A network in eval mode, built once for all tests."""
    paddle.seed(4)
    layer = build_network({"type": kind, "num_classes": num_classes})
    layer.eval()
    return layer


def make_model(path, data, num_classes, kind="U2Netp"):
    """A config and its network, which no test changes."""
    config = load_config(make_config(path, data, num_classes=num_classes, model=kind))
    return config, network_of(kind, num_classes)


@pytest.fixture(params=[1, 3], ids=["saliency", "3 classes"])
def model(request, tmp_path, data):
    """A config and its network, for saliency and for classes."""
    return *make_model(tmp_path / "a.yaml", data, request.param), request.param


def sample(config, size=(24, 40)):
    """A random image, its random truth, and the network's input for both."""
    picture = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    classes = config["model"]["num_classes"]
    truth = RNG.integers(0, max(classes, 2), size).astype(np.uint8)
    return picture, make_sample(
        config, picture, truth.astype(np.float32 if classes == 1 else np.uint8), SHAPE
    )


def logits_of(layer, image: np.ndarray) -> np.ndarray:
    """Logits of ONNX Runtime; of Paddle's dynamic graph for a network that only paddle2onnx could convert."""
    if type(layer) is TinyNet:
        return layer(paddle.to_tensor(image))[0].numpy()
    options = formats.ExportOptions(output_op="none")
    graph = formats._onnx_model(layer, options).SerializeToString()
    return OnnxRuntimeEngine(graph)(image)


def reference(layer, image: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of each operation, in numpy, from the logits of the network alone."""
    logits = logits_of(layer, image)
    if logits.shape[1] == 1:
        return {"none": logits, "softmax": 1 / (1 + np.exp(-logits)), "argmax": logits[:, 0] >= 0}
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    return {"none": logits, "softmax": probabilities, "argmax": logits.argmax(axis=1)}


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("num_classes", [1, 3])
def test_output_of_an_exported_file_is_that_of_its_last_operation(tmp_path, data, num_classes, file_format):
    kind = "TinyNet" if file_format == "paddle" else "U2Netp"  # tracing U²-Net takes long
    config, layer = make_model(tmp_path / "a.yaml", data, num_classes, kind)
    _, (image, truth) = sample(config)
    for output_op, expected in reference(layer, image).items():
        if file_format == "openvino" and output_op not in ("argmax", "softmax")[: (num_classes + 1) // 2]:
            continue  # compiling takes a second, and it is the graph of onnx
        folder = tmp_path / output_op
        report = export(layer, config, folder, [(image, truth)], file_format, output_op=output_op)
        deployment = read_record(folder / "deploy.yaml")
        probabilities = "sigmoid" if num_classes == 1 else "softmax"
        assert deployment.output_op == (probabilities if output_op == "softmax" else output_op)
        output = open_engine(OPENERS[file_format], folder / deployment.model)(image)
        assert output.shape == expected.shape
        if output_op == "argmax":
            assert output.dtype == np.int32
            assert (output == expected).mean() > 0.999
            assert report["agreement"] > 0.999
            assert "max_difference" not in report
        else:
            np.testing.assert_allclose(output, expected, atol=1e-4)
            assert report["max_difference"] < 1e-4
        assert ("agreement" in report) == (num_classes > 1 or output_op == "argmax")
        assert {"paddle", "exported"} <= report.keys()


@pytest.mark.parametrize(
    ("num_classes", "shape"), [(1, SHAPE), (3, (1, 3, 32, 48))], ids=["any size", "fixed size"]
)
def test_export_without_last_operation_predicts_like_the_network(tmp_path, data, num_classes, shape):
    config, layer = make_model(tmp_path / "a.yaml", data, num_classes)
    picture, _ = sample(config)
    images = [make_sample(config, picture, None, shape)]
    for output_op in ("softmax", "none"):
        export(layer, config, tmp_path / output_op, images, output_op=output_op, shape=shape)
    found, expected = (Predictor(tmp_path / name).predict([picture])[0] for name in ("none", "softmax"))
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
    if shape == SHAPE:
        np.testing.assert_allclose(
            found.saliency, Predictor(PaddleEngine(layer), config).predict([picture])[0].saliency, atol=1e-4
        )


def test_export_of_class_ids_predicts_classes_and_is_logged(model, tmp_path, caplog):
    caplog.set_level("INFO")
    config, layer, _ = model
    picture, pair = sample(config)
    export(layer, config, tmp_path / "out", [pair], output_op="argmax")
    predictor = Predictor(tmp_path / "out")
    assert "exported with --output_op argmax: classes only, saliency maps are 0 or 1" in caplog.text
    found = predictor.predict([picture])[0]
    expected = Predictor(PaddleEngine(layer), config).predict([picture])[0]
    assert (found.classes == expected.classes).mean() > 0.999
    np.testing.assert_array_equal(found.saliency, found.classes > 0)


@pytest.mark.parametrize(("num_classes", "output_op"), [(3, "argmax"), (1, "none")])
def test_last_operation_follows_the_resize_of_a_model_that_applies_the_preprocessing(
    tmp_path, data, num_classes, output_op
):
    config, layer = make_model(tmp_path / "a.yaml", data, num_classes)
    config["val_dataset"]["transforms"] = [
        {"type": "Resize", "target_size": [32, 48]},
        {"type": "Normalize"},
    ]
    picture, _ = sample(config, (50, 33))
    options = {"preprocessing": preprocessing_of(config), "output_op": output_op}
    report = export(layer, config, tmp_path / "out", [(picture[None], None)], **options)
    output = open_engine("onnxruntime", tmp_path / "out" / "model.onnx")(picture[None])
    assert (output.shape[0], output.shape[-2:]) == (1, (50, 33))
    assert report.get("agreement", 1) > 0.999
    found = Predictor(tmp_path / "out").predict([picture])[0]
    expected = Predictor(PaddleEngine(layer), config).predict([picture])[0]
    # logits are resized here, probabilities there
    assert (found.classes == expected.classes).mean() > (0.999 if output_op == "argmax" else 0.9)


@pytest.mark.usefixtures("forked_paddle2onnx")
@pytest.mark.parametrize("output_op", ["argmax", "none"])
def test_networks_converted_by_paddle2onnx_have_the_operation_too(tmp_path, data, output_op):
    pytest.importorskip("paddle2onnx")
    config, layer = make_model(tmp_path / "tiny.yaml", data, 3, "TinyNet")
    _, pair = sample(config)
    export(layer, config, tmp_path / "out", [pair], output_op=output_op)
    output = open_engine("onnxruntime", tmp_path / "out" / "model.onnx")(pair[0])
    logits = PaddleEngine(layer, logits=True)(pair[0])
    if output_op == "argmax":
        np.testing.assert_array_equal(output, logits.argmax(axis=1))
    else:
        np.testing.assert_allclose(output, logits, atol=1e-5)


def test_export_with_other_class_ids_is_not_kept(model, tmp_path, monkeypatch):
    config, layer, num_classes = model
    real = formats.build_onnx

    def shifted(state, *arguments):
        state["outconv.bias"] = state["outconv.bias"] + np.float32([9, 0, -9][:num_classes])
        return real(state, *arguments)

    monkeypatch.setattr(formats, "build_onnx", shifted)
    _, (image, _) = sample(config)
    with pytest.raises(VerificationError, match="the share of pixels of another class is .*, at most 0.001"):
        export(layer, config, tmp_path / "out", [(image, None)], output_op="argmax")
    assert not (tmp_path / "out").exists()


def test_logits_that_differ_where_probabilities_are_saturated_are_not_kept(model, tmp_path, monkeypatch):
    config, layer, num_classes = model
    layer = deepcopy(layer)
    layer.outconv.bias.set_value(np.float32([50, 0, -50][:num_classes]))
    real = formats.build_onnx

    def shifted(state, *arguments):
        return real(state | {"outconv.bias": state["outconv.bias"] * np.float32(1.1)}, *arguments)

    monkeypatch.setattr(formats, "build_onnx", shifted)
    _, (image, _) = sample(config)
    export(layer, config, tmp_path / "probabilities", [(image, None)])
    with pytest.raises(VerificationError, match="a pixel differs by"):
        export(layer, config, tmp_path / "logits", [(image, None)], output_op="none")


def test_mae_of_class_ids_is_bounded_by_their_agreement():
    report = {"agreement": 0.9995, "paddle": {"mae": 0.1}, "exported": {"mae": 0.1004}}
    check(report, TOLERANCES["fp32"])
    with pytest.raises(VerificationError, match="another class is 0.002, at most 0.001"):
        check(report | {"agreement": 0.998}, TOLERANCES["fp32"])


def test_unknown_operation_is_rejected(network, tmp_path, data):
    config = load_config(make_config(tmp_path / "a.yaml", data, model="U2Netp"))
    with pytest.raises(ValueError, match="--output_op sigmoid: unknown, expected softmax, argmax, none"):
        export(network, config, tmp_path / "out", [], output_op="sigmoid")


def test_command_exports_with_the_given_operation(run, network, tmp_path, data):
    config = make_config(tmp_path / "a.yaml", data, model="U2Netp")
    paddle.save(network.state_dict(), str(tmp_path / "w.pdparams"))
    words = ["--model_path", tmp_path / "w.pdparams", "--config", config, "--save_dir", "out"]
    code, _, error = run("export", *words, "--output_op", "argmax")
    assert (code, error) == (0, "")
    assert read_record(tmp_path / "out" / "deploy.yaml").output_op == "argmax"
    code, _, error = run("export", *words, "--output_op", "sigmoid")
    assert code == 2
    assert "invalid choice: 'sigmoid'" in error
