"""ONNX graphs written from weights, compared with Paddle and with the published file in ONNX Runtime."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import paddle
import pytest
from support import few_random_numbers

from paddleseg_u2net.engines.paddle import PaddleEngine
from paddleseg_u2net.export.cache import GRAPH_VERSION
from paddleseg_u2net.export.graph_digest import verify_graph
from paddleseg_u2net.export.onnx_network import Quantization, build_onnx, fold
from paddleseg_u2net.models.architecture import NETWORKS, dataflow
from paddleseg_u2net.models.u2net import U2Net, U2Netp
from paddleseg_u2net.models.weight_files import read_state, state_of

RNG = np.random.default_rng(0)


def session(model):
    import onnxruntime

    data = model if isinstance(model, str) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def randomize_norms(network):
    """Give BatchNorm random statistics and scales, so that folding changes the weights."""
    for name, value in network.state_dict().items():
        if ".bn_s1." in name:
            low = 0.5 if name.endswith(("weight", "_variance")) else -0.3
            value.set_value(RNG.uniform(low, low + 0.8, value.shape).astype(np.float32))
    return network


@pytest.mark.parametrize(
    ("kind", "num_classes", "channels", "sizes"),
    [
        (U2Netp, 1, 3, [(32, 32), (43, 29), (1, 1), (1, 40)]),
        (U2Netp, 3, 1, [(32, 32), (43, 29), (1, 1), (1, 40)]),
        (U2Net, 2, 3, [(35, 21)]),
    ],
)
def test_graph_computes_what_paddle_computes(kind, num_classes, channels, sizes):
    paddle.seed(0)
    with few_random_numbers():
        network = randomize_norms(kind(num_classes, channels))
    graph = build_onnx(state_of(network))
    verify_graph(graph, "sigmoid" if num_classes == 1 else "softmax")  # which is known to compute this
    run, reference = session(graph).run, PaddleEngine(network)
    for size in sizes:
        batch = RNG.normal(size=(2, channels, *size)).astype(np.float32)
        maps = run(None, {"image": batch})[0]
        assert maps.shape == (2, num_classes, *size)
        np.testing.assert_allclose(maps, reference(batch), atol=2e-4)


def test_folded_weights_that_overflow_are_infinite_without_a_warning():
    state = state_of(U2Netp(1))
    state["stage1.rebnconvin.conv_s1.weight"][:] = 1e38
    state["stage1.rebnconvin.bn_s1.weight"][:] = 1e38
    assert np.isinf(fold(state)["stage1.rebnconvin"].weight).all()


def test_graph_of_published_weights_is_bit_equal_to_the_published_file(official_weights):
    published, ours = session(str(official_weights)), session(build_onnx(read_state(official_weights)))
    image = RNG.normal(size=(1, 3, 320, 320)).astype(np.float32)
    expected = published.run(None, {published.get_inputs()[0].name: image})[0]
    np.testing.assert_array_equal(ours.run(None, {"image": image})[0], expected)


def test_fixed_shape_is_part_of_the_graph():
    model = session(build_onnx(state_of(U2Netp(1)), (1, 3, 32, 48)))
    assert model.get_inputs()[0].shape == [1, 3, 32, 48]
    assert model.get_outputs()[0].shape == [1, 1, 32, 48]


def test_folding_keeps_the_function_of_a_convolution():
    network = randomize_norms(U2Netp(1))
    block = network.stage1.rebnconvin
    block.eval()
    x = paddle.to_tensor(RNG.normal(size=(1, 3, 9, 9)).astype(np.float32))
    weight, bias = fold(state_of(network))["stage1.rebnconvin"]
    folded = paddle.nn.functional.conv2d(x, paddle.to_tensor(weight), paddle.to_tensor(bias), padding=1)
    np.testing.assert_allclose(block(x).numpy(), np.maximum(folded.numpy(), 0), atol=1e-5)


def test_weights_of_another_family_are_rejected():
    with pytest.raises(ValueError, match="these weights are not of the U²-Net family"):
        build_onnx({"a.weight": np.zeros((1, 1, 1, 1), np.float32)})


def test_changed_graph_has_a_new_version():
    """Otherwise caches keep the old graph. After a change: increase GRAPH_VERSION, enter the hash here."""
    state = {key: np.ones(value.shape, np.float32) for key, value in U2Netp(1).state_dict().items()}
    ranges = {node.name: 1.0 for node in dataflow(NETWORKS["U2Netp"])}
    sums = hashlib.sha256()
    for quantization in (None, Quantization(ranges, frozenset(["outconv"]))):
        graph = build_onnx(state, quantization=quantization).graph
        for node in graph.node:
            attributes = sorted(str(attribute) for attribute in node.attribute)
            sums.update(repr((node.op_type, list(node.input), list(node.output), attributes)).encode())
        for tensor in graph.initializer:
            sums.update(tensor.name.encode() + onnx.numpy_helper.to_array(tensor).tobytes())
    assert (GRAPH_VERSION, sums.hexdigest()[:16]) == (2, "1fa45642ea2fa74d")
