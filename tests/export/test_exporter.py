"""Exported folders and their verification."""

from __future__ import annotations

import json
import traceback

import numpy as np
import paddle
import pytest
from sklearn.metrics import jaccard_score
from support import make_config

from paddleseg_u2net.builders import build_network
from paddleseg_u2net.cli import export as cli_export
from paddleseg_u2net.cli.app import main
from paddleseg_u2net.config.loader import load_config, preprocessing_of
from paddleseg_u2net.config.yaml_text import dump_config
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.data.preprocessing import Preprocessing
from paddleseg_u2net.engines.paddle import PaddleEngine
from paddleseg_u2net.errors import VerificationError
from paddleseg_u2net.export import formats
from paddleseg_u2net.export.exporter import export
from paddleseg_u2net.export.formats import FORMATS
from paddleseg_u2net.export.onnx_preprocessing import check_writable
from paddleseg_u2net.export.quantization import calibrate
from paddleseg_u2net.export.verify import TOLERANCES, Tolerance, check, make_sample
from paddleseg_u2net.inference.model_source import load_engine
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.models.weight_files import state_of

RNG = np.random.default_rng(0)
SHAPE = (-1, 3, -1, -1)


@pytest.fixture
def found(tmp_path, data):
    return load_config(make_config(tmp_path / "a.yaml", data, model="U2Netp"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Network inputs of two images of different sizes and their truths."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    config = load_config(make_config(folder / "a.yaml", folder, model="U2Netp"))
    pictures = [rng.integers(0, 256, (24, width, 3), dtype=np.uint8) for width in (20, 17)]
    return [make_sample(config, picture, picture[..., 0] > 127, SHAPE) for picture in pictures]


@pytest.fixture(scope="module")
def quantization(network, images):
    return calibrate(state_of(network), [tensor for tensor, _ in images])


KINDS = [(name, kind) for name, row in FORMATS.items() for kind in row.precisions if kind != "bf16"]


@pytest.mark.parametrize(("file_format", "precision"), KINDS)
def test_every_format_predicts_like_the_network_and_has_a_report(
    network, found, images, quantization, tmp_path, file_format, precision, monkeypatch
):
    # Paddle asks for it at each of 3,000 operations that it traces, which takes as long as all else
    monkeypatch.setattr(traceback, "extract_stack", lambda *_, **__: [])
    # engines compile for a second size, which takes long: once for each format
    images, quantization = (images, None) if precision == "fp32" else (images[:1], quantization)
    folder = tmp_path / "out"
    report = export(network, found, folder, images, file_format, precision, SHAPE, quantization)
    assert json.loads((folder / "export_report.json").read_text()) == report
    assert report["images"] == len(images)
    assert abs(report["exported"]["mae"] - report["paddle"]["mae"]) <= TOLERANCES[precision].mae
    assert 0 < report["mean_difference"] <= report["max_difference"]
    if file_format == "paddle":
        return  # opening it again takes 4 s; TinyNet, below, is opened and predicts
    image = images[0][0]  # for which OpenVINO has compiled it
    maps = load_engine(folder, {})(image)
    assert np.abs(maps - PaddleEngine(network)(image)).mean() < 0.02


def test_exported_folder_predicts_without_a_config(network, found, images, tmp_path):
    export(network, found, tmp_path / "out", images)
    picture = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)
    expected = Predictor(PaddleEngine(network), found)(picture)
    np.testing.assert_allclose(Predictor(tmp_path / "out")(picture), expected, atol=1e-4)


SMALL = {"type": "Resize", "target_size": [24, 40]}
STEPS = (
    [{"type": "ResizeSoftMask", "target_size": [40, 32]}, {"type": "NormalizeByMax"}],
    [{"type": "Normalize", "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}, SMALL],
)


@pytest.mark.parametrize(
    ("file_format", "steps"),
    [("onnx", STEPS[0]), ("onnx", STEPS[1]), ("openvino", STEPS[1])],  # OpenVINO reads the graph of ONNX
    ids=["onnx resize first", "onnx resize last", "openvino"],
)
def test_model_with_preprocessing_predicts_the_same(network, found, tmp_path, steps, file_format):
    found["val_dataset"]["transforms"] = steps
    pictures = [RNG.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((21, 34), (50, 33), (1, 1))]
    pictures.append(np.zeros((9, 9, 3), np.uint8))
    truth = (pictures[0][..., 0] > 99).astype(np.float32)
    pairs = [(pictures[0][None], truth), (pictures[1][None], None)]
    options = (file_format, "fp32", SHAPE, None, preprocessing_of(found))
    report = export(network, found, tmp_path / "out", pairs, *options)
    assert report["images"] == 2
    assert report["exported"]["mae"] == pytest.approx(report["paddle"]["mae"], abs=1e-4)
    predict = Predictor(tmp_path / "out")
    expected = Predictor(PaddleEngine(network), found)
    for picture in pictures:
        np.testing.assert_allclose(predict(picture), expected(picture), atol=1e-4)
    config = Predictor(tmp_path / "out", found)  # its transforms are part of the model already
    np.testing.assert_array_equal(config(pictures[0]), predict(pictures[0]))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"type": "LimitLong", "max_long": 64}, "LimitLong {'max_long': 64}: not written into a graph"),
        ({"type": "Resize", "keep_ratio": True}, "Resize {'keep_ratio': True}: not written"),
        ({"type": "Resize", "interp": "CUBIC"}, "Resize {'interp': 'CUBIC'}: not written"),
        ({"type": "Padding", "target_size": [99, 99]}, r"Padding .*Fix: leave out --with_preprocessing"),
    ],
)
def test_preprocessing_that_a_graph_does_not_support_is_rejected(step, message):
    with pytest.raises(ValueError, match=message):
        check_writable(Preprocessing.from_transforms([step]))
    twice = Preprocessing.from_transforms([{"type": "Resize"}, {"type": "Resize"}], channels=1)
    with pytest.raises(ValueError, match="2 changes of size; grey images: not written"):
        check_writable(twice)
    with pytest.raises(ValueError, match="0 changes of size: not written"):
        check_writable(Preprocessing.from_transforms([{"type": "Normalize"}]))


def test_preprocessing_is_supported_by_onnx_and_openvino_only(
    network, found, images, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(cli_export, "IMAGES", 1)
    with pytest.raises(ValueError, match="--with_preprocessing: supported for U²-Net as onnx and openvino"):
        export(network, found, tmp_path / "out", images, "paddle", preprocessing=preprocessing_of(found))
    paddle.save(network.state_dict(), str(tmp_path / "w.pdparams"))
    found["val_dataset"]["transforms"] = STEPS[0]
    (tmp_path / "b.yaml").write_text(dump_config(found))
    words = ["--model_path", tmp_path / "w.pdparams", "--config", tmp_path / "b.yaml", "--with_preprocessing"]
    assert main(["export", *map(str, words), "--input_shape", "1", "3", "32", "32", "--save_dir", "a"]) == 1
    assert "photographs have any size. Fix: --input_shape N C -1 -1" in capsys.readouterr().err
    assert main(["export", *map(str, words), "--input_shape", "4", "3", "-1", "-1", "--save_dir", "a"]) == 1
    assert "--input_shape: N 4: images are predicted one at a time. Fix: -1 or 1" in capsys.readouterr().err
    assert main(["export", *map(str, words), "--save_dir", "a"]) == 0
    assert load_config("a/deploy.yaml")["val_dataset"]["transforms"] == []


def test_fixed_shape_is_exported(network, found, tmp_path):
    shape = (1, 3, 32, 64)
    picture = RNG.integers(0, 256, (48, 40, 3), dtype=np.uint8)
    pair = make_sample(found, picture, None, shape)
    assert pair[0].shape == shape
    report = export(network, found, tmp_path / "out", [pair], shape=shape)
    assert "paddle" not in report  # no truth, no MAE
    predict = Predictor(tmp_path / "out")  # the image has another size after its transforms
    resized = predict.preprocessing.restore(PaddleEngine(network)(pair[0])[0], [("resize", (48, 40))])[0]
    assert predict(picture).saliency.shape == (48, 40)
    np.testing.assert_allclose(predict(picture), resized, atol=1e-4)


def test_any_network_is_exported_to_the_paddle_format(tmp_path, data):
    found = load_config(make_config(tmp_path / "tiny.yaml", data, num_classes=3))
    layer = build_network(found["model"])
    layer.eval()
    pair = make_sample(found, RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8), None, SHAPE)
    report = export(layer, found, tmp_path / "out", [pair], "paddle")
    assert (report["backend"], report["agreement"]) == ("paddle_inference", 1)
    expected = PaddleEngine(layer)(pair[0])
    assert expected.shape[1] == 3
    np.testing.assert_allclose(load_engine(tmp_path / "out", {})(pair[0]), expected, atol=1e-5)


def test_classes_are_compared_by_agreement_and_miou(tmp_path, data):
    found = load_config(make_config(tmp_path / "a.yaml", data, num_classes=3, model="U2Netp"))
    layer = build_network(found["model"])
    layer.eval()
    pairs, predicted, true = [], [], []
    for size in ((40, 33), (24, 48)):
        mask = RNG.choice(np.uint8([0, 1, 2, IGNORE]), size)
        pairs.append(make_sample(found, RNG.integers(0, 256, (*size, 3), dtype=np.uint8), mask, SHAPE))
        counts = mask != IGNORE
        predicted.append(PaddleEngine(layer)(pairs[-1][0])[0].argmax(axis=0)[counts])
        true.append(mask[counts])
    report = export(layer, found, tmp_path / "out", pairs)
    assert report["agreement"] > 0.999
    options = {"labels": [0, 1, 2], "average": "macro", "zero_division": 0}
    expected = jaccard_score(np.concatenate(true), np.concatenate(predicted), **options)
    assert report["paddle"]["mIoU"] == pytest.approx(expected)
    assert report["exported"]["mIoU"] == pytest.approx(expected, abs=1e-3)


def test_resizing_does_not_mix_class_ids_and_ignored_pixels(found, tmp_path, data):
    mask = np.kron(np.uint8([[0, 2], [IGNORE, 1]]), np.ones((16, 16), np.uint8))
    picture, shape = np.zeros((32, 32, 3), np.uint8), (1, 3, 48, 40)
    classes = load_config(make_config(tmp_path / "b.yaml", data, num_classes=3))
    assert set(np.unique(make_sample(classes, picture, mask, shape)[1])) == {0, 1, 2, IGNORE}
    soft = np.where(mask == IGNORE, IGNORE, mask / 2).astype(np.float32)
    assert set(np.unique(make_sample(found, picture, soft, shape)[1])) == {0, 0.5, 1, IGNORE}


def test_export_beyond_its_tolerance_is_not_kept(network, found, images, tmp_path, monkeypatch):
    real = formats._onnx_model

    def shifted(*arguments):
        model = real(*arguments)
        bias = next(t for t in model.graph.initializer if t.name == "outconv.bias")
        bias.raw_data = np.float32([5]).tobytes()
        return model

    monkeypatch.setattr(formats, "_onnx_model", shifted)
    with pytest.raises(
        ValueError, match="the export is not good enough: a pixel differs by .*It is not kept"
    ):
        export(network, found, tmp_path / "out", images)
    assert not (tmp_path / "out").exists()


def scores(name, before, now):
    return {"paddle": {name: before}, "exported": {name: now}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_difference": float("nan")}, "a pixel differs by nan, at most 0.0039"),
        ({"max_difference": 0.5}, "a pixel differs by 0.5, at most 0.0039"),
        ({"mean_difference": 0.01}, "the mean difference of an image is 0.01, at most 0.0001"),
        ({"agreement": 0.9}, "the share of pixels of another class is 0.1, at most 0.001"),
        (scores("mae", 0.1, 0.2), "mae changes by 0.1, at most 0.0001"),
        (scores("mIoU", 0.7, 0.9), "mIoU changes by 0.2, at most 0.001"),
    ],
)
def test_nan_and_changed_scores_are_beyond_the_tolerance(changes, message):
    same = {"max_difference": 0.0, "mean_difference": 0.0, "agreement": 1.0, **scores("mIoU", 0.7, 0.7)}
    check(same, TOLERANCES["fp32"])
    with pytest.raises(VerificationError, match=message):
        check(same | changes, TOLERANCES["fp32"])


def test_existing_folder_and_unsupported_precision_are_rejected(network, found, images, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="out: exists already. Fix: choose another --save_dir"):
        export(network, found, tmp_path / "out", images)
    with pytest.raises(ValueError, match="int8: not supported by --format paddle. Fix: fp32"):
        export(network, found, tmp_path / "new", images, "paddle", "int8")


def test_command_exports_with_the_data_of_the_config(network, found, data, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(TOLERANCES, "int8", Tolerance(1, 1, 1, 0, 1))  # rounding changes random weights more
    monkeypatch.setattr(cli_export, "IMAGES", 1)  # Paddle takes long for more
    paddle.save(network.state_dict(), str(tmp_path / "w.pdparams"))
    words = ["--model_path", tmp_path / "w.pdparams", "--config", tmp_path / "a.yaml"]
    assert main(["export", *map(str, words), "--save_dir", "out", "--precision", "int8"]) == 0
    text = capsys.readouterr().out
    assert "Kept in float32: outconv, stage1.rebnconvin" in text
    assert "Exported to out; the comparison is in out/export_report.json" in text
    words += ["--opts", "val_dataset.dataset_root=absent"]
    assert main(["export", *map(str, words), "--save_dir", "new"]) == 1
    assert "or --image_path with a folder of images" in capsys.readouterr().err
    words += ["--image_path", data / "images", "--save_dir", "new"]
    assert main(["export", *map(str, words)]) == 0
