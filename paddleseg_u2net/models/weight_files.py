"""Readers of weight files of all kinds, which never run code from a file.

Every reader returns {key: array}. Keys are those of `U2Net.state_dict()` for this family, and the stored ones
for any other network.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from paddleseg_u2net.models.architecture import BN_EPSILON, NETWORKS, dataflow

State = dict[str, np.ndarray]
FOLDED_VARIANCE = np.float32(1 - BN_EPSILON)  # with it, BatchNorm of weight 1 and bias 0 is the identity
MAX_BYTES = 4 << 30
TORCH_MAGIC = 0x1950A86A20F9469CFC6C
TORCH_DTYPES = {"Float": "<f4", "Double": "<f8", "Half": "<f2", "Long": "<i8", "Int": "<i4", "Byte": "u1"}


class _Storage:
    """The storage of a PyTorch tensor; its data follow the pickle that refers to it."""

    def __init__(self, dtype: str, size: int):
        self.dtype, self.size = np.dtype(dtype), size
        self.data: np.ndarray | None = None

    def read(self, data: bytes) -> None:
        expected = self.size * self.dtype.itemsize
        if len(data) != expected:
            raise ValueError(f"truncated: a tensor has {len(data)} bytes, expected {expected}")
        self.data = np.frombuffer(data, self.dtype)


class _Tensor:
    """A PyTorch tensor: a strided view of a storage."""

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self) -> np.ndarray:
        """The values; a view that exceeds its storage or repeats parts of it is rejected."""
        data = self.storage.data if isinstance(self.storage, _Storage) else None
        numbers = [self.offset, *self.shape, *self.strides]
        if not isinstance(data, np.ndarray) or not all(type(n) is int and n >= 0 for n in numbers):
            raise ValueError("corrupt: a tensor without data or with invalid sizes")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if last >= len(data) or math.prod(self.shape) > len(data):
            raise ValueError(f"corrupt: a tensor of shape {tuple(self.shape)} exceeds its storage")
        strides = [s * data.itemsize for s in self.strides]
        return np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, strides).copy()


class _Dtype:
    """A numpy dtype; only plain numbers are allowed."""

    def __init__(self, code: Any, *_: Any):
        if not (isinstance(code, str) and re.fullmatch("[<>|=]?(f[248]|[iu][1248]|b1)", code)):
            raise ValueError(f"holds an array of {code!r}, expected numbers")
        self.value = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class _Array:
    """A numpy array, built from its bytes alone."""

    def __init__(self, *_: Any):
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(data, bytes) or not isinstance(dtype, _Dtype):
            raise ValueError("corrupt: an array without bytes")
        self.value = np.frombuffer(data, dtype.value).reshape(shape, order="F" if fortran else "C").copy()

    def array(self) -> np.ndarray:
        """The values."""
        if self.value is None:
            raise ValueError("corrupt: an array without bytes")
        return self.value


def _scalar(dtype: _Dtype, data: bytes) -> np.generic:
    return np.frombuffer(data, dtype.value)[0]


NUMPY_NAMES = {"_reconstruct": _Array, "scalar": _scalar}
SAFE_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "tuple"): tuple,
    ("_codecs", "encode"): lambda text, encoding: str(text).encode(encoding),
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    **{("torch", f"{name}Storage"): dtype for name, dtype in TORCH_DTYPES.items()},
    ("numpy", "ndarray"): None,  # an argument of `_reconstruct`, never called
    ("numpy", "dtype"): _Dtype,
    **{
        (f"numpy.{package}.multiarray", name): value
        for package in ("core", "_core")  # numpy 1 and 2
        for name, value in NUMPY_NAMES.items()
    },
}


class _SafeUnpickler(pickle.Unpickler):
    """Unpickles numbers and containers into classes of this module and rejects any other object.

    No code that the file names can run, and no memory outside the file's content is read.
    """

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in SAFE_GLOBALS:
            raise ValueError(f"holds {module}.{name}, expected only tensors and containers; not loaded")
        return SAFE_GLOBALS[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, _, size, *_ = pid
        return self.storages.setdefault(key, _Storage(dtype, size))


def _plain(obj: Any) -> Any:
    """Replace the stand-ins for arrays by arrays, in all nested containers."""
    if isinstance(obj, (_Tensor, _Array)):
        return obj.array()
    if isinstance(obj, Mapping):
        return {key: _plain(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return type(obj)(_plain(value) for value in obj)
    return obj


def _state(obj: Any) -> State:
    """Find the state dict in what a training script saved."""
    for wrapper in ("state_dict", "model"):
        if isinstance(obj, Mapping) and isinstance(obj.get(wrapper), Mapping):
            obj = obj[wrapper]
    if not isinstance(obj, Mapping):
        raise ValueError(f"holds a {type(obj).__name__}, expected a state dict")
    # Paddle writes a tensor outside of a state dict as (name, array)
    values = {key: value[1] if isinstance(value, tuple) else value for key, value in _plain(obj).items()}
    return {key: value for key, value in values.items() if isinstance(value, np.ndarray)}


def _from_torch(state: State) -> State:
    """Rename PyTorch's keys to Paddle's."""
    renamed = {}
    for key, value in state.items():
        key = key.removeprefix("module.")  # added by torch.nn.DataParallel
        key = key.replace("running_mean", "_mean").replace("running_var", "_variance")
        if not key.endswith("num_batches_tracked"):
            renamed[key] = value
    return renamed


def _read_torch_zip(path: Path) -> State:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.split("/", 1)[-1]: info for info in archive.infolist()}
        if sum(info.file_size for info in members.values()) > MAX_BYTES:
            raise ValueError(f"unpacks to more than {MAX_BYTES >> 30} GiB")
        if "data.pkl" not in members:
            raise ValueError("has no data.pkl, so torch.save did not write it")
        unpickler = _SafeUnpickler(io.BytesIO(archive.read(members["data.pkl"])))
        obj = unpickler.load()
        for key, storage in unpickler.storages.items():
            storage.read(archive.read(members[f"data/{key}"]))
    return _from_torch(_state(obj))


def _read_torch_legacy(path: Path) -> State:
    with path.open("rb") as file:
        magic, _protocol, _system = (_SafeUnpickler(file).load() for _ in range(3))
        if magic != TORCH_MAGIC:
            raise ValueError("torch.save did not write it")
        unpickler = _SafeUnpickler(file)
        obj = unpickler.load()
        for key in _SafeUnpickler(file).load():
            storage = unpickler.storages[key]
            file.seek(8, io.SEEK_CUR)  # the size of the storage, which is known already
            storage.read(file.read(storage.size * storage.dtype.itemsize))
    return _from_torch(_state(obj))


def _read_torch(path: Path) -> State:
    return _read_torch_zip(path) if zipfile.is_zipfile(path) else _read_torch_legacy(path)


def read_pickle(path: Path) -> Any:
    """Read a file of `paddle.save`.

    Args:
        path: such as a `.pdopt` file.

    Returns:
        Its content as numpy arrays, numbers and containers.

    Raises:
        ValueError: the file is truncated or holds other objects.
    """
    try:
        with path.open("rb") as file:
            return _plain(_SafeUnpickler(file).load())
    except Exception as error:  # a broken pickle can raise anything
        raise ValueError(
            f"{path}: cannot be read as a file of paddle.save: {error}. Fix: use another checkpoint"
        ) from error


def _read_pdparams(path: Path) -> State:
    with path.open("rb") as file:
        return _state(_plain(_SafeUnpickler(file).load()))


def _read_safetensors(path: Path) -> State:
    from safetensors.numpy import load_file

    return load_file(path)


def _read_npz(path: Path) -> State:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return dict(archive)


def _read_onnx(path: Path) -> State:
    """Read a published ONNX file of this family, whose convolutions contain their BatchNorm."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path, load_external_data=False).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = [
        [arrays[name] for name in node.input[1:]]
        for node in graph.node
        if node.op_type == "Conv" and all(name in arrays for name in node.input[1:])
    ]
    # names and order are the same in every network of the family
    convolutions = [node for node in dataflow(NETWORKS["U2Net"]) if node.weight]
    if any(node.op_type == "BatchNormalization" for node in graph.node) or len(weights) != len(convolutions):
        raise ValueError(
            f"holds {len(weights)} convolutions, expected the {len(convolutions)} of U²-Net "
            "with BatchNorm folded in"
        )
    state: State = {}
    for node, (weight, *bias) in zip(convolutions, weights, strict=True):
        name, channels, has_norm = node.name, len(weight), node.operation == "conv_relu"
        conv = f"{name}.conv_s1" if has_norm else name
        state[f"{conv}.weight"] = weight
        state[f"{conv}.bias"] = bias[0] if bias else np.zeros(channels, np.float32)
        if has_norm:
            identity = {"weight": 1, "bias": 0, "_mean": 0, "_variance": FOLDED_VARIANCE}
            for key, value in identity.items():
                state[f"{name}.bn_s1.{key}"] = np.full(channels, value, np.float32)
    return state


def state_of(layer: Any) -> State:
    """Return the weights of a network as numpy arrays, by state-dict key."""
    return {key: value.numpy() for key, value in layer.state_dict().items()}


READERS: dict[str, Callable[[Path], State]] = {
    ".pdparams": _read_pdparams,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".onnx": _read_onnx,
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
}


def read_state(path: str | Path) -> State:
    """Read a weight file.

    Args:
        path: .pdparams (Paddle), .pth or .pt (PyTorch), .onnx (BatchNorm folded), .safetensors or .npz.

    Returns:
        Arrays by state-dict key, as they are stored in the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its format is unknown, it is broken, or it holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weight file")
    if path.suffix not in READERS:
        raise ValueError(f"{path}: unknown weight format '{path.suffix}', expected {', '.join(READERS)}")
    try:
        state = READERS[path.suffix](path)
    except Exception as error:  # each library raises errors of its own
        raise ValueError(
            f"{path}: cannot be read as {path.suffix}: {error}. Fix: fetch or save it again"
        ) from error
    if not state:
        raise ValueError(f"{path}: holds no tensors")
    return state
