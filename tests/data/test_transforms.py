"""The training transforms that paddleseg lacks."""

from __future__ import annotations

import numpy as np
import pytest

from paddleseg_u2net.data.transforms import NormalizeByMax, RandomCrop, ResizeSoftMask

RNG = np.random.default_rng(0)


def sample(size=(40, 30)) -> dict:
    image = RNG.random((*size, 3)).astype(np.float32) * 255
    return {"img": image, "label": image[..., 0] / 255, "gt_fields": ["label"], "trans_info": []}


def test_resized_soft_masks_stay_soft_and_aligned():
    resized = ResizeSoftMask([24, 16])(sample())
    assert resized["img"].shape == (16, 24, 3)
    np.testing.assert_allclose(resized["label"], resized["img"][..., 0] / 255, atol=1e-6)
    assert len(np.unique(resized["label"])) > 100


def test_ignored_pixels_are_not_mixed_and_overshoot_is_clipped():
    data = sample()
    data["label"][:10] = 255
    label = ResizeSoftMask([45, 60], interp="CUBIC")(data)["label"]
    assert label.shape == (60, 45)
    kept = label[label != 255]
    assert (label[:15] == 255).all()
    assert 0 <= kept.min() <= kept.max() <= 1
    assert len(kept) > 0.7 * label.size


def test_nearest_interpolation_creates_no_new_values():
    data = sample()
    values = set(data["label"].ravel().tolist())
    assert set(ResizeSoftMask([24, 16], interp="NEAREST")(data)["label"].ravel().tolist()) <= values


def test_crops_of_image_and_mask_are_aligned_and_use_the_official_offsets():
    rows = set()
    for seed in range(60):
        np.random.seed(seed)
        data = sample()
        data["label"] = np.add.outer(np.arange(40) * 100, np.arange(30))
        data["img"] = np.repeat(data["label"][..., None], 3, axis=2).astype(np.float32)
        cropped = RandomCrop([30, 32])(data)
        assert cropped["img"].shape == (32, 30, 3)
        np.testing.assert_array_equal(cropped["img"][..., 0], cropped["label"])
        rows.add(int(cropped["label"][0, 0]) // 100)
    assert rows == set(range(8))  # 40 - 32 = 8: never the last offset, as in the official code


def test_a_crop_as_large_as_the_image_keeps_it():
    assert RandomCrop([30, 40])(sample())["img"].shape == (40, 30, 3)


def test_a_crop_larger_than_the_image_is_rejected():
    with pytest.raises(ValueError, match=r"\(H, W\) \(50, 30\) exceeds"):
        RandomCrop([30, 50])(sample())


def test_unknown_interpolation_is_rejected():
    with pytest.raises(ValueError, match="interp: 'BEST', expected NEAREST"):
        ResizeSoftMask(interp="BEST")


def test_normalization_leaves_the_mask_unchanged():
    data = sample()
    before = data["label"].copy()
    after = NormalizeByMax()(data)
    np.testing.assert_array_equal(after["label"], before)
    assert after["img"].max() < 3
