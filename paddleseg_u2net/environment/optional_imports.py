"""Heavy packages: imported late, quietly, and with one clear line where they are absent."""

from __future__ import annotations

import importlib
import os
import warnings
from types import ModuleType

from paddleseg_u2net.errors import MissingPackage

INSTALL = {
    "paddle": "pip install paddlepaddle==3.2.2   (a CPU; for a GPU see docs/install.md)",
    "paddleseg": "pip install --no-deps paddleseg==2.8.0   (alone it would force an OpenCV that breaks)",
    "cv2": "pip install 'opencv-python-headless<5'   (or your own opencv-python)",
    "PIL": "pip install pillow   (or --outputs without pseudo_color)",
    "visualdl": "pip install visualdl",
    "matplotlib": "pip install matplotlib",
    "threadpoolctl": "pip install threadpoolctl",
    "onnx": "pip install onnx",
    "onnxruntime": "pip install onnxruntime",
    "openvino": "pip install openvino",
    "ray": "pip install 'ray[data]'",
    "paddle2onnx": "pip install --no-deps paddle2onnx==2.1.0   (Python 3.10 to 3.12; docs/install.md)",
}
# what Paddle and paddleseg say at import, and Pillow of files that we report; a user can act on none of it
NOISE = (
    "No ccache found",
    "When training, we now always track",
    ".*exists already! It is now updated",
    "Corrupt EXIF data",
    r"\s*Non compatible API",
)


def missing(error: ModuleNotFoundError) -> MissingPackage | None:
    """The clear line for a failed import, where it is one of the packages users install themselves."""
    package = (error.name or "").split(".")[0]
    if package not in INSTALL:
        return None
    return MissingPackage(f"{package} is not installed. Fix: {INSTALL[package]}")


def quiet() -> None:
    """Keep Paddle's C++ log and its import warnings out of ours; call before Paddle is first imported."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    for message in NOISE:
        warnings.filterwarnings("ignore", message=message)


def need(module: str) -> ModuleType:
    """Import a heavy module.

    Raises:
        MissingPackage: it is not installed.
    """
    quiet()
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing(error) or error from None
