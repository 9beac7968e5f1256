"""A model -> a folder that predicts without Paddle's training half, with the proof that it still does.

graph + runtime + comparison on real images + record; beyond the tolerance nothing is left behind.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from paddleseg_u2net.architecture import NETWORKS
from paddleseg_u2net.config import preprocessing_of
from paddleseg_u2net.dependencies import need
from paddleseg_u2net.deploy import PHOTOGRAPH, PREPARED, RECORD, describe, read_record, write_record
from paddleseg_u2net.files import arriving
from paddleseg_u2net.metrics.saliency import SaliencyMeasures
from paddleseg_u2net.network_graph import build_onnx
from paddleseg_u2net.preprocessing import Preprocessing, resize
from paddleseg_u2net.quantization import Quantization
from paddleseg_u2net.runtime import PaddleRuntime, Runtime, choose, engines_for, open_runtime

log = logging.getLogger(__name__)

REPORT = "export_report.json"
Pair = tuple[np.ndarray, np.ndarray | None]  # what the model takes; truth (H, W) in [0, 1] or None


class DifferentError(ValueError):
    """An export that computes something else than the network it was made from."""


@dataclass(frozen=True)
class Tolerance:
    """How far an export may be from the Paddle model.

    Args:
        max_difference: of any pixel on any image.
        mean_difference: of the pixels of any image.
        mae: change of MAE over all images that have a truth.
    """

    max_difference: float
    mean_difference: float
    mae: float


TOLERANCES = {
    "fp32": Tolerance(1 / 255, 1e-4, 1e-4),
    "fp16": Tolerance(0.1, 2e-3, 1e-3),
    "bf16": Tolerance(1.0, 0.02, 0.004),
    "int8": Tolerance(1.0, 0.04, 0.002),
}
FORMATS = {
    "paddle": ("fp32",),
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16", "bf16", "int8"),
}


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
        DifferentError: the export is beyond its tolerance; nothing is left.
        ValueError: the combination is not made.
    """
    check_wish(folder, file_format, precision)
    with arriving(folder) as partial:
        partial.mkdir()
        model = WRITERS[file_format](partial, network, precision, shape, quantization, preprocessing)
        num_classes = config["model"]["num_classes"]
        image = PHOTOGRAPH if preprocessing else PREPARED
        write_record(partial, describe(model, precision, shape, num_classes, partial, image), config)
        report = compare(partial, network, images, preprocessing)
        (partial / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        check(report, TOLERANCES[precision])
    return report


def check_wish(folder: Path, file_format: str, precision: str) -> None:
    """Raise where an export cannot be made: see `export`."""
    if precision not in FORMATS[file_format]:
        raise ValueError(
            f"--precision {precision}: not made as {file_format}, but {', '.join(FORMATS[file_format])}"
        )
    if folder.exists():
        raise FileExistsError(f"{folder}: exists already. Fix: another --save_dir, or remove it")


# -- writing --------------------------------------------------------------------------------------------


def _graph(
    network: Any,
    precision: str,
    shape: Sequence[int],
    quantization: Quantization | None,
    preprocessing: Preprocessing | None,
) -> Any:
    """The ONNX model of a network of this family; ValueError for another."""
    if type(network).__name__ not in NETWORKS:
        raise ValueError(
            f"{type(network).__name__}: only U²-Net is written as ONNX or OpenVINO. Fix: --format paddle"
        )
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
    model = openvino.Core().read_model(graph.SerializeToString())
    openvino.save_model(model, str(folder / "model.xml"), compress_to_fp16=False)
    return "model.xml"


def _write_paddle(folder: Path, network: Any, precision: str, shape, quantization, preprocessing) -> str:
    if preprocessing is not None:
        raise ValueError("--with_preprocessing: not written as paddle. Fix: --format onnx or openvino")
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
    return "model.json"


WRITERS: dict[str, Callable[..., str]] = {
    "onnx": _write_onnx,
    "openvino": _write_openvino,
    "paddle": _write_paddle,
}


# -- the proof ------------------------------------------------------------------------------------------


def compare(
    folder: Path, network: Any, images: Sequence[Pair], preprocessing: Preprocessing | None = None
) -> dict[str, Any]:
    """Run an exported folder beside its network.

    Returns:
        Largest and mean difference, MAE and maxF of both where there is truth, size, milliseconds an image.
    """
    deployment = read_record(folder / RECORD)
    path = folder / deployment.model
    backend = choose("auto", engines_for(path.suffix, deployment.precision), str(path))
    exported = open_runtime(backend, path, "cpu", deployment.precision)
    original = PaddleRuntime(network)
    if preprocessing is not None:
        original = _with_preprocessing(original, preprocessing)
    scores = SaliencyMeasures(), SaliencyMeasures()
    differences, times = [], []
    exported(images[0][0])  # the first call sets things up
    for tensor, truth in tqdm(images, "compare", disable=None, delay=1, leave=False):
        started = time.perf_counter()
        maps = exported(tensor)
        times.append(time.perf_counter() - started)
        expected = original(tensor)
        differences.append(np.abs(maps - expected))
        if truth is not None and maps.shape[1] == 1:
            for score, own in zip(scores, (expected, maps), strict=True):
                score.update(own[0, 0], truth)
    report: dict[str, Any] = {
        "backend": backend,
        "precision": deployment.precision,
        "images": len(images),
        "max_difference": float(max(d.max() for d in differences)),
        "mean_difference": float(max(d.mean() for d in differences)),
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
        "median_ms": round(float(np.median(times)) * 1e3, 2),
    }
    if any(truth is not None for _, truth in images) and deployment.output_op == "sigmoid":
        names = ("paddle", "exported")
        report |= {name: score.compute() for name, score in zip(names, scores, strict=True)}
    return report


def _with_preprocessing(runtime: Runtime, preprocessing: Preprocessing) -> Runtime:
    """What a network and its preprocessing make of one photograph (1, H, W, 3) uint8: (1, C, H, W)."""

    def whole(batch: np.ndarray) -> np.ndarray:
        tensor, changes = preprocessing(batch[0])
        return preprocessing.restore(runtime(tensor[None])[0], changes)[None]

    return whole


def check(report: Mapping[str, Any], tolerance: Tolerance) -> None:
    """Raise DifferentError where a report is beyond a tolerance; NaN is."""
    found = [
        ("a pixel differs by", report["max_difference"], tolerance.max_difference),
        (
            "the pixels of an image differ in the mean by",
            report["mean_difference"],
            tolerance.mean_difference,
        ),
    ]
    if "paddle" in report:
        change = abs(report["exported"]["MAE"] - report["paddle"]["MAE"])
        found.append(("MAE changes by", change, tolerance.mae))
    wrong = [f"{what} {value:.2g}, at most {bound:.2g}" for what, value, bound in found if not value <= bound]
    if wrong:
        raise DifferentError(f"the export is not good enough: {'; '.join(wrong)}. It is not kept")


def prepare(
    config: Mapping[str, Any], image: np.ndarray, mask: np.ndarray | None, shape: Sequence[int]
) -> Pair:
    """An image as the network sees it, and its truth at that size.

    Args:
        config: with the val transforms.
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) in [0, 1], or None.
        shape: of the export; a fixed height and width is resized to.
    """
    tensor = preprocessing_of(config)(image)[0]
    size = [have if want == -1 else want for have, want in zip(tensor.shape[1:], shape[2:], strict=True)]
    tensor = resize(tensor.transpose(1, 2, 0), (size[0], size[1])).transpose(2, 0, 1)
    truth = None if mask is None else resize(mask.astype(np.float32), (size[0], size[1]))
    return np.ascontiguousarray(tensor[None]), truth
