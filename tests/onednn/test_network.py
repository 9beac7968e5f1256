"""The oneDNN engine against Paddle's dygraph, in float32 and float64."""

from __future__ import annotations

import copy
from functools import cache
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from paddleseg_u2net.losses.supervision import deep_supervision
from paddleseg_u2net.models.u2net import U2Net, U2Netp
from paddleseg_u2net.onednn.library import Unavailable, has_bf16, library
from paddleseg_u2net.onednn.network import OneDnnNetwork

try:
    library()
except Unavailable as error:
    pytest.skip(str(error), allow_module_level=True)

STATISTICS = ("._mean", "._variance")


def bce(logits, label):
    return paddle.nn.functional.binary_cross_entropy_with_logits(logits, label)


LOSSES = {"types": [bce] * 7, "coef": [1, 0.5, 1, 1, 2, 1, 1]}


def make(kind=U2Netp, classes=1, in_channels=3, open_relus=False):
    """A network with varied BatchNorm parameters; with raised biases no ReLU changes sign by rounding."""
    return copy.deepcopy(built(kind, classes, in_channels, open_relus))


@cache
def built(kind, classes, in_channels, open_relus):
    """What `make` copies."""
    paddle.seed(1)
    network = kind(classes, in_channels)
    rng = np.random.default_rng(0)
    for name, parameter in network.named_parameters():
        if ".bn_s1." in name and not name.endswith(STATISTICS):
            centre = 1 if name.endswith("weight") else 5 * open_relus
            values = rng.normal(centre, 0.2, parameter.shape)
            parameter.set_value(paddle.to_tensor(values.astype("float32")))
    network.train()
    return network


def freeze_norms(network):
    """Use the running statistics."""
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            layer.eval()
    return network


def double(network):
    """The same network in float64."""
    paddle.set_default_dtype("float64")
    try:
        found = type(network)(network.num_classes, network.in_channels)
    finally:
        paddle.set_default_dtype("float32")
    found.set_state_dict({key: value.astype("float64") for key, value in network.state_dict().items()})
    found.train()
    return found


def batch(network, n, h, w):
    rng = np.random.default_rng(2)
    image = rng.normal(size=(n, network.in_channels, h, w)).astype("float32")
    return image, (rng.random((n, network.num_classes, h, w)) > 0.5).astype("float32")


def step(call, network, image, label):
    """Loss, outputs, gradients and statistics of one step; clears the gradients."""
    dtype = network.state_dict()["outconv.weight"].dtype
    outputs = call(paddle.to_tensor(image, dtype=dtype))
    loss, _ = deep_supervision(outputs, paddle.to_tensor(label, dtype=dtype), LOSSES)
    loss.backward()
    named = dict(network.named_parameters())
    gradients = {
        key: value.grad.numpy().copy()
        for key, value in named.items()
        if not key.endswith((*STATISTICS, "conv_s1.bias")) and value.grad is not None
    }
    statistics = {key: value.numpy().copy() for key, value in named.items() if key.endswith(STATISTICS)}
    network.clear_gradients()
    return loss.item(), [output.numpy() for output in outputs], gradients, statistics


def distance(found, expected):
    """Relative distance of arrays, in the Euclidean norm."""
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-12))


def together(arrays):
    return np.concatenate([arrays[key].ravel() for key in sorted(arrays)])


@pytest.mark.parametrize(
    ("kind", "classes", "in_channels", "n", "h", "w"),
    [
        (U2Netp, 1, 3, 2, 64, 48),
        (U2Netp, 2, 4, 2, 33, 47),
        (U2Netp, 11, 1, 1, 40, 32),
        pytest.param(U2Net, 1, 3, 2, 64, 64, marks=pytest.mark.slow),
    ],
)
def test_gradients_equal_those_of_paddle_and_float64(kind, classes, in_channels, n, h, w):
    network = make(kind, classes, in_channels, open_relus=True)
    reference, exact = copy.deepcopy(network), double(network)
    image, label = batch(network, n, h, w)
    loss, outputs, gradients, statistics = step(OneDnnNetwork(network, threads=1), network, image, label)
    paddles = step(reference, reference, image, label)
    expected = step(exact, exact, image, label)
    for other in (expected, paddles):
        assert loss == pytest.approx(other[0], rel=1e-5)
        assert gradients.keys() == other[2].keys()
        assert distance(together(gradients), together(other[2])) < 1e-5
        assert max(map(distance, outputs, other[1])) < 1e-5
        assert max(distance(statistics[key], other[3][key]) for key in statistics) < 1e-5
    rounding = 1e-6 * np.linalg.norm(together(expected[2]))
    for key, value in expected[2].items():
        error = np.linalg.norm(gradients[key] - value)
        assert error < 2e-3 * np.linalg.norm(value) + rounding, key


def test_random_weights_are_about_as_far_from_float64_as_in_paddle():
    network = make()
    reference, exact = copy.deepcopy(network), double(network)
    image, label = batch(network, 2, 40, 33)
    found = step(OneDnnNetwork(network, threads=1), network, image, label)
    paddles = step(reference, reference, image, label)
    expected = step(exact, exact, image, label)
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    own, theirs = (distance(together(r[2]), together(expected[2])) for r in (found, paddles))
    assert own < 10 * theirs  # ReLUs change sign by rounding, in the one at other places than in the other
    own, theirs = (np.mean([*map(distance, r[1], expected[1])]) for r in (found, paddles))
    assert own < 3 * theirs


@pytest.mark.parametrize(("n", "h", "w"), [(2, 96, 96), (1, 75, 53), (3, 16, 16)])
def test_statistics_of_large_maps_are_exact(n, h, w):
    network = make()
    layer = network.stage1.rebnconvin  # deeper ones also have the rounding of the layers before them
    exact = copy.deepcopy(layer).to(dtype="float64")
    image, _ = batch(network, n, h, w)
    OneDnnNetwork(network, threads=1)(paddle.to_tensor(image))
    exact(paddle.to_tensor(image, dtype="float64"))
    assert distance(layer.bn_s1._variance.numpy(), exact.bn_s1._variance.numpy()) < 1.5e-7
    assert np.abs(layer.bn_s1._mean.numpy() - exact.bn_s1._mean.numpy()).max() < 1e-7


def test_steps_are_repeatable_bit_for_bit():
    image, label = batch(make(), 2, 32, 32)
    runs = []
    for _ in range(2):
        network = make()
        engine = OneDnnNetwork(network, threads=2)
        first, second = (step(engine, network, image, label) for _ in range(2))
        assert all(np.array_equal(first[2][key], second[2][key]) for key in first[2])
        runs.append(together(second[2]))
    assert np.array_equal(*runs)


def test_frozen_parts_get_no_gradient_and_keep_their_statistics():
    network = freeze_norms(make(open_relus=True))
    for name, parameter in network.named_parameters():
        if name.startswith(("stage1.", "stage2.", "stage4d.")):
            parameter.stop_gradient = True
    reference = copy.deepcopy(network)
    image, label = batch(network, 2, 32, 32)
    engine = OneDnnNetwork(network, threads=1)
    engine.training = True
    before = {key: value.numpy().copy() for key, value in network.state_dict().items()}
    found = step(engine, network, image, label)
    expected = step(reference, reference, image, label)
    assert found[2].keys() == expected[2].keys()
    assert not any(key.startswith("stage1.") for key in found[2])
    assert distance(together(found[2]), together(expected[2])) < 1e-5
    assert all(np.array_equal(before[key], found[3][key]) for key in found[3])


@pytest.mark.parametrize(
    ("kind", "n", "h", "w"),
    [
        (U2Netp, 2, 32, 32),
        (U2Netp, 1, 1, 1),
        (U2Netp, 3, 5, 2),
        pytest.param(U2Net, 1, 17, 16, marks=pytest.mark.slow),
    ],
)
def test_frozen_batch_norm_gives_the_convolution_biases_a_gradient(kind, n, h, w):
    network = freeze_norms(make(kind, open_relus=True))
    reference = copy.deepcopy(network)
    image, _ = batch(network, n, h, w)
    engine = OneDnnNetwork(network, threads=1)
    engine.training = True
    for call in (engine, reference):
        paddle.add_n([output.mean() for output in call(paddle.to_tensor(image))]).backward()
    theirs = dict(reference.named_parameters())
    keys = [key for key, value in network.named_parameters() if not value.stop_gradient]
    assert any(key.endswith("conv_s1.bias") for key in keys)
    found, expected = (
        np.concatenate([named[key].grad.numpy().ravel() for key in keys])
        for named in (dict(network.named_parameters()), theirs)
    )
    assert distance(found, expected) < 1e-5


def test_gradients_add_up_and_sizes_share_one_arena():
    network = freeze_norms(make(open_relus=True))
    engine, reference = OneDnnNetwork(network, threads=1), copy.deepcopy(network)
    engine.training = True
    sizes = [(16, 16), (24, 20), (16, 16), (8, 32)]
    for call in (engine, reference):
        for size in sizes:
            image, label = batch(network, 1, *size)
            outputs = call(paddle.to_tensor(image))
            deep_supervision(outputs, paddle.to_tensor(label), LOSSES)[0].backward()
    pairs = zip(network.named_parameters(), reference.named_parameters(), strict=True)
    for (name, own), (_, theirs) in pairs:
        if name.endswith("conv_s1.weight"):
            assert distance(own.grad.numpy(), theirs.grad.numpy()) < 2e-3, name
    assert len(engine.plans) == 3
    assert engine.arena.size >= max(plan.size for plan in engine.plans.values())


def test_number_of_plans_is_bounded(monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.onednn.network.MAX_PLANS", 2)
    monkeypatch.setattr("paddleseg_u2net.onednn.network.Plan", lambda *_: SimpleNamespace(size=0))
    engine = OneDnnNetwork(U2Netp(1))
    for width in (1, 2, 1, 3):
        engine.plan((1, 3, 8, width))
    assert [options.shape[3] for options in engine.plans] == [1, 3]  # 2 was not needed for longest


def test_a_second_forward_before_the_backward_is_refused():
    network = make()
    engine = OneDnnNetwork(network, threads=1)
    image = paddle.to_tensor(batch(network, 2, 16, 16)[0])
    first = engine(image)
    engine(image)
    with pytest.raises(OSError, match="one forward before each backward"):
        first[0].sum().backward()


def test_in_eval_mode_the_network_itself_runs():
    network = make()
    engine = OneDnnNetwork(network)
    engine.eval()
    image = paddle.to_tensor(batch(network, 1, 16, 16)[0])
    assert np.array_equal(engine(image)[0].numpy(), network(image)[0].numpy())
    assert not engine.plans


def test_a_refused_shape_is_left_to_paddle_with_a_warning(monkeypatch, caplog):
    network = make()
    engine, image = OneDnnNetwork(network), paddle.to_tensor(batch(network, 2, 16, 16)[0])
    monkeypatch.setattr("paddleseg_u2net.onednn.operations.POOLING_MAX", 12345)
    expected = copy.deepcopy(network)(image)[0].numpy()
    assert np.array_equal(engine(image)[0].numpy(), expected)
    assert "oneDNN: images of 16x16 in batches of 2 are refused: dnnl_pooling" in caplog.text
    assert "Paddle computes all steps from here on" in caplog.text
    engine = OneDnnNetwork(network, "bf16")
    with pytest.raises(Unavailable):
        engine(image)


@pytest.mark.parametrize("size", [1, 32])
def test_one_value_per_channel_is_left_to_paddle_which_does_not_normalize_it(size, caplog):
    network = make()
    reference = copy.deepcopy(network)
    image, label = batch(network, 1, size, size)
    found = step(OneDnnNetwork(network, threads=1), network, image, label)
    assert found[0] == step(reference, reference, image, label)[0]
    assert f"images of {size}x{size} in batches of 1 are refused: " in caplog.text
    assert "gets one value per channel, which Paddle does not normalize" in caplog.text


def test_a_batch_that_does_not_fit_names_how_many_images_may(monkeypatch):
    network = make()
    engine = OneDnnNetwork(network, threads=1)
    sizes = {n: engine.plan((n, 3, 32, 64)).size for n in (1, 4)}
    engine.plans.clear()

    def plan(flow, shapes, options, arena):
        """A stand-in for plans, as building each takes long."""
        return SimpleNamespace(size=sizes[options.shape[0]], options=options)

    monkeypatch.setattr("paddleseg_u2net.onednn.network.Plan", plan)
    one = sizes[1]
    monkeypatch.setattr("paddleseg_u2net.onednn.network.available_memory", lambda: one)
    image = paddle.to_tensor(batch(network, 4, 32, 64)[0])
    with pytest.raises(ValueError, match=r"4 images of 32x64 needs .*Fix: --batch_size [12] or less"):
        engine(image)
    engine.plan((1, 3, 32, 64))  # raises if it does not fit
    monkeypatch.setattr("paddleseg_u2net.onednn.network.available_memory", lambda: 100)
    with pytest.raises(ValueError, match="Fix: smaller images"):
        engine(image)
    engine.arena.reserve(one)  # which a larger one replaces
    engine.plans.clear()
    engine.plan((1, 3, 32, 64))


@pytest.mark.skipif(not has_bf16(), reason="this processor has no units for bfloat16")
def test_bf16_is_close_to_float32():
    network = make(open_relus=True)
    reference = copy.deepcopy(network)
    image, label = batch(network, 2, 64, 64)
    found = step(OneDnnNetwork(network, "bf16", threads=1), network, image, label)
    expected = step(reference, reference, image, label)
    assert found[0] == pytest.approx(expected[0], rel=1e-2)
    assert distance(together(found[2]), together(expected[2])) < 0.05
    assert all(value.dtype == np.float32 for value in found[2].values())
