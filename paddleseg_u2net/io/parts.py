"""The number of parts of image files, each of which takes a decoder time.

Parts are the scans and segments of a JPEG, the chunks of a PNG, the tags of a TIFF, whose pages may share
them, and the blocks of a GIF beside its pixels; Pillow copies all of a comment for each of its blocks.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import struct

from paddleseg_u2net.bounds import GIF_BLOCKS, GIF_COMMENTS, JPEG_SCANS, JPEG_SEGMENTS, PNG_CHUNKS, TIFF_TAGS
from paddleseg_u2net.io.jpeg_segments import SCAN, segments
from paddleseg_u2net.io.pages import MAX_PAGES
from paddleseg_u2net.io.png_chunks import SIGNATURE, chunks

START, END = b"\xff\xd8", 0xD9
MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")  # among encoded pixels
GIF_HEADS, GIF_HEADER = (b"GIF87a", b"GIF89a"), 13
EXTENSION, COMMENT, PICTURE, TRAILER = 0x21, 0xFE, 0x2C, 0x3B
BIG = 43  # number of a BigTIFF file


def check_parts(data: bytes) -> None:
    """Raise ValueError for the content of an image file of too many parts."""
    if data.startswith(START):
        JPEG_SEGMENTS.check(sum(1 for _ in itertools.islice(segments(data), JPEG_SEGMENTS.most + 1)))
        # the marker can also be in metadata, in a thumbnail, or in what follows the image
        if data.count(bytes([0xFF, SCAN])) > JPEG_SCANS.most:
            JPEG_SCANS.check(_scans(data))
    elif data.startswith(SIGNATURE):
        PNG_CHUNKS.check(sum(1 for _ in itertools.islice(chunks(data), PNG_CHUNKS.most + 1)))
    elif data.startswith(GIF_HEADS):
        with contextlib.suppress(IndexError):  # a truncated file
            _check_gif(data)
    elif data.startswith((b"II", b"MM")):
        with contextlib.suppress(struct.error):
            _check_tiff(data)


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


def _check_gif(data: bytes) -> None:
    """Count the blocks up to the second picture, which shows whether a file is animated."""
    start, blocks, comments, pictures = GIF_HEADER + _colors(data[10]), 0, 0, 0
    while data[start] != TRAILER:
        kind, label = data[start], data[start + 1]
        start += 1
        blocks += 1
        GIF_BLOCKS.check(blocks)
        if kind == PICTURE:
            pictures += 1
            if pictures == 2:
                return
            start += 10 + _colors(data[start + 8])
        elif kind == EXTENSION:
            start += 1
        else:
            continue
        while data[start]:
            start += 1 + data[start]
            blocks += kind == EXTENSION
            comments += kind == EXTENSION and label == COMMENT
            GIF_COMMENTS.check(comments)
        start += 1


def _colors(flags: int) -> int:
    """Bytes of a table of colours."""
    return 6 << (flags & 7) if flags & 128 else 0


def _check_tiff(data: bytes) -> None:
    """Count the tags of the pages that are compared."""
    order = "<" if data.startswith(b"II") else ">"
    (number,) = struct.unpack_from(f"{order}H", data, 2)
    # formats of the position of a page and of the number of its tags, bytes of a tag, where the first page is
    place, count, size, first = ("Q", "Q", 20, 8) if number == BIG else ("I", "H", 12, 4)
    (start,) = struct.unpack_from(order + place, data, first)
    seen, total = set[int](), 0
    while start and start not in seen and len(seen) < MAX_PAGES:
        seen.add(start)
        (tags,) = struct.unpack_from(order + count, data, start)
        total += tags
        TIFF_TAGS.check(total)
        (start,) = struct.unpack_from(order + place, data, start + struct.calcsize(count) + size * tags)
