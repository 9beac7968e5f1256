"""Half precision, and the loss scale that float16 needs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle.amp import grad_scaler
from training_runs import assert_equal_states, trainer

from paddleseg_u2net.models.checkpoint import load_checkpoint
from paddleseg_u2net.training.precision import amp_options


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_on_a_cpu_paddle_casts_nothing(precision):
    assert amp_options(precision, "O1", "cpu")["enable"] is False


def test_half_precision_on_a_gpu_is_enabled():
    options = amp_options("bf16", "O2", "gpu")
    assert (options["enable"], options["dtype"], options["level"]) == (True, "bfloat16", "O2")
    assert amp_options("fp16", "O1", "gpu")["dtype"] == "float16"
    assert amp_options("fp32", "O1", "gpu")["enable"] is False
    with paddle.amp.auto_cast(**amp_options("fp32", "O1", "cpu")):
        pass


@pytest.fixture
def scaler(monkeypatch):
    """Makes loss scalers that work on a CPU, where Paddle switches them off."""
    place = SimpleNamespace(is_gpu_place=lambda: True)
    monkeypatch.setattr(grad_scaler, "_dygraph_tracer", lambda: SimpleNamespace(_expected_place=place))
    return lambda: paddle.amp.GradScaler(
        init_loss_scaling=1024, incr_every_n_steps=3, decr_every_n_nan_or_inf=2
    )


def update(run, gradient: float) -> None:
    """Update the weights of a run by gradients that all have one value."""
    for parameter in (p for p in run.network.parameters() if not p.stop_gradient):
        parameter.grad = paddle.full(parameter.shape, gradient)
    run._update_weights()


@pytest.mark.filterwarnings("ignore:Conversion of an array with ndim")  # Paddle, where a gradient overflows
def test_loss_scale_and_its_counters_are_saved_and_restored(scaler, config, tmp_path):
    run = trainer(config, tmp_path / "run")
    saved = run.scaler = scaler()
    for gradient in (1.0, 1.0, 1.0, 1.0, np.inf, 1.0, 1.0):  # doubled once; then one that overflows
        update(run, gradient)
    state = saved.state_dict()
    assert (state["scale"].item(), state["incr_count"], state["decr_count"]) == (2048, 2, 0)
    update(run, np.inf)
    assert saved.state_dict()["decr_count"] == 1
    run.save(evaluation_pending=False)

    again = trainer(config, tmp_path / "again")
    again.scaler = scaler()
    checkpoint = run.checkpoint_folder
    load_checkpoint(checkpoint, again.network, again.optimizer, None, again.scaler, "maxF")
    assert again.scaler.state_dict() == saved.state_dict()
    for one in (run, again):
        update(one, np.inf)
    assert again.scaler.state_dict() == saved.state_dict()
    assert again.scaler.state_dict()["scale"].item() == 1024  # the second overflow in a row
    assert_equal_states(
        *({k: v.numpy() for k, v in one.network.state_dict().items()} for one in (run, again))
    )
