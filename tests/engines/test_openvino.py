"""OpenVINO as an engine, and its cache of compiled models."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import paddle
import pytest
from onnx import helper, numpy_helper
from support import environment

from paddleseg_u2net.engines.openvino import OpenVinoEngine, core


@pytest.fixture
def model(tmp_path):
    """An ONNX file of two convolutions, an image, and what Paddle computes for it."""
    rng, path = np.random.default_rng(0), tmp_path / "model.onnx"
    first, last = (rng.normal(size=size).astype(np.float32) for size in ((256, 3, 3, 3), (1, 256, 1, 1)))
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["wide"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["wide"], ["positive"]),
        helper.make_node("Conv", ["positive", "last"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["maps"]),
    ]
    ends = [
        [helper.make_tensor_value_info(name, 1, ["n", channels, "h", "w"])]
        for name, channels in (("image", 3), ("maps", 1))
    ]
    weights = [numpy_helper.from_array(first, "first"), numpy_helper.from_array(last, "last")]
    graph = helper.make_graph(nodes, "model", *ends, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    image = rng.normal(size=(1, 3, 48, 33)).astype(np.float32)
    x, *filters = map(paddle.to_tensor, (image, first, last))
    positive = paddle.nn.functional.relu(paddle.nn.functional.conv2d(x, filters[0], padding=1))
    expected = paddle.nn.functional.sigmoid(paddle.nn.functional.conv2d(positive, filters[1]))
    return path, image, expected.numpy()


def test_compiled_model_is_reused_at_the_next_start(model, monkeypatch):
    path, image, expected = model
    OpenVinoEngine(path)(image)
    monkeypatch.setattr(OpenVinoEngine, "_read", None)  # must not be used
    np.testing.assert_allclose(OpenVinoEngine(path)(image), expected, atol=2e-5)


def test_damaged_compiled_model_is_compiled_again(model, tmp_path):
    path, image, expected = model
    OpenVinoEngine(path)(image)
    (blob,) = (tmp_path / "u2net_home" / "openvino").glob("*.blob")
    whole = blob.read_bytes()
    half = len(whole) // 2
    for damage in (b"", whole[:-500], whole[:half] + bytes(4000) + whole[half + 4000 :]):
        blob.write_bytes(damage)
        np.testing.assert_allclose(OpenVinoEngine(path)(image), expected, atol=2e-5)


def test_cache_keeps_the_most_recently_used_models(model, monkeypatch, tmp_path):
    monkeypatch.setattr("paddleseg_u2net.engines.openvino.CACHE_BYTES", 1)
    path, image, _ = model
    OpenVinoEngine(path)(image)
    OpenVinoEngine(path)(image[:, :, :40])
    assert len(list((tmp_path / "u2net_home" / "openvino").iterdir())) == 1


def test_engine_can_be_freed_in_another_thread(model):
    """OpenVINO would free the signal stack that the main thread still uses."""
    code = (
        "import signal, threading\n"
        "from paddleseg_u2net.engines.base import open_engine\n"
        "from pathlib import Path\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled'))\n"
        f"engines = [open_engine('openvino', Path({str(model[0])!r}))]\n"
        "thread = threading.Thread(target=engines.clear); thread.start(); thread.join()\n"
        "signal.raise_signal(signal.SIGUSR1)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment())
    assert (child.returncode, child.stdout) == (0, b"handled\n"), child.stderr


def test_threads_can_predict_at_once_from_the_start(model):
    """Without a lock the first inferences of a process wait for each other, in one process of four."""
    code = (
        "import sys, threading\n"
        "import numpy as np\n"
        "from paddleseg_u2net.engines.base import open_engine\n"
        "from pathlib import Path\n"
        f"engine = open_engine('openvino', Path({str(model[0])!r}), parallel=4)\n"
        "image = np.zeros((1, 3, 32, 32), np.float32)\n"
        "engine._compiled(image)\n"
        "sys.setswitchinterval(1e-6)\n"
        "barrier = threading.Barrier(4)\n"
        "threads = [threading.Thread(target=lambda: (barrier.wait(), engine(image))) for _ in range(4)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), timeout=60)


def test_threads_share_one_openvino_core():
    with ThreadPoolExecutor(4) as pool:
        assert len(set(map(id, pool.map(lambda _: core(), range(8))))) == 1


def test_all_sizes_but_the_first_share_one_compiled_model(model):
    engine = OpenVinoEngine(model[0])
    for size in range(40, 60):
        engine(np.zeros((1, 3, size, 40), np.float32))
    assert len(engine.compiled) == 2


def test_bf16_is_rejected_on_a_cpu_without_it(model):
    path, image, _ = model
    if "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert OpenVinoEngine(path, precision="bf16")(image).shape == (1, 1, 48, 33)
    else:
        with pytest.raises(ValueError, match="bf16: this CPU has no units for it.* Fix: fp32 or int8"):
            OpenVinoEngine(path, precision="bf16")
