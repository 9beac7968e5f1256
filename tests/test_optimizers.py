"""Optimizers and learning rate schedules, compared with those that paddleseg builds from the same YAML."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddleseg.cvlibs import Config, SegBuilder
from support import make_config

from paddleseg_u2net.builders import build_network, build_optimizer
from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.errors import ConfigError

POLYNOMIAL = {"type": "PolynomialDecay", "learning_rate": 0.1, "end_lr": 0.0, "power": 0.9}
WARMUP = {"warmup_iters": 2, "warmup_start_lr": 0.001}
CLIPPED = {"grad_clip_cfg": {"name": "ClipGradByGlobalNorm", "clip_norm": 0.1}}
OPTIMIZERS = [
    {"type": "Adam"},
    {"type": "adam", "weight_decay": 1e-4},
    {"type": "Adam", "custom_cfg": [{"name": "norm", "lr_mult": 0.1}]},
    {"type": "AdamW", "beta1": 0.8, "weight_decay": 0.1},
    {"type": "AdamW", **CLIPPED},
    {"type": "SGD"},
    {"type": "sgd", "momentum": 0.9, "weight_decay": 4e-5},
    {"type": "Momentum", "momentum": 0.5, "use_nesterov": True},
    {"type": "Momentum", "grad_clip_cfg": {"name": "ClipGradByValue", "max": 0.01}},
]
SCHEDULES = [
    POLYNOMIAL,
    {**POLYNOMIAL, "decay_steps": 3},
    {**POLYNOMIAL, **WARMUP},
    {"type": "StepDecay", "learning_rate": 0.1, "step_size": 2},
    {"type": "StepDecay", "learning_rate": 0.1, "step_size": 2, **WARMUP},
    {"type": "CosineAnnealingDecay", "learning_rate": 0.1, "T_max": 4},
    {"type": "PiecewiseDecay", "boundaries": [1, 3], "values": [0.1, 0.01, 0.001]},
    {"type": "ExponentialDecay", "learning_rate": 0.1, "gamma": 0.9},
    {"type": "OneCycleLR", "max_learning_rate": 0.1, "total_steps": 6},
]


def trained(network, optimizer, steps: int = 4) -> tuple[list[float], list[np.ndarray]]:
    """Learning rates and weights of a few steps on fixed data, from fixed weights."""
    rng = np.random.default_rng(0)
    for tensor in network.parameters():
        tensor.set_value(rng.normal(size=tensor.shape).astype(np.float32))
    image = paddle.to_tensor(rng.normal(size=(2, 3, 8, 8)).astype(np.float32))
    rates = []
    for _ in range(steps):
        network(image)[0].square().mean().backward()
        rates.append(optimizer.get_lr())
        optimizer.step()
        optimizer.clear_grad()
        optimizer._learning_rate.step()
    return rates, [tensor.numpy() for tensor in network.parameters()]


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [*((row, POLYNOMIAL) for row in OPTIMIZERS), *(({"type": "Adam"}, row) for row in SCHEDULES)],
)
def test_training_equals_paddleseg_built_from_the_same_yaml(tmp_path, data, optimizer, schedule):
    path = make_config(tmp_path / "a.yaml", data, optimizer=optimizer, lr_scheduler=schedule, iters=4)
    stock = SegBuilder(Config(str(path)))
    config = load_config(path)
    network = build_network(config["model"])
    ours = build_optimizer(config, network)
    assert type(ours) is type(stock.optimizer)
    assert config == load_config(path)  # not changed by building
    rates, weights = trained(network, ours)
    expected_rates, expected_weights = trained(stock.model, stock.optimizer)
    assert rates == expected_rates
    for ours_, expected in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(ours_, expected)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ({**POLYNOMIAL, "learning_rate": 1.0, "power": 1.0}, [1, 0.75, 0.5, 0.25]),
        ({**POLYNOMIAL, "learning_rate": 1.0, "power": 1.0, **WARMUP}, [0.001, 0.5005, 1, 0.5]),
        ({"type": "CosineAnnealingDecay", "learning_rate": 1.0}, [1, 0.85355, 0.5, 0.14645]),
    ],
)
def test_schedules_without_a_length_run_over_the_iterations(config, schedule, rates):
    found = load_config(config) | {"lr_scheduler": schedule}
    network = build_network(found["model"])
    assert trained(network, build_optimizer(found, network))[0] == pytest.approx(rates, abs=1e-4)


def test_one_cycle_takes_its_length_and_the_learning_rate_flag(tmp_path, data):
    path = make_config(
        tmp_path / "a.yaml", data, lr_scheduler={"type": "OneCycleLR", "max_learning_rate": 0.1}
    )
    found = load_config(path, learning_rate=0.4)
    optimizer = build_optimizer(found, build_network(found["model"]))
    assert optimizer.get_lr() == pytest.approx(0.4 / 25)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"optimizer": {"type": "Adam", "weight_decay": 1}},
            "optimizer: Adam: `weight_decay` must be a float",
        ),
        ({"optimizer": {"type": "Adam", "custom_cfg": [{"lr_mult": 1}]}}, "optimizer: Adam: 'name'"),
        ({"optimizer": {"type": "AdamWDL_CAE"}}, "optimizer: AdamWDL_CAE: .*backbone"),
        (
            {"lr_scheduler": {**POLYNOMIAL, "warmup_iters": 2}},
            "lr_scheduler: warmup_iters and warmup_start_lr: expected both or neither",
        ),
        (
            {"lr_scheduler": {**POLYNOMIAL, "warmup_iters": 0, "warmup_start_lr": 0.0}},
            "lr_scheduler: PolynomialDecay: .*warmup_steps",
        ),
        ({"lr_scheduler": {**POLYNOMIAL, "decay_steps": 0}}, "lr_scheduler: PolynomialDecay: .*decay_steps"),
    ],
)
def test_values_that_paddle_rejects_are_named_with_their_section(config, sections, message):
    found = load_config(config) | sections
    with pytest.raises(ConfigError, match=message):
        build_optimizer(found, build_network(found["model"]))
