"""Keys of a dataset section that say how images and masks are read, checked before any file is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from paddleseg_u2net.data.preprocessing import IMAGENET_MEAN
from paddleseg_u2net.errors import ConfigError

if TYPE_CHECKING:
    from paddleseg_u2net.data.dataset import Dataset

CHANNELS, WHITE, COLORS = "img_channels", "img_max", "mask_colors"
RGB_ONLY = ("RandomDistort",)  # brightness, contrast, saturation and hue, by Pillow
# OpenCV pads and warps no more channels. Source: paddleseg 2.8.0 transforms/functional.py
AT_MOST_FOUR = ("Padding", "PaddingByAspectRatio", "RandomPaddingCrop", "RandomRotation", "RandomAffine")


def read_keys(key: str, cfg: dict[str, Any], in_channels: int | None) -> dict[str, Any]:
    """Take these keys out of a dataset section.

    Args:
        key: name of the section, for messages.
        cfg: the section; the keys are removed.
        in_channels: of the model; None if its backbone decides that.

    Returns:
        Arguments of `DatasetSpec`.

    Raises:
        ConfigError: `img_channels` differs from `in_channels`, or `mask_colors` are no colours.
    """
    from paddleseg_u2net.data.palettes import read_colors

    channels = cfg.pop(CHANNELS, 3)
    if in_channels not in (None, channels):
        raise ConfigError(
            f"{key}: images of {channels} channels, but model: in_channels: {in_channels}. "
            "Fix: set img_channels and in_channels alike"
        )
    return {
        "channels": channels,
        "white": cfg.pop(WHITE, None),
        "ignore_index": cfg.pop("ignore_index", None),
        "mask_encoding": cfg.pop("mask_encoding", None),
        "mask_colors": read_colors(key, cfg.pop(COLORS, None)),
    }


def check_channels(key: str, transforms: Sequence[Mapping[str, Any]], channels: int) -> None:
    """Check that the transforms of a dataset section fit the number of channels.

    Args:
        key: name of the section, for messages.
        transforms: `type` and arguments of each.
        channels: of the images, `img_channels`.

    Raises:
        ConfigError: the default `mean` or `std` is of another length, or a transform is for fewer channels.
    """
    for place, item in enumerate(transforms):
        where, name = f"{key}.transforms[{place}]", item["type"]
        if name == "NormalizeByMax" and channels != len(IMAGENET_MEAN):
            for argument in ("mean", "std"):  # a value that is given is checked by `arguments.fault_of`
                if argument not in item:
                    raise ConfigError(
                        f"{where}: {name}: {argument}: the default has {len(IMAGENET_MEAN)} numbers, but "
                        f"{CHANNELS} is {channels}. Fix: {argument}: a list of {channels} numbers"
                    )
        elif (name in RGB_ONLY and channels != 3) or (name in AT_MOST_FOUR and channels > 4):
            limit = "RGB images only" if name in RGB_ONLY else "up to 4 channels"
            raise ConfigError(
                f"{where}: {name} is for {limit}, and {CHANNELS} is {channels}. Fix: remove {name}"
            )


def record_decisions(config: Mapping[str, Any], datasets: Sequence[Dataset]) -> None:
    """Write into a config what was decided from the files, so that the trained model carries it.

    Args:
        config: its `train_dataset` and `val_dataset` are changed.
        datasets: opened together; the training data come first.
    """
    decided: dict[str, Any] = {WHITE: datasets[0].white}
    if colors := datasets[0].encoding.colors:
        decided[COLORS] = {value: list(color) for value, color in sorted(colors.items())}
    for key in ("train_dataset", "val_dataset"):
        for name, value in decided.items() if key in config else ():
            if value is not None and (name == WHITE or config[key]["type"] == "Dataset"):
                config[key].setdefault(name, value)


def without_decisions(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without the keys that `record_decisions` writes."""
    sections = {
        key: {name: value for name, value in config[key].items() if name not in (WHITE, COLORS)}
        for key in ("train_dataset", "val_dataset")
        if key in config
    }
    return {**config, **sections}
