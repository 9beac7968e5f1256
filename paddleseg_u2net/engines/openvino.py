"""OpenVINO as an engine, with a cache of compiled models on disk."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.engines.references import check_references
from paddleseg_u2net.environment.devices import last_line, processors
from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.io.files import atomic_write, digest, prune_cache
from paddleseg_u2net.models.pretrained import CACHE_BYTES, cache_folder

CHECKSUM = hashlib.sha256().digest_size
_CORE_LOCK = threading.Lock()
_FIRST_INFERENCE = threading.Lock()
_inferred = threading.Event()


@functools.cache
def _make_core() -> Any:
    return need("openvino").Core()


def core() -> Any:
    """Return the only `openvino.Core` of the process, which is never freed.

    Its CPU plugin installs a stack for signal handlers in the thread that loads it, and removes the stack of
    the thread that frees it. If these were two threads, the next signal that Python handles would crash.
    """
    with _CORE_LOCK:  # without the lock, two threads would create two and free one
        return _make_core()


class OpenVinoEngine:
    """Runs an ONNX or OpenVINO file in OpenVINO on a CPU.

    The first input shape gets a compiled model of its own, all others share one for any height and width.

    Args:
        path: `.onnx` or `.xml` file.
        device: cpu.
        precision: of the file; for `bf16` OpenVINO computes in it.
        parallel: number of threads that will call the engine at once; they share the processors.

    Raises:
        ValueError: the file is not a model, refers to other files (`check_references`), the device is
            another one, or the CPU does not support bf16.
    """

    def __init__(self, path: Path, device: str = "cpu", precision: str = "fp32", parallel: int = 1):
        if device != "cpu":
            raise ValueError(
                f"--device {device}: OpenVINO is used on CPUs only. Fix: --device cpu, or another --backend"
            )
        self.path = path
        check_references(path)
        if precision == "bf16" and "BF16" not in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ValueError(
                "bf16: this CPU has no units for it, so it would not be faster. Fix: fp32 or int8"
            )
        self.options = {
            "NUM_STREAMS": parallel,
            "INFERENCE_NUM_THREADS": processors(),
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        self.cache = CompiledModels(path, self.options)
        self.model = None if self.cache.has_model() else self._read()
        self.compiled: dict[tuple[int, ...], Any] = {}
        self.lock, self.threads = threading.Lock(), threading.local()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """See `Engine`."""
        with self.lock:
            compiled = self._compiled(batch)
        if getattr(self.threads, "compiled", None) is not compiled:
            self.threads.compiled, self.threads.request = compiled, compiled.create_infer_request()
        # the first inference of a process initializes static objects of OpenVINO's Python binding, with and
        # without Python's global lock held: two threads that do so at once wait for each other forever
        with contextlib.nullcontext() if _inferred.is_set() else _FIRST_INFERENCE:
            try:
                result = self.threads.request.infer([batch], share_inputs=True)[0].copy()
            except RuntimeError as error:
                raise ValueError(f"OpenVINO: an input of {batch.shape}: {last_line(error)}") from error
        _inferred.set()
        return result

    def _compiled(self, batch: np.ndarray) -> Any:
        """The model compiled for the first shape, which is faster, or that for all other shapes."""
        height_width = (1, 2) if batch.dtype == np.uint8 else (2, 3)
        open_shape = tuple(-1 if axis in height_width else size for axis, size in enumerate(batch.shape))
        # photographs of any size become inputs of one size inside the model
        own = batch.dtype == np.float32 and (not self.compiled or batch.shape in self.compiled)
        shape = batch.shape if own else open_shape
        if shape not in self.compiled:
            compiled = self.cache.load(shape)
            if compiled is None:
                compiled = self._compile(shape, batch.shape)
                self.cache.store(shape, compiled)
            self.compiled[shape] = compiled
        return self.compiled[shape]

    def _compile(self, shape: tuple[int, ...], example: tuple[int, ...]) -> Any:
        partial_shape = need("openvino").PartialShape
        self.model = self._read() if self.model is None else self.model
        if not self.exported.compatible(partial_shape(list(example))):
            raise ValueError(f"an input of {example}, but the model was exported for {self.exported}")
        self.model.reshape(partial_shape(list(shape)))
        return core().compile_model(self.model, "CPU", self.options)

    def _read(self) -> Any:
        try:
            model = core().read_model(str(self.path))
        except RuntimeError as error:
            raise ValueError(f"{self.path}: not a model that OpenVINO can run: {last_line(error)}") from error
        self.exported = need("openvino").PartialShape(model.inputs[0].partial_shape)
        return model


class CompiledModels:
    """Cache of the compiled forms of one model file, in `U2NET_HOME/openvino`.

    OpenVINO's own CACHE_DIR has no size limit and reads the model first: the first int8 prediction of u2netp
    in a new process takes 1.54 s of CPU time with it, 1.05 s with this cache, 3.3 s without one.

    The name of a file contains the checksum of the model and a hash of what it was compiled for: version of
    OpenVINO, processor, options and input shape. The file begins with its own checksum.

    Args:
        path: the model file.
        options: of the compilation.
    """

    def __init__(self, path: Path, options: dict[str, Any]):
        self.options = options
        self.folder = cache_folder() / "openvino"
        data = path.with_suffix(".bin")  # of an `.xml`
        self.model = "-".join(digest(part, "sha256")[:32] for part in (path, data) if part.is_file())
        processor = core().get_property("CPU", "FULL_DEVICE_NAME")
        self.made_for = [need("openvino").__version__, processor, sorted(options.items())]

    def has_model(self) -> bool:
        """Whether the file was compiled before; then it need not be read to see that it is a model."""
        return any(self.folder.glob(f"{self.model}.*.blob"))

    def _file(self, shape: tuple[int, ...]) -> Path:
        key = hashlib.sha256(repr([*self.made_for, shape]).encode()).hexdigest()[:32]
        return self.folder / f"{self.model}.{key}.blob"

    def load(self, shape: tuple[int, ...]) -> Any:
        """Load the model compiled for an input shape; None if there is no usable file."""
        with contextlib.suppress(OSError, RuntimeError):
            stored = self._file(shape).read_bytes()
            checksum, content = stored[:CHECKSUM], stored[CHECKSUM:]
            if hashlib.sha256(content).digest() == checksum:
                compiled = core().import_model(content, "CPU", self.options)
                with contextlib.suppress(OSError):
                    os.utime(self._file(shape))  # `prune_cache` removes what was used longest ago
                return compiled
        return None

    def store(self, shape: tuple[int, ...], compiled: Any) -> None:
        """Store a compiled model; a folder that cannot be written to is ignored."""
        content = compiled.export_model().getvalue()
        with contextlib.suppress(OSError), atomic_write(self._file(shape)) as partial:
            partial.write_bytes(hashlib.sha256(content).digest() + content)
        prune_cache(self.folder, CACHE_BYTES)
