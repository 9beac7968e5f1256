"""Arguments of transforms that OpenCV would refuse, or that mean nothing."""

from __future__ import annotations

import pytest

from paddleseg_u2net.data.arguments import fault_of

WRONG = [
    *[
        ("Resize", {"target_size": size})
        for size in ([0, 9], [32767, 1], [9], "ab", [9, 9.5], [30000, 30000])
    ],
    *[("RandomHorizontalFlip", {"prob": value}) for value in (2, -0.1, "1", None, float("nan"), True)],
    ("RandomDistort", {"hue_prob": 1.5}),
    ("RandomDistort", {"hue_range": 181}),
    ("ResizeByLong", {"long_size": 0}),
    ("ResizeByShort", {"short_size": []}),
    ("LimitLong", {"max_long": 40000}),
    ("ResizeStepScaling", {"max_scale_factor": float("inf")}),
    ("PaddingByAspectRatio", {"aspect_ratio": 0}),
    ("RandomCenterCrop", {"retain_ratio": [0, 1]}),
    ("RandomAffine", {"size": [224, 0]}),
    ("RandomRotation", {"max_rotation": -1}),
    ("RandomBlur", {"blur_type": "box"}),
    ("Resize", {"interp": "BICUBIC"}),
    ("Resize", {"keep_ratio": "yes"}),
    ("Normalize", {"mean": [0.5, float("nan"), 0.5]}),
    ("Normalize", {"std": [0.5] * 5}),
]


@pytest.mark.parametrize(("name", "arguments"), WRONG)
def test_values_are_refused_before_an_image_is_read(name, arguments):
    (key, value), *_ = arguments.items()
    assert fault_of(name, arguments, 3).startswith(f"{name}: {key}: {value!r}. Fix: ")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Resize", {"target_size": [32766, 1], "interp": "RANDOM", "size_divisor": None}),
        ("ResizeByShort", {"short_size": [320, 352]}),
        ("RandomScaleAspect", {"aspect_ratio": 0}),
        ("RandomHorizontalFlip", {"prob": 0}),
        ("Normalize", {"mean": [0.5] * 5, "std": [-0.5] * 5}),
    ],
)
def test_values_of_all_allowed_kinds(name, arguments):
    assert fault_of(name, arguments, 5) is None
