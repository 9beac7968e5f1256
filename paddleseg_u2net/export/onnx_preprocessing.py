"""The val transforms as ONNX nodes, for models that take photographs as they were decoded."""

from __future__ import annotations

import inspect

import numpy as np

from paddleseg_u2net.data.preprocessing import NORMALIZATIONS, RESIZES, Preprocessing
from paddleseg_u2net.export.onnx_graph import GraphWriter
from paddleseg_u2net.models.architecture import IMAGE

ARGUMENTS = {name: {"target_size", "interp"} for name in ("Resize", "ResizeSoftMask")}


def write_preprocessing(graph: GraphWriter, preprocessing: Preprocessing) -> str:
    """Append the val transforms of `image` (N, H, W, 3) uint8 RGB; returns the name of the network's input.

    Raises:
        ValueError: they do not resize to one fixed size, or they make images grey.
    """
    check_writable(preprocessing)
    x = graph.node("Cast", [IMAGE], "photograph", to=1)
    x = graph.node("Transpose", [x], "planes", perm=[0, 3, 1, 2])
    for index, (step, arguments) in enumerate(preprocessing.steps):
        name = f"prepared{index}"
        if step in NORMALIZATIONS:
            x = _normalize(graph, x, step, arguments, name)
        else:
            width, height = arguments.get("target_size", (512, 512))
            x = graph.resize(x, graph.constant(f"{name}.hw", [height, width], np.int64), name)
    return x


def write_restoring(graph: GraphWriter, maps: str, name: str) -> str:
    """Append nodes that resize maps (N, C, h, w) to the size of `image`; returns the name of the result."""
    return graph.resize(maps, graph.node("Shape", [IMAGE], "photograph.hw", start=1, end=3), name)


def check_writable(preprocessing: Preprocessing) -> None:
    """Raise ValueError for a preprocessing that `write_preprocessing` does not support."""
    wrong = []
    for step, arguments in preprocessing.steps:
        fixed = set(arguments) <= ARGUMENTS.get(step, set()) and arguments.get("interp", "LINEAR") == "LINEAR"
        if step not in NORMALIZATIONS and not fixed:
            wrong.append(f"{step} {arguments or ''}".strip())
    resizes = sum(step in RESIZES for step, _ in preprocessing.steps)
    if resizes != 1:
        wrong.append(f"{resizes} changes of size")
    if preprocessing.channels != 3:
        wrong.append("grey images")
    if wrong:
        raise ValueError(
            f"val_dataset.transforms: {'; '.join(wrong)}: not written into a graph, which supports "
            "normalizations and one linear Resize to a fixed size. "
            "Fix: leave out --with_preprocessing and --for"
        )


def _normalize(graph: GraphWriter, x: str, step: str, arguments: dict, name: str) -> str:
    """`preprocessing.normalize` or `normalize_by_max`."""
    if step == "NormalizeByMax":
        largest = graph.node("ReduceMax", [x], f"{name}.largest", axes=[1, 2, 3])
        # all-black images stay black instead of 0 / 0
        largest = graph.node("Max", [largest, graph.constant("tiny", 1e-6)], f"{name}.divisor")
        x = graph.node("Mul", [x, graph.constant("white", 255)], f"{name}.bright")
        x = graph.node("Div", [x, largest], f"{name}.by_max")
    bound = inspect.signature(NORMALIZATIONS[step]).bind(None, **arguments)
    bound.apply_defaults()
    mean, std = (255 * np.reshape(bound.arguments[part], (-1, 1, 1)) for part in ("mean", "std"))
    x = graph.node("Sub", [x, graph.constant(f"{name}.mean", mean)], f"{name}.centred")
    return graph.node("Div", [x, graph.constant(f"{name}.std", std)], name)
