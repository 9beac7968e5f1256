"""What --model_path means, and the engines that run it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from support import environment

from paddleseg_u2net.engines.adapters import ProbabilityEngine
from paddleseg_u2net.engines.base import open_engine
from paddleseg_u2net.engines.deploy_config import RECORD, read_record
from paddleseg_u2net.engines.paddle import PaddleEngine
from paddleseg_u2net.errors import VerificationError
from paddleseg_u2net.export import cache
from paddleseg_u2net.export.cache import cached_export, drawn_object
from paddleseg_u2net.export.verify import TOLERANCES, Tolerance
from paddleseg_u2net.inference import model_source
from paddleseg_u2net.inference.model_source import config_of, describe, load_engine
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.models.weight_files import read_state

MODEL = {"type": "U2Netp", "num_classes": 1}
CONFIG = {"model": MODEL, "val_dataset": {"type": "Dataset", "transforms": []}}
RNG = np.random.default_rng(0)
NOTHING = Tolerance(0.0, 0.0, 0.0, 1.0, 0.0)  # no export is that exact


@pytest.fixture(scope="module")
def made(random_weight_file):
    image = np.random.default_rng(0).normal(size=(1, 3, 48, 33)).astype(np.float32)
    return random_weight_file, image, PaddleEngine(cache.network_on_cpu(random_weight_file, MODEL))(image)


@pytest.fixture
def weights(made, tmp_path, small_drawing):
    """Random weights of the small network, an input, and the output of Paddle for it."""
    path, image, expected = made
    return Path(shutil.copy(path, tmp_path)), image, expected


@pytest.fixture
def warm(weights, warm_cache):
    """The same with a cache that tests share, so that the export is often there already."""
    return weights


@pytest.fixture
def filled(warm):
    """The same with a cache of the test's own, in which a copy of the export lies."""
    folder = cached_export(warm[0], MODEL).parent.resolve()
    own = Path(os.environ["U2NET_HOME"]) / "exports"
    own.unlink()  # a link to the cache that tests share
    shutil.copytree(folder, own / folder.name)
    return warm


@pytest.mark.parametrize("backend", ["auto", "onnxruntime", "openvino", "paddle"])
def test_every_backend_gives_the_same_maps(warm, backend):
    path, image, expected = warm
    base = load_engine(path, CONFIG, backend=backend)
    np.testing.assert_allclose(base(image), expected, atol=2e-5)
    for rows in (20, 31, 48):  # other sizes and batches
        maps = base(np.concatenate([image, image])[:, :, :rows])
        assert maps.shape == (2, 1, rows, 33)
    np.testing.assert_allclose(maps[1:], expected, atol=2e-5)
    np.testing.assert_allclose(base(image), expected, atol=2e-5)


def test_weights_are_exported_once_and_that_is_logged(weights, caplog, monkeypatch):
    caplog.set_level("INFO")
    path, image, expected = weights
    load_engine(path, CONFIG)
    assert "comparing it with Paddle, once" in caplog.text
    assert "Difference of a pixel: " in caplog.text
    assert {record.levelname for record in caplog.records} == {"INFO"}
    assert f"Model {path}, fp32; backend onnxruntime on cpu (auto: the fastest installed)" in caplog.text
    monkeypatch.setattr(cache, "load_network", None)  # must not be used
    np.testing.assert_allclose(load_engine(path, CONFIG)(image), expected, atol=2e-5)


def test_export_beyond_its_tolerance_is_not_kept(weights, monkeypatch, tmp_path):
    path, _, _ = weights
    monkeypatch.setitem(TOLERANCES, "fp32", NOTHING)
    with pytest.raises(VerificationError, match="the export is not good enough: .* It is not kept"):
        load_engine(path, CONFIG, backend="onnxruntime")
    assert isinstance(load_engine(path, CONFIG), PaddleEngine)  # auto falls back to the network itself
    assert not list((tmp_path / "u2net_home").rglob("*.onnx"))


def test_verification_image_shows_an_object_that_the_network_finds(known_weights):
    """Without an object, an export that finds nothing would pass the comparison."""
    maps = load_engine("u2netp", config_of("u2netp"), precision="fp32")(drawn_object(3))[0, 0]
    assert maps[78, 65] > 0.9
    assert maps[2, 2] < 0.1


def test_other_weights_have_another_export(filled, tmp_path):
    path, _, _ = filled
    state = read_state(path)
    np.savez(tmp_path / "other.npz", **state | {"outconv.bias": state["outconv.bias"] + 1})
    other = tmp_path / "other.npz"
    assert cached_export(path, MODEL) != cached_export(other, MODEL)
    assert cached_export(path, MODEL) == cached_export(path, MODEL)


def test_weights_that_do_not_fit_are_rejected_by_every_backend(warm):
    path, _, _ = warm
    for backend in ("auto", "paddle"):
        with pytest.raises(ValueError, match="does not fit U2Netp"):
            load_engine(path, {"model": {**MODEL, "num_classes": 2}}, backend=backend)


def test_exported_folder_and_its_file_are_accepted_as_model_path(warm):
    path, image, expected = warm
    record = cached_export(path, MODEL)
    for given in (record.parent, record.parent / "model.onnx"):
        np.testing.assert_allclose(load_engine(given, CONFIG)(image), expected, atol=2e-5)
    deployment = read_record(record)
    assert deployment.labels == ["background", "object"]
    assert config_of(record.parent)["model"] == MODEL


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.onnx").write_bytes(b"x"), "model.onnx: absent, or not the file that was exp"),
        (lambda f: (f / "model.onnx").unlink(), "model.onnx: absent, or not the file that was exported. Fix"),
        (lambda f: (f / RECORD).write_text("Deploy: {model: a}"), "Deploy: precision, .*is missing"),
        (
            lambda f: (f / RECORD).write_text("Deploy: {modell: a}"),
            "modell: no such key. Did you mean 'model'",
        ),
    ],
)
def test_damaged_exports_are_rejected(warm, tmp_path, damage, message):
    folder = tmp_path / "export"
    shutil.copytree(cached_export(warm[0], MODEL).parent, folder)
    damage(folder)
    with pytest.raises(ValueError, match=message):
        load_engine(folder, CONFIG)


def test_record_that_names_a_file_outside_its_folder_is_rejected(warm, tmp_path):
    folder = tmp_path / "export"
    shutil.copytree(cached_export(warm[0], MODEL).parent, folder)
    content = yaml.safe_load((folder / RECORD).read_text())
    content["Deploy"]["sha256"] = {"../w.pdparams": "0"}
    (folder / RECORD).write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=r"\.\./w.pdparams lies outside of the folder"):
        load_engine(folder, CONFIG)


def test_backends_and_devices_that_cannot_run_the_model_are_rejected(warm):
    with pytest.raises(ValueError, match="--backend torch: unknown, expected auto, onnxruntime, openvino"):
        load_engine(warm[0], CONFIG, backend="torch")
    with pytest.raises(
        ValueError, match="--backend paddle_inference: does not run weights of U2Netp. Fix: onnx"
    ):
        load_engine(warm[0], CONFIG, backend="paddle_inference")
    for backend in ("onnxruntime", "openvino"):
        with pytest.raises(ValueError, match="--device gpu: "):
            load_engine(warm[0], CONFIG, "gpu", backend)


def test_cache_folder_without_its_record_is_written_again(filled):
    path, image, expected = filled
    record = cached_export(path, MODEL)
    record.unlink()
    np.testing.assert_allclose(load_engine(path, CONFIG)(image), expected, atol=2e-5)
    assert record.is_file()


def test_cache_keeps_the_most_recently_used_export(weights, monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "CACHE_BYTES", 1)
    for name in ("older", "newer"):
        (tmp_path / "u2net_home" / "exports" / name).mkdir(parents=True)
        (tmp_path / "u2net_home" / "exports" / name / "model.onnx").write_bytes(b"12")
    folder = cached_export(weights[0], MODEL).parent
    assert list(folder.parent.iterdir()) == [folder]


def test_int8_beyond_its_tolerance_is_replaced_by_fp32(official_weights, small_drawing, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(model_source, "has_int8_units", lambda: True)
    monkeypatch.setitem(TOLERANCES, "int8", NOTHING)
    load_engine("u2netp", config_of("u2netp"))
    assert "It is not kept. A slower engine or precision is used instead" in caplog.text
    assert "fp32; backend onnxruntime" in caplog.text


def test_export_predicts_with_numpy_opencv_yaml_and_its_engine_alone(warm, data):
    """A child process in which no other package can be imported, as on a deployment machine."""
    folder = cached_export(warm[0], MODEL).parent
    (folder / RECORD).write_text(
        (folder / RECORD).read_text() + yaml.safe_dump({"val_dataset": CONFIG["val_dataset"]})
    )
    code = (
        "import sys\n"
        "absent = 'paddle paddleseg onnx PIL tqdm scipy sklearn visualdl safetensors openvino prettytable'\n"
        "sys.modules.update(dict.fromkeys(absent.split()))\n"
        "from paddleseg_u2net.cli.app import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["predict", "--model_path", folder, "--image_path", data / "images", "--save_dir", "out"]
    words += ["--outputs", "saliency,cutout,added"]
    outcome = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment()
    )
    assert outcome.returncode == 0, outcome.stderr
    assert "Predicted 6 of 6 images" in outcome.stdout


def test_damaged_cache_is_written_again(filled, caplog):
    path, image, expected = filled
    record = cached_export(path, MODEL)
    (record.parent / "model.onnx").write_bytes(b"x")
    np.testing.assert_allclose(load_engine(path, CONFIG)(image), expected, atol=2e-5)
    assert "It is written again" in caplog.text


def test_known_name_is_not_taken_for_an_export_in_the_current_folder(warm, monkeypatch, official_weights):
    folder = cached_export(warm[0], MODEL).parent
    monkeypatch.chdir(folder)
    assert config_of("u2netp")["val_dataset"]["transforms"]
    with pytest.raises(FileNotFoundError, match="typo.onnx: no such weight file"):
        load_engine(folder / "typo.onnx", CONFIG)


def test_bf16_is_rejected_by_backends_without_it(warm):
    for backend in ("onnxruntime", "paddle"):
        with pytest.raises(
            ValueError, match=f"--backend {backend}: does not run weights of U2Netp. Fix: openvino"
        ):
            load_engine(warm[0], CONFIG, backend=backend, precision="bf16")


def test_bf16_of_a_network_without_a_graph_is_rejected(warm):
    with pytest.raises(ValueError, match="--precision bf16: supported for U²-Net on a CPU only.* Fix: "):
        load_engine(warm[0], {"model": {**MODEL, "type": "BiSeNetV2"}}, precision="bf16")


def test_config_with_another_class_count_is_rejected(warm):
    record = cached_export(warm[0], MODEL)
    two = {"model": {**MODEL, "num_classes": 2}, "val_dataset": CONFIG["val_dataset"]}
    with pytest.raises(ValueError, match="the model gives 1 class, and its config has num_classes: 2. Fix"):
        Predictor(record.parent, two)(np.zeros((8, 8, 3), np.uint8))


def test_export_predicts_although_the_cache_cannot_be_written(warm, monkeypatch):
    record = cached_export(warm[0], MODEL)
    monkeypatch.setenv("U2NET_HOME", "/proc/nope")
    np.testing.assert_allclose(
        load_engine(record.parent, CONFIG, backend="openvino")(warm[1]), warm[2], atol=2e-5
    )


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_description_names_the_precision_and_the_file_of_an_export(warm, tmp_path, backend):
    folder = tmp_path / "export"
    shutil.copytree(cached_export(warm[0], MODEL, "fp32").parent, folder)
    record = folder / RECORD
    record.write_text(record.read_text().replace("precision: fp32", "precision: int8"))
    engine = ProbabilityEngine(open_engine(backend, folder / "model.onnx", "cpu", "fp32", 1), "none", 1)
    found = describe(folder, engine)
    assert (found["precision"], Path(found["file"])) == ("int8", folder / "model.onnx")
    assert found["sha256"] == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert found["engine"] == type(engine.model).__name__
