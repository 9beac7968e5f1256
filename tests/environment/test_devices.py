"""Device selection: names, numbers, and the options that engines get."""

from __future__ import annotations

import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from support import environment

from paddleseg_u2net.engines import onnxruntime
from paddleseg_u2net.environment import devices
from paddleseg_u2net.environment.devices import (
    choose_device,
    device_name,
    gpu_index,
    set_device,
    split_device,
)


def fake_paddle(gpus: int) -> SimpleNamespace:
    """What `set_device` asks of Paddle, on a machine with some GPUs; `chosen` collects its choices."""
    chosen: list[str] = []
    cuda = SimpleNamespace(device_count=lambda: gpus)
    device = SimpleNamespace(cuda=cuda, get_all_custom_device_type=lambda: None)
    return SimpleNamespace(
        device=device,
        is_compiled_with_cuda=lambda: gpus > 0,
        is_compiled_with_xpu=lambda: False,
        set_device=chosen.append,
        disable_signal_handler=lambda: None,
        chosen=chosen,
        __version__="3.2.2",
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cpu", ("cpu", None)), ("gpu", ("gpu", None)), ("gpu:0", ("gpu", 0)), ("npu:12", ("npu", 12))],
)
def test_device_is_split_into_kind_and_number(name, expected):
    assert split_device(name) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", "--device cuda: unknown, expected one of cpu, gpu, xpu, npu, mlu"),
        ("cpu:0", "--device_id 0: a CPU has no number. Fix: --device gpu, or leave --device_id out"),
        ("gpu:", "--device_id : expected a whole number, 0 for the first gpu"),
        ("gpu:-1", "--device_id -1: expected a whole number"),
    ],
)
def test_invalid_devices_are_rejected(name, message):
    with pytest.raises(ValueError, match=message):
        split_device(name)
    with pytest.raises(ValueError, match=message):
        choose_device(name)


@pytest.mark.parametrize(
    ("name", "gpus", "expected"), [(None, 0, "cpu"), (None, 2, "gpu"), ("gpu:1", 2, "gpu:1")]
)
def test_paddle_gets_the_device_with_its_number(monkeypatch, name, gpus, expected):
    paddle = fake_paddle(gpus)
    monkeypatch.setattr(devices, "need", lambda _: paddle)
    assert set_device(name) == expected
    assert paddle.chosen == [expected]


@pytest.mark.parametrize(
    ("name", "gpus", "message"),
    [
        ("gpu:2", 2, r"--device gpu:2: this Paddle \(3.2.2\) sees 2 GPU\(s\). Fix"),
        ("gpu", 0, r"--device gpu: this Paddle \(3.2.2\) has none to use. Fix: leave --device out"),
        ("xpu", 0, "--device xpu: .* has none to use"),
        ("npu:1", 2, "--device npu:1: .* has none to use"),
    ],
)
def test_device_that_paddle_does_not_have_is_rejected(monkeypatch, name, gpus, message):
    paddle = fake_paddle(gpus)
    monkeypatch.setattr(devices, "need", lambda _: paddle)
    with pytest.raises(ValueError, match=message):
        set_device(name)
    assert paddle.chosen == []


@pytest.mark.parametrize(("value", "expected"), [("3", 3), ("", 2)])
def test_threads_of_training_are_those_that_the_user_asked_for(monkeypatch, value, expected):
    monkeypatch.setenv("U2NET_THREADS", value)
    monkeypatch.setattr(devices, "processors", lambda: 2)
    assert devices.training_threads() == expected
    monkeypatch.setenv("U2NET_THREADS", "two")
    with pytest.raises(
        ValueError, match="U2NET_THREADS=two: expected a whole number from 1 to 1024. Fix: unset"
    ):
        devices.training_threads()


def test_number_that_all_launched_ranks_would_share_is_rejected(monkeypatch):
    paddle = fake_paddle(2)
    monkeypatch.setattr(devices, "need", lambda _: paddle)
    for name, value in (("TRAINERS_NUM", 2), ("LOCAL_SIZE", 2), ("TRAINER_ENDPOINTS", "a:1,a:2")):
        monkeypatch.setenv(f"PADDLE_{name}", str(value))
    for choose in (set_device, choose_device):
        with pytest.raises(ValueError, match="all 2 processes on this machine would use this one gpu. Fix: "):
            choose("gpu:1")
        assert choose("gpu") == "gpu"
    monkeypatch.delenv("PADDLE_TRAINER_ENDPOINTS")  # started by hand, each with its own number
    assert set_device("gpu:1") == choose_device("gpu:1") == "gpu:1"


def test_sigterm_ends_a_process_at_once():
    """Paddle's handler, which may hang, prints a stack."""
    code = """
import os, signal
from paddleseg_u2net.environment.devices import set_device
set_device("cpu")
os.kill(os.getpid(), signal.SIGTERM)
"""
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert outcome.returncode == -signal.SIGTERM
    assert "FatalError" not in outcome.stderr + outcome.stdout


def test_number_is_joined_to_the_kind_of_device():
    assert device_name(None) is None
    assert device_name("cpu") == "cpu"
    assert device_name("xpu", 0) == "xpu:0"
    assert device_name(None, 1) == "gpu:1"
    with pytest.raises(ValueError, match="--device_id 1: a CPU has no number"):
        device_name("cpu", 1)
    with pytest.raises(
        ValueError, match="--device gpu:1 --device_id 0: two numbers. Fix: leave --device_id out"
    ):
        device_name("gpu:1", 0)


def test_gpu_number_is_that_of_the_device_else_that_of_the_rank(monkeypatch):
    monkeypatch.delenv("FLAGS_selected_gpus", raising=False)
    assert gpu_index() == 0
    assert gpu_index("gpu:3") == 3
    monkeypatch.setenv("FLAGS_selected_gpus", "2")
    assert gpu_index("gpu") == 2
    assert gpu_index("gpu:3") == 3


class Options(SimpleNamespace):
    """What is set for a session."""

    def add_session_config_entry(self, key: str, value: str) -> None:
        """As ONNX Runtime's."""


class FakeOnnxRuntime(SimpleNamespace):
    """ONNX Runtime on a machine with CUDA; `providers` collects what sessions were asked for."""

    GraphOptimizationLevel = SimpleNamespace(ORT_DISABLE_ALL=0)
    SessionOptions = Options

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def InferenceSession(self, path, options, providers):  # noqa: N802 - ONNX Runtime's own name
        self.providers.append(providers)
        image = SimpleNamespace(name="image", shape=["N", 3, "H", "W"])
        return SimpleNamespace(get_inputs=lambda: [image], get_providers=lambda: [providers[0][0]])


def test_onnx_runtime_gets_the_number_of_the_gpu(monkeypatch, tmp_path):
    runtime = FakeOnnxRuntime(providers=[])
    monkeypatch.setattr(onnxruntime, "need", lambda _: runtime)
    (tmp_path / "a.onnx").write_bytes(bytes([8, 9]))  # version 9 of the format
    for device in ("gpu:1", "gpu", "cpu"):
        onnxruntime.OnnxRuntimeEngine(tmp_path / "a.onnx", device)
    assert runtime.providers == [
        [("CUDAExecutionProvider", {"device_id": 1})],
        [("CUDAExecutionProvider", {"device_id": 0})],
        [("CPUExecutionProvider", {})],
    ]
