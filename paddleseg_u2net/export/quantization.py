"""Post-training quantization of weights of this family to 8-bit integers, measured on some images.

One number per activation is measured: its largest value. That is enough for all but a few convolutions, whose
result is a small difference of large terms. They are found by rounding each convolution alone, and stay in
float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from paddleseg_u2net.config.yaml_text import read_yaml
from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.export.onnx_graph import GraphWriter, finish
from paddleseg_u2net.export.onnx_network import NetworkWriter, Quantization, fold, identity_of
from paddleseg_u2net.models.architecture import IMAGE, NETWORKS, Node, dataflow
from paddleseg_u2net.models.weight_files import State

LEAST_SNR_DB = 15.0  # of a convolution with rounded input and weights; those below stay in float32


def measured(flow: Iterable[Node]) -> list[str]:
    """List the activations that get a range: results of ReLU and of the residual sums."""
    return [node.name for node in flow if node.operation in ("conv_relu", "add")]


def always_kept(flow: Iterable[Node]) -> set[str]:
    """Convolutions always kept in float32: that of the image (signed input) and the 1x1 fusion."""
    return {node.name for node in flow if IMAGE in node.inputs} | {"outconv"}


def calibrate(state: State, batches: Iterable[np.ndarray]) -> Quantization:
    """Measure the activations of a network on images, to quantize it to 8-bit integers.

    Args:
        state: weights of this family, by state-dict key.
        batches: network inputs (N, channels, h, w) float32, like those to predict; two dozen are enough.

    Returns:
        Ranges of all activations, and the convolutions to keep in float32.
    """
    batches = list(batches)
    flow = dataflow(NETWORKS[identity_of(state).network])
    largest = _run(_range_model(state), batches)
    ranges = {name: float(max(result[f"{name}.largest"] for result in largest)) for name in measured(flow)}
    noise = _run(_noise_model(state, ranges), batches)
    kept = always_kept(flow)
    for node in flow:
        if node.operation.startswith("conv") and node.name not in kept:
            signal, error = (
                sum(float(r[f"{node.name}.{part}"]) for r in noise) for part in ("signal", "error")
            )
            if 10 * np.log10(max(signal, 1e-12) / max(error, 1e-12)) < LEAST_SNR_DB:
                kept.add(node.name)
    return Quantization(ranges, frozenset(kept))


def _run(model: Any, batches: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Run a model; returns all of its outputs for each batch."""
    from tqdm import tqdm

    options = need("onnxruntime").SessionOptions()
    options.log_severity_level = 3
    session = need("onnxruntime").InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    bar = tqdm(batches, "calibrate", disable=None, delay=1, leave=False)
    return [dict(zip(names, session.run(names, {IMAGE: batch}), strict=True)) for batch in bar]


def _input(state: State) -> list[int | str]:
    return ["N", identity_of(state).in_channels, "H", "W"]


def _range_model(state: State) -> Any:
    """The float network with the maxima of its activations as outputs."""
    flow, graph = dataflow(NETWORKS[identity_of(state).network]), GraphWriter()
    NetworkWriter(graph, flow, fold(state), IMAGE).write()
    for name in measured(flow):
        graph.node("ReduceMax", [name], f"{name}.largest", keepdims=0)
    return finish(graph, {f"{name}.largest": () for name in measured(flow)}, _input(state))


def _noise_model(state: State, ranges: Mapping[str, float]) -> Any:
    """The float network, with a second copy of each convolution that has rounded input and weights.

    The outputs are the energy of each convolution's result and of the change by rounding.
    """
    flow, graph, weights = dataflow(NETWORKS[identity_of(state).network]), GraphWriter(), fold(state)
    exact = NetworkWriter(graph, flow, weights, IMAGE)
    exact.write()
    rounded = NetworkWriter(graph, flow, weights, IMAGE, Quantization(ranges, frozenset()))
    rounded.results, rounded.units = exact.results, {}
    rounded.weights = {f"{name}.trial": weight for name, weight in weights.items()}
    nodes = {node.name: node for node in flow}
    outputs = []
    for node in flow:
        rounded.inherit_range(node)
        if not node.operation.startswith("conv") or node.name in always_kept(flow):
            continue
        (source,) = node.inputs
        if nodes[source].operation == "concat":
            parts = [rounded.quantize(part) for part in nodes[source].inputs]
            x = graph.node("Concat", parts, f"{node.name}.trial.input", axis=1)
        else:
            x = rounded.quantize(source)
        result = rounded.convolution(node._replace(name=f"{node.name}.trial"), [x])
        change = graph.node("Sub", [result, node.name], f"{node.name}.change")
        outputs.append(graph.node("ReduceSumSquare", [change], f"{node.name}.error", keepdims=0))
        outputs.append(graph.node("ReduceSumSquare", [node.name], f"{node.name}.signal", keepdims=0))
    return finish(graph, dict.fromkeys(outputs, ()), _input(state))


def write_calibration(path: Path, quantization: Quantization) -> None:
    """Write a quantization as YAML, with three digits per range."""
    ranges = {name: float(f"{value:.3g}") for name, value in quantization.ranges.items()}
    content = {"kept": sorted(quantization.kept), "ranges": ranges}
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def read_calibration(path: Path) -> Quantization:
    """Read a file of `write_calibration`; ConfigError for other content."""
    content = read_yaml(path)[0]
    try:
        ranges = {str(name): float(value) for name, value in content["ranges"].items()}
        valid = isinstance(content["kept"], list) and all(map(math.isfinite, ranges.values()))
        if not valid or min(ranges.values(), default=0) < 0:
            raise ValueError
        return Quantization(ranges, frozenset(map(str, content["kept"])))
    except (TypeError, KeyError, ValueError, AttributeError):
        raise ConfigError(
            f"{path}: not a calibration. Fix: install paddleseg_u2net again, whose file it is"
        ) from None
