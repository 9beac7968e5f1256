"""The segments of JPEG files, up to the pixels, and what their scans refine."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

FILL = 0xFF  # may stand before each marker
SCAN = 0xDA  # marker of a segment after which encoded pixels follow
SCAN_START = bytes([0xFF, SCAN])


def segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and start of each segment up to the pixels, filling bytes included; damage ends the walk.

    Args:
        data: a JPEG file.
    """
    start = 2
    while start + 4 <= len(data) and data[start] == 0xFF:
        marker, length = struct.unpack_from(">xBH", data, start)
        yield marker, start
        if marker == SCAN:
            return
        start += 1 if marker == FILL else 2 + length


def refines_in_order(data: bytes) -> bool:
    """Whether each scan of a progressive JPEG continues at the bit where the one before it ended.

    Args:
        data: a JPEG file that libjpeg decodes.

    Source: ITU-T T.81, G.1.1.1.2; libjpeg checks that the mean values come first, too, which does not matter.
    """
    lowest: dict[tuple[int, int], int] = {}  # component and coefficient -> its lowest bit that is known
    start = data.find(SCAN_START)
    while start >= 0:
        components = data[start + 5 :][: 2 * data[start + 4] : 2]
        first, last, bits = data[start + 5 + 2 * len(components) :][:3]
        for coefficient in itertools.product(components, range(first, last + 1)):
            if lowest.get(coefficient, 0) != bits >> 4:
                return False
            lowest[coefficient] = bits & 15
        start = data.find(SCAN_START, start + 2)
    return True
