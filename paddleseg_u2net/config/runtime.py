"""What the configs of current PaddleSeg hold besides models and data: sections for the flags of its tools.

`_base_/runtime.yml` of PaddleSeg has the sections `global`, `train` and `test`. `test` is what is called
`test_config` here and in PaddleSeg 2.8; the values of the others are those of flags that are not given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from paddleseg_u2net.environment.devices import split_device
from paddleseg_u2net.errors import ConfigError, suggest

# type of a data set of paddleseg 2.8.0 -> the number of classes that its class fixes (`NUM_CLASSES`)
CLASSES_OF_TYPE = {
    "ADE20K": 150,
    "CHASEDB1": 2,
    "CocoStuff": 171,
    "Cityscapes": 19,
    "DRIVE": 2,
    "HRF": 2,
    "MiniDeepGlobeRoadExtraction": 2,
    "OpticDiscSeg": 2,
    "PPHumanSeg14K": 2,
    "PascalContext": 60,
    "PascalVOC": 21,
    "STARE": 2,
}
FLAG_SECTIONS = {
    "global": ("device", "num_workers"),
    "train": (
        *("save_dir", "do_eval", "resume_model", "save_interval", "log_iters", "keep_checkpoint_max"),
        *("seed", "precision", "amp_level"),
    ),
}
# keys that change nothing here, with the only values they can have
FIXED = {"global": {"data_format": "NCHW"}, "train": {"repeats": 1}}


def flag_values(config: Mapping[str, Any], sections: Iterable[str] = FLAG_SECTIONS) -> dict[str, Any]:
    """The values of flags that a config gives: name of the flag -> value.

    `device: gpu` means a GPU if there is one, as in PaddleSeg, which is what leaving the flag out means.

    Args:
        config: the config.
        sections: keys of FLAG_SECTIONS; `train` is for training only.

    Raises:
        ConfigError: an unknown key, or a value that is not supported.
    """
    found: dict[str, Any] = {}
    for section in sections:
        names, fixed = FLAG_SECTIONS[section], FIXED[section]
        for key, value in config.get(section, {}).items():
            if key in fixed and value != fixed[key]:
                raise ConfigError(f"{section}: {key}: {value}: not supported. Fix: {fixed[key]}")
            if key not in (*names, *fixed):
                raise ConfigError(f"{section}: {key}: no such key.{suggest(key, (*names, *fixed))}")
            if key in names and value is not None:
                found[key] = value
    if "device" in found:
        split_device(str(found["device"]))
    if found.get("device") == "gpu":
        del found["device"]
    return found


def merge_test_section(config: dict[str, Any]) -> None:
    """Move the options of `test` to `test_config`, whose own come first; null is an option left out."""
    if options := config.pop("test", {}):
        given = {key: value for key, value in options.items() if value is not None}
        config["test_config"] = {**given, **config.get("test_config", {})}


def infer_num_classes(config: Mapping[str, Any]) -> None:
    """Give a model without `num_classes` that of its data, as paddleseg's builder does."""
    for key in ("train_dataset", "val_dataset"):
        section = config.get(key, {})
        count = section.get("num_classes", CLASSES_OF_TYPE.get(section.get("type", "")))
        if "model" in config and count is not None:
            config["model"].setdefault("num_classes", count)
