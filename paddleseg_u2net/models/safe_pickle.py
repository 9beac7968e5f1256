"""Unpickling without running code: tensors and arrays become numpy arrays, other objects are kept unread."""

from __future__ import annotations

import io
import math
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

MAX_BYTES = 4 << 30  # of the content of a weight file
TORCH_MAGIC = 0x1950A86A20F9469CFC6C
BFLOAT16 = "bfloat16"
TORCH_DTYPES = {
    "Double": "<f8",
    "Float": "<f4",
    "Half": "<f2",
    "BFloat16": BFLOAT16,
    "Long": "<i8",
    "Int": "<i4",
    "Short": "<i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
}


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Turn the 16 bits of bfloat16 numbers into float32, which is exact."""
    return (bits.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


class Storage:
    """The numbers of a PyTorch tensor; they follow the pickle that refers to them."""

    def __init__(self, dtype: Any, size: int):
        if not isinstance(dtype, str):
            raise ValueError(
                f"holds tensors of {getattr(dtype, 'name', dtype)}, expected {', '.join(TORCH_DTYPES)}"
            )
        self.is_bfloat16 = dtype == BFLOAT16
        self.dtype, self.size = np.dtype("<u2" if self.is_bfloat16 else dtype), size
        self.data: np.ndarray | None = None

    @property
    def bytes(self) -> int:
        """Length of its data."""
        return self.size * self.dtype.itemsize

    def read(self, data: bytes) -> None:
        """Take the numbers from the bytes of the file."""
        if len(data) != self.bytes:
            raise ValueError(f"truncated: a tensor has {len(data)} bytes, expected {self.bytes}")
        numbers = np.frombuffer(data, self.dtype)
        self.data = from_bfloat16(numbers) if self.is_bfloat16 else numbers


class _Tensor:
    """A PyTorch tensor: a strided view of a storage."""

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self) -> np.ndarray:
        """The values; a view that exceeds its storage or repeats parts of it is rejected."""
        data = self.storage.data if isinstance(self.storage, Storage) else None
        numbers = [self.offset, *self.shape, *self.strides]
        if not isinstance(data, np.ndarray) or not all(type(n) is int and n >= 0 for n in numbers):
            raise ValueError("corrupt: a tensor without data or with invalid sizes")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if last >= len(data) or math.prod(self.shape) > len(data):
            raise ValueError(f"corrupt: a tensor of shape {tuple(self.shape)} exceeds its storage")
        strides = [s * data.itemsize for s in self.strides]
        return np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, strides)


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


class Unread:
    """Stands for an object of any other class: holds what the file says of it, and runs nothing.

    Each class of a file becomes a subclass with its full name.
    """

    name = ""

    def __new__(cls, *_: Any, **__: Any) -> Unread:
        """Ignore the arguments, which may be of any kind."""
        made = object.__new__(cls)
        made.fields = {}
        return made

    def __init__(self, *_: Any, **__: Any):
        self.fields: Any

    def __call__(self, *_: Any, **__: Any) -> Unread:
        """What a call would return is not known."""
        return Unread()

    def __setstate__(self, state: Any) -> None:
        self.fields = state

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(self.fields, dict):
            self.fields[key] = value

    def append(self, _: Any) -> None:
        """Ignore an item of a list."""

    extend = add = append


def _scalar(dtype: _Dtype, data: bytes) -> np.generic:
    return np.frombuffer(data, dtype.value)[0]


def _of_subclass(rebuild: Any, _: Any, arguments: Any, *__: Any) -> Any:
    """A tensor of a subclass of torch.Tensor."""
    return _Tensor(*arguments) if rebuild is _Tensor else Unread()


NUMPY_NAMES = {"_reconstruct": _Array, "scalar": _scalar}
SAFE_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): lambda *_: {},
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (tuple, set)},
    ("torch", "Size"): tuple,
    ("torch", "device"): lambda *parts: ":".join(map(str, parts)),
    ("_codecs", "encode"): lambda text, encoding: str(text).encode(encoding),
    ("torch._utils", "_rebuild_tensor"): _Tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda data, *_: data,
    ("torch._tensor", "_rebuild_from_type_v2"): _of_subclass,
    ("torch.storage", "_load_from_bytes"): lambda data: read_sequence(io.BytesIO(data))[0],
    **{("torch", f"{name}Storage"): dtype for name, dtype in TORCH_DTYPES.items()},
    ("numpy", "ndarray"): None,  # an argument of `_reconstruct`, never called
    ("numpy", "dtype"): _Dtype,
    **{
        (f"numpy.{package}.multiarray", name): value
        for package in ("core", "_core")  # numpy 1 and 2
        for name, value in NUMPY_NAMES.items()
    },
}


class SafeUnpickler(pickle.Unpickler):
    """Unpickles numbers and containers into classes of this module, and any other object as `Unread`.

    No code that the file names can run, and no memory outside the file's content is read.

    Args:
        file: open for reading.
    """

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self.storages: dict[str, Storage] = {}
        self.unread: dict[str, type[Unread]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Our stand-in for a name of the file."""
        if (module, name) in SAFE_GLOBALS:
            return SAFE_GLOBALS[module, name]
        full = f"{module}.{name}"
        return self.unread.setdefault(full, type("Unread", (Unread,), {"name": full}))

    def persistent_load(self, pid: Any) -> Any:
        """The storage that a tensor of PyTorch refers to, or the class of a network saved as an object."""
        if pid[0] == "module":
            return pid[1]
        _, dtype, key, _, size, *_ = pid
        if not isinstance(key, str) or type(size) is not int or size < 0:
            raise ValueError("corrupt: a storage without name or size")
        return self.storages.setdefault(key, Storage(dtype, size))


def read_sequence(file: BinaryIO) -> tuple[Any, list[str]]:
    """Read the sequence of pickles and numbers that PyTorch wrote before version 1.6.

    Args:
        file: open for reading.

    Returns:
        The object, with stand-ins for tensors, and the full names of the classes that are not read.
    """
    magic, _protocol, _system = (SafeUnpickler(file).load() for _ in range(3))
    if magic != TORCH_MAGIC:
        raise ValueError("torch.save did not write it")
    unpickler = SafeUnpickler(file)
    obj = unpickler.load()
    for key in SafeUnpickler(file).load():
        storage = unpickler.storages[key]
        file.seek(8, io.SEEK_CUR)  # the size of the storage, which is known already
        storage.read(file.read(storage.bytes))
    return obj, list(unpickler.unread)


class _Converter:
    """Replaces tensors and arrays in nested containers; each object once, so that shared ones stay cheap."""

    def __init__(self) -> None:
        self.done: dict[int, Any] = {}
        self.copied = 0

    def __call__(self, obj: Any) -> Any:
        if isinstance(obj, Unread):
            return self._unread(obj)
        if not isinstance(obj, (_Tensor, _Array, Mapping, list, tuple)):
            return obj
        if id(obj) not in self.done:
            self.done[id(obj)] = self._convert(obj)
        return self.done[id(obj)]

    def _convert(self, obj: Any) -> Any:
        if isinstance(obj, (_Tensor, _Array)):
            return self._contiguous(obj.array())
        if isinstance(obj, Mapping):
            return {key: self(value) for key, value in obj.items()}
        return type(obj)(self(value) for value in obj)

    def _contiguous(self, array: np.ndarray) -> np.ndarray:
        if array.flags.c_contiguous:
            return array
        self.copied += array.nbytes
        if self.copied > MAX_BYTES:
            raise ValueError(f"its tensors take more than {MAX_BYTES >> 30} GiB")
        return array.copy()

    def _unread(self, obj: Unread) -> Unread:
        if id(obj) not in self.done:
            self.done[id(obj)] = obj  # before its fields, which may refer to it
            obj.fields = self(obj.fields)
        return obj


def plain(obj: Any) -> Any:
    """Replace the stand-ins for tensors and arrays by numpy arrays, in all nested containers."""
    return _Converter()(obj)


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
            unpickler = SafeUnpickler(file)
            obj = plain(unpickler.load())
        if unpickler.unread:
            raise ValueError(f"holds {', '.join(unpickler.unread)}, expected only tensors and containers")
    except Exception as error:  # a broken pickle can raise anything
        raise ValueError(
            f"{path}: cannot be read as a file of paddle.save: {error}. Fix: use another checkpoint"
        ) from error
    return obj
