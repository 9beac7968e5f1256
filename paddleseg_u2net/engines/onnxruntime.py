"""ONNX Runtime as an engine."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.engines.references import check_references
from paddleseg_u2net.environment.devices import gpu_index, last_line, processors, split_device
from paddleseg_u2net.environment.optional_imports import need

PROVIDERS = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}


class OnnxRuntimeEngine:
    """Runs an ONNX file in ONNX Runtime.

    The first input shape gets a session of its own, all others share one for any shape: where all shapes are
    known, resizing stays in the memory layout of the convolutions, which saves a tenth of the time.

    Args:
        model: the file, or its bytes.
        device: cpu, gpu or gpu:1; there is no fallback to another.

    Raises:
        ValueError: the file is not an ONNX model, refers to other files (`check_references`), or the device
            cannot be used.
    """

    def __init__(self, model: Path | bytes, device: str = "cpu"):
        self.onnxruntime, self.device = need("onnxruntime"), device
        self.model, self.path = model, model if isinstance(model, Path) else None
        kind, _ = split_device(device)
        self.provider = PROVIDERS.get(kind)
        self.provider_options = {"device_id": gpu_index(device)} if kind == "gpu" else {}
        if self.provider not in self.onnxruntime.get_available_providers():
            raise ValueError(
                f"--device {device}: not supported by this ONNX Runtime. Fix: another --backend or --device"
            )
        if self.path:
            check_references(self.path)
        # opening the file without optimization reports a broken one before any image is read
        description = self._session(optimized=False).get_inputs()[0]
        self.input, self.dimensions = description.name, description.shape
        self.sessions: dict[tuple[int, ...], Any] = {}
        self.lock = threading.Lock()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """See `Engine`; calls wait for each other: two at once need twice the memory and are no faster."""
        with self.lock:
            shape = batch.shape if not self.sessions or batch.shape in self.sessions else ()
            if shape not in self.sessions:
                self.sessions[shape] = self._session(shape)
            try:
                return self.sessions[shape].run(None, {self.input: batch})[0]
            except Exception as error:
                raise ValueError(f"ONNX Runtime: an input of {batch.shape}: {last_line(error)}") from error

    def _session(self, shape: tuple[int, ...] = (), optimized: bool = True) -> Any:
        """A session for one input shape, or for any shape where it is empty."""
        options = self.onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if self.path is None or self.path.suffix == ".onnx":
            # otherwise ONNX Runtime recognizes its own format by the content, and follows the names in it
            options.add_session_config_entry("session.load_model_format", "ONNX")
        options.enable_mem_pattern = False  # takes several times the memory and saves no time
        options.intra_op_num_threads = processors()
        if not optimized:
            options.graph_optimization_level = self.onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        for name, size in zip(self.dimensions if shape else (), shape, strict=True):
            if isinstance(name, str):
                options.add_free_dimension_override_by_name(name, size)
        providers = [(self.provider, self.provider_options)]
        try:
            model = str(self.path) if self.path else self.model
            session = self.onnxruntime.InferenceSession(model, options, providers=providers)
        except Exception as error:  # onnxruntime raises a class of its own for each kind of fault
            name = self.path or "the graph of these weights"
            raise ValueError(f"{name}: not a model that ONNX Runtime can run: {last_line(error)}") from error
        if session.get_providers()[0] != self.provider:  # ONNX Runtime falls back to the CPU silently
            raise ValueError(
                f"--device {self.device}: {self.provider} cannot be loaded here. "
                "Fix: install its libraries, or --device cpu"
            )
        return session
