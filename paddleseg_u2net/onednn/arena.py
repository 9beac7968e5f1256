"""One block of memory for the values of a plan, shared by values that are not needed at the same time."""

from __future__ import annotations

import mmap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from paddleseg_u2net.onednn.operations import Desc

ALIGNMENT = 4096


@dataclass(eq=False)
class Storage:
    """Bytes that some operations of a plan need.

    Args:
        size: number of bytes.
        offset: of the first byte in the arena; see `place`.
        end: of its last page in the arena.
    """

    size: int
    offset: int = -1
    end: int = -1


@dataclass(eq=False)
class Value:
    """A described value in the arena; several may describe one storage."""

    desc: Desc
    storage: Storage

    @classmethod
    def new(cls, desc: Desc) -> Value:
        """A value of its own."""
        return cls(desc, Storage(desc.size))


def aligned(size: int) -> int:
    """A number of bytes, rounded up to whole pages."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def place(operations: Sequence[Iterable[Storage]], kept: Iterable[Storage] = ()) -> int:
    """Give each storage its offset: the lowest gap that is free while operations need it.

    Args:
        operations: what each operation reads or writes, in order of execution.
        kept: what must survive to the end.

    Returns:
        Bytes in all.
    """
    first: dict[Storage, int] = {}
    last: dict[Storage, int] = {}
    for index, storages in enumerate(operations):
        for storage in storages:
            first.setdefault(storage, index)
            last[storage] = index
    last |= dict.fromkeys(kept, len(operations))
    starting, ending = defaultdict[int, list[Storage]](list), defaultdict[int, list[Storage]](list)
    for storage, index in first.items():
        starting[index].append(storage)
        ending[last[storage]].append(storage)
    live: list[Storage] = []  # ordered by offset
    total = 0
    for index in range(len(operations)):
        for storage in starting[index]:
            total = max(total, _insert(storage, live))
        for storage in ending[index]:
            live.remove(storage)
    return total


def _insert(storage: Storage, live: list[Storage]) -> int:
    """Put a storage into the first gap that is wide enough; returns where it ends."""
    size, offset, position = aligned(storage.size), 0, 0
    for other in live:
        if other.offset - offset >= size:
            break
        offset, position = other.end, position + 1
    storage.offset, storage.end = offset, offset + size
    live.insert(position, storage)
    return storage.end


class Arena:
    """Memory that all plans use, one at a time; it grows to the largest of them."""

    def __init__(self):
        self.size = 0
        self.address = 0
        self.uses = 0

    def reserve(self, size: int) -> None:
        """Make room for a number of bytes; the contents are lost where the arena grows."""
        if size <= self.size:
            return
        self.size = aligned(size)
        # shared with forked workers, so that the system does not copy the pages written while they live
        self.block = mmap.mmap(-1, self.size)
        self.address = np.frombuffer(self.block, np.uint8).ctypes.data

    def floats(self, offset: int, count: int) -> np.ndarray:
        """A view (count,) float32 from an offset in bytes; it is valid until the arena grows."""
        return np.frombuffer(self.block, np.float32, count, offset)
