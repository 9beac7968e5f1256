"""The networks against paddleseg's classes and the official PyTorch code."""

from __future__ import annotations

import zlib

import numpy as np
import paddle
import pytest
from paddleseg.models import u2net as stock
from support import GOLDEN, SHARED

from paddleseg_u2net.losses import SaliencyLoss, deep_supervision
from paddleseg_u2net.models.architecture import NETWORKS, identify
from paddleseg_u2net.models.u2net import U2Net, U2Netp

OURS = {"u2net": U2Net, "u2netp": U2Netp}


def official_state(network: paddle.nn.Layer) -> dict[str, paddle.Tensor]:
    """Weights by the rule of the golden file, which any framework can follow."""
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
    """The whole official record where it is at hand, else the part that lies with the tests."""
    whole = SHARED / "golden" / "official_u2net.npz"
    return np.load(whole if whole.is_file() else GOLDEN / "official_u2net.npz")


@pytest.fixture(scope="module", params=["u2netp", "u2net"])
def official(request):
    network = OURS[request.param](1)
    network.set_state_dict(official_state(network))
    return request.param, network


@pytest.mark.parametrize("size", ["64x64", "75x53"])
def test_logits_equal_those_of_the_official_code(official, golden, size):
    name, network = official
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


def test_three_training_steps_reproduce_the_official_losses(official, golden):
    name, network = official
    network.set_state_dict(official_state(network))
    network.train()
    optimizer = paddle.optimizer.Adam(1e-3, parameters=network.parameters())
    x = paddle.to_tensor(np.random.default_rng(1).standard_normal((2, 3, 64, 64)).astype(np.float32))
    target = (np.random.default_rng(2).random((2, 1, 64, 64)) > 0.5).astype(np.float32)
    losses = {"types": [SaliencyLoss()] * 7, "coef": [1] * 7}
    first = None
    tolerances = (1e-4, 1e-3 if name == "u2netp" else 3e-2, 0.1 if name == "u2netp" else 0.3)
    for expected, tolerance in zip(golden[f"{name}/train/losses"], tolerances, strict=True):
        total, parts = deep_supervision(network(x), paddle.to_tensor(target), losses)
        total.backward()
        optimizer.step()
        optimizer.clear_grad()
        assert total.item() == pytest.approx(expected[0], rel=tolerance)
        if first is None:  # later steps of Adam are chaotic: the official code itself moves with its threads
            first = [part.item() for part in parts]
            np.testing.assert_allclose(first, expected[1:], rtol=1e-4)
    norm = network.stage1.rebnconvin.bn_s1
    np.testing.assert_allclose(
        norm._mean.numpy(), golden[f"{name}/train/stage1.rebnconvin.bn_s1.running_mean"], atol=2e-3
    )
    np.testing.assert_allclose(
        norm._variance.numpy(), golden[f"{name}/train/stage1.rebnconvin.bn_s1.running_var"], rtol=2e-3
    )


@pytest.mark.parametrize("ours", [U2Net, U2Netp])
def test_keys_shapes_and_outputs_are_bit_equal_to_paddleseg(ours):
    reference = getattr(stock, ours.__name__)(2, in_channels=4)
    network = ours(2, in_channels=4)
    expected = {key: value.shape for key, value in reference.state_dict().items()}
    assert {key: value.shape for key, value in network.state_dict().items()} == expected
    assert list(network.state_dict()) == list(reference.state_dict())
    network.set_state_dict(reference.state_dict())
    for mode in ("eval", "train"):
        getattr(network, mode)()
        getattr(reference, mode)()
        x = paddle.randn([2, 4, 47, 33])
        for found, wanted in zip(network(x), reference(x), strict=True):
            assert bool((found == wanted).all())


@pytest.mark.parametrize(("ours", "count"), [(U2Net, 44_009_869), (U2Netp, 1_131_181)])
def test_parameter_counts_are_the_official_ones(ours, count):
    network = ours(1)
    assert sum(p.size for p in network.parameters() if not p.stop_gradient) == count
    assert identify({k: v.shape for k, v in network.state_dict().items()}).network == ours.__name__


@pytest.mark.parametrize("ours", [U2Net, U2Netp])
def test_every_parameter_gets_a_finite_gradient(ours):
    network = ours(3)
    sum(output.square().mean() for output in network(paddle.randn([2, 3, 40, 40]))).backward()
    for name, parameter in network.named_parameters():
        if parameter.stop_gradient:
            assert name.endswith(("._mean", "._variance"))
            continue
        assert parameter.grad is not None, name
        assert bool(paddle.isfinite(parameter.grad).all()), name


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (33, 2), (31, 64)])
def test_any_size_is_legal_and_kept(size):
    network = U2Netp(2)
    network.eval()
    assert [output.shape for output in network(paddle.randn([1, 3, *size]))] == [[1, 2, *size]] * 7


def test_the_tables_hold_119_convolutions_each():
    from paddleseg_u2net.models.architecture import convolution_names

    for stages in NETWORKS.values():
        names = convolution_names(stages)
        assert len(names) == 119
        assert sum(has_norm for _, has_norm in names) == 112
