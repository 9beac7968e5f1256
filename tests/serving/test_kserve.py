"""The Open Inference Protocol on a running server, asked by Triton's client and compared with exports."""

from __future__ import annotations

import json
import re

import numpy as np
import onnxruntime
import paddle
import pytest
from PIL import Image
from served import serving
from support import ROOT, make_config
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from paddleseg_u2net.cli.app import main
from paddleseg_u2net.engines.openvino import core
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.models.u2net import U2Netp
from paddleseg_u2net.serving.tensors import HEADER

RNG = np.random.default_rng(0)
PHOTOS = RNG.integers(0, 256, (2, 21, 34, 3), dtype=np.uint8)
SMALL = [{"type": "Resize", "target_size": [40, 24]}, {"type": "Normalize"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folders of two models, `one` of saliency and `three` of classes, each weights and a config."""
    folder = tmp_path_factory.mktemp("models")
    paddle.seed(2)
    for name, classes in (("one", 1), ("three", 3)):
        val = {"type": "Dataset", "dataset_root": ".", "num_classes": classes, "mode": "val"}
        val |= {"val_path": "val_list.txt", "transforms": SMALL}
        make_config(folder / name / "config.yaml", folder, classes, "U2Netp", val_dataset=val)
        paddle.save(U2Netp(classes).state_dict(), str(folder / name / "w.pdparams"))
        (folder / name / "photos").mkdir()
        Image.fromarray(PHOTOS[0]).save(folder / name / "photos" / "a.png")
    return folder


def export(folder, name: str, other: str, file_format: str):
    """The folder of a model in the repository of another server."""
    source, target = folder / name, folder / f"{name}_{other}"
    words = ["--model_path", source / "w.pdparams", "--image_path", source / "photos", "--save_dir", target]
    words += ["--for", other, "--format", file_format, "--name", name]
    assert main(["export", *map(str, words)]) == 0
    return target / name / "1"


@pytest.fixture(scope="module")
def server(folder):
    models = {name: str(folder / name / "w.pdparams") for name in ("one", "three")}
    with serving(load=None, models=models, max_pixels=10_000, max_files=4, max_bytes=9 << 20) as found:
        yield found


@pytest.fixture(scope="module")
def address(server):
    return f"127.0.0.1:{server.port}"


@pytest.fixture
def client(address):
    with InferenceServerClient(address) as client:
        yield client


def infer(client, images: np.ndarray, model="one", binary=True, **more):
    tensor = InferInput("image", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images, binary_data=binary)
    outputs = [InferRequestedOutput("probabilities", binary_data=binary)]
    return client.infer(model, [tensor], outputs=outputs, **more).as_numpy("probabilities")


def run_openvino(path, images: np.ndarray) -> np.ndarray:
    (row,) = json.loads((path.parent.parent / "config.json").read_text())["model_config_list"]
    compiled = core().compile_model(str(path / "model.xml"), "CPU", row["config"]["plugin_config"])
    return compiled({"image": images})["probabilities"]


def run_onnxruntime(path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path / "model.onnx", providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"image": images})[0]


@pytest.mark.parametrize(
    ("name", "other", "file_format", "run"),
    [("one", "ovms", "openvino", run_openvino), ("three", "triton", "onnx", run_onnxruntime)],
)
def test_served_tensors_are_those_of_the_exported_model(client, folder, name, other, file_format, run):
    path = export(folder, name, other, file_format)
    expected = run(path, PHOTOS)
    assert expected.std() > 0.01
    found = infer(client, PHOTOS, name)
    assert (found.dtype, found.shape) == (np.float32, expected.shape)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_array_equal(infer(client, PHOTOS, name, binary=False), found)
    tensor = InferInput("image", list(PHOTOS.shape), "UINT8").set_data_from_numpy(PHOTOS)
    result = client.infer(
        name, [tensor], request_id="a1", model_version="1"
    )  # the whole answer, as by default
    np.testing.assert_array_equal(result.as_numpy("probabilities"), found)
    assert result.get_response()["id"] == "a1"
    for port, row in zip(("inputs", "outputs"), (PHOTOS, found), strict=True):
        (described,) = client.get_model_metadata(name)[port]
        assert all(size in (-1, have) for size, have in zip(described["shape"], row.shape, strict=True))
        assert described["datatype"] == {"uint8": "UINT8", "float32": "FP32"}[str(row.dtype)]


def test_client_of_the_documents_writes_the_mask_that_predict_writes(address, folder, tmp_path, monkeypatch):
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?InferenceServerClient.*?)```", page, re.DOTALL)
    photo, mask = folder / "one" / "photos" / "a.png", tmp_path / "mask.png"
    monkeypatch.setattr("sys.argv", ["client.py", address, "one", str(photo), str(mask)])
    exec(compile(program, "client.py", "exec"), {})
    expected = Predictor(folder / "one" / "w.pdparams")(PHOTOS[0]).saliency
    np.testing.assert_allclose(np.asarray(Image.open(mask)), 255 * expected, atol=1)


def test_one_pixel_is_an_image(client):
    assert infer(client, np.zeros((1, 1, 1, 3), np.uint8)).shape == (1, 1, 1, 1)


def test_clients_see_what_there_is(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    for name in ("one", "three"):
        assert client.is_model_ready(name)
        assert client.is_model_ready(name, model_version="1")
        assert client.get_model_metadata(name)["name"] == name
    assert not client.is_model_ready("four")
    assert not client.is_model_ready("one", model_version="2")


@pytest.mark.parametrize(
    ("model", "version", "shape", "status", "message"),
    [
        ("four", "", (1, 2, 2, 3), "404", "model 'four': unknown. Known: one, three"),
        ("one", "2", (1, 2, 2, 3), "404", "version '2': unknown. Fix: 1"),
        ("one", "", (1, 2, 2, 4), "400", "image: shape [1, 2, 2, 4]: expected [N, H, W, 3]"),
        ("one", "", (1, 101, 100, 3), "413", "more than 10000 pixels. Fix: fewer or smaller images"),
        ("one", "", (5, 2, 2, 3), "413", "5 images, expected at most 4"),
    ],
)
def test_clients_show_what_is_wrong(client, model, version, shape, status, message):
    with pytest.raises(InferenceServerException) as caught:
        infer(client, np.zeros(shape, np.uint8), model, model_version=version)
    assert caught.value.status() == status
    assert message in caught.value.message()


def test_compressed_requests_are_refused_and_compressed_answers_are_not_needed(client):
    with pytest.raises(InferenceServerException, match="Content-Encoding gzip: not read. Fix: send it unc"):
        infer(client, PHOTOS, request_compression_algorithm="gzip")
    assert infer(client, PHOTOS, response_compression_algorithm="gzip").shape == (2, 1, 21, 34)


BODIES = {
    "text": b"hello",
    "deep lists": b"[" * 100_000,
    "no inputs": b'{"inputs": []}',
    "a tail": b"{}" + bytes(9),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_request_that_is_none_gets_a_code_and_nothing_from_inside_the_server(server, body):
    headers = {HEADER: "2"} if body[:2] == b"{}" else {}
    answer = server.post("/v2/models/one/infer", body, **headers)
    assert (answer.status, answer.json["code"]) == (400, "bad_request")
    assert not any(word in answer.json["error"] for word in ("Traceback", "File ", ".py", "/"))


def test_all_faults_have_the_form_of_the_protocol(server):
    for method, path, length, status, code in (
        ("POST", "/v2/models/one/infer", 10 << 20, 413, "body_too_large"),
        ("GET", "/v2/models/one/infer", 0, 405, "method_not_allowed"),
        ("GET", "/v2/repository/index", 0, 404, "not_found"),
        ("GET", "/v2/models/..%2f..%2fetc/ready", 0, 404, "not_found"),
    ):
        answer = server.ask(method, path, headers={"Content-Length": str(length)})
        assert (answer.status, answer.json["code"]) == (status, code)
        assert isinstance(answer.json["error"], str)
        assert answer.json["request_id"] == answer.headers["x-request-id"]
    assert server.ask("GET", "/v1/absent").code == "404 not_found"  # not below /v2
    assert server.ask("GET", "/v22").code == "404 not_found"
