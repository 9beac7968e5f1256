"""Paddle networks and exported Paddle models as engines."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from paddleseg_u2net.engines.paddle import PaddleEngine, PaddleInferenceEngine

RNG = np.random.default_rng(0)


def test_paddle_inference_computes_the_same_as_paddle(tmp_path):
    """Any layer will do: this tests the engine, not the export."""
    layer = paddle.nn.Sequential(paddle.nn.Conv2D(3, 2, 3, padding=1), paddle.nn.Sigmoid())
    layer.eval()
    spec = paddle.static.InputSpec([None, 3, None, None], "float32")
    paddle.jit.save(paddle.jit.to_static(layer, [spec], full_graph=True), str(tmp_path / "model"))
    batch = RNG.normal(size=(2, 3, 17, 9)).astype(np.float32)
    engine = PaddleInferenceEngine(tmp_path / "model.json")
    np.testing.assert_allclose(engine(batch), layer(paddle.to_tensor(batch)).numpy(), atol=1e-5)


@pytest.mark.parametrize("num_classes", [1, 3])
def test_logits_and_probabilities_of_a_network(num_classes):
    batch = RNG.normal(size=(2, 3, 5, 4)).astype(np.float32)
    convolution = paddle.nn.Conv2D(3, num_classes, 1)

    class Network(paddle.nn.Layer):
        """A network with one output."""

        def forward(self, x):
            return [convolution(x)]

    network = Network()
    logits = PaddleEngine(network, logits=True)(batch)
    np.testing.assert_allclose(logits, convolution(paddle.to_tensor(batch)).numpy(), atol=1e-6)
    powers = np.exp(logits)
    expected = powers / (1 + powers) if num_classes == 1 else powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(PaddleEngine(network)(batch), expected, atol=1e-6)
    assert network.training  # the mode it was in before
