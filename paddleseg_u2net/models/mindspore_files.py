"""Reader of checkpoints of MindSpore, which are Protocol Buffers of names, shapes and bytes."""

from __future__ import annotations

import math
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.bounds import AXES
from paddleseg_u2net.io.onnx_files import walk
from paddleseg_u2net.models.safe_pickle import BFLOAT16, from_bfloat16

State = dict[str, np.ndarray]
DTYPES = {
    "Float64": "<f8",
    "Float32": "<f4",
    "Float16": "<f2",
    "BFloat16": BFLOAT16,
    "Int64": "<i8",
    "Int32": "<i4",
    "Int16": "<i2",
    "Int8": "i1",
    "UInt8": "u1",
    "Bool": "?",
}
CHECKSUM, CHECKSUM_BYTES = b"crc_num", 17  # at the end of a file saved with crc_check: name and 10 bytes


@cache
def _message_class() -> Any:
    """The class of the file's message.

    Source: mindspore-ai/mindspore mindspore/ccsrc/utils/checkpoint.proto@1089c90.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="checkpoint.proto", package="mindspore", syntax="proto2")
    rows = {
        "Tensor": [("dims", field.TYPE_INT64, True), ("type", field.TYPE_STRING, False)],
        "Value": [("tag", field.TYPE_STRING, False), ("tensor", "Tensor", False)],
        "Checkpoint": [("value", "Value", True)],
    }
    rows["Tensor"].append(("content", field.TYPE_BYTES, False))
    for name, fields in rows.items():
        message = file.message_type.add(name=name)
        for number, (label, kind, repeated) in enumerate(fields, start=1):
            added = message.field.add(name=label, number=number)
            added.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if isinstance(kind, str):
                added.type, added.type_name = field.TYPE_MESSAGE, f".mindspore.{kind}"
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("mindspore.Checkpoint"))


def _without_checksum(data: bytes) -> bytes:
    """Check and remove the checksum at the end of a file, if there is one."""
    if data[-CHECKSUM_BYTES:][: len(CHECKSUM)] != CHECKSUM:
        return data
    content, stored = data[:-CHECKSUM_BYTES], int.from_bytes(data[-10:], "big")
    if zlib.crc32(content) != stored:
        raise ValueError("damaged: its checksum is another one")
    return content


def _array(name: str, dims: list[int], kind: str, content: bytes) -> np.ndarray:
    if kind not in DTYPES:
        raise ValueError(f"{name} has type {kind!r}, expected one of {', '.join(DTYPES)}")
    dtype = np.dtype("<u2" if DTYPES[kind] == BFLOAT16 else DTYPES[kind])
    shape = () if dims == [0] else tuple(dims)  # MindSpore writes a scalar so
    if len(shape) > AXES.most or min(shape, default=0) < 0:
        raise ValueError(f"damaged: {name} has {len(shape)} axes, or negative sizes")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"truncated: {name} has {len(content)} bytes, which does not fit its shape {shape}")
    array = np.frombuffer(content, dtype).reshape(shape)
    return from_bfloat16(array) if DTYPES[kind] == BFLOAT16 else array


def read_mindspore(path: Path) -> State:
    """Read a checkpoint.

    Args:
        path: what `mindspore.save_checkpoint` wrote.

    Returns:
        Arrays by the names of the file.

    Raises:
        ValueError: it is damaged, or holds a type that is not a number.
    """
    data = _without_checksum(path.read_bytes())
    walk(data, {"model": {1: "value"}, "value": {2: "tensor"}, "tensor": {}})
    message = _message_class()()
    message.ParseFromString(data)
    parts: dict[str, list[Any]] = {}
    for value in message.value:  # a large tensor is in several parts of one name
        parts.setdefault(value.tag, []).append(value.tensor)
    return {
        name: _array(name, list(rows[0].dims), rows[0].type, b"".join(row.content for row in rows))
        for name, rows in parts.items()
        if rows[0].type != "str"  # of append_dict
    }
