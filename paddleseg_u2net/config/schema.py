"""What a config may say: its keys, and the values each of them can have. Light: no Paddle."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from paddleseg_u2net.errors import ConfigError, suggest
from paddleseg_u2net.metrics.protocol import MapProtocol, MeasureStretch
from paddleseg_u2net.metrics.table import AREA_MEASURES, MEASURES


def check_arguments(where: str, target: Callable, arguments: Mapping[str, Any]) -> None:
    """Raise ConfigError unless `target` can be called with these arguments."""
    parameters = inspect.signature(target).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    parameters = [parameter for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL]
    names = [parameter.name for parameter in parameters]
    for key in arguments:
        if key not in names:
            raise ConfigError(f"{where}: {key}: no such key.{suggest(key, names)}")
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in arguments]
    if missing:
        raise ConfigError(f"{where}: {', '.join(missing)} is missing")


def positive(value: Any) -> bool:
    """Whether a value is a whole number above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _component(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def _pair_of_ints(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(positive, value))


def _scales(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) and v > 0 for v in values)
    return numbers and bool(values)


def _dataset(value: Any) -> bool:
    transforms = value.get("transforms", []) if _component(value) else None
    return isinstance(transforms, list) and all(map(_component, transforms))


def _boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _one_of(choices: type[Enum]) -> tuple[Callable[[Any], bool], str]:
    """The row of a key whose values are those of an enumeration."""
    names = [choice.value for choice in choices]
    return lambda value: value in names, f"one of {', '.join(names)}"


METRICS = (*AREA_MEASURES, *MEASURES, *(row.alias for row in MEASURES.values() if row.alias))
COMPONENT = (_component, "a mapping with 'type'")
DATASET = (_dataset, "a mapping with 'type', and 'transforms' that are a list of such")
BOOLEAN = (_boolean, "true or false")
KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("batch_size", "iters"), (positive, "a whole number above 0")),
    **dict.fromkeys(("train_dataset", "val_dataset"), DATASET),
    **dict.fromkeys(("model", "optimizer", "lr_scheduler"), COMPONENT),
    "loss": (
        lambda v: isinstance(v, dict) and {"types", "coef"} == set(v),
        "a mapping of 'types' and 'coef'",
    ),
    **dict.fromkeys(("test_config", "Deploy"), (lambda v: isinstance(v, dict), "a mapping")),
    "metric": (lambda v: v in METRICS, f"one of {', '.join(METRICS)}"),
    "metrics": (
        lambda v: v == "all" or (isinstance(v, list) and all(name in METRICS for name in v)),
        f"all, or a list of {', '.join(METRICS)}",
    ),
}
SECTIONS = ("train_dataset", "val_dataset", "model", "optimizer", "lr_scheduler", "loss", "test_config")
TEST_KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("aug_eval", "flip_horizontal", "flip_vertical", "is_slide", "auc_roc"), BOOLEAN),
    "map_protocol": _one_of(MapProtocol),
    "measure_stretch": _one_of(MeasureStretch),
    **dict.fromkeys(("minmax", "official", "as_is"), BOOLEAN),  # short forms of the two above
    **dict.fromkeys(("crop_size", "stride"), (_pair_of_ints, "[W, H]")),
    "scales": (_scales, "a number above 0 or a list of them"),
}


def check_keys(section: Mapping[str, Any], keys: Mapping[str, tuple[Callable, str]], where: str) -> None:
    """Raise ConfigError at the first key that is not in the table, or whose value it does not allow."""
    for key, value in section.items():
        if key not in keys:
            raise ConfigError(f"{where}: {key}: no such key.{suggest(key, keys)}")
        valid, expected = keys[key]
        if not valid(value):
            raise ConfigError(f"{where}: {key}: expected {expected}, got {value!r}")
