"""The cache of exports: weights of this family as ONNX, written and compared with Paddle at first use."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.engines.deploy_config import RECORD, read_record
from paddleseg_u2net.environment.devices import set_device
from paddleseg_u2net.export.quantization import read_calibration
from paddleseg_u2net.io.files import digest, prune_cache, require_writable
from paddleseg_u2net.models.pretrained import CACHE_BYTES, cache_folder, load_strict

log = logging.getLogger(__name__)

GRAPH_VERSION = 2  # counts changes of what `build_onnx` writes, so that no older cache is taken


def cached_export(
    weights: Path, model: Mapping[str, Any], calibration: Path | None = None, half: str | None = None
) -> Path:
    """The exported folder of weights of this family; written, compared with Paddle and kept at first use.

    Args:
        weights: file of any known format.
        model: section of the config; the weights must fit it.
        calibration: for 8-bit integers.
        half: `bf16` to compute in it.

    Returns:
        Its `deploy.yaml`.

    Raises:
        VerificationError: the file computes something else than Paddle.
        ValueError: the weights do not fit.
        OSError: the cache cannot be written to.
    """
    described = [model["type"], model.get("in_channels", 3), model["num_classes"], GRAPH_VERSION]
    described += [digest(calibration, "sha256")[:8]] if calibration else []
    described += [half] if half else []
    name = "-".join([digest(weights, "sha256")[:32], *map(str, described)])
    folder = cache_folder() / "exports" / name
    try:
        whole = (folder / RECORD).is_file() and read_record(folder / RECORD)
    except (OSError, ValueError) as error:
        log.warning("%s: it is written anew", error)
        whole = None
    if not whole:
        _write_export(folder, weights, model, calibration, half)
    with contextlib.suppress(OSError):
        os.utime(folder)  # `prune_cache` keeps what is used
    prune_cache(folder.parent, CACHE_BYTES)
    return folder / RECORD


def _write_export(
    folder: Path, weights: Path, model: Mapping[str, Any], calibration: Path | None, half: str | None
) -> None:
    """Write one folder of the cache, in place of what may lie there."""
    from paddleseg_u2net.export.exporter import export

    require_writable(folder.parent, "set U2NET_HOME to another folder")
    shutil.rmtree(folder, ignore_errors=True)
    log.info("Writing an ONNX file of these weights and comparing it with Paddle, once")
    channels = model.get("in_channels", 3)
    file_format, precision = ("openvino", half) if half else ("onnx", "int8" if calibration else "fp32")
    quantization = read_calibration(calibration) if calibration else None
    images = [(drawn_object(channels), None)]
    kind = (file_format, precision, (-1, channels, -1, -1), quantization)
    try:
        report = export(network_on_cpu(weights, model), {"model": dict(model)}, folder, images, *kind)
        log.info("Difference of a pixel: %(max_difference).1e, mean %(mean_difference).1e", report)
    except OSError:
        if not (folder / RECORD).is_file():  # else another process was faster
            raise


def drawn_object(channels: int) -> np.ndarray:
    """A bright ellipse on a dark ground, (1, channels, 157, 131) float32, in the range of prepared images."""
    rows, columns = np.mgrid[-1:1:157j, -1:1:131j]
    ground = 0.3 * rows + 0.1 * np.random.default_rng(0).normal(size=rows.shape) - 1
    drawn = np.where((rows / 0.6) ** 2 + (columns / 0.5) ** 2 < 1, 1.8 - 0.5 * columns, ground)
    return np.repeat(drawn[None, None], channels, axis=1).astype(np.float32)


def network_on_cpu(weights: Path, model: Mapping[str, Any]) -> Any:
    """The network of a `model` section on a CPU, in eval mode, filled with weights that fit exactly."""
    set_device("cpu")
    network = load_network(weights, {key: value for key, value in model.items() if key != "pretrained"})
    network.eval()
    return network


def load_network(weights: Path, model: Mapping[str, Any]) -> Any:
    """The network of a `model` section, filled with weights that fit exactly."""
    from paddleseg_u2net.builders import build_network

    layer = build_network(model)
    load_strict(layer, weights)
    return layer
