"""All training transforms of paddleseg: what they do to images, soft masks, class ids and ignored pixels."""

from __future__ import annotations

import re

import numpy as np
import pytest
from paddleseg.cvlibs import manager
from support import make_config

from paddleseg_u2net.builders import build_dataset_spec
from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.data.dataset import _seeded
from paddleseg_u2net.data.stock_transforms import FAULTS, check_transforms
from paddleseg_u2net.errors import ConfigError

SIZE = (48, 64)
# type, arguments, whether pixels are added at the border
GEOMETRY = [
    ("RandomHorizontalFlip", {"prob": 1}, False),
    ("RandomVerticalFlip", {"prob": 1}, False),
    ("Resize", {"target_size": [96, 32]}, False),
    ("Resize", {"target_size": [40, 40], "keep_ratio": True, "interp": "RANDOM"}, False),
    ("ResizeByLong", {"long_size": 40}, False),
    ("ResizeByShort", {"short_size": 70}, False),
    ("LimitLong", {"max_long": 50}, False),
    ("ResizeRangeScaling", {"min_value": 40, "max_value": 90}, False),
    ("ResizeStepScaling", {"min_scale_factor": 0.5, "max_scale_factor": 2.0, "scale_step_size": 0}, False),
    ("RandomCenterCrop", {"retain_ratio": [0.5, 0.5]}, False),
    ("RandomScaleAspect", {}, False),
    ("RandomPaddingCrop", {"crop_size": [32, 32]}, False),
    ("RandomPaddingCrop", {"crop_size": [80, 40]}, True),
    ("Padding", {"target_size": [80, 70]}, True),
    ("PaddingByAspectRatio", {"aspect_ratio": 1}, True),
    ("RandomRotation", {"max_rotation": 40}, True),
]
COLOUR = [
    (
        "RandomDistort",
        {f"{name}_prob": 1 for name in ("brightness", "contrast", "saturation", "hue", "sharpness")},
    ),
    ("RandomNoise", {"prob": 1}),
    *(("RandomBlur", {"prob": 1, "blur_type": kind}) for kind in ("gaussian", "median", "blur", "random")),
    ("Normalize", {"mean": [0.5] * 3, "std": [0.5] * 3}),
]
REJECTED = {fault.name for fault in FAULTS} | {
    "Compose",
    "GenerateInstanceTargets",
}  # no transforms of pixels


def ramps() -> np.ndarray:
    """(H, W) float32 in [0, 1], smooth, different along both axes."""
    rows, columns = np.meshgrid(*(np.linspace(0, 1, n) for n in SIZE), indexing="ij")
    return ((rows * 0.6 + columns * 0.4) * 0.9 + 0.05).astype(np.float32)


def transformed(name: str, arguments: dict, mask: np.ndarray, image: np.ndarray, seed: int) -> dict:
    operator = manager.TRANSFORMS[name](**arguments)
    pixels = np.repeat(image[..., None] * 255, 3, axis=2).astype(np.float32)
    with _seeded(seed):
        return operator({"img": pixels, "label": mask.copy(), "gt_fields": ["label"], "trans_info": []})


def test_every_transform_of_paddleseg_is_in_a_table():
    known = {
        name for name, part in manager.TRANSFORMS.components_dict.items() if "paddleseg." in part.__module__
    }
    tested = {row[0] for row in [*GEOMETRY, *COLOUR]}
    assert known == (tested | REJECTED) - {"ResizeSoftMask"}  # which is ours


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("name", "arguments", "fills"), GEOMETRY, ids=lambda value: str(value)[:40])
def test_soft_masks_move_with_the_image_and_stay_soft(name, arguments, fills, seed):
    soft = ramps()
    mask = soft.copy()
    mask[20:28, 10:50] = 255  # ignored
    data = transformed(name, arguments, mask, soft, seed)
    label, image = data["label"], data["img"][..., 0] / 255
    assert label.dtype == np.float32
    assert label.shape == image.shape
    kept = label != 255
    assert set(np.unique(label[kept])) <= set(np.unique(soft))
    assert len(np.unique(label[kept])) > 50
    added = np.abs(image - 0.5) < 1e-6  # padding is 127.5
    inside = kept & ~added
    near = np.abs(label - image)[inside] < 0.06  # nearest against bilinear; a border mixes with the padding
    assert near.mean() > (0.9 if fills else 0.999)
    if fills:
        assert (label[added] == 255).mean() > 0.99


@pytest.mark.parametrize(("name", "arguments", "fills"), GEOMETRY, ids=lambda value: str(value)[:40])
def test_class_ids_stay_whole_and_added_pixels_are_ignored(name, arguments, fills):
    ids = np.kron([[0, 3], [7, 10]], np.ones((24, 32))).astype(np.uint8)
    ids[20:26] = 255
    data = transformed(name, arguments, ids, np.where(ids == 255, 0, ids / 10), seed=1)
    label = data["label"]
    assert label.dtype == np.uint8
    assert set(np.unique(label)) <= {0, 3, 7, 10, 255}
    if fills:
        assert (label == 255).mean() > 6 / 48


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("name", "arguments"), COLOUR, ids=lambda value: str(value)[:40])
def test_colours_change_the_image_and_not_the_mask(name, arguments, seed):
    mask = ramps()
    mask[:5] = 255
    data = transformed(name, arguments, mask, ramps(), seed)
    np.testing.assert_array_equal(data["label"], mask)
    assert data["img"].dtype == np.float32
    assert data["img"].shape == (*SIZE, 3)
    assert np.abs(data["img"][..., 0] / 255 - ramps()).max() > 1e-3
    assert np.isfinite(data["img"]).all()


def test_faults_of_paddleseg_are_real():
    """Each row of FAULTS describes what the transform of paddleseg 2.8.0 does."""
    soft, ids = ramps(), np.kron([[0, 9]], np.ones((48, 32))).astype(np.uint8)
    assert transformed("RandomAffine", {}, soft, soft, 0)["label"].dtype == np.uint8
    mixed = transformed("ScalePadding", {"target_size": [33, 33]}, ids, ids / 10, 0)["label"]
    assert not set(np.unique(mixed)) <= {0, 9, 255}
    crop = {"crop_size": [40, 40], "category_max_ratio": 0.9}
    assert transformed("RandomPaddingCrop", crop, ids, ids / 10, 0)["img"].ndim == 2  # the mask
    operator = manager.TRANSFORMS["ResizeByShort"]([20, 30, 40, 50])
    assert isinstance(operator.short_size, int)
    limited = manager.TRANSFORMS["ResizeByShort"](100, max_size=110)
    limited({"img": np.zeros((10, 20, 3), np.float32), "trans_info": []})
    assert limited.short_size != 100


def words(name: str, **arguments) -> dict:
    return {"type": name, **arguments}


NORMALIZE = words("Normalize")


@pytest.mark.parametrize(
    ("num_classes", "transforms", "message"),
    [
        (
            1,
            [words("RandomAffine")],
            "transforms[0]: RandomAffine would cut soft masks to 0 and 1. Fix: use Rando",
        ),
        (3, [words("ResizeSoftMask")], "ResizeSoftMask would mix class ids. Fix: use Resize"),
        (3, [NORMALIZE, words("ScalePadding")], "transforms[1]: ScalePadding would mix mask values"),
        (
            1,
            [words("RandomPaddingCrop", category_max_ratio=0.75)],
            "would put the mask in place of the image where category_max_ratio is below 1. Fix: leave",
        ),
        (1, [words("ResizeByShort", short_size=[200, 300])], "draw from short_size once for the whole run"),
        (
            1,
            [words("ResizeByShort", short_size=200, max_size=300)],
            "Fix: leave max_size out, or use Limit",
        ),
        (
            1,
            [words("NormalizeByMax"), words("RandomDistort")],
            "transforms[1]: RandomDistort expects values of 0 to 255, which NormalizeByMax before it has "
            "scaled. Fix: put it before NormalizeByMax",
        ),
        (1, [NORMALIZE, words("RandomRotation")], "RandomRotation expects values of 0 to 255"),
        (
            11,
            [words("Padding", target_size=[9, 9], label_padding_value=11)],
            "label_padding_value: 11: samples mark ignored pixels by 255, whatever the mask files use. Fix: ",
        ),
        (1, [words("RandomRotation", label_padding_value=127)], "label_padding_value: 127: samples mark"),
    ],
)
def test_transforms_that_damage_images_or_masks_are_rejected(num_classes, transforms, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_transforms("train_dataset", transforms, num_classes, training=True)


@pytest.mark.parametrize(
    ("num_classes", "transforms"),
    [
        (3, [words("RandomAffine"), NORMALIZE]),
        (1, [words("ResizeSoftMask"), NORMALIZE]),
        (2, [words("RandomPaddingCrop", label_padding_value=0), NORMALIZE]),
        (2, [words("RandomPaddingCrop", label_padding_value=255), NORMALIZE]),
        (1, [NORMALIZE, words("RandomRotation", im_padding_value=0.0)]),
        (1, [NORMALIZE, words("RandomHorizontalFlip")]),
    ],
)
def test_transforms_that_keep_images_and_masks_intact_are_accepted(num_classes, transforms):
    check_transforms("train_dataset", transforms, num_classes, training=True)


@pytest.mark.parametrize(
    "transform",
    [
        words("ResizeSoftMask"),
        words("ResizeByShort", short_size=20, max_size=30),  # `Preprocessing` keeps no state
        words("Padding", target_size=[9, 9], label_padding_value=11),
    ],
)
def test_what_damages_masks_in_training_only_is_accepted_for_validation(transform):
    check_transforms("val_dataset", [transform, NORMALIZE], 3, training=False)
    with pytest.raises(ConfigError):
        check_transforms("train_dataset", [transform, NORMALIZE], 3, training=True)


def test_padding_after_normalizing_is_rejected_for_validation_too():
    with pytest.raises(ConfigError, match=r"val_dataset.transforms\[1\]: Padding expects values of 0 to 255"):
        check_transforms("val_dataset", [NORMALIZE, words("Padding", target_size=[9, 9])], 3, training=False)


def test_a_config_with_such_a_transform_is_rejected(tmp_path, data):
    config = load_config(make_config(tmp_path / "a.yaml", data))
    config["train_dataset"]["transforms"].append({"type": "RandomNoise"})
    with pytest.raises(
        ConfigError, match=r"train_dataset.transforms\[2\]: RandomNoise expects values of 0 to 255"
    ):
        build_dataset_spec(config, "train_dataset")
