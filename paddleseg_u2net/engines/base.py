"""The interface of all inference engines, the table of backends, and the choice among them.

Importing this module loads no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from paddleseg_u2net.environment.optional_imports import need


class Engine(Protocol):
    """Anything that runs a network on a batch."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Run the network.

        Args:
            batch: (N, channels, h, w) float32, images after the val transforms.

        Returns:
            Probabilities (N, num_classes, h, w) float32 in [0, 1].
        """
        ...


def _open_onnxruntime(path: Path, device: str, precision: str, parallel: int) -> Engine:
    from paddleseg_u2net.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(path, device)


def _open_openvino(path: Path, device: str, precision: str, parallel: int) -> Engine:
    from paddleseg_u2net.engines.openvino import OpenVinoEngine

    return OpenVinoEngine(path, device, precision, parallel)


def _open_paddle_inference(path: Path, device: str, precision: str, parallel: int) -> Engine:
    from paddleseg_u2net.engines.paddle import PaddleInferenceEngine

    return PaddleInferenceEngine(path, device)


@dataclass(frozen=True)
class Backend:
    """One row of the table of backends.

    Args:
        package: Python package that has to be installed.
        suffixes: suffixes of the model files it runs.
        open: (file, device, precision, parallel) -> engine; None for Paddle, which runs the network itself.
        precisions: precisions of the model files it runs.
        fastest_for: precisions for which it is tried before the rows above it.
    """

    package: str
    suffixes: tuple[str, ...]
    open: Callable[[Path, str, str, int], Engine] | None
    precisions: tuple[str, ...] = ("fp32", "fp16", "int8")
    fastest_for: tuple[str, ...] = ()


PADDLE = "paddle"
# in the order in which `auto` tries them; docs/performance.md has the measurements
BACKENDS = {
    "onnxruntime": Backend("onnxruntime", (".onnx",), _open_onnxruntime),
    # ONNX Runtime is slower with 8-bit integers than in float32
    "openvino": Backend(
        "openvino", (".onnx", ".xml"), _open_openvino, ("fp32", "fp16", "bf16", "int8"), fastest_for=("int8",)
    ),
    "paddle_inference": Backend("paddle", (".json",), _open_paddle_inference),
    PADDLE: Backend("paddle", (), None),
}


def engines_for(suffix: str, precision: str = "fp32") -> list[str]:
    """List the backends that run a kind of model file, fastest first.

    Args:
        suffix: of the model file, such as `.onnx`.
        precision: fp32, fp16, bf16 or int8.
    """
    names = [n for n, row in BACKENDS.items() if suffix in row.suffixes and precision in row.precisions]
    return sorted(names, key=lambda name: precision not in BACKENDS[name].fastest_for)


def open_engine(
    backend: str, path: Path, device: str = "cpu", precision: str = "fp32", parallel: int = 1
) -> Engine:
    """Load a model file into an engine.

    Args:
        backend: key of BACKENDS that opens files.
        path: the model file.
        device: cpu, gpu or gpu:1.
        precision: of the file.
        parallel: number of threads that will call the engine at once.

    Raises:
        ValueError: the engine cannot run this file, device or precision.
        MissingPackage: the engine is not installed.
    """
    opener = BACKENDS[backend].open
    assert opener is not None, f"{backend} opens no files"
    return opener(path, device, precision, parallel)


def choose(backend: str, allowed: Sequence[str], what: str) -> str:
    """Return the backend asked for or, for `auto`, the first allowed one that is installed.

    Args:
        backend: `auto` or key of BACKENDS.
        allowed: backends that can run the model, fastest first.
        what: the model, for messages.

    Raises:
        ValueError: the backend is unknown or cannot run the model.
        MissingPackage: it is not installed; the message has the command that installs it.
    """
    if backend not in ("auto", *BACKENDS):
        raise ValueError(f"--backend {backend}: unknown, expected auto, {', '.join(BACKENDS)}")
    if backend != "auto" and backend not in allowed:
        raise ValueError(f"--backend {backend}: does not run {what}. Fix: {', '.join(allowed)} or auto")
    wanted = allowed if backend == "auto" else [backend]
    installed = [name for name in wanted if find_spec(BACKENDS[name].package)]
    if not installed:
        need(BACKENDS[wanted[0]].package)
    return installed[0]
