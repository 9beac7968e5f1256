"""Paddle as an engine: a network in memory, or an exported model in Paddle Inference."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.engines.references import check_references
from paddleseg_u2net.environment.devices import gpu_index, processors, set_device, split_device
from paddleseg_u2net.environment.optional_imports import need


class PaddleEngine:
    """Runs a Paddle network; its first output goes through sigmoid for one class, softmax for more.

    Args:
        layer: the network.
        amp: arguments of `paddle.amp.auto_cast`; None computes in float32.
        logits: return logits (N, num_classes, h, w) instead of probabilities.
        multilabel: the classes are labels that overlap; sigmoid for each.
    """

    def __init__(
        self,
        layer: Any,
        amp: Mapping[str, Any] | None = None,
        logits: bool = False,
        multilabel: bool = False,
    ):
        self.layer, self.amp, self.logits = layer, dict(amp or {"enable": False}), logits
        self.multilabel = multilabel
        self.lock = threading.Lock()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """See `Engine`; afterwards the layer is in the mode it was in before."""
        with self.lock:
            return self._run(batch)

    def _run(self, batch: np.ndarray) -> np.ndarray:
        import paddle

        training = self.layer.training
        self.layer.eval()
        with paddle.no_grad(), paddle.amp.auto_cast(**self.amp):
            logits = self.layer(paddle.to_tensor(batch))[0]
        with paddle.no_grad():
            logits = logits.astype("float32")
            maps = logits if self.logits else probabilities(logits, self.multilabel)
        if training:
            self.layer.train()
        return maps.numpy()


def probabilities(logits: Any, multilabel: bool = False) -> Any:
    """Logits (N, num_classes, h, w) -> probabilities: sigmoid for one class and for labels, else softmax."""
    import paddle.nn.functional as F

    return F.sigmoid(logits) if multilabel or logits.shape[1] == 1 else F.softmax(logits, axis=1)


class PaddleInferenceEngine:
    """Runs an exported Paddle model (`model.json` and `model.pdiparams`) in Paddle Inference.

    Args:
        path: the `.json` file.
        device: cpu, gpu or gpu:1.

    Raises:
        ValueError: another device, or a model that refers to files that it may not (`check_references`).
    """

    def __init__(self, path: Path, device: str = "cpu"):
        kind, _ = split_device(device)
        if kind not in ("cpu", "gpu"):
            raise ValueError(f"--device {device}: not supported by Paddle Inference. Fix: cpu or gpu")
        check_references(path)
        need("paddle")
        from paddle import inference

        config = inference.Config(str(path), str(path.with_suffix(".pdiparams")))
        config.disable_glog_info()
        if kind == "gpu":
            set_device(device)
            config.enable_use_gpu(256, gpu_index(device))
        else:
            config.set_cpu_math_library_num_threads(processors())
            if not onednn_works():
                config.disable_mkldnn()
        self.predictor = inference.create_predictor(config)
        self.input = self.predictor.get_input_handle(self.predictor.get_input_names()[0])
        self.output = self.predictor.get_output_handle(self.predictor.get_output_names()[0])
        self.lock = threading.Lock()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """See `Engine`; returns what the exported model gives."""
        with self.lock:
            self.input.copy_from_cpu(batch)
            self.predictor.run()
            return self.output.copy_to_cpu()


def onednn_works() -> bool:
    """Whether Paddle Inference runs with oneDNN: 3.3.0 and 3.3.1 crash (Paddle#77340)."""
    return not need("paddle").__version__.startswith("3.3.")
