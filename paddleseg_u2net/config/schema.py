"""The keys of a config and the values they can have."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from paddleseg_u2net.bounds import LONGEST
from paddleseg_u2net.errors import ConfigError, printable, suggest
from paddleseg_u2net.metrics.protocol import AbsentClasses, MapProtocol, MeasureStretch

LARGEST = 2**31 - 1  # whole number that every library takes
MAX_SCALE = 100  # factor on the size of an input
MAX_BATCH = 1 << 16  # images, batches of a step, or processes: more are a slip of the keyboard
NUMBERS = ("int", "float", int, float)  # annotations of arguments that text does not suit


def check_arguments(where: str, target: Callable, arguments: Mapping[str, Any]) -> None:
    """Check that a callable accepts keyword arguments.

    Args:
        where: prefix of the message.
        target: class or function.
        arguments: its keyword arguments.

    Raises:
        ConfigError: an argument is unknown, or a required one is missing.
    """
    parameters = inspect.signature(target).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    parameters = [parameter for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL]
    names = [parameter.name for parameter in parameters]
    for key in arguments:
        if key not in names:
            raise ConfigError(f"{where}: {key}: no such key.{suggest(key, names)}")
    for parameter in parameters:
        given, default = arguments.get(parameter.name), parameter.default
        of_numbers = type(default) in (int, float) or parameter.annotation in NUMBERS
        if of_numbers and isinstance(given, str):
            raise ConfigError(f"{where}: {parameter.name}: {given!r}. Fix: a number")
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in arguments]
    if missing:
        raise ConfigError(f"{where}: {', '.join(missing)} is missing")


def positive(value: Any) -> bool:
    """Whether a value is a whole number from 1 to LARGEST."""
    return type(value) is int and 0 < value <= LARGEST


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_component(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def _is_dataset(value: Any) -> bool:
    transforms = value.get("transforms", []) if _is_component(value) else None
    return isinstance(transforms, list) and all(map(_is_component, transforms))


def _is_loss(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"types", "coef"}


def _is_pair_of_ints(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(positive(v) and v <= LONGEST for v in value)


def _are_scales(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    numbers = all(type(v) in (int, float) and 0 < v <= MAX_SCALE for v in values)
    return numbers and bool(values)


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _is_not_negative(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value))


def _is_refinement(value: Any) -> bool:
    if value is None:  # switches off that of a base
        return True
    rules = {"model_path": _is_text, "margin": _is_not_negative, "min_size": positive}
    known = isinstance(value, dict) and "model_path" in value and set(value) <= set(rules)
    return known and all(rules[key](option) for key, option in value.items())


def _metric_names() -> list[str]:
    from paddleseg_u2net.metrics.table import AREA_MEASURES, MEASURES  # loads every metric, so only here

    return [*AREA_MEASURES, *MEASURES, *(row.alias for row in MEASURES.values() if row.alias)]


def _is_metric(value: Any) -> bool:
    return value in _metric_names()


def _are_metrics(value: Any) -> bool:
    return value == "all" or (isinstance(value, list) and all(map(_is_metric, value)))


def check_numbers(value: Any, *path: str) -> None:
    """Check that all numbers inside a value are finite, and not larger than every library takes.

    Args:
        value: the whole config, or a part of it.
        path: the keys that lead to it, for the message.

    Raises:
        ConfigError: one is not; the first one found.
    """
    inside = dict(enumerate(value)) if isinstance(value, list) else value
    for key, part in inside.items() if isinstance(inside, dict) else ():
        check_numbers(part, *path, str(key))
    if isinstance(value, (int, float)) and not abs(value) <= LARGEST:
        name = printable(".".join(path))
        raise ConfigError(f"{name}: expected a finite number, at most {LARGEST}, got {value}")


class Rule(NamedTuple):
    """What a value must be.

    Args:
        valid: whether a value is allowed.
        expected: what is allowed, in words; `{metrics}` stands for the names of all metrics.
    """

    valid: Callable[[Any], bool]
    expected: str


def _one_of(choices: type[Enum]) -> Rule:
    """The rule of a key whose values are those of an enumeration."""
    names = [choice.value for choice in choices]
    return Rule(names.__contains__, f"one of {', '.join(names)}")


COUNT = Rule(positive, f"a whole number above 0, at most {LARGEST}")
BATCH = Rule(
    lambda value: positive(value) and value <= MAX_BATCH, f"a whole number above 0, at most {MAX_BATCH}"
)
MAPPING = Rule(_is_mapping, "a mapping")
COMPONENT = Rule(_is_component, "a mapping with 'type'")
DATASET = Rule(_is_dataset, "a mapping with 'type', and 'transforms' that are a list of such")
BOOLEAN = Rule(_is_boolean, "true or false")
SIZE = Rule(_is_pair_of_ints, f"[W, H], at most {LONGEST}")
KEYS = {
    "batch_size": BATCH,
    "iters": COUNT,
    "train_dataset": DATASET,
    "val_dataset": DATASET,
    "model": COMPONENT,
    "optimizer": COMPONENT,
    "finetune": MAPPING,
    "lr_scheduler": COMPONENT,
    "loss": Rule(_is_loss, "a mapping of 'types' and 'coef'"),
    "test_config": MAPPING,
    "use_multilabel": BOOLEAN,
    "global": MAPPING,  # these three: see `config.runtime`
    "train": MAPPING,
    "test": MAPPING,
    "Deploy": MAPPING,
    "metric": Rule(_is_metric, "one of {metrics}"),
    "class_names": Rule(_are_names, "a list of names, one per class, background included"),
    "metrics": Rule(_are_metrics, "all, or a list of {metrics}"),
}
SECTIONS = (
    *("train_dataset", "val_dataset", "model", "optimizer", "lr_scheduler", "loss", "finetune"),
    "test_config",
)
FINETUNE_KEYS = {
    "freeze": Rule(_are_names, "a list of names of layers"),
    "freeze_batch_norm": Rule(["statistics", "all"].__contains__, "statistics or all"),
    "batch_norm_momentum": Rule(_is_share, "a number from 0 to 1"),
    "l2_sp": Rule(_is_not_negative, "a number of at least 0"),
}
TEST_KEYS = {
    "aug_eval": BOOLEAN,
    "flip_horizontal": BOOLEAN,
    "flip_vertical": BOOLEAN,
    "is_slide": BOOLEAN,
    "auc_roc": BOOLEAN,
    "map_protocol": _one_of(MapProtocol),
    "measure_stretch": _one_of(MeasureStretch),
    "absent_classes": _one_of(AbsentClasses),
    "minmax": BOOLEAN,  # short forms of the two above
    "official": BOOLEAN,
    "as_is": BOOLEAN,
    "crop_size": SIZE,
    "stride": SIZE,
    "refine": Rule(_is_refinement, "{model_path: …, margin: 0 or more, min_size: pixels}, or null"),
    "scales": Rule(_are_scales, f"a number above 0 or a list of them, at most {MAX_SCALE}"),
}


def check_keys(section: Mapping[str, Any], keys: Mapping[str, Rule], where: str) -> None:
    """Check keys and values of a section.

    Args:
        section: the section, or the whole config.
        keys: the allowed keys.
        where: prefix of the message.

    Raises:
        ConfigError: a key is unknown, or its value is not allowed; the first one found.
    """
    for key, value in section.items():
        if key not in keys:
            raise ConfigError(f"{where}: {key}: no such key.{suggest(key, keys)}")
        if not keys[key].valid(value):
            expected = keys[key].expected
            if "{metrics}" in expected:
                expected = expected.format(metrics=", ".join(_metric_names()))
            raise ConfigError(f"{where}: {key}: expected {expected}, got {value!r}")
