"""What `--model_path` means: which weights or export, which config, which engine."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paddleseg_u2net.config.loader import CONFIGS, is_multilabel, load_config, section
from paddleseg_u2net.data.section import COLORS, WHITE
from paddleseg_u2net.engines.adapters import FixedSizeEngine, PhotographEngine, ProbabilityEngine, adapt
from paddleseg_u2net.engines.base import PADDLE, Engine, choose, engines_for, open_engine
from paddleseg_u2net.engines.deploy_config import PADDLE_MODEL, Deployment, find_record, read_record
from paddleseg_u2net.engines.paddle import PaddleEngine
from paddleseg_u2net.environment.devices import choose_device, has_int8_units, set_device
from paddleseg_u2net.environment.optional_imports import INSTALL, has
from paddleseg_u2net.errors import VerificationError
from paddleseg_u2net.export.cache import cached_export, load_network, network_on_cpu
from paddleseg_u2net.io.files import digest
from paddleseg_u2net.models.architecture import NETWORKS
from paddleseg_u2net.models.checkpoint import CONFIG
from paddleseg_u2net.models.known_weights import KNOWN, known_file
from paddleseg_u2net.models.pretrained import resolve, without_pretrained
from paddleseg_u2net.models.run_folders import best_file

log = logging.getLogger(__name__)

PRECISIONS = ("auto", "fp32", "int8", "bf16")


def find_weights(model_path: str | Path) -> str | Path:
    """The weights that `--model_path` means: a known name, a file, or the best file of a run folder.

    Raises:
        FileNotFoundError: none of the three.
    """
    if str(model_path) in KNOWN or not Path(model_path).is_dir():
        return model_path
    return best_file(Path(model_path))


def model_file(model_path: str | Path) -> Path:
    """The file that `--model_path` means: the weights, or the network of an export."""
    if str(model_path) not in KNOWN and (record := find_record(model_path)):
        return record.parent / read_record(record).model
    return resolve(find_weights(model_path))


def describe(model_path: str | Path, engine: Engine) -> dict[str, str]:
    """What identifies a model and how it is run, as plain data for records of scores.

    Args:
        model_path: known name, weight file, run folder or exported folder.
        engine: the engine that `load_engine` opened for it.
    """
    while isinstance(engine, (ProbabilityEngine, PhotographEngine, FixedSizeEngine)):
        engine = engine.model
    file, exported = model_file(model_path), getattr(engine, "path", None)  # PaddleEngine has none
    record = find_record(exported) if exported else None
    return {
        "model_path": str(model_path),
        "file": str(file),
        "sha256": digest(file, "sha256"),
        "engine": type(engine).__name__,
        "precision": read_record(record).precision if record else "fp32",
    }


def config_of(
    model_path: str | Path,
    config: str | Path | None = None,
    opts: Sequence[str] | None = None,
    default: str | None = None,
) -> dict[str, Any]:
    """The config to use with a model: the one given, else the one the model carries.

    Args:
        model_path: known name, weight file, run folder or exported folder.
        config: YAML file; None takes that of the known name, or the one beside the weights.
        opts: see `load_config`.
        default: config, below `configs/`, for weights that carry none.

    Raises:
        ValueError: no config is given, the model carries none, and there is no default.
    """
    if config is not None:
        return _with_decisions_of(model_path, load_config(config, opts=opts))
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
    if default:
        log.info("%s carries no config: that of %s is used", model_path, default)
        return load_config(CONFIGS / default, opts=opts)
    published = KNOWN.get(weights.stem) or next(iter(KNOWN.values()))
    raise ValueError(
        f"{model_path} carries no config. Fix: put its config beside it, as {weights.parent / CONFIG}; "
        "that of --model_path may be given by --config (for published weights "
        f"{published.config})"
    )


def _with_decisions_of(model_path: str | Path, config: dict[str, Any]) -> dict[str, Any]:
    """Add what a training decided from its files, unless the config sets it: see `record_decisions`.

    The white of 16-bit images and overlapping labels belong to the model; the colours of palettes to the data
    it was trained on.
    """
    data = config.get("val_dataset")
    with contextlib.suppress(OSError, ValueError):  # the model carries no config
        carried = config_of(model_path)
        if is_multilabel(carried) and "use_multilabel" not in config:
            log.info("use_multilabel, as in the training of %s", model_path)
            config["use_multilabel"] = True
        own = carried.get("val_dataset", {}) if data else {}
        same_data = bool(data) and own.get("dataset_root") == data.get("dataset_root")
        for key in (WHITE, COLORS) if same_data else (WHITE,):
            if data and key in own and key not in data:
                log.info("val_dataset: %s: %s, as in the training of %s", key, own[key], model_path)
                data[key] = own[key]
    return config


def load_engine(
    model_path: str | Path,
    config: Mapping[str, Any],
    device: str | None = None,
    backend: str = "auto",
    precision: str = "auto",
    parallel: int = 1,
) -> Engine:
    """Open a model in the engine that runs it.

    On a CPU, weights of this family run as an ONNX graph, which is written and verified once and then kept in
    the cache of exports.

    Args:
        model_path: known name, weight file, run folder or exported folder.
        config: with a `model` section.
        device: cpu, gpu, gpu:1, …; None takes a GPU if Paddle can use one, else the CPU.
        backend: `auto`, or one of BACKENDS.
        precision: `auto` for the fastest one whose quality was verified for these weights and that this CPU
            has units for; `fp32`, `int8` or `bf16`.
        parallel: number of threads that will call the engine at once.

    Raises:
        ValueError: the weights do not fit the config, or the engine or device cannot be used.
    """
    if str(model_path) not in KNOWN and (record := find_record(model_path)):
        if is_multilabel(config):
            raise ValueError(f"use_multilabel: {model_path} is an export. Fix: the weights it was made from")
        return _open_given_export(record, device, backend, precision, parallel)
    weights = resolve(find_weights(model_path))
    model = without_pretrained(section(dict(config), "model"))
    device = choose_device(device)
    if is_multilabel(config):
        if backend not in ("auto", PADDLE) or precision not in ("auto", "fp32"):
            raise ValueError(
                f"use_multilabel: computed by backend {PADDLE} in fp32. "
                "Fix: leave --backend and --precision out"
            )
        log.info("Model %s, fp32; backend %s on %s", weights, PADDLE, set_device(device))
        return PaddleEngine(load_network(weights, model), multilabel=True)
    for candidate in _onnx_precisions(weights, model["type"], device, backend, precision):
        try:
            record = cached_export(weights, model, candidate)
            return _open_export(record.parent, read_record(record), backend, device, parallel, str(weights))
        except (VerificationError, OSError) as error:
            slower = candidate != "fp32" or has(PADDLE)
            if backend != "auto" or precision != "auto" or not slower:
                raise
            log.warning("%s. A slower engine or precision is used instead", error)
    if precision not in ("auto", "fp32"):
        raise ValueError(
            f"--precision {precision}: backend {PADDLE} computes in fp32. Fix: leave --precision out"
        )
    log.info("Model %s, fp32; backend %s on %s", weights, PADDLE, set_device(device))
    return PaddleEngine(load_network(weights, model))


def _open_given_export(
    record: Path, device: str | None, backend: str, precision: str, parallel: int
) -> Engine:
    """The engine of an exported folder that the user named."""
    folder, deployment = record.parent, read_record(record)
    if precision not in ("auto", deployment.precision):
        raise ValueError(
            f"--precision {precision}: {folder} was exported as {deployment.precision}. "
            "Fix: leave --precision out"
        )
    if device is None and deployment.model != PADDLE_MODEL:
        device = "cpu"  # the other engines do not depend on what Paddle could use
    return _open_export(folder, deployment, backend, choose_device(device), parallel, str(folder))


def _open_export(
    folder: Path, deployment: Deployment, backend: str, device: str, parallel: int, name: str
) -> Engine:
    """The engine of an exported folder; the log names it."""
    path, precision = folder / deployment.model, deployment.precision
    chosen = choose(backend, engines_for(path.suffix, precision), str(path))
    why = " (auto: the fastest installed)" if backend == "auto" else ""
    log.info("Model %s, %s; backend %s on %s%s", name, precision, chosen, device, why)
    return adapt(open_engine(chosen, path, device, precision, parallel), deployment)


def _onnx_precisions(weights: Path, network: str, device: str, backend: str, precision: str) -> list[str]:
    """Precisions in which to try weights as an ONNX graph, fastest first; none where Paddle runs them."""
    if precision not in PRECISIONS:
        *others, last = PRECISIONS
        raise ValueError(f"--precision {precision}: unknown, expected {', '.join(others)} or {last}")
    # on other devices than a CPU Paddle needs no second engine
    as_onnx = network in NETWORKS and (device == "cpu" or backend != "auto" or not has(PADDLE))
    exact = "bf16" if precision == "bf16" else "fp32"
    allowed = engines_for(".onnx", exact) if as_onnx else []
    allowed += [PADDLE] if exact == "fp32" else []
    if not allowed:
        raise ValueError(
            f"--precision bf16: supported for U²-Net on a CPU only, not for {network} on {device}. "
            "Fix: --precision fp32"
        )
    if choose(backend, allowed, f"weights of {network}") == PADDLE:
        return []
    if precision in ("fp32", "bf16"):
        return [precision]
    against = _reason_against_int8(weights, device, backend, precision)
    if precision == "int8":
        if against:
            raise ValueError(f"--precision int8: {against}")
        return ["int8"]
    row = known_file(weights)
    if against and row and row.calibration:
        log.info("float32 instead of 8-bit integers: %s", against)
    return ["fp32"] if against else ["int8", "fp32"]


def _reason_against_int8(weights: Path, device: str, backend: str, precision: str) -> str | None:
    """Why 8-bit integers are not used; None where they are."""
    row = known_file(weights)
    if row is None or row.calibration is None:
        return "these weights have no calibration. Fix: u2net export --precision int8, and predict with that"
    if precision == "auto" and not has_int8_units():
        return "this CPU has no units for it"
    if device != "cpu":
        return f"device {device} computes in fp32"
    if not has("openvino"):
        return f"OpenVINO runs it fastest ({INSTALL['openvino']})"
    if backend not in ("auto", "openvino"):
        return f"backend {backend} gains nothing from it"
    return None


def build(model_path: str | Path, model: Mapping[str, Any]) -> Any:
    """The Paddle network that `--model_path` means, on a CPU, in eval mode.

    Args:
        model_path: known name, weight file or run folder.
        model: section of its config.
    """
    return network_on_cpu(resolve(find_weights(model_path)), model)
