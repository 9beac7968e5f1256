"""A model -> a folder that predicts without Paddle's training half, with the proof that it still does.

graph + engine + comparison on real images + record; beyond the tolerance nothing is left behind.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from paddleseg_u2net.data.preprocessing import Preprocessing
from paddleseg_u2net.engines.deploy_config import (
    PADDLE_MODEL,
    PHOTOGRAPH,
    PREPARED,
    describe,
    write_record,
)
from paddleseg_u2net.engines.openvino import core
from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.export.onnx_network import build_onnx
from paddleseg_u2net.export.paddle2onnx import PADDLE_FORMAT, convert
from paddleseg_u2net.export.quantization import Quantization
from paddleseg_u2net.export.verify import TOLERANCES, Pair, check, compare
from paddleseg_u2net.io.files import atomic_write
from paddleseg_u2net.models.architecture import NETWORKS

log = logging.getLogger(__name__)

REPORT = "export_report.json"


FORMATS = {
    "paddle": ("fp32",),
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16", "bf16", "int8"),
}
QUANTIZED = ("int8", "fp16")  # written for U²-Net, whose convolutions graph.py knows
CONVERTED = (
    f". {PADDLE_FORMAT}, or another --input_shape: paddle2onnx pools to a number of cells exactly only where "
    "they divide the pixels"
)


def export(
    network: Any,
    config: Mapping[str, Any],
    folder: Path,
    images: Sequence[Pair],
    file_format: str = "onnx",
    precision: str = "fp32",
    shape: Sequence[int] = (-1, 3, -1, -1),
    quantization: Quantization | None = None,
    preprocessing: Preprocessing | None = None,
) -> dict[str, Any]:
    """Write an exported folder and compare it with the network it came from.

    Args:
        network: filled with weights, in eval mode.
        config: what it was made from.
        folder: to be made.
        images: real ones, prepared; the proof is measured on them.
        file_format: key of FORMATS.
        precision: one of its precisions.
        shape: N, C, H, W of the input, -1 where any is legal.
        quantization: for int8; its kept convolutions stay in float32 for fp16 too.
        preprocessing: to be done by the model, which then takes photographs; see `build_onnx`.

    Returns:
        The report, also in `export_report.json`.

    Raises:
        FileExistsError: the folder is there; nothing is overwritten.
        VerificationError: the export is beyond its tolerance; nothing is left.
        ValueError: the combination is not made.
    """
    kind = type(network).__name__
    check_wish(folder, file_format, precision, kind, preprocessing is not None)
    with atomic_write(folder) as partial:
        partial.mkdir()
        model = WRITERS[file_format](partial, network, precision, shape, quantization, preprocessing)
        num_classes = config["model"]["num_classes"]
        image = PHOTOGRAPH if preprocessing else PREPARED
        write_record(partial, describe(model, precision, shape, num_classes, partial, image), config)
        report = compare(partial, network, images, preprocessing)
        (partial / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        check(report, TOLERANCES[precision], CONVERTED if _is_converted(kind, file_format) else "")
    return report


def check_wish(folder: Path, file_format: str, precision: str, kind: str, photographs: bool = False) -> None:
    """Raise where an export cannot be made.

    Args:
        folder: see `export`, also for the next two.
        file_format: how it is written.
        precision: how it computes.
        kind: type of the model.
        photographs: whether the model is to prepare them.
    """
    if photographs and (file_format == "paddle" or kind not in NETWORKS):
        raise ValueError(
            "--with_preprocessing: written into U²-Net as onnx and openvino only. Fix: leave it out"
        )
    if precision not in FORMATS[file_format]:
        raise ValueError(
            f"--precision {precision}: not made as {file_format}, but {', '.join(FORMATS[file_format])}"
        )
    if _is_converted(kind, file_format):
        if precision in QUANTIZED:
            raise ValueError(f"--precision {precision}: made of U²-Net only, not of {kind}. Fix: fp32")
        need("paddle2onnx")
    if folder.exists():
        raise FileExistsError(f"{folder}: exists already. Fix: another --save_dir, or remove it")


# -- writing --------------------------------------------------------------------------------------------


def _is_converted(kind: str, file_format: str) -> bool:
    """Whether paddle2onnx has to write a type of model."""
    return kind not in NETWORKS and file_format != "paddle"


def _graph(
    network: Any,
    precision: str,
    shape: Sequence[int],
    quantization: Quantization | None,
    preprocessing: Preprocessing | None,
) -> Any:
    """The ONNX model of a network."""
    kind = type(network).__name__
    if kind not in NETWORKS:
        with TemporaryDirectory() as folder:
            _write_paddle(Path(folder), network, precision, shape)
            return convert(Path(folder), kind, shape)
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    model = build_onnx(state, shape, quantization if precision == "int8" else None, preprocessing)
    if precision == "fp16":
        _store_half(model, quantization.kept if quantization else frozenset())
    return model


def _store_half(model: Any, kept: Collection[str]) -> None:
    """Replace the weights of all convolutions but `kept` by their half-precision form and a cast."""
    from onnx import TensorProto, helper, numpy_helper

    for tensor in model.graph.initializer:
        name, values = tensor.name, numpy_helper.to_array(tensor)
        if values.ndim == 4 and name.removesuffix(".weight") not in kept:
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            cast = helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT)
            model.graph.node.insert(0, cast)


def _write_onnx(folder: Path, network: Any, precision: str, *options: Any) -> str:
    model = _graph(network, precision, *options)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return "model.onnx"


def _write_openvino(folder: Path, network: Any, precision: str, *options: Any) -> str:
    openvino = need("openvino")
    stored = "fp32" if precision == "bf16" else precision  # bf16 is how it computes, not what is stored
    graph = _graph(network, stored, *options)
    model = core().read_model(graph.SerializeToString())
    openvino.save_model(model, str(folder / "model.xml"), compress_to_fp16=False)
    return "model.xml"


def _write_paddle(folder: Path, network: Any, precision: str, shape: Sequence[int], *_: Any) -> str:
    paddle = need("paddle")

    class Probabilities(paddle.nn.Layer):
        """The network's first output as probabilities."""

        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):
            logits = self.network(x)[0]
            functional = paddle.nn.functional
            return functional.sigmoid(logits) if logits.shape[1] == 1 else functional.softmax(logits, axis=1)

    layer = Probabilities()
    layer.eval()
    spec = paddle.static.InputSpec([None if size == -1 else size for size in shape], "float32", "image")
    static = paddle.jit.to_static(layer, input_spec=[spec], full_graph=True)
    paddle.jit.save(static, str(folder / "model"))
    return PADDLE_MODEL


WRITERS: dict[str, Callable[..., str]] = {
    "onnx": _write_onnx,
    "openvino": _write_openvino,
    "paddle": _write_paddle,
}
