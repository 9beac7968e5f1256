"""Losses against numpy, scikit-image and paddleseg."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddleseg.cvlibs import manager
from skimage.metrics import structural_similarity

from paddleseg_u2net.losses import CrossEntropyLoss, SaliencyLoss, deep_supervision

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2, 1, 24, 20)).astype(np.float32)
MASK = RNG.random((2, 1, 24, 20)).astype(np.float32)
SALIENCY = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))


def value(loss, logits=LOGITS, label=MASK) -> float:
    return loss(paddle.to_tensor(logits), paddle.to_tensor(label)).item()


def test_bce_takes_soft_masks():
    expected = -(MASK * np.log(SALIENCY) + (1 - MASK) * np.log(1 - SALIENCY)).mean()
    assert value(SaliencyLoss()) == pytest.approx(expected, rel=1e-5)


def test_labels_of_paddleseg_give_the_same_loss():
    """They are (N, H, W) int64, with `ignore_index` 255."""
    label = RNG.integers(0, 2, (2, 24, 20))
    label[:, :3] = 255
    loss = SaliencyLoss(bce=1, ssim=1, iou=1)
    assert value(loss, label=label) == value(loss, label=label[:, None].astype(np.float32))


@pytest.mark.parametrize("weights", [{"bce": -1}, {"bce": 0}, {"iou": True}, {"ssim": "1"}])
def test_weights_that_are_negative_all_zero_or_no_numbers_are_rejected(weights):
    with pytest.raises(ValueError, match="expected weights of at least 0, and one above 0"):
        SaliencyLoss(**weights)


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
    scores = [structural_similarity(s[0], m[0], **options) for s, m in zip(SALIENCY, MASK, strict=True)]
    assert value(SaliencyLoss(bce=0, ssim=1)) == pytest.approx(1 - np.mean(scores), abs=1e-5)


def test_ssim_rejects_maps_smaller_than_its_window():
    with pytest.raises(ValueError, match="at least 11 x 11 pixels.*Fix:"):
        value(SaliencyLoss(ssim=1), LOGITS[..., :8], MASK[..., :8])


def test_terms_are_added_with_their_weights():
    parts = [value(SaliencyLoss(bce=0, **{name: 1})) for name in ("ssim", "iou")]
    expected = 2 * value(SaliencyLoss()) + 3 * parts[0] + 4 * parts[1]
    assert value(SaliencyLoss(bce=2, ssim=3, iou=4)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("terms", [{}, {"bce": 0, "iou": 1}])
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


def test_deep_supervision_weights_its_parts():
    outputs = [paddle.to_tensor(LOGITS), paddle.to_tensor(-LOGITS)]
    losses = {"types": [SaliencyLoss()] * 2, "coef": [1, 0.5]}
    total, parts = deep_supervision(outputs, paddle.to_tensor(MASK), losses)
    assert [p.item() for p in parts] == pytest.approx(
        [value(SaliencyLoss()), 0.5 * value(SaliencyLoss(), -LOGITS)], rel=1e-6
    )
    assert total.item() == pytest.approx(sum(p.item() for p in parts), rel=1e-6)


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
