"""A YAML file with `_base_` and the flags of a command -> one checked dict. Light: no Paddle.

The dict equals that of paddleseg's Config (a test holds them equal), and beyond it unknown or repeated
keys, wrong values and numbers that YAML 1.1 reads as text (`1e-4`) are refused or understood.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from paddleseg_u2net.config.schema import KEYS, SECTIONS, TEST_KEYS, check_keys, positive
from paddleseg_u2net.data.preprocessing import Preprocessing
from paddleseg_u2net.errors import ConfigError, suggest

BASE, INHERITED = "_base_", "_inherited_"
HERE = "${here}"  # in a path of a data set: the folder of the file that says it
_HERE = Path(__file__).parents[1]
CONFIGS = next(path for path in (_HERE / "configs", _HERE.parent / "configs") if path.is_dir())


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-4 as the number it is and refuses a key that stands twice."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if not isinstance(key.value, str):
                line = key.start_mark.line + 1
                raise ConfigError(
                    f"{node.start_mark.name}:{line}: a key is a word. Fix: quote values with braces"
                )
            if key.value in seen:
                line = key.start_mark.line + 1
                raise ConfigError(f"{node.start_mark.name}:{line}: {key.value} stands twice. Fix: keep one")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Its counterpart: quotes text that `_Loader` would read as a number."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
        list("-+0123456789"),
    )


def find_config(path: str | Path) -> Path:
    """The config file of a path: as given, else among those that come with the project.

    Raises:
        ConfigError: neither exists.
    """
    path = Path(path)
    relative = _inside_configs(path)
    for candidate in (path, CONFIGS / relative):
        if candidate.is_file():
            return candidate
    names = [str(p.relative_to(CONFIGS)) for p in sorted(CONFIGS.rglob("*.yaml")) if "_base_" not in p.parts]
    raise ConfigError(f"--config {path}: no such file.{suggest(str(relative), names)}")


def _inside_configs(path: Path) -> Path:
    """The path of a config of the project, `configs/RGB/…` or `RGB/…`, below the folder of configs."""
    return Path(*path.parts[1:]) if path.parts[:1] == ("configs",) else path


def _read(path: Path) -> dict[str, Any]:
    """One YAML file, its top-level keys checked, without its bases."""
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        loader.name = str(path)
        node = loader.get_single_node()
        content = loader.construct_document(node) if node else {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a YAML file: {error}") from None
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


def _read_with_bases(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A file over its bases; of several, earlier ones win over later ones, as in paddleseg."""
    if path.resolve() in above:
        raise ConfigError(f"{path}: _base_ leads back to it, from {above[-1]}. Fix: take one of the two out")
    content = _read(path)
    bases = content.pop(BASE, [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{path}: _base_: expected the path of a file or a list of them, got {bases!r}")
    for base in bases:
        places = (path.parent / base, CONFIGS / _inside_configs(Path(base)))
        base_path = next((place for place in places if place.is_file()), None)
        if base_path is None:
            raise ConfigError(f"{path}: _base_: {base}: no such file ({places[0]})")
        content = _merge(content, _read_with_bases(base_path, (*above, path.resolve())))
    return content


def _merge(content: dict, base: dict) -> dict:
    """`content` over `base`: mappings merge, all else is replaced, `_inherited_: false` drops the base."""
    if not content.get(INHERITED, True):
        return {key: value for key, value in content.items() if key != INHERITED}
    merged = dict(base)
    for key, value in content.items():
        nested = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(value, base[key]) if nested else value
    return merged


def _set(config: Any, option: str, where: str) -> None:
    """Apply one `a.b.0.c=value`."""
    key, equals, text = option.partition("=")
    if not equals or not key:
        raise ConfigError(f"{where}: --opts {option}: expected key=value")
    try:
        value = yaml.load(text, _Loader)
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
        raise ConfigError(f"{where}: --opts {option}: the list has {len(target)} entries, from 0") from None
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
    """Read a config.

    Args:
        path: YAML file, or the name of one that comes with the project.
        learning_rate: replaces that of lr_scheduler.
        batch_size: replaces the config's.
        iters: replaces the config's.
        opts: `key=value` or `section.key=value`; a number steps into a list, the value is YAML.

    Raises:
        ConfigError: the file is absent or broken, a key is unknown or a value wrong.
    """
    path = find_config(path)
    config = _read_with_bases(path)
    for option in opts or ():
        _set(config, option, str(path))
    config = {key: value for key, value in config.items() if value is not None}
    check_keys(config, KEYS, str(path))
    if learning_rate is not None:
        schedule = section(config, "lr_scheduler")
        rate = "max_learning_rate" if schedule.get("type") == "OneCycleLR" else "learning_rate"
        schedule[rate] = learning_rate
    for key, value in (("batch_size", batch_size), ("iters", iters)):
        if value is not None:
            config[key] = value
    for key in ("train_dataset", "val_dataset"):  # as paddleseg does where the model leaves it to the data
        if "model" in config and "num_classes" in config.get(key, {}):
            config["model"].setdefault("num_classes", config[key]["num_classes"])
    for key in ("num_classes", "in_channels"):
        if not positive(count := config.get("model", {}).get(key, 1)):
            raise ConfigError(f"{path}: model.{key}: expected a whole number above 0, got {count!r}")
    check_keys(config.get("test_config", {}), TEST_KEYS, f"{path}: test_config")
    return config


def section(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A section that a command needs; ConfigError where the config lacks it."""
    if key not in config:
        raise ConfigError(f"the config has no {key}. Fix: add it, or inherit it by _base_")
    return config[key]


@contextlib.contextmanager
def in_file(path: str | Path) -> Iterator[None]:
    """Let a ConfigError that leaves the block name the file."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`section.key: old -> new` of every value that two configs do not share."""
    found = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += [f"{key}.{line}" for line in differences(before, now)]
        elif before != now:
            found.append(f"{key}: {before} -> {now}")
    return found


def preprocessing_of(config: Mapping[str, Any]) -> Preprocessing:
    """The recipe of an image: the val transforms of a config."""
    dataset = section(config, "val_dataset")
    return Preprocessing.from_transforms(dataset.get("transforms", []), dataset.get("img_channels", 3))


def class_count(config: Mapping[str, Any]) -> int:
    """`num_classes` of the model, else of the data."""
    for key in ("model", "train_dataset", "val_dataset"):
        if "num_classes" in config.get(key, {}):
            return config[key]["num_classes"]
    raise ConfigError("model: num_classes is missing. Fix: 1 for saliency, else the number of classes")


def dump_config(config: Mapping[str, Any]) -> str:
    """As YAML text that `load_config` reads back."""
    return yaml.dump(dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
