"""The training transforms that paddleseg lacks."""

from __future__ import annotations

import numpy as np
import pytest

from paddleseg_u2net.data.preprocessing import Preprocessing
from paddleseg_u2net.data.transforms import CropForeground, NormalizeByMax, RandomCrop, ResizeSoftMask

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


def numbered(size, *boxes, label=np.float32) -> dict:
    """A sample whose pixels tell their position, and a mask of boxes (top, left, bottom, right)."""
    mask = np.zeros(size, label)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = 1
    places = np.add.outer(np.arange(size[0]) * 1000, np.arange(size[1])).astype(np.float32)
    image = np.repeat(places[..., None], 3, axis=2)
    return {"img": image, "label": mask, "places": places, "gt_fields": ["label", "places"], "trans_info": []}


@pytest.mark.parametrize("label", [np.float32, np.uint8])
def test_crops_around_the_foreground_are_aligned_squares_that_hold_all_of_it(label):
    sides, offsets = set(), set()
    for seed in range(60):
        np.random.seed(seed)
        data = numbered((90, 100), (40, 44, 48, 54), (50, 40, 52, 42), label=label)
        whole = data["label"].sum()
        cropped = CropForeground(margin=[0.25, 1], shift=1)(data)
        height, width = cropped["label"].shape
        assert height == width
        assert 21 <= height <= 42  # 14 pixels and a margin of 0.25 to 1 on both sides
        assert cropped["img"].shape == (height, width, 3)
        assert cropped["label"].dtype == label
        assert cropped["label"].sum() == whole
        np.testing.assert_array_equal(cropped["img"][..., 0], cropped["places"])
        assert (np.diff(cropped["places"], axis=0) == 1000).all()
        assert (np.diff(cropped["places"], axis=1) == 1).all()
        sides.add(height)
        offsets.add(int(cropped["places"][0, 0]))
    assert len(sides) > 10
    assert len(offsets) > 40


def test_ignored_and_faint_pixels_are_no_foreground_to_crop_around():
    data = numbered((50, 50), (20, 20, 24, 24))
    data["label"][:3], data["label"][40:] = 255, 0.49
    before = data["label"].copy()
    cropped = CropForeground(margin=[0.5, 0.5], shift=0)(data)
    np.testing.assert_array_equal(cropped["label"], before[18:26, 18:26])


def test_values_of_soft_masks_and_ignored_pixels_are_kept_in_crops():
    data = numbered((50, 50), (20, 20, 30, 30))
    data["label"][20:25, 20:30], data["label"][30] = 0.7, 255
    cropped = CropForeground(margin=[0.5, 0.5], shift=0)(data)
    assert set(np.unique(cropped["label"])) == {np.float32(v) for v in (0, 0.7, 1, 255)}


@pytest.mark.parametrize("fill", [0, 255])
def test_samples_without_foreground_are_kept_whole(fill):
    data = numbered((20, 30))
    data["label"][:] = fill
    assert CropForeground()(data)["img"].shape == (20, 30, 3)


def test_crops_around_the_foreground_happen_with_their_probability():
    np.random.seed(0)
    crop = CropForeground(prob=0.25)
    shapes = [crop(numbered((50, 50), (20, 20, 24, 24)))["label"].shape for _ in range(400)]
    assert 0.7 < sum(shape == (50, 50) for shape in shapes) / 400 < 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"margin": [0.8, 0.3]}, r"margin: expected \[least, most\], 0 or more, got \[0.8, 0.3\]"),
        ({"margin": [-0.1, 0.3]}, "margin: expected"),
        ({"margin": [0.3]}, "margin: expected"),
        ({"shift": -1}, "shift: expected a number, 0 or more, got -1"),
    ],
)
def test_invalid_margins_and_shifts_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        CropForeground(**arguments)


def test_a_crop_by_the_mask_is_rejected_for_validation():
    with pytest.raises(ValueError, match="val_dataset.transforms: CropForeground is random"):
        Preprocessing.from_transforms([{"type": "CropForeground"}])
