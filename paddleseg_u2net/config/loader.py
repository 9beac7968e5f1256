"""Load a YAML config with `_base_` files and command-line changes into one checked dict.

The dict equals that of paddleseg's `Config`, which a test verifies. In addition, unknown keys, duplicate keys
and wrong values are rejected, and numbers that YAML 1.1 reads as text (`1e-4`) are read as numbers.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from paddleseg_u2net.bounds import CONFIG_FILES
from paddleseg_u2net.config.runtime import flag_values, infer_num_classes, merge_test_section
from paddleseg_u2net.config.schema import (
    FINETUNE_KEYS,
    KEYS,
    SECTIONS,
    TEST_KEYS,
    check_keys,
    check_numbers,
    positive,
)
from paddleseg_u2net.config.yaml_text import BASE, HERE, INHERITED, parse_yaml, read_yaml
from paddleseg_u2net.data.preprocessing import Preprocessing
from paddleseg_u2net.data.section import CHANNELS, WHITE, check_channels
from paddleseg_u2net.errors import ConfigError, DataError, counted, suggest
from paddleseg_u2net.io.paths import local_path

PACKAGE = Path(__file__).parents[1]
# inside the package in a wheel, beside it in a checkout
CONFIGS = next(path for path in (PACKAGE / "configs", PACKAGE.parent / "configs") if path.is_dir())


def find_config(path: str | Path) -> Path:
    """Find a config file at a path, or among the configs that come with the project.

    Args:
        path: path of a YAML file, or its name below `configs/`, with or without that folder.

    Raises:
        ConfigError: there is no such file.
    """
    path = Path(path)
    relative = _inside_configs(path)
    for candidate in (path, CONFIGS / relative):
        if candidate.is_file():
            return candidate
    names = [str(p.relative_to(CONFIGS)) for p in sorted(CONFIGS.rglob("*.yaml")) if "_base_" not in p.parts]
    raise ConfigError(f"--config {path}: no such file.{suggest(str(relative), names)}")


def _inside_configs(path: Path) -> Path:
    """Return the path of a config relative to the folder of configs: `RGB/…` for `configs/RGB/…`."""
    return Path(*path.parts[1:]) if path.parts[:1] == ("configs",) else path


def _read(path: Path) -> dict[str, Any]:
    """Read one YAML file without its bases, and check its top-level keys."""
    content, node = read_yaml(path)
    content = {} if node is None else content
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected keys and values, got a {type(content).__name__}")
    lines = {key.value: key.start_mark.line + 1 for key, _ in node.value} if node else {}
    for key in content:
        if key not in (*KEYS, BASE, INHERITED):
            raise ConfigError(
                f"{path}:{lines.get(str(key), 1)}: {key}: no such key.{suggest(str(key), KEYS)}"
            )
    for data in (content.get("train_dataset") or {}, content.get("val_dataset") or {}):
        for key, value in data.items() if isinstance(data, dict) else ():
            if isinstance(value, str) and HERE in value:
                data[key] = os.path.normpath(value.replace(HERE, str(path.parent)))
    return content


def _read_with_bases(
    path: Path, above: tuple[Path, ...] = (), read: list[Path] | None = None
) -> dict[str, Any]:
    """Read a file and merge it over its bases; earlier bases take precedence, as in paddleseg.

    Args:
        path: the file.
        above: files that inherit from this one, resolved; to detect cycles.
        read: all files that were read, each as often as it was: two bases each double what they inherit.
    """
    read = [] if read is None else read
    read.append(path)
    if len(read) > CONFIG_FILES.most:
        what = f"more than {CONFIG_FILES.most} {CONFIG_FILES.what}"
        raise ConfigError(f"{read[0]}: {what}. Fix: write what {path} holds into it")
    if path.resolve() in above:
        raise ConfigError(f"{path}: _base_ is circular, leads back from {above[-1]}. Fix: remove one")
    content = _read(path)
    bases = content.pop(BASE, [])
    if bases and "Deploy" in content:
        raise ConfigError(f"{path}: {BASE}: an export refers to no other config. Fix: export the model again")
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{path}: _base_: expected the path of a file or a list of them, got {bases!r}")
    for base in bases:
        places = (local_path(base, path.parent), CONFIGS / _inside_configs(local_path(base)))
        base_path = next(filter(os.path.isfile, places), None)  # False for names that no file can have
        if base_path is None:
            raise ConfigError(f"{path}: _base_: {base}: no such file ({places[0]})")
        content = _merge(content, _read_with_bases(base_path, (*above, path.resolve()), read))
    return content


def _merge(content: dict, base: dict) -> dict:
    """Merge mappings, replace other values of `base`; `_inherited_: false` in `content` drops the base."""
    if not content.get(INHERITED, True):
        return {key: value for key, value in content.items() if key != INHERITED}
    merged = dict(base)
    for key, value in content.items():
        nested = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(value, base[key]) if nested else value
    return merged


def _apply_option(config: Any, option: str, where: str) -> None:
    """Apply one `--opts` entry, `a.b.0.c=value`."""
    key, equals, text = option.partition("=")
    if not equals or not key:
        raise ConfigError(f"{where}: --opts {option}: expected key=value")
    try:
        value, _ = parse_yaml(text, f"--opts {key}")
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"{where}: --opts {option}: '{text}' is not a YAML value") from None
    *parents, last = key.split(".")
    fault = f"{where}: --opts {option}: no such key.{suggest(key.split('.')[0], KEYS)}"
    if parents and parents[0] in SECTIONS:
        config.setdefault(parents[0], {})
    target = config
    try:
        for name in parents:
            target = target[int(name)] if isinstance(target, list) else target[name]
        if isinstance(target, list):
            target[int(last)] = value
            return
    except IndexError:
        raise ConfigError(
            f"{where}: --opts {option}: the list has {counted(len(target), 'entry', 'entries')}, from 0"
        ) from None
    except (KeyError, ValueError, TypeError):
        raise ConfigError(fault) from None
    if not isinstance(target, dict) or (target is config and last not in KEYS):
        raise ConfigError(fault)
    target[last] = value


def load_config(
    path: str | Path,
    *,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    iters: int | None = None,
    opts: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Load and check a config.

    Args:
        path: YAML file, or the name of one that comes with the project.
        learning_rate: replaces the learning rate of `lr_scheduler`.
        batch_size: replaces `batch_size`.
        iters: replaces `iters`, the number of training steps.
        opts: `key=value` or `section.key=value`; a number is an index into a list, the value is YAML.

    Returns:
        The merged config; sections are dicts.

    Raises:
        ConfigError: the file does not exist or is not valid YAML, a key is unknown, or a value is wrong.
    """
    path = find_config(path)
    config = _read_with_bases(path)
    for option in opts or ():
        _apply_option(config, option, str(path))
    config = {key: value for key, value in config.items() if value is not None}
    check_keys(config, KEYS, str(path))
    if learning_rate is not None:
        schedule = section(config, "lr_scheduler")
        rate = "max_learning_rate" if schedule.get("type") == "OneCycleLR" else "learning_rate"
        schedule[rate] = learning_rate
    for key, value in (("batch_size", batch_size), ("iters", iters)):
        if value is not None:
            config[key] = value
    with in_file(path):
        check_numbers(config)
    infer_num_classes(config)
    merge_test_section(config)
    for key in ("num_classes", "in_channels"):
        if not positive(count := config.get("model", {}).get(key, 1)):
            raise ConfigError(f"{path}: model.{key}: expected a whole number above 0, got {count!r}")
    for name, keys in (("finetune", FINETUNE_KEYS), ("test_config", TEST_KEYS)):
        check_keys(config.get(name, {}), keys, f"{path}: {name}")
    with in_file(path):
        flag_values(config)  # raises for values that are not supported
        if is_multilabel(config) and class_count(config) < 2:
            raise ConfigError("use_multilabel: with num_classes: 1. Fix: leave it out; that is saliency")
        if "class_names" in config and "model" in config:
            class_names(config)
    return config


def section(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a section of a config; raise ConfigError if there is none."""
    if key not in config:
        raise ConfigError(f"the config has no {key}. Fix: add it, or inherit it by _base_")
    return config[key]


@contextlib.contextmanager
def in_file(path: str | Path) -> Iterator[None]:
    """Prefix the message of an error about a value in the block with the path of the config.

    Args:
        path: of the config.

    Raises:
        ConfigError: for a ValueError, except those about files of a data set, which name the file.
        OSError: of the same kind, for a file or folder that the config names.
    """
    try:
        yield
    except DataError:
        raise
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    except OSError as error:
        raise type(error)(f"{path}: {error}") from error


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return `section.key: old -> new` for every value that differs between two configs."""
    found = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += [f"{key}.{line}" for line in differences(before, now)]
        elif before != now:
            found.append(f"{key}: {before} -> {now}")
    return found


def preprocessing_of(config: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing of a config, which is that of its `val_dataset`."""
    dataset = section(config, "val_dataset")
    transforms, channels = dataset.get("transforms", []), dataset.get(CHANNELS, 3)
    check_channels("val_dataset", transforms, channels)
    return Preprocessing.from_transforms(transforms, channels, dataset.get(WHITE))


def class_count(config: Mapping[str, Any]) -> int:
    """Return `num_classes` of the model, or of the data if the model has none."""
    for key in ("model", "train_dataset", "val_dataset"):
        if "num_classes" in config.get(key, {}):
            return config[key]["num_classes"]
    raise ConfigError("model: num_classes is missing. Fix: 1 for saliency, else the number of classes")


def is_multilabel(config: Mapping[str, Any]) -> bool:
    """Whether the classes of a model are labels of which a pixel can have several, or none."""
    return config.get("use_multilabel", False)


def class_names(config: Mapping[str, Any]) -> list[str]:
    """Return one name per class, background included: `class_names` of the config, or numbers.

    A saliency model has the two classes background and object; labels (`use_multilabel`) have no background.

    Raises:
        ConfigError: there are more or fewer names than classes.
    """
    count = max(class_count(config), 2)
    default = [f"class {number}" for number in range(count)]
    if count == 2 and not is_multilabel(config):
        default = ["background", "object"]
    names = config.get("class_names", default)
    if len(names) != count or len(set(names)) != count:
        raise ConfigError(
            f"class_names: {', '.join(names)}. Fix: {count} different names, one per class"
            + ("" if is_multilabel(config) else ", background first")
        )
    return names
