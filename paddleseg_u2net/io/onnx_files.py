"""Which other files an ONNX file names, read without decoding it and without opening any of them.

ONNX Runtime and OpenVINO follow a tensor's `external_data` to any path, links and `..` included, and its
content reaches the maps. Every place where the format allows a tensor is searched.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from paddleseg_u2net.bounds import ONNX_DEPTH, ONNX_FIELDS
from paddleseg_u2net.errors import printable

# message -> the numbers of its fields that can lead to a tensor, and the messages they hold
# Source: onnx/onnx.proto3@v1.18.0
MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}
KEY, VALUE = 1, 2  # fields of an entry of `external_data`
WIDTHS = {1: 8, 5: 4}  # wire type -> bytes of its values
VARINT, LENGTH = 0, 2  # wire types of numbers, and of what begins with its length
VARINT_BYTES = 10
MOST_SHOWN = 255  # bytes of a name


def external_files(path: Path) -> list[str]:
    """The other files that an ONNX file names, as written in it.

    Args:
        path: the file.

    Raises:
        ValueError: it is not an ONNX file, or exceeds the bounds on fields and depth.
    """
    if not path.stat().st_size:
        raise ValueError("is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return walk(data, MESSAGES)


def walk(data: bytes | mmap.mmap, messages: dict[str, dict[int, str]]) -> list[str]:
    """Count the fields of Protocol Buffers, before their library makes objects of them.

    Args:
        data: content of the file.
        messages: see MESSAGES; the outermost one is `model`.

    Returns:
        What `external_files` returns; it raises the same.
    """
    try:
        return _Walk(data, messages).names()
    except IndexError:
        raise ValueError("is damaged, or not of this kind") from None


class _Walk:
    """Walks through the messages of a file, the outer ones first."""

    def __init__(self, data: bytes | mmap.mmap, messages: dict[str, dict[int, str]]):
        self.data, self.messages, self.count = data, messages, 0

    def names(self) -> list[str]:
        """The value of each entry `location`, without repetitions."""
        found: dict[str, None] = {}
        waiting = [("model", 0, len(self.data), 0)]
        while waiting:
            message, start, end, depth = waiting.pop()
            ONNX_DEPTH.check(depth)
            inside = self.messages[message]
            if message == "entry":
                found |= dict.fromkeys(self._location(start, end))
            for number, first, last in self._fields(start, end) if inside else ():
                if number in inside:
                    waiting.append((inside[number], first, last, depth + 1))
        return list(found)

    def _location(self, start: int, end: int) -> Iterator[str]:
        parts = {number: self.data[first:last] for number, first, last in self._fields(start, end)}
        if parts.get(KEY) == b"location":
            yield printable(parts.get(VALUE, b"")[:MOST_SHOWN].decode(errors="backslashreplace"))

    def _fields(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Number, start and end of each field that has a length; the others are skipped."""
        data = self.data
        while at < end:
            self.count += 1
            if self.count > ONNX_FIELDS.most:
                ONNX_FIELDS.check(self.count)
            tag = data[at]
            at += 1
            if tag > 127:
                tag, at = self._varint(at - 1)
            wire = tag & 7
            if wire == LENGTH:
                length = data[at]
                at += 1
                if length > 127:
                    length, at = self._varint(at - 1)
                yield tag >> 3, at, at + length
                at += length
            elif wire == VARINT:
                _, at = self._varint(at)
            else:
                at += WIDTHS.get(wire, end)  # groups, which ONNX does not have, are damage
            if at > end or not 8 <= tag < 1 << 32:  # Protocol Buffers drop higher bits of a tag
                raise IndexError

    def _varint(self, start: int) -> tuple[int, int]:
        value = 0
        for index in range(VARINT_BYTES):
            byte = self.data[start + index]
            value |= (byte & 127) << 7 * index
            if byte < 128:
                return value, start + index + 1
        raise IndexError
