"""The moving average of the weights, compared with its formula in float64."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support import TinyNet

from paddleseg_u2net.training.ema import MovingAverage, decay_at, frozen_copy


def random_state(network, rng) -> dict[str, np.ndarray]:
    """Give a network random weights; returns them in float64."""
    state = {k: rng.normal(size=v.shape).astype(np.float32) for k, v in network.state_dict().items()}
    network.set_state_dict(state)
    return {key: value.astype(np.float64) for key, value in state.items()}


@pytest.mark.parametrize(
    ("step", "expected"), [(1, 2 / 11), (10, 11 / 20), (1200, 1201 / 1210), (8990, 0.999), (10**6, 0.999)]
)
def test_decay_grows_with_the_steps_up_to_its_limit(step, expected):
    assert decay_at(step) == pytest.approx(expected, abs=1e-12)
    assert decay_at(step, 0.5) == min(0.5, expected)


def test_average_equals_its_formula_for_weights_and_statistics():
    rng = np.random.default_rng(0)
    network = TinyNet(1)
    expected = random_state(network, rng)
    ema = frozen_copy(network)
    average = MovingAverage(ema, 0.7)
    for step in range(1, 30):
        current = random_state(network, rng)
        decay = min(0.7, (1 + step) / (10 + step))
        expected = {key: decay * expected[key] + (1 - decay) * current[key] for key in expected}
        average.update(network, step)
    for key, value in ema.state_dict().items():
        np.testing.assert_allclose(value.numpy(), expected[key], atol=1e-6, err_msg=key)
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), current[key], err_msg=key)  # only read
    assert {"norm._mean", "norm._variance"} <= set(expected)


def test_average_follows_the_end_of_a_short_run():
    """The plain mean of all weights would still hold 1 - 400/1200 of the first two thirds."""
    network = TinyNet(1)
    bias = network.last.bias
    bias.set_value(paddle.zeros([1]))
    ema = frozen_copy(network)
    average = MovingAverage(ema)
    for step in range(1, 1201):
        bias.set_value(paddle.full([1], float(step > 800)))
        average.update(network, step)
    assert ema.last.bias.item() > 0.97


def test_half_precision_and_whole_numbers_are_handled():
    network = TinyNet(1)
    network.register_buffer("count", paddle.to_tensor([3]))
    ema = frozen_copy(network)
    network.last.to(dtype="bfloat16")
    network.count.set_value(paddle.to_tensor([4]))
    network.last.bias.set_value(paddle.full([1], 2.0, "bfloat16"))
    ema.last.bias.set_value(paddle.zeros([1]))
    MovingAverage(ema).update(network, step=1)
    assert ema.last.bias.dtype == paddle.float32
    assert ema.last.bias.item() == pytest.approx(2 * 9 / 11, rel=1e-5)
    assert ema.count.item() == 4
