"""Gradient accumulation, compared with one large batch, and gradient clipping, compared with numpy."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest
from support import TinyNet
from training_runs import assert_equal_states, saved_state, trainer

from paddleseg_u2net.training.accumulation import grouped, mean_gradients

FROZEN_STATISTICS = "finetune={freeze_batch_norm: statistics}"  # else they depend on the size of a batch


def test_groups_are_full():
    assert list(grouped(iter("abcdefgh"), 3)) == [["a", "b", "c"], ["d", "e", "f"]]
    assert list(grouped([], 2)) == []


@pytest.mark.parametrize(
    "optimizer", ["{type: SGD}", "{type: SGD, grad_clip_cfg: {name: ClipGradByNorm, clip_norm: 0.01}}"]
)
def test_two_batches_equal_one_of_twice_the_size(config, tmp_path, optimizer):
    opts = [FROZEN_STATISTICS, f"optimizer={optimizer}", "lr_scheduler.learning_rate=0.1"]
    runs = {"small": {"batch_size": 2, "accumulate": 2}, "large": {"batch_size": 4}}
    for name, sizes in runs.items():
        progress = trainer(config, tmp_path / name, opts, iters=3, save_interval=3, **sizes).run()
        assert (progress.iter, progress.samples) == (3, 12)
    small, large = (saved_state(tmp_path / name / "iter_3") for name in runs)
    for key, value in small.items():
        np.testing.assert_allclose(value, large[key], rtol=0, atol=1e-6, err_msg=key)


def test_gradients_and_losses_are_means_in_float64():
    paddle.set_default_dtype("float64")
    network = TinyNet(1)
    paddle.set_default_dtype("float32")
    network.eval()
    rng = np.random.default_rng(0)
    images = [paddle.to_tensor(rng.normal(size=(2, 3, 8, 8))) for _ in range(3)]

    def add_gradients(image):
        loss = network(image)[0].square().mean()
        loss.backward()
        return loss.detach(), [loss.detach() * 2]

    loss, (part,) = mean_gradients(add_gradients, network, images)
    trained = [parameter for parameter in network.parameters() if not parameter.stop_gradient]
    found = [parameter.grad.numpy() for parameter in trained]
    network.clear_gradients()
    expected, _ = add_gradients(paddle.concat(images))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert part.item() == pytest.approx(2 * expected.item(), rel=1e-12)
    for grad, parameter in zip(found, trained, strict=True):
        np.testing.assert_allclose(grad, parameter.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_processes_exchange_gradients_at_the_last_batch_only():
    network, events = TinyNet(1), []

    class Exchange:
        def __enter__(self):
            events.append("off")

        def __exit__(self, *_):
            events.append("on")

    network.no_sync = Exchange

    def add_gradients(batch):
        events.append(batch)
        return paddle.to_tensor(0.0), []

    mean_gradients(add_gradients, network, ["a", "b", "c"])
    assert events == ["off", "a", "b", "on", "c"]


def test_resumed_accumulation_equals_uninterrupted_training(config, tmp_path):
    options = {"iters": 4, "accumulate": 3, "use_ema": True}
    trainer(config, tmp_path / "whole", **options).run()
    resumed = {**options, "resume_model": tmp_path / "whole" / "iter_2", "seed": 5}
    trainer(config, tmp_path / "again", **resumed).run()
    assert_equal_states(*(saved_state(tmp_path / name / "iter_4") for name in ("whole", "again")))
    state = json.loads((tmp_path / "again" / "iter_4" / "state.json").read_text())
    assert (state["iter"], state["samples"]) == (4, 24)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_gradients_are_clipped_by_their_norm(config, tmp_path, accumulate):
    """SGD with rate 1: the step is the clipped gradient itself."""
    clip = "optimizer={type: SGD, grad_clip_cfg: {name: ClipGradByGlobalNorm, clip_norm: 0.01}}"
    opts = [FROZEN_STATISTICS, clip, "lr_scheduler.learning_rate=1.0"]
    run = trainer(config, tmp_path, opts, iters=1, accumulate=accumulate)
    gradients = {}

    class Recorded:
        def __call__(self, batch):
            outcome = self.inner(batch)
            for name, parameter in run.network.named_parameters():
                if not parameter.stop_gradient:
                    gradients[name] = parameter.grad.numpy().astype(np.float64) / accumulate
            return outcome

    prepare = run.prepare

    def prepare_and_record(data):
        prepare(data)
        recorded = Recorded()
        recorded.inner, run.add_gradients = run.add_gradients, recorded

    run.prepare = prepare_and_record
    before = {name: value.numpy().astype(np.float64) for name, value in run.network.named_parameters()}
    run.run()
    norm = np.sqrt(sum((grad**2).sum() for grad in gradients.values()))
    assert norm > 0.01
    after = dict(run.network.named_parameters())
    for name, gradient in gradients.items():
        expected = before[name] - gradient * 0.01 / norm
        np.testing.assert_allclose(after[name].numpy(), expected, atol=1e-6, err_msg=name)
