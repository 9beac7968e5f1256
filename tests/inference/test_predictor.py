"""Sizes, batches, test-time augmentation, sliding window."""

from __future__ import annotations

import re

import numpy as np
import pytest

from paddleseg_u2net.inference.augmentation import TestTimeAugmentation
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.inference.predictor import Predictor

RNG = np.random.default_rng(0)


def config(*transforms, num_classes=1) -> dict:
    return {"model": {"num_classes": num_classes}, "val_dataset": {"transforms": list(transforms)}}


def red(batch: np.ndarray) -> np.ndarray:
    """An engine whose saliency is the red channel."""
    return batch[:, :1] / 255


def left_biased(batch: np.ndarray) -> np.ndarray:
    """An engine whose saliency falls to the right and to the bottom: it depends on pixel positions."""
    height, width = batch.shape[2:]
    ramp = np.add.outer(np.linspace(1, 0.5, height), np.linspace(1, 0, width)) / 2
    return np.broadcast_to(ramp.astype(np.float32), (len(batch), 1, height, width)).copy()


def image(*size: int) -> np.ndarray:
    return RNG.integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (37, 20), (320, 8)])
def test_saliency_has_the_size_of_the_image(size):
    picture = np.full((*size, 3), 51, np.uint8)
    saliency = Predictor(red, config({"type": "Resize", "target_size": [16, 24]}))(picture).saliency
    assert saliency.shape == size
    assert saliency.dtype == np.float32
    np.testing.assert_allclose(saliency, 0.2, atol=1e-6)


def test_pixels_are_not_interpolated_without_a_resize():
    picture = image(13, 7)
    np.testing.assert_allclose(Predictor(red, config())(picture), picture[..., 0] / 255, atol=1e-6)


def test_classes_are_the_most_probable_ones():
    def three(batch):
        maps = np.zeros((len(batch), 3, *batch.shape[2:]), np.float32)
        maps[:, 2, :, :2] = 1
        maps[:, 0, :, 2:] = 1
        return maps

    predictor = Predictor(three, config(num_classes=3))
    classes = predictor(image(2, 4)).classes
    assert classes.tolist() == [[2, 2, 0, 0]] * 2
    assert classes.dtype == np.uint8
    assert predictor.predict([image(2, 4)])[0].saliency.tolist() == [[1, 1, 0, 0]] * 2


def test_saliency_of_one_half_counts_as_object():
    prediction = Prediction(np.array([[[0.49, 0.5, 0.51]]], np.float32))
    assert prediction.classes.tolist() == [[0, 1, 1]]


def test_images_of_several_sizes_are_batched_by_size_and_returned_in_order():
    calls = []

    def counted(batch):
        calls.append(len(batch))
        return red(batch)

    pictures = [image(5, 6), image(8, 3), image(5, 6), image(5, 6)]
    predictor = Predictor(counted, config())
    together = predictor.predict(pictures)
    assert calls == [3, 1]
    for picture, prediction in zip(pictures, together, strict=True):
        np.testing.assert_allclose(prediction.saliency, picture[..., 0] / 255, atol=1e-6)


def test_flips_are_undone_and_averaged():
    picture = image(6, 9)
    for flips in (
        {"flip_horizontal": True},
        {"flip_vertical": True},
        {"flip_horizontal": True, "flip_vertical": True},
    ):
        augmentation = TestTimeAugmentation(**flips)
        # an engine that looks at single pixels is not changed by flips
        np.testing.assert_allclose(
            Predictor(red, config(), augmentation=augmentation)(picture), picture[..., 0] / 255, atol=1e-6
        )
        # one that depends on positions becomes symmetric
        averaged = Predictor(left_biased, config(), augmentation=augmentation)(picture)
        axis = tuple(axis for axis, name in ((0, "flip_vertical"), (1, "flip_horizontal")) if name in flips)
        np.testing.assert_allclose(averaged, np.flip(averaged, axis), atol=1e-6)
        assert not np.allclose(averaged, Predictor(left_biased, config())(picture))
        assert len(augmentation.flips()) == 2 ** len(flips)


def test_scales_are_averaged():
    sizes = []

    def constant(batch):
        sizes.append(batch.shape[2:])
        return np.full((len(batch), 1, *batch.shape[2:]), batch.shape[2] / 100, np.float32)

    saliency = Predictor(constant, config(), augmentation=TestTimeAugmentation(scales=(0.5, 1.0, 2.0)))(
        image(10, 20)
    )
    assert sizes == [(5, 10), (10, 20), (20, 40)]
    np.testing.assert_allclose(saliency, (0.05 + 0.1 + 0.2) / 3, atol=1e-6)


def test_tiny_scale_leaves_one_pixel():
    assert Predictor(red, config(), augmentation=TestTimeAugmentation(scales=(0.01,)))(
        image(10, 20)
    ).saliency.shape == (
        10,
        20,
    )


def test_windows_cover_every_pixel():
    seen = np.zeros((23, 31), int)
    for rows, columns in TestTimeAugmentation(crop_size=(10, 8), stride=(7, 5)).windows(23, 31):
        window = seen[rows, columns]
        assert window.shape == (8, 10)
        window += 1
    assert seen.min() == 1
    assert seen.max() > 1


def test_sliding_window_averages_overlapping_windows():
    picture = image(23, 31)
    augmentation = TestTimeAugmentation(crop_size=(10, 8), stride=(7, 5))
    np.testing.assert_allclose(
        Predictor(red, config(), augmentation=augmentation)(picture), picture[..., 0] / 255, atol=1e-6
    )
    slid = Predictor(left_biased, config(), augmentation=augmentation)(picture)
    assert not np.allclose(slid, Predictor(left_biased, config())(picture))


def test_image_smaller_than_the_window_is_predicted_at_once():
    augmentation = TestTimeAugmentation(crop_size=(100, 100), stride=(50, 50))
    picture = image(5, 4)
    np.testing.assert_array_equal(
        Predictor(left_biased, config(), augmentation=augmentation)(picture),
        Predictor(left_biased, config())(picture),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_size": (8, 8)}, "needs both crop_size and stride"),
        ({"scales": (1, 0)}, "expected numbers above 0"),
        ({"crop_size": (8, 8), "stride": (8, 9)}, "exceeds crop_size .* Fix: a smaller stride"),
    ],
)
def test_invalid_augmentation_is_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        TestTimeAugmentation(**options)


@pytest.mark.parametrize(
    ("picture", "found"),
    [
        (None, "NoneType"),
        (np.zeros((4, 4), np.uint8), "uint8 (4, 4)"),
        (np.zeros((4, 4, 4), np.uint8), "uint8 (4, 4, 4)"),
        (np.zeros((4, 4, 3)), "float64 (4, 4, 3)"),
        (np.zeros((0, 4, 3), np.uint8), "(0, 4, 3)"),
    ],
)
def test_invalid_images_are_rejected_with_their_dtype_and_shape(picture, found):
    with pytest.raises(TypeError, match=re.escape(f", got {found}")):
        Predictor(red, config()).predict([picture])


def test_scale_with_too_large_an_input_is_rejected():
    with pytest.raises(ValueError, match="scales: 5000: an input of .* is too large. Fix: smaller ones"):
        Predictor(red, config(), augmentation=TestTimeAugmentation(scales=(5000,)))(image(5, 4))


def test_nan_in_the_output_is_rejected():
    with pytest.raises(
        FloatingPointError, match="the network's output holds NaN. Fix: weights of a run that did not"
    ):
        Predictor(lambda batch: red(batch) * np.nan, config())(image(5, 4))


def test_engine_without_config_is_rejected():
    with pytest.raises(ValueError, match="an engine needs a config. Fix: Predictor"):
        Predictor(red)


def test_resized_saliency_stays_in_range():
    spiky = config({"type": "Resize", "target_size": [4, 4], "interp": "NEAREST"})
    saliency = Predictor(lambda b: (b[:, :1] > 127).astype(np.float32), spiky)(image(33, 35)).saliency
    assert saliency.min() >= 0
    assert saliency.max() <= 1


def test_published_weights_find_the_object_of_a_real_photograph(known_weights, photos):
    saliency = Predictor("u2netp")(photos["coffee.png"]).saliency
    assert saliency.shape == photos["coffee.png"].shape[:2]
    assert saliency[200, 300] > 0.95  # the cup
    assert saliency[5, 5] < 0.05  # the table
    assert 0.2 < (saliency > 0.5).mean() < 0.6
