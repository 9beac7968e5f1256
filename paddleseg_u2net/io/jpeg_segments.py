"""The segments of JPEG files, up to the pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator

SCAN = 0xDA  # marker of a segment after which encoded pixels follow


def segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and start of each segment, as far as the first one before pixels; damage ends the walk.

    Args:
        data: a JPEG file.
    """
    start = 2
    while start + 4 <= len(data) and data[start] == 0xFF:
        marker, length = struct.unpack_from(">xBH", data, start)
        yield marker, start
        if marker == SCAN:
            return
        start += 2 + length
