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


def one_cycle(step: int, total: int, rate: float) -> float:
    """30 % of the steps rise by a cosine from rate / 25, the others fall by one to 1e-4."""
    start, end, top = rate / 25, 1e-4, 0.3 * total - 1
    if step <= top:
        return start + (rate - start) * (1 - np.cos(np.pi * step / top)) / 2
    return end + (rate - end) * (1 + np.cos(np.pi * (step - top) / (total - 1 - top))) / 2


WARM = {"warmup_iters": 10, "warmup_start_lr": 1e-4}


def after_warm_up(curve):
    """A linear rise over 10 steps, then a curve over the other 30, of which it takes the share done."""
    return lambda step: 1e-4 + (0.1 - 1e-4) * step / 10 if step < 10 else curve((step - 10) / 30)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (
            {"type": "CosineAnnealingDecay", "learning_rate": 0.1, "eta_min": 1e-3, **WARM},
            after_warm_up(lambda done: 1e-3 + (0.1 - 1e-3) * (1 + np.cos(np.pi * done)) / 2),
        ),
        (
            {**POLYNOMIAL, "end_lr": 0.02, **WARM},
            after_warm_up(lambda done: 0.02 + 0.08 * (1 - done) ** 0.9),
        ),
        (
            {"type": "CosineAnnealingDecay", "learning_rate": 0.1, **WARM, "warmup_iters": 0},
            lambda step: 0.1 * (1 + np.cos(np.pi * step / 40)) / 2,
        ),
        ({"type": "OneCycleLR", "max_learning_rate": 0.1}, lambda step: one_cycle(step, 40, 0.1)),
    ],
    ids=["cosine", "polynomial", "no warm-up", "one cycle"],
)
def test_learning_rates_follow_the_formula_through_warm_up_and_decay(config, schedule, expected):
    found = load_config(config, iters=40) | {"lr_scheduler": schedule}
    network = build_network(found["model"])
    rates, _ = trained(network, build_optimizer(found, network), steps=40)
    for step in (0, 1, 9, 10, 11, 12, 25, 38, 39):
        assert rates[step] == pytest.approx(expected(step), rel=1e-6), step


def test_parameter_groups_scale_the_rate_of_layers_and_switch_off_their_weight_decay(config):
    """Gradients of 0: what remains of AdamW is its weight decay, rate * factor * decay * weight."""
    groups = [{"name": "last.", "lr_mult": 0.5}, {"name": "norm", "weight_decay_mult": 0.0}]
    section = {"type": "AdamW", "weight_decay": 0.1, "custom_cfg": groups}
    found = load_config(config) | {"optimizer": section, "lr_scheduler": POLYNOMIAL}
    network = build_network(found["model"])
    network.norm.bias.set_value(paddle.ones([4]))
    optimizer = build_optimizer(found, network)
    before = {name: value.numpy() for name, value in network.named_parameters()}
    (paddle.add_n([value.sum() for value in network.parameters() if not value.stop_gradient]) * 0).backward()
    optimizer.step()
    for name, value in network.named_parameters():
        factor = {"last": 0.5, "norm": 0.0}.get(name.split(".")[0], 1)
        np.testing.assert_allclose(value.numpy(), before[name] * (1 - 0.1 * factor * 0.1), rtol=1e-6)


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
        (
            {"optimizer": {"type": "Adam", "custom_cfg": [{"name": "nrm", "lr_mult": 1}]}},
            "optimizer: custom_cfg: name: nrm: in no parameter's name. Did you mean 'norm'?",
        ),
        ({"optimizer": {"type": "AdamWDL_CAE"}}, "optimizer: AdamWDL_CAE: .*backbone"),
        (
            {"lr_scheduler": {**POLYNOMIAL, "warmup_iters": 2}},
            "lr_scheduler: warmup_iters, warmup_start_lr: expected steps and rate, or neither",
        ),
        ({"lr_scheduler": {**POLYNOMIAL, "warmup_iters": -1, "warmup_start_lr": 0.0}}, "expected steps and"),
        ({"lr_scheduler": {**POLYNOMIAL, "warmup_iters": "2", "warmup_start_lr": 0.0}}, "expected steps and"),
        ({"lr_scheduler": {**POLYNOMIAL, "decay_steps": 0}}, "lr_scheduler: PolynomialDecay: .*decay_steps"),
    ],
)
def test_values_that_paddle_rejects_are_named_with_their_section(config, sections, message):
    found = load_config(config) | sections
    with pytest.raises(ConfigError, match=message):
        build_optimizer(found, build_network(found["model"]))
