"""Builds ONNX models from nodes and constants, and checks them. Does not import Paddle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paddleseg_u2net.models.architecture import IMAGE

OPSET, IR_VERSION = 17, 8  # old enough for ONNX Runtime 1.14, new enough for slices of Shape
OUTPUTS = {"softmax": "probabilities", "argmax": "classes", "none": "logits"}  # output_op -> name


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
        """Append a node with one output of the same name; returns the name."""
        from onnx import helper

        self.nodes.append(helper.make_node(operation, list(inputs), [name], name=name, **attributes))
        return name

    def resize(self, x: str, height_width: str, name: str) -> str:
        """Append a bilinear resize (half-pixel centres) of (N, C, h, w) to the sizes in `height_width`."""
        front = self.node("Shape", [x], f"{name}.nc", start=0, end=2)
        sizes = self.node("Concat", [front, height_width], f"{name}.sizes", axis=0)
        options = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return self.node("Resize", [x, "", "", sizes], name, **options)

    def height_width(self, x: str, name: str) -> str:
        """Append a node that gives the height and width of (N, C, h, w)."""
        return self.node("Shape", [x], name, start=2, end=4)


def finish(
    graph: GraphWriter,
    outputs: Mapping[str, Sequence[int | str]],
    input_shape: Sequence[int | str],
    dtype: Any = np.float32,
    output_dtype: Any = np.float32,
) -> Any:
    """Make a model of the collected nodes and constants, and check it.

    Args:
        graph: nodes and constants.
        outputs: name -> shape.
        input_shape: of `image`.
        dtype: of `image`.
        output_dtype: of all outputs.
    """
    import onnx
    from onnx import helper

    def info(name: str, shape: Sequence[int | str], dtype: Any) -> Any:
        return helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape)
        )

    made = helper.make_graph(
        graph.nodes,
        "u2net",
        [info(IMAGE, input_shape, dtype)],
        [info(name, shape, output_dtype) for name, shape in outputs.items()],
        list(graph.constants.values()),
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION)
    model.producer_name = "paddleseg_u2net"
    onnx.checker.check_model(model, full_check=True)
    return model
