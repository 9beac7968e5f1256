"""Parts of the training loop: gradients, learning rate, average, log lines, signals."""

from __future__ import annotations

import os
import signal

import numpy as np
import paddle
import pytest
from support import TinyNet

from paddleseg_u2net.losses.saliency import SaliencyLoss
from paddleseg_u2net.training import schedule
from paddleseg_u2net.training.distributed import average_statistics, draw_seed, gather, mean_over_ranks
from paddleseg_u2net.training.gradients import PaddleGradients
from paddleseg_u2net.training.log import TrainingLog, duration
from paddleseg_u2net.training.meter import Meter
from paddleseg_u2net.training.precision import amp_options
from paddleseg_u2net.training.signals import StopSignals

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def batch(seed: int) -> dict[str, paddle.Tensor]:
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(2, 3, 12, 12)).astype(np.float32)
    return {"img": paddle.to_tensor(image), "label": paddle.to_tensor((image[:, :1] > 0).astype(np.float32))}


def gradients(network, *batches) -> list[np.ndarray]:
    losses = {"types": [SaliencyLoss()], "coef": [1]}
    add_gradients = PaddleGradients(network, losses, amp_options("fp32", "O1", "cpu"))
    network.clear_gradients()
    for one in batches:
        add_gradients(one)
    return [parameter.grad.numpy() for parameter in network.last.parameters()]


def test_gradients_of_several_batches_are_added():
    network = TinyNet(1)
    network.eval()  # BatchNorm is the same for both batches
    both = gradients(network, batch(1), batch(2))
    for total, first, second in zip(
        both, gradients(network, batch(1)), gradients(network, batch(2)), strict=True
    ):
        np.testing.assert_allclose(total, first + second, rtol=1e-5, atol=1e-7)


def test_loss_scaling_scales_the_gradients_and_not_the_loss():
    network = TinyNet(1)
    losses = {"types": [SaliencyLoss()], "coef": [1]}
    amp = amp_options("fp32", "O1", "cpu")
    plain, _ = PaddleGradients(network, losses, amp)(batch(1))
    expected = network.last.bias.grad.numpy() * 1024
    network.clear_gradients()

    class Scaler:
        def scale(self, loss):
            return loss * 1024

    scaled, _ = PaddleGradients(network, losses, amp, Scaler())(batch(1))
    assert scaled.item() == plain.item()
    np.testing.assert_allclose(network.last.bias.grad.numpy(), expected, rtol=1e-6)


def test_constant_learning_rate_is_kept():
    optimizer = paddle.optimizer.SGD(0.1, parameters=TinyNet(1).parameters())
    schedule.advance(optimizer, paddle.to_tensor(1.0), ranks=1)
    assert optimizer.get_lr() == 0.1


def test_reduce_on_plateau_follows_the_loss_and_others_the_step():
    plateau = paddle.optimizer.lr.ReduceOnPlateau(1.0, factor=0.5, patience=0)
    for rate, depends_on_step in ((plateau, False), (paddle.optimizer.lr.StepDecay(1.0, 1, 0.1), True)):
        optimizer = paddle.optimizer.SGD(rate, parameters=TinyNet(1).parameters())
        for loss in (1.0, 2.0):
            schedule.advance(optimizer, paddle.to_tensor(loss), ranks=1)
        assert schedule.depends_on_step(rate) is depends_on_step
        assert optimizer.get_lr() == pytest.approx(0.01 if depends_on_step else 0.5)


def test_one_process_needs_no_communication():
    assert gather("a", 1) == ["a"]
    assert mean_over_ranks(paddle.to_tensor(3.0), 1).item() == 3
    assert 0 <= draw_seed(1) < 2**31
    average_statistics(TinyNet(1), 1)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00:00"), (59.9, "00:00:59"), (3661, "01:01:01"), (360000, "100:00:00")]
)
def test_duration_has_hours_minutes_and_seconds(seconds, text):
    assert duration(seconds) == text


def test_log_line_has_the_means_since_the_last_line(caplog):
    caplog.set_level("INFO")
    meter = Meter(samples_per_step=4)
    for loss in (1.0, 3.0):
        meter.add(paddle.to_tensor(loss), [paddle.to_tensor(loss)])
    meter.working, meter.reading = 4.0, 1.0  # seconds
    TrainingLog(100).steps(meter, step=3, epoch=2, learning_rate=0.01)
    assert caplog.messages == [
        "[TRAIN] epoch: 2, iter: 3/100, loss: 2.0000, lr: 0.010000, batch_cost: 2.0000, "
        "reader_cost: 0.50000, ips: 2.0000 samples/sec | ETA 00:03:14"
    ]


@pytest.mark.parametrize("number", SIGNALS)
def test_first_signal_is_recorded_and_second_one_stops(number):
    before = [signal.getsignal(each) for each in SIGNALS]
    with StopSignals() as signals:
        assert not signals.received
        signal.raise_signal(number)
        assert (signals.received, signals.number) == (True, number)  # the exit code is made of it
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_disabled_signals_are_left_alone():
    before = [signal.getsignal(each) for each in SIGNALS]
    with StopSignals(enabled=False):
        assert [signal.getsignal(each) for each in SIGNALS] == before


def test_signal_in_a_worker_process_is_ignored():
    """Ctrl-C reaches data loader workers too; they end with the training process."""
    with StopSignals() as signals:
        child = os.fork()
        if child == 0:
            signal.raise_signal(signal.SIGTERM)
            os._exit(int(signals.received))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class RaisingInBackward(paddle.autograd.PyLayer):
    """As the oneDNN engine, whose backward Python may be interrupted in."""

    @staticmethod
    def forward(ctx, x, error):
        ctx.error = error
        return x * 1

    @staticmethod
    def backward(ctx, gradient):
        raise ctx.error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ZeroDivisionError(), OSError),
    ],
)
def test_what_interrupts_a_backward_of_the_engine_keeps_its_kind(error, kind):
    x = paddle.ones([1])
    x.stop_gradient = False
    y = RaisingInBackward.apply(x, error)
    with pytest.raises(kind) as found, StopSignals():
        y.backward()
    assert found.type is kind
