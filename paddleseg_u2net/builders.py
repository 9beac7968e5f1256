"""Build networks, losses, data sets and optimizers from config sections; register ours with paddleseg."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import paddle

from paddleseg_u2net import losses, models
from paddleseg_u2net.config.loader import class_count, is_multilabel, section
from paddleseg_u2net.config.schema import check_arguments
from paddleseg_u2net.data.arguments import fault_of
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.data.multi_scale import read_sizes
from paddleseg_u2net.data.pairs import Pair, check_list_keys, list_pairs
from paddleseg_u2net.data.section import CHANNELS, WHITE, check_channels, read_keys
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data.stock_transforms import check_transforms
from paddleseg_u2net.data.wording import as_options
from paddleseg_u2net.datasets.prepare import find_data
from paddleseg_u2net.datasets.stock import STOCK, StockPairs, known_files, require_classes, require_root
from paddleseg_u2net.environment.optional_imports import need, postponed
from paddleseg_u2net.errors import ConfigError, counted, suggest
from paddleseg_u2net.models.architecture import HEADS, NETWORKS
from paddleseg_u2net.models.stock_weights import with_way_round, with_weight_files
from paddleseg_u2net.registry import MODELS, REGISTRIES
from paddleseg_u2net.schedules import build_schedule

OLD_OPTIMIZER_NAMES = {"adam": "Adam", "sgd": "SGD"}  # accepted by paddleseg
CLASS_LOSSES = (
    *("CrossEntropyLoss", "OhemCrossEntropyLoss", "BootstrappedCrossEntropyLoss", "MultiClassFocalLoss"),
    *("LovaszSoftmaxLoss", "DiceLoss"),
)


@functools.cache
def _import_components() -> None:
    """Import the modules whose decorators fill our registries."""
    importlib.import_module("paddleseg_u2net.data.transforms")
    for folder in (losses, models):
        for module in pkgutil.iter_modules(folder.__path__):
            importlib.import_module(f"{folder.__name__}.{module.name}")


@functools.cache
def register() -> None:
    """Add our networks, losses and transforms to paddleseg's registry.

    Afterwards paddleseg's own `SegBuilder` builds them by name. `U2Net`, `U2Netp` and `CrossEntropyLoss`
    replace paddleseg's classes of the same name: the networks have the same parameters and outputs, and
    paddleseg's loss fails on Paddle 3. Later calls do nothing.

    Raises:
        MissingPackage: paddleseg is not installed.
    """
    with postponed("sklearn", "metrics"):  # takes as long as Paddle to import; only an AUC needs it
        need("paddleseg")  # registers its own components first
    manager = need("paddleseg.cvlibs").manager
    _import_components()
    for registry in REGISTRIES:
        # not `add_component`, which warns about every class that is replaced on purpose
        getattr(manager, registry.kind).components_dict.update(registry)


def _paddleseg() -> Any:
    """`paddleseg.cvlibs` with our components registered and without its log lines."""
    register()
    need("paddleseg.utils.logger").log_level = 0  # it would repeat the config and the parameter groups
    return need("paddleseg.cvlibs")


def check_component(kind: str, where: str, cfg: Mapping[str, Any]) -> None:
    """Check the name and the keys of a component, and of the components nested in it.

    Args:
        kind: name of paddleseg's registry, such as MODELS.
        where: place in the config, as messages show it.
        cfg: `type` and the arguments of the constructor.

    Raises:
        ConfigError: unknown type, or keys that the constructor does not take.
    """
    known = getattr(_paddleseg().manager, kind).components_dict
    if "type" not in cfg:
        raise ConfigError(f"{where}: type is missing.{suggest('', known)}")
    if not isinstance(cfg["type"], str):
        raise ConfigError(f"{where}: type: expected the name of a component, got {cfg['type']!r}")
    if cfg["type"] not in known:
        raise ConfigError(f"{where}: type: {cfg['type']}: no such component.{suggest(cfg['type'], known)}")
    arguments = {key: value for key, value in cfg.items() if key != "type"}
    check_arguments(f"{where}: {cfg['type']}", known[cfg["type"]], arguments)
    for key, value in arguments.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict) and "type" in item:
                inside = "BACKBONES" if kind == "MODELS" else kind
                check_component(inside, f"{where}: {cfg['type']}: {key}", item)


def _build(kind: str, where: str, cfg: Mapping[str, Any]) -> Any:
    """Build one component; an error of its constructor becomes a ConfigError that names the component."""
    check_component(kind, where, cfg)
    try:
        return _paddleseg().SegBuilder(None).build_component(cfg)
    except RuntimeError as error:
        *_, reason = str(error).split("\n")  # the lines before it repeat the config
        raise ConfigError(f"{where}: {cfg['type']}: {reason.strip()}") from error


def build_network(cfg: Mapping[str, Any]) -> paddle.nn.Layer:
    """Build the network of a `model` section; our own networks do not need paddleseg.

    Raises:
        ConfigError: unknown type or keys.
    """
    _import_components()
    arguments = {key: value for key, value in cfg.items() if key != "type"}
    # Parameter names start from 0, so that a saved optimizer state fits whatever was built before
    with paddle.utils.unique_name.guard():
        if own := MODELS.get(cfg["type"]):
            check_arguments(f"model: {cfg['type']}", own, arguments)
            return own(**arguments)
        cfg = with_weight_files(cfg)
        try:
            return _build("MODELS", "model", cfg)
        except ConfigError as error:
            raise with_way_round(error, cfg) from error


def build_dataset_spec(config: Mapping[str, Any], key: str) -> DatasetSpec:
    """Describe the data of a `train_dataset` or `val_dataset` section; reads lists, but no image.

    `type: Dataset` reads a list file or two folders. A dataset class of paddleseg only lists its pairs,
    and its images are read as those of `Dataset`; classes that change labels while reading are rejected.

    Raises:
        ConfigError: unknown or missing keys, or another number of classes than the model's.
        FileNotFoundError: a list or a folder does not exist.
        ValueError: there is no pair, or a value is out of range.
    """
    cfg = dict(section(config, key))
    num_classes = class_count(config)
    labels = num_classes if is_multilabel(config) else 0
    if cfg.get("num_classes", num_classes) != num_classes:
        raise ConfigError(f"{key}: num_classes: {cfg['num_classes']}. Fix: {num_classes}, that of the model")
    cfg["mode"] = mode = str(cfg.get("mode", "train" if key == "train_dataset" else "val")).lower()
    channels, operators = cfg.get(CHANNELS, 3), cfg.pop("transforms", [])
    transforms = _build_operators(key, operators, channels)
    check_channels(key, operators, channels)
    training = key == "train_dataset"
    check_transforms(key, operators, 2 if labels else num_classes, training, labels)
    kind, download = cfg.pop("type"), cfg.pop("download", False)
    sizes = read_sizes(key, cfg.pop("multi_scale", None))
    cfg.pop("num_classes", None)
    if type(download) is not bool:
        raise ConfigError(f"{key}: download: expected true or false, got {download!r}")
    if edge := cfg.pop("edge", False):
        raise ConfigError(f"{key}: edge: {edge}: labels of edges are not supported. Fix: edge: false")
    shared = {"mode": mode, "name": key, "multi_scale": sizes, "fix_as": partial(as_options, section=key)}
    if kind != "Dataset":
        if labels:
            raise ConfigError(f"{key}: type: {kind}: its masks hold classes. Fix: leave use_multilabel out")
        return _stock_spec(kind, cfg, num_classes, transforms, download, shared)
    model = config["model"]
    keys = read_keys(key, cfg, None if "backbone" in model else model.get("in_channels", 3))
    check_list_keys(key, cfg)
    pairs, faults = list_pairs(**find_data(cfg, download))
    classes = 2 if labels else num_classes
    return DatasetSpec(pairs, classes, transforms, faults=faults, labels=labels, **shared, **keys)


def _stock_spec(
    kind: str,
    cfg: dict[str, Any],
    num_classes: int,
    transforms: list[Any],
    download: bool,
    shared: dict[str, Any],
) -> DatasetSpec:
    """Describe the data of a dataset class of paddleseg; `shared` is what all descriptions hold."""
    key = shared["name"]
    white = cfg.pop(WHITE, None)
    read = known_files if kind in STOCK else _stock_pairs
    (pairs, faults), ignore_index, relabel = read(key, kind, cfg, download)
    require_classes(key, kind, num_classes)
    return DatasetSpec(
        pairs,
        num_classes,
        transforms,
        ignore_index,
        "index",
        faults=faults,
        white=white,
        relabel=relabel,
        **shared,
    )


def _build_operators(key: str, section: list[dict[str, Any]], channels: int) -> list[Any]:
    """Build the transforms of a dataset section, whose images have a number of channels."""
    operators = []
    for number, item in enumerate(section):
        where = f"{key}.transforms[{number}]"
        check_component("TRANSFORMS", where, item)
        if fault := fault_of(item["type"], item, channels):
            raise ConfigError(f"{where}: {fault}")
        operators.append(_build("TRANSFORMS", where, item))
    return operators


def _stock_pairs(key: str, kind: str, cfg: Mapping[str, Any], download: bool) -> StockPairs:
    """Return the pairs that a dataset class of paddleseg lists, and the mask value it ignores."""
    from paddleseg.datasets import Dataset as StockDataset

    cfg = {"type": kind, "transforms": [], **cfg}
    stock = _paddleseg().manager.DATASETS.components_dict.get(kind, StockDataset)
    if stock.__getitem__ is not StockDataset.__getitem__:
        raise ConfigError(
            f"{key}: {kind} changes labels while it reads them. Fix: use type: Dataset with a list"
        )
    check_component("DATASETS", key, cfg)
    require_root(key, kind, cfg.get("dataset_root"), download)
    built = _build("DATASETS", key, cfg)
    pairs = [Pair(Path(image), Path(mask), key) for image, mask in built.file_list]
    return (pairs, []), built.ignore_index, None


def build_losses(config: Mapping[str, Any]) -> dict[str, list]:
    """Build the `loss` section: `types` and `coef`, one of each per output.

    Raises:
        ConfigError: unknown types or keys, or lengths that do not match.
    """
    cfg = section(config, "loss")
    types, coef = _list_of_components("loss.types", cfg["types"]), cfg["coef"]
    numbers = isinstance(coef, list) and all(type(value) in (int, float) for value in coef)
    if not numbers or not coef:
        raise ConfigError(f"loss: coef: expected a list of numbers, one per output, got {coef!r}")
    types = types * len(coef) if len(types) == 1 else types
    if len(types) != len(coef):
        raise ConfigError(
            f"loss: {counted(len(types), 'type')} and {len(coef)} coef. Fix: one type, or one per coef"
        )
    if config["model"]["type"] in NETWORKS and len(coef) != len(HEADS):
        raise ConfigError(
            f"loss: coef: {counted(len(coef), 'number')}, but U²-Net has {len(HEADS)} outputs. "
            "Fix: one per output"
        )
    nested = [_list_of_components("loss: losses", item["losses"]) for item in types if "losses" in item]
    for item in [*types, *(item for items in nested for item in items)]:
        _check_loss(item, class_count(config), is_multilabel(config))
    built = [_build("LOSSES", f"loss.types[{i}]", item) for i, item in enumerate(types)]
    return {"types": built, "coef": coef}


def _check_loss(cfg: Mapping[str, Any], num_classes: int, multilabel: bool) -> None:
    """Raise ConfigError for a loss that does not suit the masks."""
    of_maps = multilabel or num_classes == 1
    if cfg["type"] in (CLASS_LOSSES if of_maps else ("SaliencyLoss",)):
        suitable = "SaliencyLoss" if of_maps else "CrossEntropyLoss"
        what = "use_multilabel" if multilabel else f"num_classes: {num_classes}"
        raise ConfigError(f"loss: {cfg['type']} does not suit {what}. Fix: type: {suitable}")
    if cfg.get("ignore_index", IGNORE) != IGNORE:
        raise ConfigError(
            f"loss: ignore_index: {cfg['ignore_index']}: samples mark ignored pixels by {IGNORE}, "
            "whatever the mask files use. Fix: set it under train_dataset and val_dataset instead"
        )


def build_optimizer(config: Mapping[str, Any], network: paddle.nn.Layer) -> paddle.optimizer.Optimizer:
    """Build the optimizer of a config with its learning rate schedule, as paddleseg's builder does.

    Args:
        config: sections `optimizer` and `lr_scheduler`, and `iters`.
        network: its parameters are optimized.

    Raises:
        ConfigError: unknown types, keys or values.

    Source: paddleseg 2.8.0 cvlibs/builder.py, `SegBuilder.optimizer`.
    """
    schedule = build_schedule(config)
    cfg = dict(section(config, "optimizer"))
    cfg["type"] = OLD_OPTIMIZER_NAMES.get(cfg["type"], cfg["type"])
    if cfg["type"] == "SGD" and "momentum" in cfg:
        cfg["type"] = "Momentum"
    create = _build("OPTIMIZERS", "optimizer", cfg)
    _check_groups(cfg.get("custom_cfg"), network)
    try:
        return create(network, schedule)
    except (AttributeError, AssertionError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"optimizer: {cfg['type']}: {error}") from error


def _check_groups(groups: Any, network: paddle.nn.Layer) -> None:
    """Reject parameter groups (`custom_cfg`) that hold no parameter, which paddleseg would not notice."""
    names = [name for name, _ in network.named_parameters()]
    for group in groups if isinstance(groups, list) else ():
        part = group.get("name", "") if isinstance(group, dict) else ""
        if not any(str(part) in name for name in names):
            layers = [name for name, _ in network.named_children()]  # parameters would be too many
            raise ConfigError(
                f"optimizer: custom_cfg: name: {part}: in no parameter's name.{suggest(part, layers)}"
            )


def _list_of_components(where: str, value: Any) -> list[dict[str, Any]]:
    named = isinstance(value, list) and all(
        isinstance(v, dict) and isinstance(v.get("type"), str) for v in value
    )
    if not named:
        raise ConfigError(f"{where}: expected a list of mappings with 'type', got {value!r}")
    return value
