"""Uses of transforms that would damage images or masks, and are therefore rejected.

All other uses keep image and mask aligned, keep soft masks soft and class ids whole, and mark
the pixels they add by `IGNORE`; a test goes through all transforms of paddleseg 2.8.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.data.preprocessing import NORMALIZATIONS
from paddleseg_u2net.errors import ConfigError

SALIENCY, CLASSES, BOTH = "saliency", "classes", "both"
IN_BYTES = ("RandomDistort", "RandomBlur", "RandomNoise", "RandomAffine")  # need images in [0, 255]
OF_CLASSES = {"CropForeground": "RandomCrop", "AddEdgeLabel": "other transforms"}  # look at one mask
FILLING = ("Padding", "PaddingByAspectRatio", "RandomPaddingCrop", "RandomRotation")  # by grey, 127.5


class Fault(NamedTuple):
    """A use of a transform that is rejected.

    Args:
        name: type of the transform.
        masks: SALIENCY, CLASSES or BOTH: for which masks it is rejected.
        what: what it would do.
        fix: what to use instead.
        applies: whether arguments of the transform cause it.
    """

    name: str
    masks: str
    what: str
    fix: str
    applies: Callable[[Mapping[str, Any]], bool] = bool


def _limits_category(arguments: Mapping[str, Any]) -> bool:
    return arguments.get("category_max_ratio", 1.0) < 1.0


def _draws_from_list(arguments: Mapping[str, Any]) -> bool:
    return isinstance(arguments.get("short_size"), list)


def _has_max_size(arguments: Mapping[str, Any]) -> bool:
    return "max_size" in arguments


# Source: paddleseg 2.8.0 transforms/transforms.py
FAULTS = (
    Fault(
        "RandomAffine", SALIENCY, "would cut soft masks to 0 and 1", "use RandomRotation, ResizeStepScaling"
    ),
    Fault("ResizeSoftMask", CLASSES, "would mix class ids", "use Resize"),
    Fault(
        "ScalePadding",
        BOTH,
        "would mix mask values (cubic interpolation)",
        "use Resize and Padding",
    ),
    Fault(
        "RandomPaddingCrop",
        BOTH,
        "would put the mask in place of the image where category_max_ratio is below 1",
        "leave category_max_ratio out",
        _limits_category,
    ),
    Fault(
        "ResizeByShort",
        BOTH,
        "would draw from short_size once for the whole run",
        "use multi_scale, or ResizeStepScaling",
        _draws_from_list,
    ),
    Fault(
        "ResizeByShort",
        BOTH,
        "would keep the size that max_size gives one image for all later ones",
        "leave max_size out, or use LimitLong",
        _has_max_size,
    ),
)


def check_transforms(
    key: str,
    transforms: Sequence[Mapping[str, Any]],
    num_classes: int,
    training: bool,
    labels: int = 0,
) -> None:
    """Check that the transforms of a dataset section keep images and masks intact.

    Args:
        key: name of the section, for messages.
        transforms: `type` and arguments of each.
        num_classes: 1 for soft masks, else the number of class ids.
        training: whether masks are transformed, and by paddleseg. In validation they are not, images are by
            `Preprocessing`, and only the order of normalizing is checked.
        labels: see `DatasetSpec`.

    Raises:
        ConfigError: a transform does not; the first one found.
    """
    kind, normalized = SALIENCY if num_classes == 1 else CLASSES, ""
    for place, item in enumerate(transforms):
        where, name = f"{key}.transforms[{place}]", item["type"]
        if labels and training and name in OF_CLASSES:
            raise ConfigError(f"{where}: {name}: not for labels that overlap. Fix: use {OF_CLASSES[name]}")
        for fault in FAULTS if training else ():
            if fault.name == name and fault.masks in (kind, BOTH) and fault.applies(item):
                raise ConfigError(f"{where}: {name} {fault.what}. Fix: {fault.fix}")
        if normalized and (name in IN_BYTES or (name in FILLING and "im_padding_value" not in item)):
            raise ConfigError(
                f"{where}: {name} expects values of 0 to 255, which {normalized} before it has scaled. "
                f"Fix: put it before {normalized}"
            )
        value = item.get("label_padding_value", IGNORE)
        if training and value != IGNORE and value not in range(max(num_classes, 2)):
            raise ConfigError(
                f"{where}: label_padding_value: {value}: samples mark ignored pixels by {IGNORE}, whatever "
                "the mask files use. Fix: leave it out, or a class id"
            )
        normalized = name if name in NORMALIZATIONS else normalized
