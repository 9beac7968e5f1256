"""The number of scans of JPEG files: each costs a pass over all pixels, however short it is."""

from __future__ import annotations

import re
import struct

from paddleseg_u2net.bounds import JPEG_SCANS
from paddleseg_u2net.io.jpeg_segments import SCAN

START, END = b"\xff\xd8", 0xD9
MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")  # among encoded pixels


def check_scans(data: bytes) -> None:
    """Raise ValueError for a JPEG of too many scans; each costs a pass over all pixels."""
    scan = bytes([0xFF, SCAN])
    # the marker can also be in metadata, in a thumbnail, or in what follows the image
    if data.startswith(START) and data.count(scan) > JPEG_SCANS.most:
        JPEG_SCANS.check(_scans(data))


def _scans(data: bytes) -> int:
    """Number of scans of the first image in a file."""
    count, start = 0, len(START)
    while start + 4 <= len(data):
        marker, length = struct.unpack_from(">xBH", data, start)
        if marker == END:
            break
        start += 2 + length
        if marker == SCAN:
            count += 1
        found = MARKER.search(data, start)
        if found is None:
            break
        start = found.start()
    return count
