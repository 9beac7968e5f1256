"""Losses against numpy, SciPy, scikit-image, paddleseg and finite differences."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import paddle
import pytest
from paddleseg.cvlibs import manager
from scipy.ndimage import uniform_filter
from skimage.metrics import structural_similarity

from paddleseg_u2net.losses.cross_entropy import CrossEntropyLoss
from paddleseg_u2net.losses.saliency import BOUNDARY_WINDOW, SaliencyLoss
from paddleseg_u2net.losses.supervision import deep_supervision

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2, 1, 24, 20)).astype(np.float32)
MASK = RNG.random((2, 1, 24, 20)).astype(np.float32)
SALIENCY = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
IGNORING = MASK.copy()  # with a corner and a whole image that are ignored
IGNORING[0, :, :5, :7], IGNORING[1] = 255, 255
TERMS = [
    {"bce": 1},
    {"bce": 0, "ssim": 1},
    {"bce": 0, "iou": 1},
    {"bce": 1, "iou": 1, "boundary": 5},
    {"bce": 2, "ssim": 3, "iou": 4, "boundary": 0.5},
]


def value(loss, logits=LOGITS, label=MASK) -> float:
    return loss(paddle.to_tensor(logits), paddle.to_tensor(label)).item()


def gradient(loss, logits, label) -> np.ndarray:
    """Of a loss with respect to the logits."""
    logits = paddle.to_tensor(logits, stop_gradient=False)
    loss(logits, paddle.to_tensor(label)).backward()
    return logits.grad.astype("float32" if logits.dtype != paddle.float64 else "float64").numpy()


def assert_finite_differences_agree(loss, logits, label) -> None:
    """Along ten random directions, in float64."""
    logits, exact = logits.astype(np.float64), gradient(loss, logits.astype(np.float64), label)
    for _ in range(10):
        step = RNG.normal(size=logits.shape) * 1e-5
        difference = value(loss, logits + step, label) - value(loss, logits - step, label)
        assert difference / 2 == pytest.approx((exact * step).sum(), rel=1e-5, abs=1e-12)


def edge_weights(mask: np.ndarray, strength: float) -> np.ndarray:
    """F3Net's 1 + 5 |avgpool31(mask) - mask|, over the valid pixels of each window; 0 where ignored."""
    valid = (mask != 255).astype(np.float64)
    found = np.zeros(mask.shape)
    for own, m, v in zip(found[:, 0], (mask * valid)[:, 0], valid[:, 0], strict=True):
        sums = [uniform_filter(x.astype(np.float64), BOUNDARY_WINDOW, mode="constant") for x in (m, v)]
        own[:] = (1 + strength * np.abs(sums[0] / np.maximum(sums[1], 1e-9) - m)) * v
    return found


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("label", [MASK, IGNORING], ids=["whole", "ignoring"])
def test_gradients_equal_finite_differences(terms, label):
    assert_finite_differences_agree(SaliencyLoss(**terms), LOGITS, label)


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 0.5]])
def test_gradients_of_cross_entropy_equal_finite_differences(weight):
    label = RNG.integers(0, 3, (2, 1, 5, 4))
    label[0, :, :2] = 255
    assert_finite_differences_agree(CrossEntropyLoss(weight), RNG.normal(size=(2, 3, 5, 4)), label)


@pytest.mark.parametrize("label", [MASK, IGNORING, (MASK > 0.5) * 1.0], ids=["soft", "ignoring", "hard"])
def test_boundary_weighs_pixels_as_f3net_does(label):
    weights = edge_weights(label, 5)
    mask = np.where(label == 255, 0, label).astype(np.float64)
    losses = -(mask * np.log(SALIENCY) + (1 - mask) * np.log(1 - SALIENCY))
    expected = (losses * weights).sum() / weights.sum()
    logits = LOGITS.astype(np.float64)
    assert value(SaliencyLoss(boundary=5), logits, label) == pytest.approx(expected, rel=1e-9)
    intersection = (SALIENCY * mask * weights).sum((1, 2, 3)) + 1e-6
    union = ((SALIENCY + mask) * weights).sum((1, 2, 3)) + 2e-6 - intersection
    expected = (1 - intersection / union).mean()
    loss = SaliencyLoss(bce=0, iou=1, boundary=5)
    assert value(loss, logits, label) == pytest.approx(expected, rel=1e-9)


def test_boundary_raises_the_loss_of_errors_at_the_edge_alone():
    mask = np.zeros((1, 1, 96, 96), np.float32)
    mask[..., 48:] = 1  # a straight edge, more than a window away from the far columns
    for column, factor in ((4, 1), (47, 1 + 5 * 15 / 31)):
        logits = np.where(mask > 0.5, 9, -9).astype(np.float32)
        logits[..., column] = 9
        ratio = value(SaliencyLoss(boundary=5), logits, mask) / value(SaliencyLoss(), logits, mask)
        mean_weight = edge_weights(mask, 5).mean()
        assert ratio == pytest.approx(factor / mean_weight, rel=1e-2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("terms", TERMS)
def test_half_precision_gives_the_loss_of_float32(terms, dtype):
    half = paddle.to_tensor(5 * LOGITS).astype(dtype)
    label, loss = paddle.to_tensor(MASK), SaliencyLoss(**terms)
    found = loss(half, label)
    assert found.dtype == paddle.float32
    assert found.item() == loss(half.astype("float32"), label).item()


@pytest.mark.parametrize("loss", [SaliencyLoss(ssim=1), CrossEntropyLoss()])
def test_losses_switch_mixed_precision_off(monkeypatch, loss):
    """Paddleseg computes losses within `auto_cast`, which would convert float32 back to half precision."""
    inside = []

    @contextmanager
    def auto_cast(enable):
        inside.append(enable)
        yield
        inside.append("left")

    monkeypatch.setattr(paddle.amp, "auto_cast", auto_cast)
    classes = isinstance(loss, CrossEntropyLoss)
    label = (MASK > 0.5).astype(np.int64) if classes else MASK
    value(loss, np.repeat(LOGITS, 2, 1) if classes else LOGITS, label)
    assert inside == [False, "left"]


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("label", [0, 0.5, 1, 255], ids=["empty", "grey", "full", "ignored"])
def test_constant_and_extreme_logits_give_finite_losses_and_gradients(terms, label):
    loss, mask = SaliencyLoss(**terms), np.full_like(MASK, label)
    for logits in (*(np.full_like(LOGITS, logit) for logit in (0, 3, -100, 100)), 100 * LOGITS):
        assert np.isfinite(value(loss, logits, mask))
        slopes = gradient(loss, logits, mask)
        assert np.isfinite(slopes).all()
        assert label != 255 or not slopes.any()


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 0.5]])
def test_cross_entropy_is_finite_for_extreme_logits_and_0_for_ignored_images(weight):
    logits = RNG.choice([-100, 0, 100], (2, 3, 5, 4)).astype(np.float32)
    loss = CrossEntropyLoss(weight)
    for label in (np.zeros((2, 1, 5, 4), np.int64), np.full((2, 1, 5, 4), 255)):
        assert np.isfinite(value(loss, logits, label))
        assert np.isfinite(gradient(loss, logits, label)).all()
    assert value(loss, logits, label) == 0
    half = paddle.to_tensor(logits).astype("float16")
    assert loss(half, paddle.zeros([2, 1, 5, 4], "int64")).item() == value(loss, logits, label * 0)


def test_bce_takes_soft_masks():
    expected = -(MASK * np.log(SALIENCY) + (1 - MASK) * np.log(1 - SALIENCY)).mean()
    assert value(SaliencyLoss()) == pytest.approx(expected, rel=1e-5)


def test_labels_of_paddleseg_give_the_same_loss():
    """They are (N, H, W) int64, with `ignore_index` 255."""
    label = RNG.integers(0, 2, (2, 24, 20))
    label[:, :3] = 255
    loss = SaliencyLoss(bce=1, ssim=1, iou=1)
    assert value(loss, label=label) == value(loss, label=label[:, None].astype(np.float32))


@pytest.mark.parametrize(
    "weights",
    [{"bce": -1}, {"bce": 0}, {"iou": True}, {"ssim": "1"}, {"boundary": -1}, {"bce": float("nan")}],
)
def test_weights_that_are_negative_all_zero_or_no_numbers_are_rejected(weights):
    with pytest.raises(ValueError, match="expected finite weights of at least 0, and bce, ssim or iou above"):
        SaliencyLoss(**weights)


def test_boundary_without_a_loss_to_act_on_is_rejected():
    with pytest.raises(ValueError, match=r"boundary: has no effect on ssim\. Fix: "):
        SaliencyLoss(bce=0, ssim=1, boundary=5)


def test_bce_is_finite_for_extreme_logits():
    assert value(SaliencyLoss(), np.full_like(LOGITS, -1e4)) == pytest.approx(MASK.mean() * 1e4, rel=1e-4)


def test_iou_is_averaged_over_images():
    intersection = (SALIENCY * MASK).sum((1, 2, 3))
    union = SALIENCY.sum((1, 2, 3)) + MASK.sum((1, 2, 3)) - intersection
    assert value(SaliencyLoss(bce=0, iou=1)) == pytest.approx((1 - intersection / union).mean(), rel=1e-5)


def test_iou_loss_of_two_empty_maps_is_zero():
    assert value(
        SaliencyLoss(bce=0, iou=1), np.full_like(LOGITS, -200), np.zeros_like(MASK)
    ) == pytest.approx(0)


def test_ssim_equals_scikit_image():
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    mask = MASK.astype(np.float64)
    scores = [structural_similarity(s[0], m[0], **options) for s, m in zip(SALIENCY, mask, strict=True)]
    loss = SaliencyLoss(bce=0, ssim=1)
    assert value(loss, LOGITS.astype(np.float64), mask) == pytest.approx(1 - np.mean(scores), rel=1e-9)
    assert value(loss) == pytest.approx(1 - np.mean(scores), abs=1e-5)


def test_ssim_rejects_maps_smaller_than_its_window():
    with pytest.raises(ValueError, match="at least 11 x 11 pixels.*Fix:"):
        value(SaliencyLoss(ssim=1), LOGITS[..., :8], MASK[..., :8])


def test_terms_are_added_with_their_weights():
    parts = [value(SaliencyLoss(bce=0, **{name: 1})) for name in ("ssim", "iou")]
    expected = 2 * value(SaliencyLoss()) + 3 * parts[0] + 4 * parts[1]
    assert value(SaliencyLoss(bce=2, ssim=3, iou=4)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("terms", [{}, {"bce": 0, "iou": 1}, {"iou": 1, "boundary": 5}])
def test_ignored_pixels_do_not_change_the_loss(terms):
    padded_logits = np.concatenate([LOGITS, np.full_like(LOGITS, 9)], axis=2)
    padded_mask = np.concatenate([MASK, np.full_like(MASK, 255)], axis=2)
    assert value(SaliencyLoss(**terms), padded_logits, padded_mask) == pytest.approx(
        value(SaliencyLoss(**terms)), rel=1e-5
    )


def test_loss_of_a_batch_of_ignored_pixels_is_zero():
    assert value(SaliencyLoss(), LOGITS, np.full_like(MASK, 255)) == 0


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 0.5]])
@pytest.mark.parametrize("ndim", [3, 4])
def test_cross_entropy_is_the_weighted_mean_over_valid_pixels(weight, ndim):
    logits = RNG.normal(size=(2, 3, 5, 4)).astype(np.float32)
    label = RNG.integers(0, 3, (2, 5, 4))
    label[0, :2] = 255
    log_p = logits - np.log(np.exp(logits.astype(np.float64)).sum(1, keepdims=True))
    picked = np.take_along_axis(log_p, np.where(label == 255, 0, label)[:, None], 1)[:, 0]
    share = np.array(weight or [1, 1, 1])[np.where(label == 255, 0, label)] * (label != 255)
    found = value(CrossEntropyLoss(weight), logits, label if ndim == 3 else label[:, None])
    assert found == pytest.approx(-(picked * share).sum() / share.sum(), rel=1e-5)


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 0.5]])
@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (1, 3, 150, 131), (2, 3, 37, 53)])
def test_cross_entropy_in_float32_equals_paddles_in_float64(weight, shape, monkeypatch):
    logits = 9 * RNG.normal(size=shape)
    label = RNG.choice([0, 1, 2, 255], (shape[0], 1, *shape[2:]))
    label[0, 0, 0, 0] = 1
    loss, found = CrossEntropyLoss(weight), []
    for threads in "13":
        monkeypatch.setenv("U2NET_THREADS", threads)
        single = logits.astype(np.float32)
        found.append((value(loss, single, label), gradient(loss, single, label)))
    assert found[0][0] == pytest.approx(value(loss, logits, label), rel=1e-6)
    exact = gradient(loss, logits, label)
    np.testing.assert_allclose(found[0][1], exact, rtol=1e-4, atol=1e-6 * np.abs(exact).max())
    assert found[0][0] == found[1][0]
    assert np.array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("wrong", [-1, 3, 256])
def test_cross_entropy_refuses_an_id_of_no_class(wrong):
    label = np.zeros((1, 1, 4, 4), np.int64)
    label[0, 0, 1, 1] = wrong
    with pytest.raises(ValueError, match=f"label {wrong}: expected 0 to 2, or 255 for ignored pixels"):
        value(CrossEntropyLoss(), np.zeros((1, 3, 4, 4), np.float32), label)


def test_deep_supervision_weights_its_parts():
    outputs = [paddle.to_tensor(LOGITS), paddle.to_tensor(-LOGITS)]
    losses = {"types": [SaliencyLoss()] * 2, "coef": [1, 0.5]}
    total, parts = deep_supervision(outputs, paddle.to_tensor(MASK), losses)
    assert [p.item() for p in parts] == pytest.approx(
        [value(SaliencyLoss()), 0.5 * value(SaliencyLoss(), -LOGITS)], rel=1e-6
    )
    assert total.item() == pytest.approx(sum(p.item() for p in parts), rel=1e-6)


def test_gradient_of_each_output_is_multiplied_by_its_coef():
    plain = gradient(SaliencyLoss(), LOGITS, MASK)
    outputs = [paddle.to_tensor(LOGITS, stop_gradient=False) for _ in range(3)]
    coef = [1, 0, 0.25]
    deep_supervision(outputs, paddle.to_tensor(MASK), {"types": [SaliencyLoss()] * 3, "coef": coef})[
        0
    ].backward()
    for output, factor in zip(outputs, coef, strict=True):
        np.testing.assert_allclose(output.grad.numpy(), factor * plain, rtol=1e-6)


def test_deep_supervision_rejects_a_wrong_number_of_losses():
    with pytest.raises(ValueError, match=r"1 coef given, but the model has 2 outputs.*coef: \[1, 1\]"):
        deep_supervision([None, None], None, {"types": [None], "coef": [1]})


@pytest.mark.parametrize("name", ["OhemCrossEntropyLoss", "LovaszSoftmaxLoss", "DiceLoss"])
def test_losses_of_paddleseg_accept_our_labels(name):
    loss = manager.LOSSES[name]()
    label = paddle.to_tensor(RNG.integers(0, 2, (2, 1, 24, 20)))
    logits = paddle.to_tensor(RNG.normal(size=(2, 2, 24, 20)).astype(np.float32))
    total, _ = deep_supervision([logits], label, {"types": [loss], "coef": [1]})
    assert np.isfinite(total.item())


def test_each_of_the_labels_that_overlap_is_a_map_of_its_own():
    logits, label = (paddle.to_tensor(x.reshape(1, 2, 24, 20)) for x in (LOGITS, MASK))
    loss = SaliencyLoss(bce=0, iou=1)
    total, _ = deep_supervision([logits], label, {"types": [loss], "coef": [1]})
    alone = [value(loss, LOGITS[i : i + 1], MASK[i : i + 1]) for i in range(2)]
    assert total.item() == pytest.approx(np.mean(alone), rel=1e-6)
