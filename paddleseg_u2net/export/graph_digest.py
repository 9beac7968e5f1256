"""A checksum of an ONNX graph that does not depend on the version of onnx, and the checks made with it.

Where Paddle is not installed, a graph cannot be compared with Paddle's output. Its digest is compared instead
with one that the tests of this project have compared with Paddle's output.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from paddleseg_u2net.errors import VerificationError

# digests without shapes and values; U²-Net and U²-Net† have the same nodes
STRUCTURES = {
    "sigmoid": "144cc8c49e8df0046b634f7b064f36c034b8b40b0779d4e56306fa92074d165b",
    "softmax": "730ee7b76fa6a9ee480a6e4d3aeee98b9d7bd1b9605f55c9e94d17cd476c44b3",
}


def graph_digest(model: Any, values: bool = True) -> str:
    """Checksum of what an ONNX model computes: nodes in order, and tensors.

    The bytes of the file may change with the version of onnx; this checksum does not.

    Args:
        model: `onnx.ModelProto`.
        values: include the shapes and values of tensors and the shapes of inputs and outputs; without them,
            graphs of one structure have one digest whatever their weights.

    Returns:
        SHA-256 in hexadecimal.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    described = {
        "opsets": [[opset.domain, opset.version] for opset in model.opset_import],
        "ends": [[_value_info(value, values) for value in side] for side in (graph.input, graph.output)],
        "nodes": [
            [node.op_type, node.domain, list(node.input), list(node.output)]
            + sorted([attribute.name, helper.get_attribute_value(attribute)] for attribute in node.attribute)
            for node in graph.node
        ],
        "tensors": [
            [name, array.dtype.str.lstrip("<>|="), *([array.shape] if values else [])]
            for name, array in sorted(tensors.items())
        ],
    }
    state = hashlib.sha256(json.dumps(described, default=_plain).encode())
    for _, array in sorted(tensors.items()) if values else ():
        state.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return state.hexdigest()


def _value_info(value: Any, with_shape: bool) -> list[Any]:
    """Name, element type and, where wanted, dimensions of an input or output; a free dimension has a name."""
    kind = value.type.tensor_type
    shape = [size.dim_param or size.dim_value for size in kind.shape.dim] if with_shape else []
    return [value.name, kind.elem_type, *shape]


def _plain(attribute: Any) -> Any:
    """Convert the bytes of a text attribute to text, for JSON."""
    if isinstance(attribute, bytes):
        return attribute.decode()
    raise TypeError(f"an attribute of type {type(attribute).__name__}, which no graph of ours has")


def verify_graph(model: Any, output_op: str, expected: str | None = None) -> None:
    """Compare a graph with a known digest.

    Args:
        model: `onnx.ModelProto`.
        output_op: `sigmoid` or `softmax`.
        expected: digest of a published model; None compares the structure alone.

    Raises:
        VerificationError: they differ.
    """
    known = expected or STRUCTURES[output_op]
    if graph_digest(model, values=expected is not None) != known:
        raise VerificationError(
            "the ONNX graph written here differs from the one that was tested. It is not kept. "
            "Fix: install Paddle, which then checks it (docs/install.md), and report this"
        )
