"""Correct configs of every component, and YAML texts that no key of them can hold."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from support import ROOT, draw_pair

from paddleseg_u2net.config.loader import load_config

SLOT = "@@slot@@"
VALUES = (
    *("null", "''", "text", "true", "-1", "0", "1", "2", "3", "0.5", "-0.5", "1e-30", "1e400"),
    *(".nan", ".inf", "-.inf", "32768", "40000", f"1{'0' * 30}", f"-1{'0' * 30}", "9" * 5000, "0x10", "1:60"),
    *("[]", "{}", "[null]", "[[]]", "[[[1]]]", "[1, 1]", "[0, 0]", "[1, 2, 3, 4, 5]", "[40000, 40000]"),
    *("[.nan, .nan, .nan]", "[a, b]", "[0, 0, 0]", "[-1, 5]", "{a: {b: 1}}", "{type: 3}", "{type: Resize}"),
    *("{1: 2}", "{type: null}", "[{type: U2Netp}]", "2001-02-30", "2001-02-28", "2001-02-28 25:61:61"),
    *('"\\0"', '"\\uD800"', '"\\e[31m"', '"a\\nb"', "~nobody/x", "/dev/zero", "/dev/stdin", "..", "a" * 5000),
    *("!!binary '###'", "!!python/object/apply:os.system ['touch RAN']", "!!set {a}", "!!int x", "!!float x"),
    *("!!timestamp x", "!!bool x", "!!omap [a: 1]", "!unknown 1", "&a [*a]", "*none", "{<<: 3}", "{[a]: b}"),
    *("[", "{a", "'", "%", "@", "- - -", "? [a]", "=", "<<"),
)

OF_CLASSES = ("RandomAffine", "Resize")
UNDONE = ("ResizeSoftMask", "Resize", "ResizeByLong", "ResizeByShort", "LimitLong", "Padding")
TRANSFORMS = (
    {"type": "Resize", "target_size": [32, 32], "interp": "LINEAR", "keep_ratio": False, "size_divisor": 8},
    {"type": "ResizeSoftMask", "target_size": [32, 32], "interp": "AREA"},
    {"type": "ResizeByLong", "long_size": 32},
    {"type": "ResizeByShort", "short_size": 32},
    {"type": "LimitLong", "max_long": 32, "min_long": 16},
    {"type": "ResizeRangeScaling", "min_value": 32, "max_value": 40},
    {"type": "ResizeStepScaling", "min_scale_factor": 0.8, "max_scale_factor": 1.2, "scale_step_size": 0.1},
    {"type": "Padding", "target_size": [40, 40], "im_padding_value": 127.5, "label_padding_value": 255},
    {"type": "PaddingByAspectRatio", "aspect_ratio": 1.5},
    {"type": "RandomPaddingCrop", "crop_size": [24, 24], "im_padding_value": 127.5},
    {"type": "RandomCenterCrop", "retain_ratio": [0.5, 0.5]},
    {"type": "RandomCrop", "crop_size": [24, 24]},
    {"type": "CropForeground", "margin": [0.2, 1.2], "shift": 0.5, "min_size": 8, "prob": 1.0},
    {"type": "RandomHorizontalFlip", "prob": 0.5},
    {"type": "RandomVerticalFlip", "prob": 0.5},
    {"type": "RandomBlur", "prob": 1.0, "blur_type": "gaussian"},
    {"type": "RandomNoise", "prob": 1.0, "max_sigma": 10.0},
    {"type": "RandomRotation", "max_rotation": 20, "im_padding_value": 127.5, "label_padding_value": 255},
    {"type": "RandomScaleAspect", "min_scale": 0.5, "aspect_ratio": 0.33},
    {"type": "RandomDistort", "brightness_range": 0.5, "brightness_prob": 1.0, "hue_range": 6, "hue_prob": 1},
    {"type": "RandomAffine", "size": [32, 32], "translation_offset": [0, 0], "max_rotation": 20},
    {"type": "Normalize", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    {"type": "NormalizeByMax", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
)
LOSSES = (
    {"type": "SaliencyLoss", "bce": 1.0, "ssim": 1.0, "iou": 1.0},
    {"type": "MixedLoss", "losses": [{"type": "CrossEntropyLoss"}, {"type": "DiceLoss"}], "coef": [1, 1]},
    {"type": "CrossEntropyLoss", "weight": [1.0, 2.0], "ignore_index": 255, "avg_non_ignore": True},
    {"type": "OhemCrossEntropyLoss", "thresh": 0.7, "min_kept": 100},
    {"type": "DiceLoss", "ignore_index": 255, "smooth": 0.0},
    {"type": "LovaszSoftmaxLoss", "ignore_index": 255, "classes": "present"},
    {"type": "MultiClassFocalLoss", "alpha": 1.0, "gamma": 2.0},
)
SCHEDULES = (
    {"type": "PolynomialDecay", "learning_rate": 0.01, "end_lr": 0, "power": 0.9, "warmup_iters": 2}
    | {"warmup_start_lr": 1e-5},
    {"type": "CosineAnnealingDecay", "learning_rate": 0.01, "eta_min": 1e-9},
    {"type": "OneCycleLR", "max_learning_rate": 0.01, "divide_factor": 10, "end_learning_rate": 1e-6},
    {"type": "StepDecay", "learning_rate": 0.01, "step_size": 2, "gamma": 0.1},
    {"type": "MultiStepDecay", "learning_rate": 0.01, "milestones": [1, 2], "gamma": 0.1},
    {"type": "PiecewiseDecay", "boundaries": [1, 2], "values": [0.1, 0.01, 0.001]},
    {"type": "ExponentialDecay", "learning_rate": 0.01, "gamma": 0.9},
)
OPTIMIZERS = (
    {"type": "Adam", "beta1": 0.9, "beta2": 0.999, "weight_decay": 1e-4},
    {"type": "AdamW", "weight_decay": 1e-2, "custom_cfg": [{"name": "first", "lr_mult": 0.1}]},
    {"type": "SGD", "momentum": 0.9, "weight_decay": 4e-5},
)
EXTRAS = (
    {"test_config": {"aug_eval": True, "scales": [0.5, 1.0], "flip_horizontal": True}},
    {"test_config": {"is_slide": True, "crop_size": [16, 16], "stride": [8, 8], "auc_roc": True}},
    {"test_config": {"map_protocol": "native", "measure_stretch": "none"}},
    {"metric": "mae", "metrics": ["mae", "maxF"], "class_names": ["background", "object"]},
    {"finetune": {"freeze": ["norm"], "freeze_batch_norm": "all", "batch_norm_momentum": 0.9, "l2_sp": 0.1}},
    {"global": {"device": "cpu", "num_workers": 0}, "train": {"seed": 1, "log_iters": 1}},
)


def write_data(folder: Path) -> Path:
    """A data set of four pairs of 32 x 32 pixels, with its lists."""
    for name in "abcd":
        draw_pair(folder, name)
    for key, names in (("train", "ab"), ("val", "cd")):
        lines = [f"images/{name}.png masks/{name}.png\n" for name in names]
        (folder / f"{key}_list.txt").write_text("".join(lines))
    return folder


def plain(data: Path, classes: int, **changes: Any) -> dict[str, Any]:
    normalize = {"type": "Normalize", "mean": [0.5] * 3, "std": [0.5] * 3}
    section = {
        "type": "Dataset",
        "dataset_root": str(data),
        "num_classes": classes,
        "transforms": [normalize],
    }
    content = {
        "batch_size": 2,
        "iters": 4,
        "train_dataset": {**section, "mode": "train", "train_path": "train_list.txt"},
        "val_dataset": {**section, "mode": "val", "val_path": "val_list.txt"},
        "model": {"type": "TinyNet", "num_classes": classes},
        "loss": {"types": [{"type": "SaliencyLoss" if classes == 1 else "CrossEntropyLoss"}], "coef": [1]},
        "optimizer": {"type": "Adam"},
        "lr_scheduler": {"type": "PolynomialDecay", "learning_rate": 0.01},
        **changes,
    }
    return json.loads(json.dumps(content))  # no list is in it twice


def bases(data: Path) -> dict[str, dict[str, Any]]:
    """Correct configs by name: those of the project on the small data, and one for each component."""
    found = {}
    for path in sorted((ROOT / "configs" / "RGB").rglob("*.yaml")):
        config = load_config(path)
        classes = config["model"]["num_classes"]
        config["model"].pop("pretrained", None)
        for key in ("train_dataset", "val_dataset"):
            small = {k: v for k, v in plain(data, classes)[key].items() if k != "transforms"}
            config[key] = {**small, "transforms": config[key]["transforms"]}
        found[path.stem] = config
    for row in TRANSFORMS:
        config = plain(data, 2 if row["type"] in OF_CLASSES else 1)
        config["train_dataset"]["transforms"].insert(0, row)
        if row["type"] in UNDONE:
            config["val_dataset"]["transforms"].insert(0, row)
        found[f"transform {row['type']}"] = config
    for row in LOSSES:
        loss = {"types": [row], "coef": [1]}
        found[f"loss {row['type']}"] = plain(data, 1 if row["type"] == "SaliencyLoss" else 2, loss=loss)
    rows = {"lr_scheduler": SCHEDULES, "optimizer": OPTIMIZERS}
    for section, components in rows.items():
        for row in components:
            found[f"{section} {row['type']}"] = plain(data, 1, **{section: row})
    for number, extra in enumerate(EXTRAS):
        found[f"options {number}"] = plain(data, 1, **extra)
    return {name: copy.deepcopy(config) for name, config in found.items()}


def places(content: Any, above: tuple = ()) -> Iterator[tuple]:
    """The place of every value of nested mappings and lists, as keys and indices."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in pairs:
        yield (*above, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*above, key))


def changed(content: dict, place: tuple, text: str, as_json: bool = False) -> str:
    """The YAML or JSON of a mapping in which a text stands for the value at a place."""
    content = copy.deepcopy(content)
    parent = content
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = SLOT
    if as_json:
        return json.dumps(content).replace(f'"{SLOT}"', text)
    return yaml.safe_dump(content, sort_keys=False).replace(f"'{SLOT}'", text).replace(SLOT, text)


def misshapen(content: dict, place: tuple, draw: random.Random) -> str:
    """The YAML of a config whose key at a place is left out, doubled, renamed, nested, or moved."""
    content = copy.deepcopy(content)
    parent = content
    for key in place[:-1]:
        parent = parent[key]
    value = parent.pop(place[-1])
    how = draw.choice(["left out", "nested", "in a list", "renamed", "moved", "text"])
    if how != "left out" and isinstance(parent, dict):
        key = {"renamed": f"{place[-1]}s", "moved": None}.get(how, place[-1])
        wrapped = {"nested": {place[-1]: value}, "in a list": [value], "text": str(value)}.get(how, value)
        (content if how == "moved" else parent)[key or place[-1]] = wrapped
    return yaml.safe_dump(content, sort_keys=False)


def cases(configs: dict[str, dict], per_key: int) -> Iterator[tuple[str, str]]:
    """(Description, YAML text): values that suit nothing at every key, each key once for equal contents."""
    draw, seen = random.Random(0), set()
    for name, config in configs.items():
        for place in places(config):
            parent = config
            for key in place[:-1]:
                parent = parent[key]
            identity = repr((place, parent))
            if identity in seen:
                continue
            seen.add(identity)
            for text in draw.sample(VALUES, per_key):
                yield f"{name}: {'.'.join(map(str, place))}: {text[:40]}", changed(config, place, text)
            yield f"{name}: {'.'.join(map(str, place))}: another shape", misshapen(config, place, draw)
