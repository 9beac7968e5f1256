"""Model repositories of other servers follow their schemas, and their engines open them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnxruntime
import paddle
import pytest
from google.protobuf import text_format
from support import make_config

from paddleseg_u2net.cli.app import main
from paddleseg_u2net.engines.openvino import core
from paddleseg_u2net.export import repositories
from paddleseg_u2net.export.repositories import Repository
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.models.u2net import U2Netp

PHOTO = np.random.default_rng(0).integers(0, 256, (21, 34, 3), dtype=np.uint8)
SMALL = [{"type": "Resize", "target_size": [40, 24]}, {"type": "Normalize"}]
# MODELS_CONFIG_SCHEMA in src/schema.cpp of github.com/openvinotoolkit/model_server, at commit
# 033c8e48494130dba60a719997702db81929a354: `name` and `base_path` are required, other keys are not allowed
OVMS_KEYS = {"name": str, "base_path": str, "nireq": int, "target_device": str, "plugin_config": dict}
TYPES = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32", "tensor(int32)": "TYPE_INT32"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The folder of weights and their config, with a photograph."""
    folder = tmp_path_factory.mktemp("source")
    paddle.seed(2)
    paddle.save(U2Netp(1).state_dict(), str(folder / "tiny.pdparams"))
    paddle.save(U2Netp(3).state_dict(), str(folder / "three.pdparams"))
    (folder / "photos").mkdir()
    from PIL import Image

    Image.fromarray(PHOTO).save(folder / "photos" / "a.png")
    for name, classes in (("tiny", 1), ("three", 3)):
        val = {"type": "Dataset", "dataset_root": ".", "num_classes": classes, "mode": "val"}
        val |= {"val_path": "val_list.txt", "transforms": SMALL}
        make_config(folder / f"{name}.yaml", folder, classes, "U2Netp", val_dataset=val)
    return folder


def export(source: Path, target: Path, *words, name="tiny") -> int:
    flags = {"model_path": f"{name}.pdparams", "config": f"{name}.yaml", "image_path": "photos"}
    given = [word for key, value in flags.items() for word in (f"--{key}", str(source / value))]
    return main(["export", *given, "--save_dir", str(target), *map(str, words)])


@pytest.fixture(scope="module")
def ovms(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ovms") / "models"
    assert export(source, folder, "--format", "openvino", "--for", "ovms") == 0
    return folder


@pytest.fixture(scope="module")
def triton(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("triton") / "models"
    assert (
        export(source, folder, "--for", "triton", "--name", "objects", "--output_op", "argmax", name="three")
        == 0
    )
    return folder


def test_config_of_openvino_model_server_follows_its_schema(ovms):
    found = json.loads((ovms / "config.json").read_text())
    assert set(found) == {"model_config_list"}
    (row,) = found["model_config_list"]
    assert set(row) == {"config"}
    assert {"name", "base_path"} <= set(row["config"]) <= set(OVMS_KEYS)
    assert all(isinstance(value, OVMS_KEYS[key]) for key, value in row["config"].items())
    assert row["config"]["name"] == "tiny"  # of the weight file


def test_openvino_opens_what_the_config_names_with_the_properties_in_it(ovms):
    (row,) = json.loads((ovms / "config.json").read_text())["model_config_list"]
    base = ovms / row["config"]["base_path"]  # "can be also relative to the config.json location"
    (version,) = base.iterdir()
    assert int(version.name) > 0
    assert {path.suffix for path in version.iterdir()} >= {".xml", ".bin"}
    compiled = core().compile_model(str(version / "model.xml"), "CPU", row["config"]["plugin_config"])
    assert [port.any_name for port in compiled.inputs] == ["image"]
    assert [port.any_name for port in compiled.outputs] == ["probabilities"]
    assert str(compiled.inputs[0].element_type.to_dtype()) == "uint8"
    assert str(compiled.inputs[0].partial_shape) == "[?,?,?,3]"
    assert str(compiled.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'float32'>"
    maps = compiled([PHOTO[None]])[0]
    assert maps.shape == (1, 1, 21, 34)
    np.testing.assert_allclose(maps[0, 0], Predictor(version)(PHOTO).saliency, atol=1e-4)


def model_config_class():
    """`ModelConfig` of Triton's own client, whose package for gRPC need not be installed."""
    client = Path(importlib.util.find_spec("tritonclient").origin).parent
    spec = importlib.util.spec_from_file_location("model_config_pb2", client / "grpc" / "model_config_pb2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ModelConfig


def test_config_of_triton_is_a_model_config_and_says_what_the_model_says(triton):
    (model,) = triton.iterdir()
    config = text_format.Parse((model / "config.pbtxt").read_text(), model_config_class()())
    assert (config.name, config.backend, config.max_batch_size) == (model.name, "onnxruntime", 0)
    assert model.name == "objects"
    path = model / "1" / config.default_model_filename
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for rows, ports in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        (row,), (port,) = rows, ports
        assert row.name == port.name
        assert (
            row.DESCRIPTOR.fields_by_name["data_type"].enum_type.values[row.data_type].name
            == TYPES[port.type]
        )
        assert list(row.dims) == [size if isinstance(size, int) else -1 for size in port.shape]
    classes = session.run(None, {"image": PHOTO[None]})[0]
    np.testing.assert_array_equal(classes[0], Predictor(model / "1")(PHOTO).classes)


@pytest.mark.parametrize(("precision", "hint"), [("fp32", "f32"), ("int8", "f32"), ("bf16", "bf16")])
def test_openvino_computes_in_the_precision_that_was_verified(tmp_path, precision, hint):
    deployment = repositories.Deployment(
        "model.xml", precision, [-1, 3, -1, -1], "sigmoid", [], {}, num_classes=1
    )
    Repository("ovms", "a").write_config(tmp_path, deployment)
    (row,) = json.loads((tmp_path / "config.json").read_text())["model_config_list"]
    assert row["config"]["plugin_config"] == {"INFERENCE_PRECISION_HINT": hint}


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b", "é", "a" * 101, "-x"])
def test_a_name_that_addresses_or_folders_cannot_have_is_refused_and_the_fix_works(name):
    with pytest.raises(
        ValueError, match="--name .*: expected up to 100 letters.*Fix: --name with another name"
    ):
        Repository("ovms", name)
    assert Repository("ovms", "u2net_v1.0-b").place == Path("u2net_v1.0-b/1")


def test_what_a_repository_cannot_hold_is_refused_and_the_fix_works(source, tmp_path, capsys):
    for words, message in (
        (
            ["--for", "ovms", "--format", "paddle"],
            "--for ovms: supported for U²-Net as onnx and openvino only",
        ),
        (
            ["--for", "ovms", "--input_shape", 1, 3, 32, 32],
            "--for ovms: photographs have any size. Fix: --input_",
        ),
        (["--name", "a"], "--name: names the model of a repository. Fix: --for with it, or leave it out"),
        (["--for", "ovms", "--name", "a/b"], "--name a/b: expected up to 100 letters"),
    ):
        assert export(source, tmp_path / "models", *words) == 1
        assert message in capsys.readouterr().err
        assert not list(tmp_path.glob("*models*"))


def test_an_existing_repository_is_not_overwritten(source, ovms, capsys):
    before = {path: path.read_bytes() for path in ovms.rglob("*") if path.is_file()}
    assert export(source, ovms, "--for", "ovms", "--name", "second") == 1
    assert "exists already. Fix: choose another --save_dir" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in ovms.rglob("*") if path.is_file()}
