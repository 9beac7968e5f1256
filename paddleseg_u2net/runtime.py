"""One call for every engine that can run a network: batch in, probabilities out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from paddleseg_u2net.checkpoint import CONFIG, EMA, MODEL, numbered
from paddleseg_u2net.config import CONFIGS, load_config, section
from paddleseg_u2net.dependencies import need
from paddleseg_u2net.weights import KNOWN, load_strict, resolve

log = logging.getLogger(__name__)

DEVICES = ("cpu", "gpu", "xpu", "npu", "mlu")
WEIGHT_FILES = (MODEL, EMA)


class Runtime(Protocol):
    """Any engine that holds a network."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """(N, channels, h, w) float32 -> probabilities (N, num_classes, h, w) float32."""
        ...


class PaddleRuntime:
    """A Paddle network, its first output through sigmoid for one class, softmax for more.

    Args:
        layer: the network.
        amp: arguments of `paddle.amp.auto_cast`, where it computes in half precision.
    """

    def __init__(self, layer: Any, amp: Mapping[str, Any] | None = None):
        self.layer, self.amp = layer, dict(amp or {"enable": False})

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """See `Runtime`; the layer is in the mode it was in afterwards."""
        import paddle
        import paddle.nn.functional as F

        training = self.layer.training
        self.layer.eval()
        with paddle.no_grad(), paddle.amp.auto_cast(**self.amp):
            logits = self.layer(paddle.to_tensor(batch))[0]
        with paddle.no_grad():
            logits = logits.astype("float32")
            maps = F.sigmoid(logits) if logits.shape[1] == 1 else F.softmax(logits, axis=1)
        if training:
            self.layer.train()
        return maps.numpy()


def set_device(name: str | None) -> str:
    """Choose where Paddle computes.

    Args:
        name: cpu, gpu, xpu, npu, mlu, or None for a GPU where there is one.

    Returns:
        The device in use.

    Raises:
        ValueError: unknown, or not usable here; nothing is replaced silently.
    """
    paddle = need("paddle")
    if name is None:
        name = "gpu" if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() else "cpu"
    elif name not in DEVICES:
        raise ValueError(f"--device {name}: unknown, expected one of {', '.join(DEVICES)}")
    usable = {
        "cpu": lambda: True,
        "gpu": lambda: paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0,
        "xpu": paddle.is_compiled_with_xpu,
    }.get(name, lambda: name in (paddle.device.get_all_custom_device_type() or ()))
    if not usable():
        raise ValueError(
            f"--device {name}: this Paddle ({paddle.__version__}) has none to use. "
            "Fix: leave --device out, or install the build for it (docs/install.md)"
        )
    paddle.set_device(name)
    return name


def find_weights(model_path: str | Path) -> str | Path:
    """The weights that `--model_path` means: a known name, a file, or the best one of a run folder.

    Raises:
        FileNotFoundError: none of the three.
    """
    path = Path(model_path)
    if str(model_path) in KNOWN or not path.is_dir():
        return model_path
    for folder in (path, path / "best_model", path / "ema_best_model", *reversed(numbered(path))):
        for name in WEIGHT_FILES:
            if (folder / name).is_file():
                return folder / name
    raise FileNotFoundError(f"{path}: holds no {' or '.join(WEIGHT_FILES)}, nor a run that does")


def config_of(
    model_path: str | Path, config: str | Path | None = None, opts: Sequence[str] | None = None
) -> dict[str, Any]:
    """The config to use with a model: the one given, else the one it carries.

    Args:
        model_path: known name, weight file or run folder.
        config: YAML file; None takes that of the known name, or the one that the run left beside it.
        opts: see `load_config`.

    Raises:
        ValueError: none is given, and it carries none.
    """
    if config is not None:
        return load_config(config, opts=opts)
    if known := KNOWN.get(str(model_path)):
        return load_config(CONFIGS / known.config, opts=opts)
    weights = resolve(find_weights(model_path))
    for folder in (weights.parent, weights.parent.parent):
        if (folder / CONFIG).is_file():
            return load_config(folder / CONFIG, opts=opts)
    raise ValueError(f"{model_path} carries no config ({CONFIG} beside it). Fix: add --config")


def load_runtime(model_path: str | Path, config: Mapping[str, Any], device: str | None = None) -> Runtime:
    """Build the network of a config, fill it with weights that fit exactly, and make it callable.

    Args:
        model_path: known name, weight file or run folder.
        config: with a `model` section.
        device: see `set_device`.
    """
    weights = find_weights(model_path)
    resolve(weights)  # fetch or fail before the slow imports
    log.info("Weights %s; Paddle on %s", weights, set_device(device))
    from paddleseg_u2net.registry import build_network

    layer = build_network({k: v for k, v in section(dict(config), "model").items() if k != "pretrained"})
    load_strict(layer, weights)
    return PaddleRuntime(layer)
