"""One call for every engine that can run a network: batch in, probabilities out. Light: engines come late."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from paddleseg_u2net.dependencies import need
from paddleseg_u2net.ranks import this_rank
from paddleseg_u2net.weights import cache_folder

log = logging.getLogger(__name__)

DEVICES = ("cpu", "gpu", "xpu", "npu", "mlu")


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
        self.lock = threading.Lock()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """See `Runtime`; the layer is in the mode it was in afterwards."""
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


class OnnxRuntime:
    """An ONNX file in ONNX Runtime.

    Args:
        path: the file.
        device: cpu or gpu; it is not replaced by another.

    Raises:
        ValueError: the file is no ONNX model, or the device cannot be used.
    """

    def __init__(self, path: Path, device: str = "cpu"):
        onnxruntime = need("onnxruntime")
        provider = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}.get(device)
        if provider not in onnxruntime.get_available_providers():
            raise ValueError(
                f"--device {device}: this ONNX Runtime has none to use. Fix: another --backend or --device"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.enable_mem_pattern = False  # it keeps several times the memory and saves no time
        options.intra_op_num_threads = processors()
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
        except Exception as error:  # onnxruntime has a class of its own for each kind
            raise ValueError(f"{path}: not a model that ONNX Runtime can run: {_line(error)}") from error
        if self.session.get_providers()[0] != provider:  # it would go on without a word
            raise ValueError(
                f"--device {device}: {provider} cannot be loaded here. Fix: its libraries, or cpu"
            )
        self.input = self.session.get_inputs()[0].name
        self.lock = threading.Lock()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """See `Runtime`; one at a time, as two at once need twice the memory and are no faster."""
        with self.lock:
            try:
                return self.session.run(None, {self.input: batch})[0]
            except Exception as error:
                raise ValueError(f"ONNX Runtime: an input of {batch.shape}: {_line(error)}") from error


class OpenVinoRuntime:
    """An ONNX or OpenVINO file in OpenVINO, on a CPU; compiled once for each input size.

    Args:
        path: `.onnx` or `.xml`.
        device: cpu.
        precision: of the file; `bf16` asks for computing in it, where the CPU has units for it.
        parallel: threads that will call it at once; they share the processors.

    Raises:
        ValueError: the file is no model, another device, or the CPU lacks the precision.
    """

    def __init__(self, path: Path, device: str = "cpu", precision: str = "fp32", parallel: int = 1):
        if device != "cpu":
            raise ValueError(f"--device {device}: OpenVINO is used on CPUs here. Fix: another --backend")
        openvino = need("openvino")
        self.core = openvino.Core()
        if precision == "bf16" and "BF16" not in self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ValueError(
                "bf16: this CPU has no units for it, so it would be no faster. Fix: fp32 or int8"
            )
        self.options = {
            "NUM_STREAMS": parallel,
            "INFERENCE_NUM_THREADS": processors(),
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        cache = cache_folder() / "openvino"  # what was compiled, for the next start
        with contextlib.suppress(OSError):  # a read-only home is no reason not to predict
            cache.mkdir(parents=True, exist_ok=True)
            self.options["CACHE_DIR"] = str(cache)
        try:
            self.model = self.core.read_model(str(path))
        except RuntimeError as error:
            raise ValueError(f"{path}: not a model that OpenVINO can run: {_line(error)}") from error
        self.exported = openvino.PartialShape(self.model.inputs[0].partial_shape)
        self.compiled: dict[tuple[int, ...], Any] = {}
        self.lock, self.threads = threading.Lock(), threading.local()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """See `Runtime`."""
        with self.lock:
            compiled = self._compile(batch.shape)
        if getattr(self.threads, "compiled", None) is not compiled:
            self.threads.compiled, self.threads.request = compiled, compiled.create_infer_request()
        try:
            return self.threads.request.infer([batch], share_inputs=True)[0].copy()
        except RuntimeError as error:
            raise ValueError(f"OpenVINO: an input of {batch.shape}: {_line(error)}") from error

    def _compile(self, shape: tuple[int, ...]) -> Any:
        """The model for one input size, which is faster than one for any."""
        compiled = self.compiled.pop(shape, None)
        if compiled is None:
            if len(self.compiled) >= 8:  # sizes that differ from image to image would pile up
                self.compiled.pop(next(iter(self.compiled)))
            if not self.exported.compatible(type(self.exported)(list(shape))):
                raise ValueError(f"an input of {shape}, but the model was exported for {self.exported}")
            self.model.reshape(list(shape))
            compiled = self.core.compile_model(self.model, "CPU", self.options)
        self.compiled[shape] = compiled  # the last used is the last to go
        return compiled


class PaddleInference:
    """An exported Paddle model (`model.json` and `model.pdiparams`) in Paddle Inference.

    Args:
        path: the `.json` file.
        device: cpu or gpu.
    """

    def __init__(self, path: Path, device: str = "cpu"):
        if device not in ("cpu", "gpu"):
            raise ValueError(
                f"--device {device}: Paddle Inference is used on cpu and gpu here. Fix: one of them"
            )
        need("paddle")
        from paddle import inference

        config = inference.Config(str(path), str(path.with_suffix(".pdiparams")))
        config.disable_glog_info()
        if device == "gpu":
            set_device("gpu")
            config.enable_use_gpu(256, 0)
        else:
            config.set_cpu_math_library_num_threads(processors())
            if not onednn_works():
                config.disable_mkldnn()
        self.predictor = inference.create_predictor(config)
        self.input = self.predictor.get_input_handle(self.predictor.get_input_names()[0])
        self.output = self.predictor.get_output_handle(self.predictor.get_output_names()[0])
        self.lock = threading.Lock()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """See `Runtime`."""
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
        open: (file, device, precision, parallel) -> runtime; None for the network as it is trained.
    """

    package: str
    formats: tuple[str, ...]
    open: Callable[[Path, str, str, int], Runtime] | None


PADDLE = "paddle"
# in the order in which `auto` takes them; docs/performance.md has the measurements
BACKENDS = {
    "onnxruntime": Backend("onnxruntime", (".onnx",), lambda path, device, *_: OnnxRuntime(path, device)),
    "openvino": Backend("openvino", (".onnx", ".xml"), OpenVinoRuntime),
    "paddle_inference": Backend("paddle", (".json",), lambda path, device, *_: PaddleInference(path, device)),
    PADDLE: Backend("paddle", (), None),
}


def engines_for(suffix: str, precision: str = "fp32") -> list[str]:
    """The backends that run a kind of model file, fastest first."""
    rows = [name for name, row in BACKENDS.items() if suffix in row.formats]
    if precision == "bf16":
        return ["openvino"] if "openvino" in rows else []
    # on integers ONNX Runtime is slower than in float32
    return sorted(rows, key=lambda name: name != "openvino") if precision == "int8" else rows


def has_int8_units() -> bool:
    """Whether this CPU multiplies 8-bit integers faster than floats; False where that cannot be read."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return bool(flags & {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"})


def open_runtime(
    backend: str, path: Path, device: str = "cpu", precision: str = "fp32", parallel: int = 1
) -> Runtime:
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


def processors() -> int:
    """Processors this process may use; ranks on one machine share them."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(here // this_rank().local_count, 1)


def _line(error: Exception) -> str:
    """The last line of an engine's message, without its stack."""
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__


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
    check_device_name(name)
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


def check_device_name(name: str) -> None:
    """Raise ValueError for a device that Paddle does not know."""
    if name not in DEVICES:
        raise ValueError(f"--device {name}: unknown, expected one of {', '.join(DEVICES)}")
