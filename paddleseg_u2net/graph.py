"""Weights of this family -> an ONNX graph, written node by node from the table. Light: no Paddle.

U²-Net needs convolution, ReLU, max pooling, bilinear resize, concatenation, addition and sigmoid only, so
no converter stands between the weights and the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from paddleseg_u2net.architecture import BN_EPSILON, IMAGE, NETWORKS, Identity, Node, dataflow, identify
from paddleseg_u2net.formats import State

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 17, 8  # old enough for ONNX Runtime 1.14, new enough for slices of Shape
OUTPUT = "probabilities"


class Convolution(NamedTuple):
    """Weight (out, in, k, k) and bias (out,), float32, BatchNorm folded in."""

    weight: np.ndarray
    bias: np.ndarray


def fold(state: State) -> dict[str, Convolution]:
    """Fold BatchNorm into the convolution before it: the same function in eval mode.

    Args:
        state: weights by state-dict key.

    Returns:
        By name of the `dataflow` node.
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
        folded[name] = Convolution(weight.astype(np.float32), bias.astype(np.float32))
    return folded


class GraphWriter:
    """Collects the nodes and constants of one ONNX graph."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        """Store an array; returns its name."""
        from onnx import numpy_helper

        self.constants[name] = numpy_helper.from_array(np.asarray(value, dtype), name)
        return name

    def node(self, operation: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Append a node with one output, called like it; returns its name."""
        from onnx import helper

        self.nodes.append(helper.make_node(operation, list(inputs), [name], name=name, **attributes))
        return name

    def resize(self, x: str, height_width: str, name: str) -> str:
        """Bilinear with half-pixel centres, of (N, C, h, w) to the two numbers in `height_width`."""
        front = self.node("Shape", [x], f"{name}.nc", start=0, end=2)
        sizes = self.node("Concat", [front, height_width], f"{name}.sizes", axis=0)
        options = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return self.node("Resize", [x, "", "", sizes], name, **options)

    def height_width(self, x: str, name: str) -> str:
        """The last two numbers of the shape of (N, C, h, w)."""
        return self.node("Shape", [x], name, start=2, end=4)


def write_network(
    graph: GraphWriter, flow: Sequence[Node], weights: Mapping[str, Convolution], x: str
) -> str:
    """Append a network; returns the name of its logits.

    Args:
        graph: where to.
        flow: operations in order.
        weights: of its convolutions.
        x: name of the input (N, C, h, w) float32.
    """
    for node in flow:
        inputs = [x if source == IMAGE else source for source in node.inputs]
        if node.operation.startswith("conv"):
            for part, value in zip(("weight", "bias"), weights[node.name], strict=True):
                inputs.append(graph.constant(f"{node.name}.{part}", value))
            kernel = weights[node.name].weight.shape[2]
            pad = node.dilation * (kernel // 2)
            options = {"kernel_shape": [kernel] * 2, "pads": [pad] * 4, "dilations": [node.dilation] * 2}
            relu = node.operation == "conv_relu"
            result = graph.node("Conv", inputs, f"{node.name}.conv" if relu else node.name, **options)
            if relu:
                graph.node("Relu", [result], node.name)
        elif node.operation == "pool":
            graph.node("MaxPool", inputs, node.name, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
        elif node.operation == "resize":
            graph.resize(inputs[0], graph.height_width(inputs[1], f"{node.name}.hw"), node.name)
        elif node.operation == "concat":
            graph.node("Concat", inputs, node.name, axis=1)
        else:
            graph.node("Add", inputs, node.name)
    return flow[-1].name


def build_onnx(state: State, shape: Sequence[int | None] = (None, None, None, None)) -> onnx.ModelProto:
    """An ONNX model of weights of this family: image in, probabilities out.

    Args:
        state: weights by state-dict key, U²-Net or U²-Net†.
        shape: N, C, H, W of the input; None where any is legal. C is that of the weights.

    Returns:
        The model: `image` (N, C, H, W) float32 -> `probabilities` (N, num_classes, H, W) float32, sigmoid of
        the fused logits for one class and softmax for more.

    Raises:
        ValueError: the weights are of another network.
    """
    found = identity_of(state)
    batch, _, height, width = (None if size in (None, -1) else size for size in shape)
    graph = GraphWriter()
    logits = write_network(graph, dataflow(NETWORKS[found.network]), fold(state), IMAGE)
    if found.num_classes == 1:
        graph.node("Sigmoid", [logits], OUTPUT)
    else:
        graph.node("Softmax", [logits], OUTPUT, axis=1)
    size = [batch or "N", found.in_channels, height or "H", width or "W"]
    return finish(graph, size, [size[0], found.num_classes, *size[2:]])


def identity_of(state: State) -> Identity:
    """Which network weights belong to; ValueError where they are none of this family."""
    found = identify({key: value.shape for key, value in state.items()})
    if found is None:
        raise ValueError("these weights are not of the U²-Net family, which alone is written as ONNX here")
    return found


def finish(graph: GraphWriter, input_shape: Sequence[int | str], output_shape: Sequence[int | str]) -> Any:
    """A checked model of what was collected."""
    import onnx
    from onnx import TensorProto, helper

    made = helper.make_graph(
        graph.nodes,
        "u2net",
        [helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, list(input_shape))],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, list(output_shape))],
        list(graph.constants.values()),
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION)
    model.producer_name = "paddleseg_u2net"
    onnx.checker.check_model(model, full_check=True)
    return model
