"""Preprocessing against the transforms of paddleseg that training uses."""

from __future__ import annotations

import numpy as np
import pytest
from paddleseg.cvlibs import manager
from paddleseg.transforms import Compose

from paddleseg_u2net.data.preprocessing import STEPS, Preprocessing, normalize_by_max

RNG = np.random.default_rng(0)
MEAN = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
TRANSFORMS = {
    "official": [{"type": "ResizeSoftMask", "target_size": [320, 320]}, {"type": "NormalizeByMax"}],
    "not square": [{"type": "Resize", "target_size": [64, 48]}, {"type": "Normalize", **MEAN}],
    "keep ratio": [{"type": "Resize", "target_size": [64, 48], "keep_ratio": True, "size_divisor": 8}],
    "cubic": [{"type": "Resize", "target_size": [50, 31], "interp": "CUBIC"}, {"type": "Normalize"}],
    "long": [{"type": "ResizeByLong", "long_size": 60}, {"type": "Normalize"}],
    "short": [{"type": "ResizeByShort", "short_size": 40, "max_size": 90}, {"type": "Normalize"}],
    "limit": [{"type": "LimitLong", "max_long": 40, "min_long": 30}, {"type": "Normalize"}],
    "pad": [{"type": "Padding", "target_size": [130, 140], "im_padding_value": 3}, {"type": "Normalize"}],
    "aspect": [{"type": "PaddingByAspectRatio", "aspect_ratio": 1.5}, {"type": "Normalize"}],
    "nothing": [],
}
SIZES = [(37, 91), (91, 37), (1, 1), (2, 100), (64, 48)]


def composed(transforms, image) -> np.ndarray:
    """The result of paddleseg's Compose, which takes BGR float32."""
    operators = [
        manager.TRANSFORMS[step["type"]](**{k: v for k, v in step.items() if k != "type"})
        for step in transforms
    ]
    sample = {"img": image[..., ::-1].astype(np.float32), "gt_fields": []}
    return Compose(operators)(sample)["img"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_preprocessing_equals_the_training_transforms(name, size):
    image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    tensor, _ = Preprocessing.from_transforms(TRANSFORMS[name])(image)
    np.testing.assert_array_equal(tensor, composed(TRANSFORMS[name], image))
    assert tensor.dtype == np.float32


@pytest.mark.parametrize("size", [*SIZES, (1, 120), (130, 1)])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_maps_are_restored_to_the_size_of_the_image(name, size):
    preprocessing = Preprocessing.from_transforms(TRANSFORMS[name])
    tensor, changes = preprocessing(np.zeros((*size, 3), np.uint8))
    maps = preprocessing.restore(np.zeros((2, *tensor.shape[1:]), np.float32), changes)
    assert maps.shape == (2, *size)


def test_restore_removes_padding():
    preprocessing = Preprocessing.from_transforms([{"type": "Padding", "target_size": [9, 7]}])
    image = RNG.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    tensor, changes = preprocessing(image)
    np.testing.assert_array_equal(preprocessing.restore(tensor, changes), image.transpose(2, 0, 1))


def test_official_scaling_divides_by_the_maximum():
    image = RNG.integers(0, 200, (8, 8, 3)).astype(np.float32)
    mean, std = np.array(MEAN["mean"]), np.array(MEAN["std"])
    np.testing.assert_allclose(normalize_by_max(image), (image / image.max() - mean) / std, atol=1e-6)


def test_official_scaling_of_a_black_image_is_finite():
    assert np.isfinite(normalize_by_max(np.zeros((4, 4, 3), np.float32))).all()


def test_grey_input_has_one_channel():
    preprocessing = Preprocessing.from_transforms(
        [{"type": "Resize", "target_size": [8, 8]}, {"type": "Normalize"}], channels=1
    )
    tensor, _ = preprocessing(RNG.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    assert tensor.shape == (1, 8, 8)


@pytest.mark.parametrize(
    "step",
    [
        {"type": "RandomHorizontalFlip"},
        {"type": "Resize", "interp": "RANDOM"},
        {"type": "ResizeByShort", "short_size": [200, 300]},
    ],
)
def test_random_transforms_are_rejected(step):
    with pytest.raises(ValueError, match=f"{step['type']} is random or cannot be undone.*Fix: use"):
        Preprocessing.from_transforms([step])


@pytest.mark.parametrize("name", STEPS)
def test_unknown_arguments_are_rejected(name):
    with pytest.raises(ValueError, match=f"{name} has no argument sise"):
        Preprocessing.from_transforms([{"type": name, "sise": 3}])


def test_an_image_larger_than_its_padding_is_rejected():
    preprocessing = Preprocessing.from_transforms([{"type": "Padding", "target_size": [4, 4]}])
    with pytest.raises(ValueError, match=r"\(5, 6\): larger than target_size"):
        preprocessing(np.zeros((5, 6, 3), np.uint8))


@pytest.mark.parametrize("size", [(2999, 61), (1300, 1), (1281, 900), (1280, 320)])
@pytest.mark.parametrize("name", ["official", "not square"])
def test_large_images_are_shrunk_as_in_training(name, size):
    image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    tensor, _ = Preprocessing.from_transforms(TRANSFORMS[name])(image)
    np.testing.assert_array_equal(tensor, composed(TRANSFORMS[name], image))
