"""The cache of exports: weights of this family as ONNX files, written and verified at first use."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.engines.deploy_config import RECORD, describe, read_record, write_record
from paddleseg_u2net.environment.devices import set_device
from paddleseg_u2net.environment.optional_imports import has
from paddleseg_u2net.io.files import atomic_write, digest, prune_cache, require_writable
from paddleseg_u2net.io.locks import path_lock
from paddleseg_u2net.models.architecture import Identity, state_shapes
from paddleseg_u2net.models.known_weights import CALIBRATIONS, known_file
from paddleseg_u2net.models.pretrained import (
    CACHE_BYTES,
    cache_folder,
    check_fit,
    load_strict,
    read_weights,
    without_pretrained,
)

log = logging.getLogger(__name__)

GRAPH_VERSION = 2  # increased when `build_onnx` writes another graph, so that no older file is used


@dataclass(frozen=True)
class CachedExport:
    """What a folder of the cache is made from.

    Args:
        weights: file of any known format.
        model: section of the config; the weights must fit it.
        precision: fp32, bf16 (how it computes; the file is the one of fp32), or int8 for weights with a
            calibration.
    """

    weights: Path
    model: Mapping[str, Any]
    precision: str = "fp32"

    @property
    def channels(self) -> int:
        """Number of channels of the input."""
        return self.model.get("in_channels", 3)

    @property
    def calibration(self) -> Path | None:
        """The calibration for 8-bit integers; None for other precisions."""
        row = known_file(self.weights)
        return (
            CALIBRATIONS / row.calibration if self.precision == "int8" and row and row.calibration else None
        )

    @property
    def known_digest(self) -> str | None:
        """Digest of the graph that the tests have compared with Paddle; None where there is none."""
        row = known_file(self.weights)
        return row.graphs.get("int8" if self.precision == "int8" else "fp32") if row else None

    @property
    def name(self) -> str:
        """Name of the folder: all that its content depends on."""
        parts = [self.model["type"], self.channels, self.model["num_classes"], GRAPH_VERSION]
        parts += [digest(self.calibration, "sha256")[:8]] if self.calibration else []
        parts += [self.precision] if self.precision == "bf16" else []
        return "-".join([digest(self.weights, "sha256")[:32], *map(str, parts)])


def cached_export(weights: Path, model: Mapping[str, Any], precision: str = "fp32") -> Path:
    """Return the exported folder of weights of this family; it is written and verified at first use.

    It is verified by Paddle: both compute the same on a drawn image. Where Paddle is not installed, the graph
    of published weights is verified by its digest. For other weights only the structure of the graph can then
    be verified; a warning says so, and their folder is marked as unverified.

    Args:
        weights: see `CachedExport`, also for the next two.
        model: section of the config.
        precision: how it computes.

    Returns:
        Its `deploy.yaml`.

    Raises:
        VerificationError: the file computes something other than Paddle, or is not the one that was tested.
        ValueError: the weights do not fit.
        OSError: the cache cannot be written to.
    """
    wanted = CachedExport(weights, model, precision)
    folder = cache_folder() / "exports" / wanted.name
    with_paddle = has("paddle", "paddleseg")
    if not _is_complete(folder) and not with_paddle and wanted.known_digest is None:
        folder = folder.with_name(f"{folder.name}-unverified")
        log.warning(
            "%s: Paddle is not installed, so the ONNX file of these weights was not compared with it; "
            "only its structure was verified. Fix: u2net export where Paddle is installed, then predict with "
            "the export",
            weights,
        )
    if not _is_complete(folder):
        require_writable(folder.parent, "set U2NET_HOME to another folder")
        with path_lock(folder, None):
            if not _is_complete(folder):  # another process may have written it meanwhile
                _write(folder, wanted, with_paddle)
    with contextlib.suppress(OSError):
        os.utime(folder)  # `prune_cache` keeps what was used last
    prune_cache(folder.parent, CACHE_BYTES)
    return folder / RECORD


def _is_complete(folder: Path) -> bool:
    """Whether an exported folder is there and undamaged."""
    if not (folder / RECORD).is_file():
        return False
    try:
        read_record(folder / RECORD)
    except (OSError, ValueError) as error:
        log.warning("%s. It is written again", error)
        return False
    return True


def _write(folder: Path, wanted: CachedExport, with_paddle: bool) -> None:
    """Write one folder of the cache; a damaged one is replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    (_write_by_paddle if with_paddle else _write_by_digest)(folder, wanted)


def _write_by_paddle(folder: Path, wanted: CachedExport) -> None:
    """Write a folder and compare it with the Paddle network."""
    from paddleseg_u2net.export.exporter import export
    from paddleseg_u2net.export.quantization import read_calibration

    log.info("Writing an ONNX file of these weights and comparing it with Paddle, once")
    report = export(
        network=network_on_cpu(wanted.weights, wanted.model),
        config={"model": dict(wanted.model)},
        folder=folder,
        images=[(drawn_object(wanted.channels), None)],
        file_format="openvino" if wanted.precision == "bf16" else "onnx",
        precision=wanted.precision,
        shape=(-1, wanted.channels, -1, -1),
        quantization=read_calibration(wanted.calibration) if wanted.calibration else None,
    )
    log.info("Difference of a pixel: %(max_difference).1e, mean %(mean_difference).1e", report)


def _write_by_digest(folder: Path, wanted: CachedExport) -> None:
    """Write a folder and compare its graph with the digest of the one that was tested."""
    from paddleseg_u2net.export.graph_digest import verify_graph
    from paddleseg_u2net.export.onnx_network import build_onnx
    from paddleseg_u2net.export.quantization import read_calibration

    log.info("Writing an ONNX file of these weights and verifying it by its checksum, once")
    state, classes = read_weights(wanted.weights), wanted.model["num_classes"]
    identity = Identity(wanted.model["type"], wanted.channels, classes)
    check_fit(wanted.weights, identity.network, state, state_shapes(identity))
    shape = (-1, wanted.channels, -1, -1)
    graph = build_onnx(state, shape, read_calibration(wanted.calibration) if wanted.calibration else None)
    verify_graph(graph, "sigmoid" if classes == 1 else "softmax", wanted.known_digest)
    with atomic_write(folder) as partial:
        partial.mkdir()
        (partial / "model.onnx").write_bytes(graph.SerializeToString())
        record = describe("model.onnx", wanted.precision, shape, classes, partial)
        write_record(partial, record, {"model": dict(wanted.model)})


def drawn_object(channels: int) -> np.ndarray:
    """A bright ellipse on a dark ground, (1, channels, 157, 131) float32, in the range of prepared images."""
    rows, columns = np.mgrid[-1:1:157j, -1:1:131j]
    ground = 0.3 * rows + 0.1 * np.random.default_rng(0).normal(size=rows.shape) - 1
    drawn = np.where((rows / 0.6) ** 2 + (columns / 0.5) ** 2 < 1, 1.8 - 0.5 * columns, ground)
    return np.repeat(drawn[None, None], channels, axis=1).astype(np.float32)


def network_on_cpu(weights: Path, model: Mapping[str, Any]) -> Any:
    """The network of a `model` section on a CPU, in eval mode, filled with weights that fit exactly."""
    set_device("cpu")
    network = load_network(weights, model)
    network.eval()
    return network


def load_network(weights: Path, model: Mapping[str, Any]) -> Any:
    """The network of a `model` section, filled with weights that fit exactly."""
    from paddleseg_u2net.builders import build_network

    layer = build_network(without_pretrained(model))
    load_strict(layer, weights)
    return layer
