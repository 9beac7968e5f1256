"""Averages of weights, compared with numpy, and with what the networks compute."""

from __future__ import annotations

import re

import numpy as np
import paddle
import pytest
from support import TinyNet

from paddleseg_u2net.models.architecture import BN_EPSILON
from paddleseg_u2net.models.averaging import average_states
from paddleseg_u2net.models.weight_files import FOLDED_VARIANCE, state_of

RNG = np.random.default_rng(0)


def random_states(count: int) -> dict[str, dict[str, np.ndarray]]:
    shapes = {key: value.shape for key, value in state_of(TinyNet(1)).items()}
    return {
        f"model {index}": {key: RNG.random(shape).astype(np.float32) for key, shape in shapes.items()}
        for index in range(count)
    }


def test_average_equals_numpy_for_weights_and_statistics():
    states = random_states(3)
    averaged = average_states(states, [0.5, 0.3, 0.2])
    equal = average_states(states)
    for key, value in averaged.items():
        stack = np.stack([state[key] for state in states.values()]).astype(np.float64)
        np.testing.assert_allclose(value, np.tensordot([0.5, 0.3, 0.2], stack, 1), rtol=1e-6)
        np.testing.assert_allclose(equal[key], stack.mean(0), rtol=1e-6)
        assert value.dtype == np.float32
    assert {"norm._mean", "norm._variance"} <= set(averaged)


@pytest.mark.parametrize("end", [0, 1])
def test_shares_of_0_and_1_give_the_start_and_the_end(end):
    states = random_states(2)
    averaged = average_states(states, [1 - end, end])
    for key, value in states[f"model {end}"].items():
        np.testing.assert_array_equal(averaged[key], value)


def folded_and_restored() -> tuple[dict, dict, TinyNet, paddle.Tensor]:
    network = TinyNet(1)
    network.norm._epsilon = BN_EPSILON
    for name, value in (("weight", 1), ("bias", 0), ("_mean", 0), ("_variance", FOLDED_VARIANCE)):
        getattr(network.norm, name).set_value(np.full(4, value, np.float32))
    network.eval()
    folded = state_of(network)
    images = paddle.to_tensor(RNG.normal(size=(4, 3, 9, 9)).astype(np.float32)) * 9
    outputs = network.first(images).numpy()
    mean, variance = outputs.mean((0, 2, 3)), outputs.var((0, 2, 3))
    restored = {"_mean": mean, "bias": mean, "_variance": variance, "weight": np.sqrt(variance + BN_EPSILON)}
    for name, value in restored.items():
        getattr(network.norm, name).set_value(value)
    return folded, state_of(network), network, images


@pytest.mark.parametrize("order", [1, -1])
def test_folded_batch_norm_gets_the_statistics_of_the_other_weights(order):
    """Both states compute the same function; the mean of their numbers as they stand does not."""
    folded, restored, network, images = folded_and_restored()
    expected = network(images)[0].numpy()
    states = dict([("start", folded), ("end", restored)][::order])
    network.set_state_dict(average_states(states, [0.5, 0.5]))
    np.testing.assert_allclose(network(images)[0].numpy(), expected, atol=1e-4)
    network.set_state_dict({key: (folded[key] + restored[key]) / 2 for key in folded})
    assert np.abs(network(images)[0].numpy() - expected).max() > 0.01


def test_folded_states_alone_stay_folded():
    folded, *_ = folded_and_restored()
    averaged = average_states({"a": folded, "b": folded})
    for key, value in folded.items():
        np.testing.assert_array_equal(averaged[key], value, err_msg=key)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        (
            [0.5, 0.6],
            "shares 0.5, 0.6 for 2 weight files. Fix: one number of at least 0 for each, with a sum",
        ),
        ([1.5, -0.5], "shares 1.5, -0.5 for 2"),
        ([1.0], "shares 1 for 2 weight files"),
    ],
)
def test_wrong_shares_are_rejected(shares, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        average_states(random_states(2), shares)


def test_weights_that_do_not_fit_each_other_are_named():
    states = random_states(2)
    states["model 1"]["last.bias"] = np.zeros(2, np.float32)
    with pytest.raises(ValueError, match=r"model 1: last.bias: \(2,\), but model 0 has \(1,\). Fix: average"):
        average_states(states)
    states = random_states(2)
    states["model 1"]["extra"] = np.zeros(2, np.float32)
    with pytest.raises(ValueError, match=r"extra: \(2,\), but model 0 has nothing"):
        average_states(states)
    with pytest.raises(ValueError, match="a: expected at least two different weight files"):
        average_states({"a": states["model 0"]})
