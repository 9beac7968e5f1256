"""What `--model_path` means: which weights or export, which config, which engine."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from paddleseg_u2net.config.loader import CONFIGS, load_config, section
from paddleseg_u2net.engines.adapters import adapt
from paddleseg_u2net.engines.base import PADDLE, Engine, choose, engines_for, open_engine
from paddleseg_u2net.engines.deploy_config import PADDLE_MODEL, find_record, read_record
from paddleseg_u2net.engines.paddle import PaddleEngine
from paddleseg_u2net.environment.devices import check_device_name, has_int8_units, set_device
from paddleseg_u2net.errors import VerificationError
from paddleseg_u2net.export.cache import cached_export, load_network, network_on_cpu
from paddleseg_u2net.models.architecture import NETWORKS
from paddleseg_u2net.models.checkpoint import CONFIG, EMA, MODEL, numbered
from paddleseg_u2net.models.pretrained import (
    CALIBRATIONS,
    KNOWN,
    known_file,
    resolve,
)

log = logging.getLogger(__name__)

WEIGHT_FILES = (MODEL, EMA)


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


def load_engine(
    model_path: str | Path,
    config: Mapping[str, Any],
    device: str | None = None,
    backend: str = "auto",
    precision: str = "auto",
    parallel: int = 1,
) -> Engine:
    """The engine that runs a model.

    Weights of this family run on a CPU as an ONNX graph, which is written and compared with Paddle once and
    then kept in the cache.

    Args:
        model_path: known name, weight file, run folder or exported folder.
        config: with a `model` section.
        device: see `set_device`.
        backend: `auto`, or one of BACKENDS.
        precision: `auto` for the fastest that has proven its quality for these weights on this CPU, `fp32`,
            `int8`, or `bf16`.
        parallel: threads that will call it at once.

    Raises:
        ValueError: the weights do not fit the config, or the engine or device cannot be used.
    """
    if str(model_path) not in KNOWN and (record := find_record(model_path)):
        deployed = read_record(record)
        if precision not in ("auto", deployed.precision):
            raise ValueError(f"--precision {precision}: {record.parent} was exported as {deployed.precision}")
        if device is None and deployed.model != PADDLE_MODEL:
            device = "cpu"  # whatever Paddle could use
        return _open(record, backend, _device(device), parallel, str(record.parent))
    device = _device(device)
    weights = resolve(find_weights(model_path))
    model = {k: v for k, v in section(dict(config), "model").items() if k != "pretrained"}
    # on other devices Paddle needs no second engine
    written = model["type"] in NETWORKS and (device == "cpu" or backend != "auto")
    half = "bf16" if precision == "bf16" else None
    allowed = [*(engines_for(".onnx", half or "fp32") if written else []), *([] if half else [PADDLE])]
    chosen = choose(backend, allowed, f"weights of {model['type']}")
    if chosen != PADDLE:
        calibration = _calibration(weights, backend, device, precision)
        for ranges in dict.fromkeys([calibration, None]) if precision == "auto" else [calibration]:
            try:
                record = cached_export(weights, model, ranges, half)
                return _open(record, backend, device, parallel, str(weights))
            except (VerificationError, OSError) as error:
                if backend != "auto" or precision != "auto":
                    raise
                log.warning("%s. Something slower predicts instead", error)
    if precision not in ("auto", "fp32"):
        raise ValueError(
            f"--precision {precision}: backend {PADDLE} computes in fp32. Fix: another --backend"
        )
    log.info("Model %s, fp32; backend %s on %s", weights, PADDLE, set_device(device))
    return PaddleEngine(load_network(weights, model))


def _open(
    record: Path,
    backend: str,
    device: str,
    parallel: int,
    name: str,
) -> Engine:
    """The engine that runs an exported folder, said in the log."""
    deployment = read_record(record)
    path, precision = record.parent / deployment.model, deployment.precision
    chosen = choose(backend, engines_for(path.suffix, precision), str(path))
    why = " (auto: the fastest installed)" if backend == "auto" else ""
    log.info("Model %s, %s; backend %s on %s%s", name, precision, chosen, device, why)
    return adapt(open_engine(chosen, path, device, precision, parallel), deployment)


def _calibration(weights: Path, backend: str, device: str, precision: str) -> Path | None:
    """The calibration to use for 8-bit integers, or None for float32."""
    if precision not in ("auto", "int8", "fp32", "bf16"):
        raise ValueError(f"--precision {precision}: unknown, expected auto, fp32, int8 or bf16")
    if precision in ("fp32", "bf16"):
        return None
    row = known_file(weights)
    reasons = {
        "these weights have no calibration; tools/export.py --precision int8 makes one": not (
            row and row.calibration
        ),
        "this CPU has no units for it": not has_int8_units() and precision == "auto",
        f"device {device} computes in fp32": device != "cpu",
        "OpenVINO runs it fastest (pip install openvino)": not find_spec("openvino"),
        f"backend {backend} gains nothing from it": backend not in ("auto", "openvino"),
    }
    against = [reason for reason, holds in reasons.items() if holds]
    if precision == "int8" and against:
        raise ValueError(f"--precision int8: {against[0]}")
    if row is None or row.calibration is None:
        return None
    if against:
        log.info("float32 instead of 8-bit integers: %s", against[0])
        return None
    return CALIBRATIONS / row.calibration


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


def build(model_path: str | Path, model: Mapping[str, Any]) -> Any:
    """The Paddle network that `--model_path` means, on a CPU, in eval mode.

    Args:
        model_path: known name, weight file or run folder.
        model: section of its config.
    """
    return network_on_cpu(resolve(find_weights(model_path)), model)
