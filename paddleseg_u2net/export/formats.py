"""The table of export formats, one row each, and the functions that write their model files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from paddleseg_u2net.data.preprocessing import Preprocessing
from paddleseg_u2net.engines.base import engines_for
from paddleseg_u2net.engines.deploy_config import PADDLE_MODEL
from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.export.onnx_network import build_onnx
from paddleseg_u2net.export.paddle2onnx import convert
from paddleseg_u2net.export.quantization import Quantization
from paddleseg_u2net.models.architecture import NETWORKS
from paddleseg_u2net.models.weight_files import state_of


@dataclass(frozen=True)
class ExportOptions:
    """What to export a network as.

    Args:
        precision: one of the format's precisions.
        shape: N, C, H, W of the input, -1 where any is legal.
        output_op: last operation of the model: `softmax` gives probabilities (of one class by sigmoid),
            `argmax` class ids (of one class 1 where the probability is at least 0.5), `none` logits.
        quantization: needed for int8; the convolutions it keeps stay in float32 in fp16 too.
        preprocessing: val transforms that the model applies itself; None where its input is prepared.
    """

    precision: str = "fp32"
    shape: Sequence[int] = (-1, 3, -1, -1)
    output_op: str = "softmax"
    quantization: Quantization | None = None
    preprocessing: Preprocessing | None = None


def _write_paddle(path: Path, network: Any, options: ExportOptions) -> None:
    paddle = need("paddle")
    from paddleseg_u2net.engines.paddle import probabilities

    class Exported(paddle.nn.Layer):
        """The network's first output, followed by the last operation of the export."""

        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):
            logits = self.network(x)[0]
            if options.output_op == "none":
                return logits
            if options.output_op == "softmax":
                return probabilities(logits)
            if logits.shape[1] == 1:
                return (probabilities(logits) >= 0.5).astype("int32").squeeze(1)
            return paddle.argmax(logits, axis=1, dtype="int32")

    if type(network).__name__ in NETWORKS:
        # its control flow depends on no tensor, and tracing without translating code is three times faster
        paddle.jit.not_to_static(type(network).forward)
    layer = Exported()
    layer.eval()
    shape = [None if size == -1 else size for size in options.shape]
    spec = paddle.static.InputSpec(shape, "float32", "image")
    static = paddle.jit.to_static(layer, input_spec=[spec], full_graph=True)
    paddle.jit.save(static, str(path.with_suffix("")))


def _onnx_model(network: Any, options: ExportOptions) -> Any:
    """Build the ONNX model of a network: from its weights for this family, else by paddle2onnx."""
    kind = type(network).__name__
    if kind not in NETWORKS:
        with TemporaryDirectory() as folder:
            _write_paddle(Path(folder) / PADDLE_MODEL, network, options)
            return convert(Path(folder), kind, options.shape, options.output_op)
    quantization = options.quantization
    model = build_onnx(
        state_of(network),
        options.shape,
        quantization if options.precision == "int8" else None,
        options.preprocessing,
        options.output_op,
    )
    if options.precision == "fp16":
        _store_half(model, quantization.kept if quantization else frozenset())
    return model


def _store_half(model: Any, kept: Collection[str]) -> None:
    """Replace the weights of all convolutions but `kept` by half-precision ones and a cast to float32."""
    from onnx import TensorProto, helper, numpy_helper

    for tensor in model.graph.initializer:
        name, values = tensor.name, numpy_helper.to_array(tensor)
        if values.ndim == 4 and name.removesuffix(".weight") not in kept:
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            cast = helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT)
            model.graph.node.insert(0, cast)


def _write_onnx(path: Path, network: Any, options: ExportOptions) -> None:
    path.write_bytes(_onnx_model(network, options).SerializeToString())


def _write_openvino(path: Path, network: Any, options: ExportOptions) -> None:
    openvino = need("openvino")
    from paddleseg_u2net.engines.openvino import core

    model = core().read_model(_onnx_model(network, options).SerializeToString())
    openvino.save_model(model, str(path), compress_to_fp16=False)


@dataclass(frozen=True)
class ExportFormat:
    """One row of the table of export formats.

    Args:
        model: name of the model file.
        precisions: the precisions it is written in.
        write: (path of the model file, network, options) writes it and what belongs to it.
        from_onnx: whether it is an ONNX graph or made from one. Such graphs are written for U²-Net and can
            hold the preprocessing; other networks are converted by paddle2onnx.
    """

    model: str
    precisions: tuple[str, ...]
    write: Callable[[Path, Any, ExportOptions], None]
    from_onnx: bool

    def engines(self, precision: str = "fp32") -> list[str]:
        """List the backends that run it, fastest first."""
        return engines_for(Path(self.model).suffix, precision)

    def converts(self, network: str) -> bool:
        """Whether paddle2onnx has to convert a network of this type."""
        return self.from_onnx and network not in NETWORKS

    def applies_preprocessing(self, network: str) -> bool:
        """Whether a network of this type is written with its preprocessing."""
        return self.from_onnx and network in NETWORKS


FORMATS = {
    "paddle": ExportFormat(PADDLE_MODEL, ("fp32",), _write_paddle, from_onnx=False),
    "onnx": ExportFormat("model.onnx", ("fp32", "fp16", "int8"), _write_onnx, from_onnx=True),
    # bf16 is how OpenVINO computes; the file holds float32
    "openvino": ExportFormat("model.xml", ("fp32", "fp16", "bf16", "int8"), _write_openvino, from_onnx=True),
}
