"""The networks compared with paddleseg's classes and with the official PyTorch code."""

from __future__ import annotations

import zlib

import numpy as np
import paddle
import pytest
from paddleseg.models import u2net as stock
from support import GOLDEN, SHARED, few_random_numbers

from paddleseg_u2net.losses.saliency import SaliencyLoss
from paddleseg_u2net.losses.supervision import deep_supervision
from paddleseg_u2net.models.architecture import identify
from paddleseg_u2net.models.u2net import U2Net, U2Netp

OURS = {"u2net": U2Net, "u2netp": U2Netp}


def official_state(network: paddle.nn.Layer) -> dict[str, paddle.Tensor]:
    """Weights drawn by the rule of the golden file, the same in every framework."""
    state = {}
    for key, value in network.state_dict().items():
        official = key.replace("._mean", ".running_mean").replace("._variance", ".running_var")
        n = np.random.default_rng(zlib.crc32(official.encode())).standard_normal(value.shape)
        if official.endswith("running_var"):
            n = 1 + 0.1 * np.abs(n)
        elif official.endswith("running_mean"):
            n = 0.1 * n
        elif ".bn_s1.weight" in official:
            n = 1 + 0.1 * n
        elif official.endswith("bias"):
            n = 0.01 * n
        else:
            n = n * np.sqrt(2 / np.prod(value.shape[1:]))
        state[key] = paddle.to_tensor(n.astype(np.float32))
    return state


@pytest.fixture(scope="module")
def golden():
    """The full golden file if it is there, else the part of it that the repository holds."""
    whole = SHARED / "golden" / "official_u2net.npz"
    return np.load(whole if whole.is_file() else GOLDEN / "official_u2net.npz")


@pytest.fixture(scope="module", params=["u2netp", "u2net"])
def official(request):
    with few_random_numbers():
        network = OURS[request.param](1)
    state = official_state(network)
    network.set_state_dict(state)
    return request.param, network, state


@pytest.mark.parametrize("size", ["64x64", "75x53"])
def test_logits_equal_those_of_the_official_code(official, golden, size):
    name, network, _ = official
    height, width = map(int, size.split("x"))
    x = np.random.default_rng(0).standard_normal((1, 3, height, width)).astype(np.float32)
    network.eval()
    with paddle.no_grad():
        outputs = network(paddle.to_tensor(x))
    compared = 0
    for index, logits in enumerate(outputs):
        key = f"{name}/eval/{size}/logits{index}"
        if key in golden:
            expected = golden[key]
            tolerance = 1e-4 * (expected.max() - expected.min())
            np.testing.assert_allclose(logits.numpy(), expected, rtol=0, atol=tolerance)
            compared += 1
    assert compared
    assert len(outputs) == 7


@pytest.mark.parametrize("official", ["u2netp", pytest.param("u2net", marks=pytest.mark.slow)], indirect=True)
def test_three_training_steps_reproduce_the_official_losses(official, golden):
    """The first loss is compared strictly, later ones only within what rounding does to them.

    Adam's first steps follow the sign of each gradient: in float64, weights changed by 1e-7 move the second
    loss by 0.2 % and the third by 1 %; other processors and orders of summation move them as far in float32.
    """
    name, network, state = official
    network.set_state_dict(state)
    network.train()
    optimizer = paddle.optimizer.Adam(1e-3, parameters=network.parameters())
    x = paddle.to_tensor(np.random.default_rng(1).standard_normal((2, 3, 64, 64)).astype(np.float32))
    target = (np.random.default_rng(2).random((2, 1, 64, 64)) > 0.5).astype(np.float32)
    losses = {"types": [SaliencyLoss()] * 7, "coef": [1] * 7}
    found = []
    for _ in range(3):
        total, parts = deep_supervision(network(x), paddle.to_tensor(target), losses)
        total.backward()
        optimizer.step()
        optimizer.clear_grad()
        found.append([total.item(), *(part.item() for part in parts)])
    expected = golden[f"{name}/train/losses"]
    np.testing.assert_allclose(found[0], expected[0], rtol=2e-5)
    assert found[1][0] == pytest.approx(expected[1, 0], rel=0.02)
    assert found[2][0] == pytest.approx(expected[2, 0], rel=0.05)
    norm = network.stage1.rebnconvin.bn_s1
    mean, variance = (
        golden[f"{name}/train/stage1.rebnconvin.bn_s1.running_{part}"] for part in ("mean", "var")
    )
    np.testing.assert_allclose(norm._mean.numpy(), mean, atol=2e-3)
    np.testing.assert_allclose(norm._variance.numpy(), variance, rtol=2e-3)


@pytest.mark.parametrize("ours", [U2Net, U2Netp])
def test_keys_outputs_and_gradients_of_every_parameter_are_bit_equal_to_paddleseg(ours):
    with few_random_numbers():
        reference = getattr(stock, ours.__name__)(2, in_channels=4)
        network = ours(2, in_channels=4)
    expected = {key: value.shape for key, value in reference.state_dict().items()}
    assert {key: value.shape for key, value in network.state_dict().items()} == expected
    assert list(network.state_dict()) == list(reference.state_dict())
    network.set_state_dict(reference.state_dict())
    for mode in ("eval", "train"):
        getattr(network, mode)()
        getattr(reference, mode)()
        x = paddle.randn([2, 4, 19, 17])
        outputs, wanted = network(x), reference(x)
        for found, expected in zip(outputs, wanted, strict=True):
            assert bool((found == expected).all())
    for loss in (outputs, wanted):
        sum(output.square().mean() for output in loss).backward()
    gradients = dict(reference.named_parameters())
    for name, parameter in network.named_parameters():
        if parameter.stop_gradient:
            assert name.endswith(("._mean", "._variance"))
            continue
        assert parameter.grad is not None, name
        assert bool((parameter.grad == gradients[name].grad).all()), name  # which NaN would not be


def test_parameter_counts_are_the_official_ones(official):
    name, network, state = official
    counts = {"u2net": 44_009_869, "u2netp": 1_131_181}
    assert sum(p.size for p in network.parameters() if not p.stop_gradient) == counts[name]
    assert identify({k: v.shape for k, v in state.items()}).network == OURS[name].__name__


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (33, 2), (31, 64)])
def test_outputs_have_the_size_of_the_input(size):
    network = U2Netp(2)
    network.eval()
    assert [output.shape for output in network(paddle.randn([1, 3, *size]))] == [[1, 2, *size]] * 7
