"""Reader of what `torch.save`, `torch.jit.save`, `paddle.save` and `pickle.dump` write; runs no code.

Tensors and arrays become numpy arrays, objects of other classes are kept unread.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paddleseg_u2net.bounds import ARCHIVE_MEMBERS, AXES, WEIGHT_BYTES, Budget
from paddleseg_u2net.io.archives import open_zip
from paddleseg_u2net.models.unpickler import StandIn, Unpickler, Unread, mapping

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
        if not isinstance(dtype, str) or dtype not in TORCH_DTYPES.values():
            kind = dtype.name if isinstance(dtype, Unread) else "an unknown type"
            raise ValueError(f"holds tensors of {kind}, expected numbers. Fix: save them as float32")
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


class _Tensor(StandIn):
    """A PyTorch tensor: a strided view of a storage."""

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self) -> np.ndarray:
        """The values; a view that exceeds its storage or repeats parts of it is rejected."""
        data = self.storage.data if isinstance(self.storage, Storage) else None
        numbers = [self.offset, *self.shape, *self.strides]
        valid = len(numbers) <= 1 + 2 * AXES.most and all(
            type(n) is int and 0 <= n < 1 << 63 for n in numbers
        )
        if not isinstance(data, np.ndarray) or not valid:
            raise ValueError("corrupt: a tensor without data or with invalid sizes")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if last >= len(data) or math.prod(self.shape) > len(data):
            raise ValueError(
                f"a tensor of shape {tuple(self.shape)} exceeds its storage, or repeats parts of it. "
                "Fix: save tensor.contiguous()"
            )
        strides = [s * data.itemsize for s in self.strides]
        return np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, strides)


class _Dtype(StandIn):
    """A numpy dtype; only plain numbers are allowed."""

    def __init__(self, code: Any, *_: Any):
        if not (isinstance(code, str) and re.fullmatch("[<>|=]?(f[248]|[iu][1248]|b1)", code)):
            kind = repr(code[:20]) if isinstance(code, str) else "objects"
            raise ValueError(f"holds an array of {kind}, expected numbers")
        self.value = np.dtype(code)

    def build(self, state: Any) -> None:
        """Take the byte order."""
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class _Array(StandIn):
    """A numpy array, built from its bytes alone."""

    def __init__(self, *_: Any):
        self.value: np.ndarray | None = None

    def build(self, state: Any) -> None:
        """Take shape, type and numbers."""
        _, shape, dtype, fortran, data = state
        if not isinstance(data, bytes) or not isinstance(dtype, _Dtype):
            raise ValueError("corrupt: an array without bytes")
        self.value = np.frombuffer(data, dtype.value).reshape(shape, order="F" if fortran else "C")

    def array(self) -> np.ndarray:
        """The values."""
        if self.value is None:
            raise ValueError("corrupt: an array without bytes")
        return self.value


def _scalar(dtype: _Dtype, data: bytes) -> np.generic:
    return np.frombuffer(data, dtype.value)[0]


def _same(value: Any = (), *_: Any) -> Any:
    """Stands for constructors whose argument says enough; a copy could be asked for many times."""
    return value


def _of_subclass(rebuild: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """A tensor of a subclass of torch.Tensor."""
    return _Tensor(*arguments) if rebuild is _Tensor else kind


BUILTINS = {"dict": mapping, "tuple": _same, "set": _same}
BUILTINS |= dict.fromkeys(("bytes", "bytearray"), lambda value=b"", *_: value)
NUMPY_NAMES = {"_reconstruct": _Array, "scalar": _scalar}
SAFE_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): mapping,
    ("collections", "defaultdict"): lambda *_: {},
    **{(module, name): make for module in ("builtins", "__builtin__") for name, make in BUILTINS.items()},
    ("torch", "Size"): _same,
    ("torch", "device"): _same,
    ("torch._utils", "_rebuild_tensor"): _Tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch._utils", "_rebuild_parameter"): _same,
    ("torch._utils", "_rebuild_parameter_with_state"): _same,
    ("torch._tensor", "_rebuild_from_type_v2"): _of_subclass,
    **{("torch", f"{name}Storage"): dtype for name, dtype in TORCH_DTYPES.items()},
    ("numpy", "ndarray"): None,  # an argument of `_reconstruct`, never called
    ("numpy", "dtype"): _Dtype,
    **{
        (f"numpy.{package}.multiarray", name): value
        for package in ("core", "_core")  # numpy 1 and 2
        for name, value in NUMPY_NAMES.items()
    },
}


class SafeUnpickler(Unpickler):
    """Reads pickles of tensors and arrays; any other object becomes `Unread`."""

    def __init__(self, file: io.BytesIO, inner: bool = False):
        super().__init__(file)
        self.inner = inner  # in bytes of another pickle; more levels would hold as many copies of them
        self.storages: dict[str, Storage] = {}
        self.unread: dict[str, Unread] = {}
        self.made: dict[int, tuple[Any, Any]] = {}

    def find(self, module: str, name: str) -> Any:
        """Our stand-in for a name of the file."""
        if (module, name) == ("_codecs", "encode"):
            return lambda text, _: self._once(text, lambda: str(text).encode("latin1"))
        if (module, name) == ("torch.storage", "_load_from_bytes") and not self.inner:
            return lambda data: self._once(data, lambda: read_sequence(io.BytesIO(data), inner=True)[0])
        if (module, name) in SAFE_GLOBALS:
            return SAFE_GLOBALS[module, name]
        return self.unread.setdefault(f"{module}.{name}", Unread(f"{module}.{name}"))

    def _once(self, source: Any, make: Callable[[], Any]) -> Any:
        """What is made of an object: the same for each mention of it, so that memory stays bounded."""
        if not isinstance(source, (str, bytes)):
            raise ValueError("its pickle is damaged: expected text or bytes")
        if id(source) not in self.made:
            self.made[id(source)] = source, make()
        return self.made[id(source)][1]

    def refer(self, pid: Any) -> Any:
        """The storage that a tensor of PyTorch refers to, or the class of a network saved as an object."""
        if not isinstance(pid, tuple) or not 2 <= len(pid) <= 9:
            raise ValueError("its pickle is damaged: an id that PyTorch does not write")
        if pid[0] == "module":
            return pid[1]
        _, dtype, key, _, size, *_ = pid
        if not isinstance(key, str) or type(size) is not int or size < 0:
            raise ValueError("its pickle is damaged: a storage without name")
        return self.storages.setdefault(key, Storage(dtype, size))


def read_sequence(file: io.BytesIO, inner: bool = False) -> tuple[Any, list[str]]:
    """Read pickles and numbers as PyTorch wrote them before version 1.6; see `Pickled`, with stand-ins."""
    magic, _protocol, _system = (SafeUnpickler(file, inner).load() for _ in range(3))
    if magic != TORCH_MAGIC:
        raise ValueError("torch.save did not write it")
    unpickler = SafeUnpickler(file, inner)
    obj = unpickler.load()
    for key in SafeUnpickler(file, inner).load():
        storage = unpickler.storages[key if isinstance(key, str) else ""]
        file.seek(8, io.SEEK_CUR)  # the size of the storage, which is known already
        storage.read(file.read(storage.bytes))
    return obj, list(unpickler.unread)


class _Converter:
    """Replaces tensors and arrays in nested containers; each object once, so that shared ones stay cheap."""

    def __init__(self, budget: Budget):
        self.done: dict[int, Any] = {}
        self.budget = budget

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
        self.budget.take(array.nbytes)  # also of views, which later steps may copy
        return array if array.flags.c_contiguous else array.copy()

    def _unread(self, obj: Unread) -> Unread:
        if id(obj) not in self.done:
            self.done[id(obj)] = obj  # before its fields, which may refer to it
            obj.fields = self(obj.fields)
        return obj


def plain(obj: Any, stored: int) -> Any:
    """Replace the stand-ins by numpy arrays, whose bytes those of the file (`stored`) limit."""
    return _Converter(Budget(stored))(obj)


class Pickled(NamedTuple):
    """The content of a pickle: arrays, numbers, containers and objects, and the classes that are not read."""

    content: Any
    unread: list[str]


@contextlib.contextmanager
def checked_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip of weights; raises ValueError where its members are too many, or unpack to too much."""
    with path.open("rb") as file, open_zip(file) as archive:
        ARCHIVE_MEMBERS.check(len(archive.infolist()))
        Budget(path.stat().st_size).take(sum(info.file_size for info in archive.infolist()))
        yield archive


def read_zip(path: Path) -> Pickled:
    """Read the archive that PyTorch writes since version 1.6, also that of TorchScript."""
    with checked_archive(path) as archive:
        members = {info.filename.split("/", 1)[-1]: info for info in archive.infolist()}
        unpickler = SafeUnpickler(io.BytesIO(archive.read(members["data.pkl"])))
        obj = unpickler.load()
        for key, storage in unpickler.storages.items():
            storage.read(archive.read(members[f"data/{key}"]))
    return Pickled(plain(obj, path.stat().st_size), list(unpickler.unread))


def read_legacy(path: Path) -> Pickled:
    """Read the sequence of pickles that PyTorch wrote before version 1.6."""
    obj, unread = read_sequence(io.BytesIO(path.read_bytes()))
    return Pickled(plain(obj, path.stat().st_size), unread)


def read_single(path: Path) -> Pickled:
    """Read one pickle, as `paddle.save` and `pickle.dump` write it."""
    unpickler = SafeUnpickler(io.BytesIO(path.read_bytes()))
    return Pickled(plain(unpickler.load(), path.stat().st_size), list(unpickler.unread))


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
        WEIGHT_BYTES.check(path.stat().st_size)
        obj, unread = read_single(path)
        if unread:
            raise ValueError(f"holds {', '.join(unread)}, expected only tensors and containers")
    except Exception as error:  # a broken pickle can raise anything
        what = f"{path}: cannot be read as a file of paddle.save: {error}"
        raise ValueError(f"{what}. Fix: use another checkpoint") from error
    return obj
