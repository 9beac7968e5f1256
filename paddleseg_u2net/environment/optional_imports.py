"""Optional packages: imported when they are needed; a missing one ends in one line with the pip command."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from paddleseg_u2net.errors import MissingPackage


def _extra(name: str) -> str:
    return f"pip install 'paddleseg_u2net[{name}]'"


# module -> how to install it; pyproject.toml lists what each extra contains
INSTALL = {
    "paddle": "pip install paddlepaddle==3.2.2   (CPU; for a GPU see docs/install.md)",
    "paddleseg": "pip install --no-deps paddleseg==2.8.0   (its own requirements would break OpenCV)",
    "paddle2onnx": "pip install --no-deps paddle2onnx==2.1.0   (Python 3.10 to 3.12; docs/install.md)",
    "PIL": "pip install pillow   (or --outputs without pseudo_color)",
    "onnx": "pip install onnx",
    "h5py": _extra("keras"),
    "cv2": f"{_extra('predict')}   (or your own opencv-python)",
    "onnxruntime": _extra("predict"),
    "openvino": _extra("openvino"),
    "visualdl": _extra("train"),
    "mlflow": "pip install mlflow-skinny   (or mlflow, which has the web page too)",
    "wandb": "pip install wandb",
    "filelock": _extra("train"),
    "matplotlib": _extra("evaluate"),
    "threadpoolctl": _extra("evaluate"),
    "scipy": _extra("data"),
    "sklearn": _extra("train"),
    "jinja2": _extra("data"),
    "prettytable": _extra("data"),
    "skimage": _extra("demo"),
    "tifffile": _extra("multiband"),
    "ray": _extra("cluster"),
    "fastapi": _extra("serve"),
    "uvicorn": _extra("serve"),
    "python_multipart": _extra("serve"),
    "prometheus_client": _extra("serve"),
}
# warnings of Paddle and paddleseg at import, and of Pillow about files that we report ourselves
NOISE = (
    "No ccache found",
    "When training, we now always track",
    ".*exists already! It is now updated",
    "Corrupt EXIF data",
    r"\s*Non compatible API",
)


def missing(error: ModuleNotFoundError) -> MissingPackage | None:
    """The message for a failed import; None for a package that users do not install themselves."""
    package = (error.name or "").split(".")[0]
    if package not in INSTALL:
        return None
    return MissingPackage(f"{package} is not installed. Fix: {INSTALL[package]}")


def quiet() -> None:
    """Keep Paddle's C++ log and its import warnings out of ours; call before Paddle is first imported."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    for message in NOISE:
        warnings.filterwarnings("ignore", message=message)


def has(*modules: str) -> bool:
    """Whether optional modules are installed; imports none of them."""
    return all(find_spec(module) for module in modules)


def require(*modules: str) -> None:
    """Check that optional modules are installed, without importing any.

    Raises:
        MissingPackage: one is not; the message is the command that installs it.
    """
    for module in modules:
        if not has(module):
            raise missing(ModuleNotFoundError(name=module)) or ModuleNotFoundError(name=module)


def need(module: str) -> ModuleType:
    """Import an optional module.

    Raises:
        MissingPackage: it is not installed; the message is the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing(error) or error from None


class _Postponed(ModuleType):
    """Stands in for a module, which is imported when something of it is used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def postponed(package: str, module: str) -> Iterator[None]:
    """Let what is imported in this block import a package without loading it before it is used.

    Args:
        package: name of the package.
        module: name of a module in it, without that of the package.
    """
    name = f"{package}.{module}"
    if package in sys.modules:
        yield
        return
    stand_in = _Postponed(package)
    setattr(stand_in, module, _Postponed(name))
    sys.modules |= {package: stand_in, name: getattr(stand_in, module)}
    try:
        yield
    finally:
        del sys.modules[package], sys.modules[name]
