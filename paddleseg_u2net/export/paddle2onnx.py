"""Converts networks of other families from Paddle's format to ONNX, by paddle2onnx.

paddle2onnx runs in a process of its own, because it prints a lot and often crashes on what it cannot convert.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.environment.processes import module_command, u2net_environment
from paddleseg_u2net.export.onnx_graph import OPSET, OUTPUTS
from paddleseg_u2net.models.architecture import IMAGE

if TYPE_CHECKING:
    import onnx

# its default optimizer would run `pip install`; it prints why it fails only with enable_verbose
OPTIONS = {"optimize_tool": "None", "enable_verbose": "True", "opset_version": str(OPSET)}
REASON = re.compile(r"^\[ERROR\]\[Paddle2ONNX\] (?:\[OP: pd_op\.)?(.*?)\.?$", re.MULTILINE)
PADDLE_FORMAT = "Fix: --format paddle"


def convert(folder: Path, name: str, shape: Sequence[int], output_op: str = "softmax") -> onnx.ModelProto:
    """Convert a saved network.

    Args:
        folder: holds `model.json`, which is changed, and `model.pdiparams`.
        name: of the network, for messages.
        shape: N, C, H, W it was saved for, -1 where any is legal.
        output_op: last operation of the saved network; names the output.

    Returns:
        The model: `image` (N, C, H, W) float32 -> `probabilities` (N, num_classes, H, W) float32.

    Raises:
        ValueError: it cannot be converted, or gives a file that would end the process which opens it.
    """
    onnx = need("onnx")
    _narrow(folder / "model.json")
    if fault := _run(folder):
        fixed = ", or a fixed size, such as --input_shape 1 3 512 512" if -1 in shape[2:] else ""
        raise ValueError(f"{name}: paddle2onnx cannot convert it: {fault}. {PADDLE_FORMAT}{fixed}")
    model = onnx.load(folder / "model.onnx")
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    if any(0 in attribute.ints for attribute in attributes if attribute.name == "strides"):
        raise ValueError(  # ONNX Runtime crashes dividing by it
            f"{name}: it pools to more cells than there are pixels at {list(shape[2:])}. Fix: a larger "
            "--input_shape, or --format paddle"
        )
    return _renamed(model, shape, output_op)


def _narrow(path: Path) -> None:
    """Store the doubles of a program as floats: paddle2onnx reads doubles wrongly (Paddle2ONNX#1646)."""
    path.write_text(path.read_text(encoding="utf-8").replace('"0.a_f64"', '"0.a_f32"'), encoding="utf-8")


def _run(folder: Path) -> str | None:
    """Write `model.onnx` from `model.json`; returns the reason if that fails."""
    files = {"model_filename": "model.json", "params_filename": "model.pdiparams", "save_file": "model.onnx"}
    flags = [f"--{key}={value}" for key, value in {"model_dir": ".", **files, **OPTIONS}.items()]
    command, variables = module_command("paddle2onnx.command", *flags), {**os.environ, **u2net_environment()}
    outcome = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, errors="replace"
    )
    if outcome.returncode == 0 and (folder / "model.onnx").is_file():
        return None
    reasons = REASON.findall(outcome.stdout) + REASON.findall(outcome.stderr)  # the first is the cause
    return reasons[0].replace("]", ":") if reasons else f"its process ended with {outcome.returncode}"


def _renamed(model: onnx.ModelProto, shape: Sequence[int], output_op: str) -> onnx.ModelProto:
    """Give input and output the names and sizes of `build_onnx`; paddle2onnx has one name for two sizes."""
    from onnx import helper

    graph = model.graph
    name, output = OUTPUTS[output_op], graph.output[0]
    size = [axis if wanted == -1 else wanted for axis, wanted in zip("NCHW", shape, strict=True)]
    dimensions = output.type.tensor_type.shape.dim
    channels = [dimensions[1].dim_value] if len(dimensions) == 4 else []
    last = next(node for node in graph.node if output.name in node.output)
    last.output[:] = [name]
    assert graph.input[0].name == IMAGE
    for value, new_name, new_size in (
        (graph.input[0], IMAGE, size),
        (output, name, [size[0], *channels, *size[2:]]),
    ):
        dtype = value.type.tensor_type.elem_type
        value.CopyFrom(helper.make_tensor_value_info(new_name, dtype, new_size))
    del graph.value_info[:]
    return model
