"""Each fix that an engine or the choice of a device gives is followed and succeeds."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnxruntime as runtime
import pytest
from onnx import TensorProto, helper

from paddleseg_u2net.engines import onnxruntime, openvino
from paddleseg_u2net.engines.base import open_engine
from paddleseg_u2net.environment.devices import device_name, set_device, training_threads
from paddleseg_u2net.environment.distributed import this_rank

BATCH = np.arange(-24, 24, dtype=np.float32).reshape(1, 3, 4, 4)


@pytest.fixture
def model(tmp_path):
    """An ONNX file of one operation."""
    shape = ["N", 3, "H", "W"]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", "map")]
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["map"])], "g", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 17)]
    (tmp_path / "a.onnx").write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    )
    return tmp_path / "a.onnx"


class WithoutCuda:
    """ONNX Runtime built for CUDA on a machine without its libraries."""

    SessionOptions, GraphOptimizationLevel = runtime.SessionOptions, runtime.GraphOptimizationLevel

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def InferenceSession(self, model, options, providers):  # noqa: N802 - ONNX Runtime's own name
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


ENGINES = [
    # backend, device and precision, the fix, and what follows it
    (("openvino", "gpu"), "Fix: --device cpu, or another --backend", ("openvino", "cpu")),
    (("openvino", "gpu"), "Fix: --device cpu, or another --backend", ("onnxruntime", "cpu")),
    (("onnxruntime", "npu"), "Fix: another --backend or --device", ("onnxruntime", "cpu")),
    (("onnxruntime", "gpu"), "Fix: install its libraries, or --device cpu", ("onnxruntime", "cpu")),
    (("openvino", "cpu", "bf16"), "Fix: fp32 or int8", ("openvino", "cpu", "fp32")),
]


@pytest.mark.parametrize(("wrong", "fix", "right"), ENGINES)
def test_fixes_of_engines(model, monkeypatch, wrong, fix, right):
    without_bf16 = SimpleNamespace(get_property=lambda *_: ["FP32"])
    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime, "need", lambda _: WithoutCuda())
        patch.setattr(openvino, "core", lambda: without_bf16)
        with pytest.raises(ValueError, match=fix):
            open_engine(wrong[0], model, *wrong[1:])
    np.testing.assert_array_equal(open_engine(right[0], model, *right[1:])(BATCH), BATCH.clip(0))


VARIABLES = [
    # wrong environment variables, the fix, and the variables that follow it
    ({"TRAINER_ID": "1"}, "Fix: correct both, or unset both", {"TRAINER_ID": "1", "TRAINERS_NUM": "2"}),
    ({"TRAINER_ID": "2", "TRAINERS_NUM": "2"}, "Fix: correct both, or unset both", {}),
    ({"TRAINERS_NUM": "two"}, "Fix: correct it, or unset it", {"TRAINERS_NUM": "2"}),
    ({"TRAINERS_NUM": "two"}, "Fix: correct it, or unset it", {}),
]


@pytest.mark.parametrize(("wrong", "fix", "right"), VARIABLES)
def test_fixes_of_environment_variables(monkeypatch, wrong, fix, right):
    with monkeypatch.context() as patch:
        for name, value in wrong.items():
            patch.setenv(f"PADDLE_{name}", value)
        with pytest.raises(ValueError, match=fix):
            this_rank()
    for name, value in right.items():
        monkeypatch.setenv(f"PADDLE_{name}", value)
    this_rank()


@pytest.mark.parametrize("right", ["1", ""])
def test_fixes_of_the_number_of_threads(monkeypatch, right):
    monkeypatch.setenv("U2NET_THREADS", "0")
    with pytest.raises(ValueError, match="Fix: unset it, or 1"):
        training_threads()
    monkeypatch.setenv("U2NET_THREADS", right)
    assert training_threads() >= 1


def test_fixes_of_devices():
    with pytest.raises(ValueError, match="Fix: leave --device_id out"):
        device_name("gpu:1", 0)
    assert device_name("gpu:1") == "gpu:1"
    with pytest.raises(ValueError, match="Fix: --device gpu, or leave --device_id out"):
        device_name("cpu", 0)
    assert device_name("gpu", 0) == "gpu:0"
    assert set_device(device_name("cpu")) == "cpu"
