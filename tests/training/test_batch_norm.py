"""Restored statistics of folded BatchNorm."""

from __future__ import annotations

import numpy as np
import paddle

from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.models.u2net import U2Netp
from paddleseg_u2net.training.batch_norm import folded_norms, restore_batch_norm


def test_restored_norms_keep_the_output_in_eval_mode_and_in_training(known_weights, photos):
    network = U2Netp(1, pretrained="u2netp")
    predictor = Predictor("u2netp")
    image = paddle.to_tensor(predictor.preprocessing(photos["coffee.png"])[0][None, :, ::7, ::7].copy())
    assert len(folded_norms(network)) == 112
    network.eval()
    with paddle.no_grad():
        before = paddle.nn.functional.sigmoid(network(image)[0]).numpy()
        assert restore_batch_norm(network, [image.numpy()[0]]) == 112
        after = paddle.nn.functional.sigmoid(network(image)[0]).numpy()
        network.train()
        in_training = paddle.nn.functional.sigmoid(network(image)[0]).numpy()
    np.testing.assert_allclose(after, before, atol=1e-4)
    np.testing.assert_allclose(in_training, before, atol=1e-3)
    assert not folded_norms(network)


def test_norms_that_were_not_folded_stay_as_they_are():
    network = U2Netp(1)
    assert not folded_norms(network)
    assert restore_batch_norm(network, []) == 0


def test_statistics_equal_those_of_the_convolutions_outputs_in_float64(official_weights):
    network = U2Netp(1, pretrained="u2netp")
    outputs = []
    layer = network.stage5d.rebnconv3
    layer.conv_s1.register_forward_post_hook(lambda _, __, output: outputs.append(output.numpy()))
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(3, 40, 40)).astype(np.float32) for _ in range(3)]
    network.eval()
    with paddle.no_grad():
        network(paddle.to_tensor(np.stack(images)))
    values = np.float64(outputs[0])
    restore_batch_norm(network, images)
    np.testing.assert_allclose(layer.bn_s1._mean.numpy(), values.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.bn_s1._variance.numpy(), values.var((0, 2, 3)), rtol=1e-4)
