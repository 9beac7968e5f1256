"""oneDNN's memories and their descriptions, as Python objects."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from ctypes import c_int, c_int64, c_void_p
from typing import Any

from paddleseg_u2net.onednn.library import channel_block, create, engine, library

# From dnnl_types.h: data types and layout tags
BF16, F32 = 2, 3
ANY, PLAIN, CHANNELS_LAST = 1, {1: 2, 4: 5, 5: 6}, 22
BLOCKED = {8: 102, 16: 78}


def dimensions(values: Sequence[int]) -> Any:
    """Sizes or strides as a `dnnl_dims_t`."""
    return (c_int64 * 12)(*values)


class Desc:
    """Shape, data type and layout of a memory.

    Args:
        handle: oneDNN's object.
        shape: sizes; (N, C, H, W) for feature maps, (out, in, k, k) for weights.
        owner: object that keeps the handle alive; None if it belongs to this one.
    """

    def __init__(self, handle: c_void_p, shape: Sequence[int], owner: Any = None):
        self.handle, self.shape, self.owner = handle, tuple(shape), owner
        if owner is None:
            weakref.finalize(self, library().dnnl_memory_desc_destroy, handle)

    @classmethod
    def tagged(cls, shape: Sequence[int], tag: int, kind: int = F32) -> Desc:
        """A layout by its `dnnl_format_tag_t`; `kind` is the data type, `F32` or `BF16`."""
        sizes = dimensions(shape)
        return cls(
            create("memory_desc_create_with_tag", c_int(len(shape)), sizes, c_int(kind), c_int(tag)), shape
        )

    @classmethod
    def plain(cls, shape: Sequence[int], kind: int = F32) -> Desc:
        """Row-major, as Paddle's tensors."""
        return cls.tagged(shape, PLAIN[len(shape)], kind)

    @classmethod
    def any(cls, shape: Sequence[int], kind: int = F32) -> Desc:
        """The layout that the operation prefers."""
        return cls.tagged(shape, ANY, kind)

    @classmethod
    def strided(cls, shape: Sequence[int], strides: Sequence[int]) -> Desc:
        """A layout by its strides, in float32 numbers."""
        sizes = dimensions(shape)
        handle = create(
            "memory_desc_create_with_strides", c_int(len(shape)), sizes, c_int(F32), dimensions(strides)
        )
        return cls(handle, shape)

    @classmethod
    def maps(cls, shape: Sequence[int], kind: int = F32) -> Desc:
        """The layout of feature maps (N, C, H, W): in blocks of channels if they fill whole blocks."""
        if shape[1] % channel_block():
            return cls.plain(shape, kind)
        return cls.tagged(shape, BLOCKED[channel_block()] if kind == F32 else CHANNELS_LAST, kind)

    def part(self, shape: Sequence[int], start: Sequence[int]) -> Desc:
        """A box of this memory, in place, of a shape and from a first index in each dimension."""
        handle = create("memory_desc_create_submemory", self.handle, dimensions(shape), dimensions(start))
        return Desc(handle, shape)

    @property
    def size(self) -> int:
        """Bytes."""
        return library().dnnl_memory_desc_get_size(self.handle)

    def equals(self, other: Desc) -> bool:
        """Whether shape, data type and layout are the same."""
        return bool(library().dnnl_memory_desc_equal(self.handle, other.handle))


class Memory:
    """A description of bytes that belong to somebody else."""

    def __init__(self, desc: Desc):
        self.desc = desc
        self.handle = create("memory_create", desc.handle, engine(), c_void_p(0))
        weakref.finalize(self, library().dnnl_memory_destroy, self.handle)

    def move(self, address: int) -> None:
        """Describe the bytes at another address."""
        library().dnnl_memory_set_data_handle(self.handle, c_void_p(address))
