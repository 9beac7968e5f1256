"""What `--model_path` means: which weights or export, which config, which engine."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.architecture import NETWORKS
from paddleseg_u2net.checkpoint import CONFIG, EMA, MODEL, numbered
from paddleseg_u2net.config import CONFIGS, load_config, section
from paddleseg_u2net.deploy import RECORD, describe, find_record, read_record, write_record
from paddleseg_u2net.files import arriving, digest
from paddleseg_u2net.graph import build_onnx
from paddleseg_u2net.preprocessing import resize
from paddleseg_u2net.runtime import (
    PADDLE,
    PaddleRuntime,
    Runtime,
    check_device_name,
    choose,
    engines_for,
    open_runtime,
    set_device,
)
from paddleseg_u2net.weights import KNOWN, cache_folder, known_file, load_strict, resolve

log = logging.getLogger(__name__)

WEIGHT_FILES = (MODEL, EMA)
GRAPH_VERSION = 1  # counts changes of what `build_onnx` writes, so that no older cache is taken
TOLERANCE = 1 / 255  # of any pixel; what an 8-bit file can show


def find_weights(model_path: str | Path) -> str | Path:
    """The weights that `--model_path` means: a known name, a file, or the best one of a run folder.

    Raises:
        FileNotFoundError: none of the three.
    """
    path = Path(model_path)
    if str(model_path) in KNOWN or not path.is_dir():
        return model_path
    for folder in (path, path / "best_model", path / "ema_best_model", *reversed(numbered(path))):
        for name in WEIGHT_FILES:
            if (folder / name).is_file():
                return folder / name
    raise FileNotFoundError(f"{path}: holds no {' or '.join(WEIGHT_FILES)}, nor a run or an export that does")


def config_of(
    model_path: str | Path, config: str | Path | None = None, opts: Sequence[str] | None = None
) -> dict[str, Any]:
    """The config to use with a model: the one given, else the one it carries.

    Args:
        model_path: known name, weight file, run folder or exported folder.
        config: YAML file; None takes that of the known name, or the one that lies beside the model.
        opts: see `load_config`.

    Raises:
        ValueError: none is given, and it carries none.
    """
    if config is not None:
        return load_config(config, opts=opts)
    if known := KNOWN.get(str(model_path)):
        return load_config(CONFIGS / known.config, opts=opts)
    if record := find_record(model_path):
        return load_config(record, opts=opts)
    weights = resolve(find_weights(model_path))
    for folder in (weights.parent, weights.parent.parent):
        if (folder / CONFIG).is_file():
            return load_config(folder / CONFIG, opts=opts)
    if row := known_file(weights):
        return load_config(CONFIGS / row.config, opts=opts)
    raise ValueError(
        f"{model_path} carries no config ({CONFIG} beside it). Fix: add --config, for the published weights "
        f"--config {next(iter(KNOWN.values())).config}"
    )


def load_runtime(
    model_path: str | Path, config: Mapping[str, Any], device: str | None = None, backend: str = "auto"
) -> Runtime:
    """The engine that runs a model.

    Weights of this family run on a CPU as an ONNX graph, which is written and compared with Paddle once and
    then kept in the cache.

    Args:
        model_path: known name, weight file, run folder or exported folder.
        config: with a `model` section.
        device: see `set_device`.
        backend: `auto`, or one of BACKENDS.

    Raises:
        ValueError: the weights do not fit the config, or the engine or device cannot be used.
    """
    device = _device(device)
    if record := find_record(model_path):
        return _open(record, backend, device, str(record.parent))
    weights = resolve(find_weights(model_path))
    model = {k: v for k, v in section(dict(config), "model").items() if k != "pretrained"}
    # on other devices Paddle needs no second engine
    written = model["type"] in NETWORKS and (device == "cpu" or backend != "auto")
    allowed = [*(engines_for(".onnx") if written else []), PADDLE]
    if choose(backend, allowed, f"weights of {model['type']}") != PADDLE:
        return _open(cached_export(weights, model), backend, device, str(weights))
    log.info("Model %s, fp32; backend %s on %s", weights, PADDLE, set_device(device))
    return PaddleRuntime(_network(weights, model))


def _open(record: Path, backend: str, device: str, name: str | None = None) -> Runtime:
    """The engine that runs an exported folder; said in the log where it has a name."""
    deployment = read_record(record)
    path = record.parent / deployment.model
    chosen = choose(backend, engines_for(path.suffix), str(path))
    if name:
        why = " (auto: the fastest installed)" if backend == "auto" else ""
        log.info("Model %s, %s; backend %s on %s%s", name, deployment.precision, chosen, device, why)
    return open_runtime(chosen, path, device, deployment.precision)


def _device(name: str | None) -> str:
    """The device to use; Paddle is asked only where a GPU build of it is installed."""
    if name is not None:
        check_device_name(name)
        return name
    try:
        version("paddlepaddle-gpu")
    except PackageNotFoundError:
        return "cpu"
    return set_device(None)


def _network(weights: Path, model: Mapping[str, Any]) -> Any:
    """The network of a `model` section, filled with weights that fit exactly."""
    from paddleseg_u2net.registry import build_network

    layer = build_network(model)
    load_strict(layer, weights)
    return layer


def cached_export(weights: Path, model: Mapping[str, Any]) -> Path:
    """The exported folder of weights of this family; written, compared with Paddle and kept at first use.

    Args:
        weights: file of any known format.
        model: section of the config; the weights must fit it.

    Returns:
        Its `deploy.yaml`.

    Raises:
        ValueError: the weights do not fit, or the file computes something else than Paddle.
    """
    described = [model["type"], model.get("in_channels", 3), model["num_classes"], GRAPH_VERSION]
    name = "-".join([digest(weights, "sha256")[:32], *map(str, described)])
    folder = cache_folder() / "exports" / name
    if not (folder / RECORD).is_file():
        log.info("Writing an ONNX file of these weights and comparing it with Paddle, once")
        network = _network(weights, model)
        with arriving(folder) as partial:
            partial.mkdir()
            export_onnx(partial, network, {"model": dict(model)})
            difference = _difference(partial / RECORD, network, model.get("in_channels", 3))
        log.info("No pixel of a test image differs by more than %.1e", difference)
    return folder / RECORD


def export_onnx(folder: Path, network: Any, config: Mapping[str, Any]) -> None:
    """Write `model.onnx` and its record into an empty folder."""
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    (folder / "model.onnx").write_bytes(build_onnx(state).SerializeToString())
    shape = [-1, network.in_channels, -1, -1]
    write_record(folder, describe("model.onnx", "fp32", shape, network.num_classes, folder), config)


def _difference(record: Path, network: Any, channels: int) -> float:
    """Largest difference of an export from the Paddle network, on smooth noise of an odd size."""
    coarse = np.random.default_rng(0).normal(0, 1.5, (13, 11, channels)).astype(np.float32)
    image = np.ascontiguousarray(resize(coarse, (157, 131)).transpose(2, 0, 1)[None])
    maps = _open(record, "auto", "cpu")(image)
    set_device("cpu")
    difference = float(np.abs(maps - PaddleRuntime(network)(image)).max())
    if not difference <= TOLERANCE:
        raise ValueError(f"the ONNX file differs from Paddle by {difference:.2g}; it is not used")
    return difference
