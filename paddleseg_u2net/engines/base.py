"""One call for every engine that can run a network: batch in, probabilities out. Light: engines come late."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from paddleseg_u2net.data.preprocessing import resize_batch
from paddleseg_u2net.engines.openvino import OpenVinoEngine
from paddleseg_u2net.environment.devices import gpu_index, last_line, processors, set_device, split_device
from paddleseg_u2net.environment.optional_imports import need


class Engine(Protocol):
    """Any engine that holds a network."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """(N, channels, h, w) float32 -> probabilities (N, num_classes, h, w) float32."""
        ...


class PaddleEngine:
    """A Paddle network, its first output through sigmoid for one class, softmax for more.

    Args:
        layer: the network.
        amp: arguments of `paddle.amp.auto_cast`, where it computes in half precision.
    """

    def __init__(self, layer: Any, amp: Mapping[str, Any] | None = None):
        self.layer, self.amp = layer, dict(amp or {"enable": False})
        self.lock = threading.Lock()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """See `Engine`; the layer is in the mode it was in afterwards."""
        with self.lock:
            return self._run(batch)

    def _run(self, batch: np.ndarray) -> np.ndarray:
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


class OnnxRuntimeEngine:
    """An ONNX file in ONNX Engine.

    The first input size gets a session of its own, all others share one for any size: where all shapes are
    known, resizing stays in the memory layout of the convolutions, which saves a tenth of the time.

    Args:
        path: the file.
        device: cpu, gpu or gpu:1; it is not replaced by another.

    Raises:
        ValueError: the file is no ONNX model, or the device cannot be used.
    """

    def __init__(self, path: Path, device: str = "cpu"):
        self.engine, self.path, self.device = need("onnxruntime"), path, device
        kind, _ = split_device(device)
        self.provider = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}.get(kind)
        self.provider_options = {"device_id": gpu_index(device)} if kind == "gpu" else {}
        if self.provider not in self.engine.get_available_providers():
            raise ValueError(
                f"--device {device}: this ONNX Engine has none to use. Fix: another --backend or --device"
            )
        described = self._session(optimized=False).get_inputs()[0]  # a broken file is known before any image
        self.input, self.dimensions = described.name, described.shape
        self.sessions: dict[tuple[int, ...], Any] = {}
        self.lock = threading.Lock()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """See `Engine`; one at a time, as two at once need twice the memory and are no faster."""
        with self.lock:
            shape = batch.shape if not self.sessions or batch.shape in self.sessions else ()
            if shape not in self.sessions:
                self.sessions[shape] = self._session(shape)
            try:
                return self.sessions[shape].run(None, {self.input: batch})[0]
            except Exception as error:
                raise ValueError(f"ONNX Engine: an input of {batch.shape}: {last_line(error)}") from error

    def _session(self, shape: tuple[int, ...] = (), optimized: bool = True) -> Any:
        """The model for one input shape; an empty one stands for any."""
        options = self.engine.SessionOptions()
        options.log_severity_level = 3
        options.enable_mem_pattern = False  # it keeps several times the memory and saves no time
        options.intra_op_num_threads = processors()
        if not optimized:
            options.graph_optimization_level = self.engine.GraphOptimizationLevel.ORT_DISABLE_ALL
        for name, size in zip(self.dimensions if shape else (), shape, strict=True):
            if isinstance(name, str):
                options.add_free_dimension_override_by_name(name, size)
        providers = [(self.provider, self.provider_options)]
        try:
            session = self.engine.InferenceSession(str(self.path), options, providers=providers)
        except Exception as error:  # onnxruntime has a class of its own for each kind
            why = last_line(error)
            raise ValueError(f"{self.path}: not a model that ONNX Engine can run: {why}") from error
        if session.get_providers()[0] != self.provider:  # it would go on without a word
            raise ValueError(
                f"--device {self.device}: {self.provider} cannot be loaded here. Fix: its libraries, or cpu"
            )
        return session


class PhotographEngine:
    """A model that prepares photographs itself, for callers that would hand it prepared ones.

    Args:
        model: (N, H, W, 3) uint8 RGB -> (N, num_classes, H, W) float32.
    """

    def __init__(self, model: Engine):
        self.model = model

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """(N, 3, H, W) float32 in 0 .. 255 -> probabilities (N, num_classes, H, W) float32."""
        return self.model(np.ascontiguousarray(np.rint(batch).astype(np.uint8).transpose(0, 2, 3, 1)))


class FixedSizeEngine:
    """A model exported for one height and width, for callers whose inputs have another.

    Args:
        model: takes inputs of that size.
        size: (h, w).
    """

    def __init__(self, model: Engine, size: tuple[int, int]):
        self.model, self.size = model, size

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """See `Engine`; inputs are resized to the model's size, its maps back."""
        maps = self.model(np.ascontiguousarray(resize_batch(batch, self.size)))
        return resize_batch(maps, (batch.shape[2], batch.shape[3]))


class PaddleInferenceEngine:
    """An exported Paddle model (`model.json` and `model.pdiparams`) in Paddle Inference.

    Args:
        path: the `.json` file.
        device: cpu, gpu or gpu:1.
    """

    def __init__(self, path: Path, device: str = "cpu"):
        kind, _ = split_device(device)
        if kind not in ("cpu", "gpu"):
            raise ValueError(
                f"--device {device}: Paddle Inference is used on cpu and gpu here. Fix: one of them"
            )
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
        """See `Engine`."""
        with self.lock:
            self.input.copy_from_cpu(batch)
            self.predictor.run()
            return self.output.copy_to_cpu()


def onednn_works() -> bool:
    """Whether Paddle Inference runs with oneDNN: 3.3.0 and 3.3.1 crash (Paddle#77340)."""
    return not need("paddle").__version__.startswith("3.3.")


@dataclass(frozen=True)
class Backend:
    """A row of the table of engines.

    Args:
        package: what has to be installed.
        formats: suffixes of the model files it runs.
        open: (file, device, precision, parallel) -> engine; None for the network as it is trained.
    """

    package: str
    formats: tuple[str, ...]
    open: Callable[[Path, str, str, int], Engine] | None


PADDLE = "paddle"
# in the order in which `auto` takes them; docs/performance.md has the measurements
BACKENDS = {
    "onnxruntime": Backend(
        "onnxruntime", (".onnx",), lambda path, device, *_: OnnxRuntimeEngine(path, device)
    ),
    "openvino": Backend("openvino", (".onnx", ".xml"), OpenVinoEngine),
    "paddle_inference": Backend(
        "paddle", (".json",), lambda path, device, *_: PaddleInferenceEngine(path, device)
    ),
    PADDLE: Backend("paddle", (), None),
}


def engines_for(suffix: str, precision: str = "fp32") -> list[str]:
    """The backends that run a kind of model file, fastest first."""
    rows = [name for name, row in BACKENDS.items() if suffix in row.formats]
    if precision == "bf16":
        return ["openvino"] if "openvino" in rows else []
    # on integers ONNX Engine is slower than in float32
    return sorted(rows, key=lambda name: name != "openvino") if precision == "int8" else rows


def open_engine(
    backend: str, path: Path, device: str = "cpu", precision: str = "fp32", parallel: int = 1
) -> Engine:
    """Load a model file into an engine; see the engine's class for what is refused."""
    opened = BACKENDS[backend].open
    assert opened is not None, "a network is no file"
    return opened(path, device, precision, parallel)


def choose(backend: str, allowed: Sequence[str], what: str) -> str:
    """The backend asked for, or the first one that is installed.

    Args:
        backend: `auto` or key of BACKENDS.
        allowed: those that can run it, fastest first.
        what: is to be run; for messages.

    Raises:
        ValueError: it cannot run this.
        ImportError: it is not installed; the message is the command.
    """
    if backend not in ("auto", *BACKENDS):
        raise ValueError(f"--backend {backend}: unknown, expected auto, {', '.join(BACKENDS)}")
    if backend != "auto" and backend not in allowed:
        raise ValueError(f"--backend {backend}: does not run {what}. Fix: {', '.join(allowed)} or auto")
    wanted = allowed if backend == "auto" else [backend]
    there = [name for name in wanted if find_spec(BACKENDS[name].package)]
    if not there:
        need(BACKENDS[wanted[0]].package)
    return there[0]
