"""Two-pass prediction: crops, pasting, borders, empty first passes."""

from __future__ import annotations

import numpy as np
import pytest

from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.inference.refine import Refinement, TwoPassPredictor
from paddleseg_u2net.metrics.protocol import MapProtocol

RNG = np.random.default_rng(0)


def config(num_classes: int = 1, *transforms) -> dict:
    return {"model": {"num_classes": num_classes}, "val_dataset": {"transforms": list(transforms)}}


def channel(index: int):
    """An engine whose saliency is one channel of the image: an exact function of each pixel."""
    return lambda batch: batch[:, index : index + 1] / np.float32(255)


def three_classes(batch: np.ndarray) -> np.ndarray:
    """An engine of three classes: their probabilities are the shares of the channels."""
    return (batch + 1) / (batch + 1).sum(axis=1, keepdims=True)


RED, GREEN = channel(0), channel(1)


def picture(size=(60, 80), box=(20, 30, 30, 38)) -> np.ndarray:
    """Noise below one half, red only in a box (top, left, bottom, right)."""
    image = RNG.integers(0, 100, (*size, 3), dtype=np.uint8)
    top, left, bottom, right = box
    image[top:bottom, left:right, 0] = 200
    return image


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        ((60, 80), (20, 30, 30, 38), (15, 24, 35, 44)),
        ((60, 80), (0, 0, 10, 8), (0, 0, 20, 20)),  # at the borders
        ((60, 80), (50, 72, 60, 80), (40, 60, 60, 80)),
        ((12, 80), (2, 30, 12, 38), (0, 24, 12, 44)),  # lower than the crop
        ((9, 9), (2, 2, 8, 8), (0, 0, 9, 9)),  # smaller than the crop
        ((1, 1), (0, 0, 1, 1), (0, 0, 1, 1)),
    ],
)
def test_second_pass_replaces_the_crop_and_nothing_else(size, box, expected):
    image = picture(size, box)
    saliency = TwoPassPredictor(Predictor(RED, config()), Predictor(GREEN, config()), 0.5, 1)(image)
    direct = image[..., 0] / np.float32(255)
    top, left, bottom, right = expected
    direct[top:bottom, left:right] = image[top:bottom, left:right, 1] / np.float32(255)
    np.testing.assert_array_equal(saliency, direct)


@pytest.mark.parametrize(("engine", "num_classes"), [(RED, 1), (three_classes, 3)])
def test_two_passes_of_a_pixelwise_model_equal_one(engine, num_classes):
    predictor = Predictor(engine, config(num_classes))
    images = [picture(), picture((33, 21), (30, 1, 33, 3)), picture()]
    single = predictor.predict(images)
    double = TwoPassPredictor(predictor, predictor, 0.3, 8).predict(images)
    for one, two in zip(single, double, strict=True):
        np.testing.assert_array_equal(two.probabilities, one.probabilities)


def test_crop_of_classes_surrounds_all_that_is_not_background():
    image = np.zeros((40, 40, 3), np.uint8)
    image[..., 0] = 90
    image[10, 12], image[15, 20] = (0, 200, 0), (0, 0, 200)
    seen = []

    def second(batch):
        seen.append(batch.copy())
        return three_classes(batch)

    TwoPassPredictor(Predictor(three_classes, config(3)), Predictor(second, config(3)), 0, 1)(image)
    (crop,) = seen
    assert crop.shape == (1, 3, 9, 9)
    np.testing.assert_array_equal(crop[0].transpose(1, 2, 0), image[8:17, 12:21])


def test_second_pass_sees_the_crop_at_the_size_of_its_own_config():
    sizes = []

    def second(batch):
        sizes.append(batch.shape)
        return RED(batch)

    small = config(1, {"type": "Resize", "target_size": [16, 16]})
    large = config(1, {"type": "Resize", "target_size": [32, 24]})
    image = np.zeros((64, 64, 3), np.uint8)
    image[16:40, 16:40, 0] = 255
    found = TwoPassPredictor(Predictor(RED, small), Predictor(second, large), 0.25, 1)
    assert found(image).saliency.shape == (64, 64)
    assert sizes == [(1, 3, 24, 32)]


def test_first_result_is_kept_where_it_is_empty():
    def never(batch):
        raise AssertionError

    image = RNG.integers(0, 100, (20, 30, 3), dtype=np.uint8)
    saliency = TwoPassPredictor(Predictor(RED, config()), Predictor(never, config()))(image)
    np.testing.assert_array_equal(saliency, image[..., 0] / np.float32(255))


def test_images_with_and_without_a_second_pass_keep_their_order():
    images = [picture(), np.zeros((20, 30, 3), np.uint8), picture((30, 30), (4, 4, 8, 8))]
    predictor = TwoPassPredictor(Predictor(RED, config()), Predictor(GREEN, config()), 0.5, 1)
    together = predictor.predict(images)
    for image, prediction in zip(images, together, strict=True):
        np.testing.assert_array_equal(prediction.saliency, predictor(image))


def test_maps_are_stretched_after_pasting():
    image = picture()
    plain = TwoPassPredictor(Predictor(RED, config()), Predictor(GREEN, config()), 0.5, 1)(image).saliency
    options = {"map_protocol": "minmax"}
    found = TwoPassPredictor(Predictor(RED, config()), Predictor(GREEN, config()), 0.5, 1, **options)(
        image
    ).saliency
    expected = (plain - plain.min()) / (plain.max() - plain.min())
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found.min(), found.max()) == (0, 1)


def test_protocols_and_classes_that_cannot_be_pasted_are_rejected():
    one, three = Predictor(RED, config()), Predictor(three_classes, config(3))
    with pytest.raises(ValueError, match="official maps come from a single pass.*Fix: leave out one"):
        TwoPassPredictor(one, one, map_protocol=MapProtocol.OFFICIAL)
    with pytest.raises(ValueError, match="map_protocol minmax: is for saliency maps"):
        TwoPassPredictor(three, three, map_protocol="minmax")
    with pytest.raises(ValueError, match="second pass has num_classes: 3, and the first 1. Fix"):
        TwoPassPredictor(one, three)
    with pytest.raises(ValueError, match="a pass with map_protocol minmax cannot be pasted. Fix"):
        TwoPassPredictor(one, Predictor(RED, config(), map_protocol="minmax"))


def test_flags_win_over_the_config():
    in_config = {"refine": {"model_path": "a", "margin": 0.1}}
    assert Refinement.from_options({}) is None
    assert Refinement.from_options({"refine": None}) is None
    assert Refinement.from_options(in_config) == Refinement("a", 0.1, 64)
    flags = {"refine": "b", "refine_margin": 0.0, "refine_size": 9}
    assert Refinement.from_options(in_config, flags) == Refinement("b", 0.0, 9)
    flags = {"refine": None, "refine_margin": 0.4, "refine_size": None}
    assert Refinement.from_options(in_config, flags) == Refinement("a", 0.4, 64)
    with pytest.raises(ConfigError, match="--refine_margin: no effect alone. Fix: add --refine"):
        Refinement.from_options({}, flags)


RESIZED = {"type": "Resize", "target_size": [32, 16]}  # (W, H)
PADDED = {"type": "Padding", "target_size": [32, 32]}


@pytest.mark.parametrize(
    ("transforms", "grid"), [([], (60, 80)), ([RESIZED], (16, 32)), ([RESIZED, PADDED], (16, 32))]
)
def test_predictions_tell_the_resolution_that_the_network_saw(transforms, grid):
    assert Predictor(RED, config(1, *transforms)).predict([picture()])[0].grid == grid


def test_resolution_of_two_passes_is_that_of_the_crop():
    image = picture((120, 160), (20, 30, 30, 40))
    predictor = Predictor(RED, config(1, {"type": "Resize", "target_size": [32, 16]}))
    blank, found = TwoPassPredictor(predictor, predictor, 0.5, 40).predict([np.zeros_like(image), image])
    assert blank.grid == (16, 32)
    assert found.grid == (48, 128)  # 16 x 32 of a crop of 40 x 40
