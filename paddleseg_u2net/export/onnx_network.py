"""Writes weights of this family as an ONNX graph, node by node from `architecture.dataflow`, without Paddle.

U²-Net needs only convolution, ReLU, max pooling, bilinear resize, concatenation, addition and sigmoid, so no
converter is needed between the weights and the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from paddleseg_u2net.data.preprocessing import Preprocessing
from paddleseg_u2net.export.onnx_graph import OUTPUTS, GraphWriter, finish
from paddleseg_u2net.export.onnx_preprocessing import write_preprocessing, write_restoring
from paddleseg_u2net.models.architecture import (
    BN_EPSILON,
    IMAGE,
    NETWORKS,
    Identity,
    Node,
    dataflow,
    identify,
)
from paddleseg_u2net.models.weight_files import State

if TYPE_CHECKING:
    import onnx


class Convolution(NamedTuple):
    """Weight (out, in, k, k) and bias (out,), float32, BatchNorm folded in."""

    weight: np.ndarray
    bias: np.ndarray


def fold(state: State) -> dict[str, Convolution]:
    """Fold BatchNorm into the convolution before it, which is the same function in eval mode.

    Args:
        state: weights by state-dict key.

    Returns:
        Convolutions by the name of their `dataflow` node.
    """
    folded = {}
    for key, stored in state.items():
        if not key.endswith(".weight") or stored.ndim != 4:
            continue
        prefix = key.removesuffix(".weight")
        weight, bias = stored.astype(np.float64), state[f"{prefix}.bias"].astype(np.float64)
        name = prefix.removesuffix(".conv_s1")
        if name != prefix:
            gamma, beta, mean, variance = (
                state[f"{name}.bn_s1.{part}"].astype(np.float64)
                for part in ("weight", "bias", "_mean", "_variance")
            )
            scale = gamma / np.sqrt(variance + BN_EPSILON)
            weight, bias = weight * scale[:, None, None, None], (bias - mean) * scale + beta
        with np.errstate(over="ignore"):  # infinite then, so that the output is NaN, which is reported
            folded[name] = Convolution(weight.astype(np.float32), bias.astype(np.float32))
    return folded


class Quantization(NamedTuple):
    """How the convolutions of a network are quantized to 8-bit integers.

    Args:
        ranges: largest value of each activation, by the name of its `dataflow` node (ReLU or sum, so >= 0).
        kept: names of the convolutions that stay in float32.
    """

    ranges: Mapping[str, float]
    kept: frozenset[str]


class NetworkWriter:
    """Appends one network of the family to a graph, in float32 or with 8-bit integers.

    Integers are written as pairs of QuantizeLinear and DequantizeLinear: ONNX Runtime and OpenVINO replace
    each convolution between two such pairs by one on integers. Activations are 0 .. 255 with one scale per
    tensor, weights -127 .. 127 with one scale per output channel. Each activation is first divided by its
    range, and the weights that read it are multiplied by it, so that concatenated activations have one scale;
    OpenVINO computes a convolution of two scales in float32.

    Args:
        graph: the graph.
        flow: operations in order of execution.
        weights: of its convolutions, by name.
        x: name of the input (N, C, h, w) float32.
        quantization: None for float32.
    """

    def __init__(
        self,
        graph: GraphWriter,
        flow: Sequence[Node],
        weights: Mapping[str, Convolution],
        x: str,
        quantization: Quantization | None = None,
    ):
        self.graph, self.flow, self.weights, self.quantization = graph, flow, weights, quantization
        self.results = {IMAGE: x}
        self.quantized: dict[str, str] = {}
        self.ranges: dict[str, float] = dict(quantization.ranges) if quantization else {}
        self.exact = self._exact()
        self.units = self._units() if quantization else {}

    def _units(self) -> dict[str, np.ndarray]:
        """The divisor of each channel of each tensor."""
        sums = {source: node.name for node in self.flow if node.operation == "add" for source in node.inputs}
        units: dict[str, np.ndarray] = {}
        for node in self.flow:
            if node.operation == "conv_relu":  # summands need one unit
                channels = len(self.weights[node.name].bias)
                units[node.name] = np.full(channels, max(self.ranges[sums.get(node.name, node.name)], 1e-6))
            elif node.operation == "concat" and units.keys() >= set(node.inputs):
                units[node.name] = np.concatenate([units[source] for source in node.inputs])
            elif node.operation != "conv" and node.inputs[0] in units:
                units[node.name] = units[node.inputs[0]]
        return units

    def _exact(self) -> set[str]:
        """Nodes that read float32: the kept convolutions, and nodes that only these read."""
        if self.quantization is None:
            return {node.name for node in self.flow}
        exact = set(self.quantization.kept)
        for node in reversed(self.flow):
            readers = [other.name for other in self.flow if node.name in other.inputs]
            if not node.operation.startswith("conv") and readers and exact.issuperset(readers):
                exact.add(node.name)
        return exact

    def write(self) -> str:
        """Append all operations; returns the name of the logits."""
        for node in self.flow:
            take = self.results.__getitem__ if node.name in self.exact else self.quantize
            self.results[node.name] = self._append(node, [take(source) for source in node.inputs])
            self.inherit_range(node)
        return self.results[self.flow[-1].name]

    def inherit_range(self, node: Node) -> None:
        """Give the result of a node the range of its input; pooling and bilinear resizing stay within it."""
        if node.operation in ("pool", "resize") and node.inputs[0] in self.ranges:
            self.ranges[node.name] = self.ranges[node.inputs[0]]

    def quantize(self, name: str) -> str:
        """Name of a tensor rounded to 8 bits, for integer convolutions; unrounded if it has no range."""
        if name not in self.ranges:
            return self.results[name]
        if name not in self.quantized:
            unit = self.units.get(name, np.ones(1))[0]
            scale = self.graph.constant(f"{name}.scale", max(self.ranges[name] / unit, 1e-6) / 255)
            self.quantized[name] = self._round(self.results[name], scale, name)
        return self.quantized[name]

    def _round(self, x: str, scale: str, name: str) -> str:
        zero = self.graph.constant("zero.u8", 0, np.uint8)
        rounded = self.graph.node("QuantizeLinear", [x, scale, zero], f"{name}.u8")
        return self.graph.node("DequantizeLinear", [rounded, scale, zero], f"{name}.rounded")

    def _append(self, node: Node, inputs: list[str]) -> str:
        graph, name = self.graph, node.name
        if node.operation.startswith("conv"):
            return self.convolution(node, inputs)
        if node.operation == "pool":
            return graph.node("MaxPool", inputs, name, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
        if node.operation == "resize":
            return graph.resize(inputs[0], graph.height_width(inputs[1], f"{name}.hw"), name)
        if node.operation == "concat":
            return graph.node("Concat", inputs, name, axis=1)
        return graph.node("Add", inputs, name)

    def convolution(self, node: Node, inputs: list[str]) -> str:
        """Append one convolution, with ReLU for `conv_relu`."""
        graph, (weight, bias) = self.graph, self.weights[node.name]
        if self.units:
            own = self.units.get(node.name, np.ones(len(bias)))
            read = self.units.get(node.inputs[0], np.ones(weight.shape[1]))
            weight, bias = weight * read[:, None, None] / own[:, None, None, None], bias / own
        exact = node.name in self.exact
        stored = graph.constant(f"{node.name}.weight", weight) if exact else self._weight(node.name, weight)
        inputs = [*inputs, stored, graph.constant(f"{node.name}.bias", bias)]
        kernel = weight.shape[2]
        pad = node.dilation * (kernel // 2)
        options = {"kernel_shape": [kernel] * 2, "pads": [pad] * 4, "dilations": [node.dilation] * 2}
        if node.operation == "conv":
            return graph.node("Conv", inputs, node.name, **options)
        return graph.node("Relu", [graph.node("Conv", inputs, f"{node.name}.conv", **options)], node.name)

    def _weight(self, name: str, weight: np.ndarray) -> str:
        scale = np.maximum(np.abs(weight).max(axis=(1, 2, 3)) / 127, 1e-12)
        rounded = np.rint(weight / scale[:, None, None, None])
        parts = [
            self.graph.constant(f"{name}.i8", rounded, np.int8),
            self.graph.constant(f"{name}.i8.scale", scale),
            self.graph.constant(f"{name}.i8.zero", np.zeros(len(scale)), np.int8),
        ]
        return self.graph.node("DequantizeLinear", parts, f"{name}.weight", axis=0)


def build_onnx(
    state: State,
    shape: Sequence[int | None] = (None, None, None, None),
    quantization: Quantization | None = None,
    preprocessing: Preprocessing | None = None,
    output_op: str = "softmax",
) -> onnx.ModelProto:
    """Build the ONNX model of weights of this family.

    Args:
        state: weights by state-dict key, U²-Net or U²-Net†.
        shape: N, C, H, W of the input; None or -1 where any is legal. C is that of the weights.
        quantization: None for float32.
        preprocessing: applied inside the graph; None where its input is prepared outside.
        output_op: `softmax`, `argmax` or `none`.

    Returns:
        A model of `image` -> one output. `image` is (N, C, H, W) float32, or (N, H, W, 3) uint8 RGB where
        the graph applies the preprocessing. The output is, for `softmax`, `probabilities`
        (N, num_classes, H, W) float32, by sigmoid for one class; for `argmax`, `classes` (N, H, W) int32, for
        one class 1 where the probability is at least 0.5; for `none`, `logits`, shaped like probabilities.

    Raises:
        ValueError: the weights are of another network, or the preprocessing cannot be written as a graph.
    """
    found = identity_of(state)
    batch, _, height, width = (None if size in (None, -1) else size for size in shape)
    size = [batch or "N", found.in_channels, height or "H", width or "W"]
    graph = GraphWriter()
    prepared = write_preprocessing(graph, preprocessing) if preprocessing else IMAGE
    flow = dataflow(NETWORKS[found.network])
    logits = NetworkWriter(graph, flow, fold(state), prepared, quantization).write()
    output = _write_output(graph, logits, output_op, found.num_classes, preprocessing is not None)
    channels = [] if output_op == "argmax" else [found.num_classes]
    dtype = np.int32 if output_op == "argmax" else np.float32
    outputs = {output: [size[0], *channels, *size[2:]]}
    if preprocessing is None:
        return finish(graph, outputs, size, output_dtype=dtype)
    return finish(graph, outputs, [size[0], *size[2:], found.in_channels], np.uint8, dtype)


def _write_output(graph: GraphWriter, x: str, output_op: str, num_classes: int, restored: bool) -> str:
    """Append nodes that turn the logits `x` into the output of the graph; returns its name."""
    name = OUTPUTS[output_op]
    if output_op != "none":
        single, last = num_classes == 1, output_op == "softmax" and not restored
        options = {} if single else {"axis": 1}
        x = graph.node("Sigmoid" if single else "Softmax", [x], name if last else "own_size", **options)
    if restored:
        x = write_restoring(graph, x, "restored" if output_op == "argmax" else name)
    if output_op == "argmax":
        return _write_classes(graph, x, num_classes, name)
    return x if x == name else graph.node("Identity", [x], name)


def _write_classes(graph: GraphWriter, probabilities: str, num_classes: int, name: str) -> str:
    """Append (N, num_classes, h, w) probabilities -> class ids (N, h, w) int32."""
    if num_classes == 1:
        squeezed = graph.node("Squeeze", [probabilities, graph.constant("one", [1], np.int64)], "squeezed")
        ids = graph.node("GreaterOrEqual", [squeezed, graph.constant("half", 0.5)], "is_object")
    else:
        ids = graph.node("ArgMax", [probabilities], "most_probable", axis=1, keepdims=0)
    return graph.node("Cast", [ids], name, to=6)  # int32


def identity_of(state: State) -> Identity:
    """Recognize the network of weights; ValueError for weights of another family."""
    found = identify({key: value.shape for key, value in state.items()})
    if found is None:
        raise ValueError("these weights are not of the U²-Net family, the only one written as ONNX here")
    return found
