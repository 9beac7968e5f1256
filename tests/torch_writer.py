"""Writes files as torch.save does, without PyTorch; its layout was compared with files of torch 2.13."""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections import OrderedDict
from io import BytesIO
from types import ModuleType
from unittest import mock

import numpy as np

TORCH, UTILS = ModuleType("torch"), ModuleType("torch._utils")
TORCH._utils = UTILS


def _rebuild_tensor_v2(*_):
    """Only its name is pickled."""


_rebuild_tensor_v2.__module__, UTILS._rebuild_tensor_v2 = "torch._utils", _rebuild_tensor_v2
KINDS = {"float32": "Float", "float64": "Double", "float16": "Half", "int64": "Long", "uint16": "BFloat16"}
for name in KINDS.values():
    setattr(TORCH, f"{name}Storage", type(f"{name}Storage", (), {"__module__": "torch"}))


class _Storage:
    def __init__(self, array: np.ndarray, key: str):
        self.array, self.key = array, key


class _Pickler(pickle.Pickler):
    """Pickles arrays as tensors; uint16 stands for bfloat16."""

    def __init__(self, file):
        super().__init__(file, protocol=2)
        self.storages: list[_Storage] = []

    def persistent_id(self, obj):
        if not isinstance(obj, _Storage):
            return None
        kind = getattr(TORCH, f"{KINDS[obj.array.dtype.name]}Storage")
        return ("storage", kind, obj.key, "cpu", obj.array.size)

    def reducer_override(self, obj):
        if not isinstance(obj, np.ndarray):
            return NotImplemented
        storage = _Storage(np.array(obj, order="C"), str(len(self.storages)))
        self.storages.append(storage)
        strides = tuple(stride // obj.itemsize for stride in storage.array.strides)
        return _rebuild_tensor_v2, (storage, 0, obj.shape, strides, False, OrderedDict())


def save(content, path) -> None:
    """Write `content` to `path` in PyTorch's format since 1.6."""
    file = BytesIO()
    pickler = _Pickler(file)
    with mock.patch.dict(sys.modules, {"torch": TORCH, "torch._utils": UTILS}):
        pickler.dump(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", file.getvalue())
        for storage in pickler.storages:
            archive.writestr(f"archive/data/{storage.key}", storage.array.tobytes())
