"""Damage that decoders pass over: the checksums of PNG files, and of the compressed strips of TIFF files."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from paddleseg_u2net.io.png_chunks import chunks

STEP = 1 << 20  # bytes that are unpacked at once
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # kind of colours of a PNG file -> channels
# first row and column of each pass of an interlaced PNG file, and the steps to the next ones (PNG 8.2)
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
OFFSETS, LENGTHS = (273, 324), (279, 325)  # tags of a TIFF file: of strips, and of tiles
COMPRESSION, DEFLATE, JPEG, TABLES = 259, (8, 32946), 7, 347
WIDTH, HEIGHT, SAMPLES, BIT_ORDER = 256, 257, 277, 266


def check_png(data: bytes) -> None:
    """Raise ValueError unless a PNG file unpacks to all of its pixels; chunks are checked when it is opened.

    Args:
        data: a PNG file.
    """
    parts = [(name, data[start + 8 : end - 4]) for name, start, end in chunks(data)]
    head = next((part for name, part in parts if name == b"IHDR"), b"")
    expected = _unpacked_length(head)
    found = _unpack([part for name, part in parts if name == b"IDAT"], expected)
    if found < expected:
        raise ValueError(f"it holds {found} bytes of pixels, expected {expected}")


def _unpacked_length(head: bytes) -> int:
    """Bytes of the pixels of a PNG file, with the filter of each row; `head` is its chunk IHDR."""
    width, height = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:8], "big")
    bits = head[8] * CHANNELS[head[9]]
    passes = PASSES if head[12] else ((0, 0, 1, 1),)
    sizes = [
        ((height - row + down - 1) // down, (width - column + right - 1) // right)
        for row, column, down, right in passes
    ]
    return sum(rows * (1 + (columns * bits + 7) // 8) for rows, columns in sizes if columns > 0)


def check_tiff(tags: Mapping[int, Any], data: bytes) -> None:
    """Raise an error unless each part of a page that is compressed by deflate has the right checksum.

    Args:
        tags: of the page, number -> value.
        data: a TIFF file.
    """
    if tags.get(COMPRESSION) not in DEFLATE or tags.get(BIT_ORDER, 1) != 1:
        return
    left = tags[WIDTH] * tags[HEIGHT] * tags.get(SAMPLES, 1) * 2 + STEP
    for part in _parts(tags, data):
        left -= _unpack([part], left)


def jpegs_in(tags: Mapping[int, Any], data: bytes) -> Iterator[bytes]:
    """Yield the JPEG files that a page of a TIFF file consists of, if it is compressed so."""
    if tags.get(COMPRESSION) == JPEG:
        for part in _parts(tags, data):
            yield tags.get(TABLES, b"")[:-2] + part[2 if TABLES in tags else 0 :]


def _parts(tags: Mapping[int, Any], data: bytes) -> Iterator[bytes]:
    """Yield the strips or tiles of a page of a TIFF file."""
    for offsets, lengths in zip(OFFSETS, LENGTHS, strict=True):
        for start, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False):
            yield data[start : start + length]


def _unpack(parts: Iterable[bytes], limit: int) -> int:
    """The length of what a zlib stream unpacks to, which is not kept; of a longer one, about the limit.

    Raises:
        ValueError: it is damaged, or ends too early.
    """
    stream, length = zlib.decompressobj(), 0
    try:
        for part in (*parts, b""):
            while not stream.eof and length <= limit and (unpacked := stream.decompress(part, STEP)):
                length += len(unpacked)
                part = stream.unconsumed_tail
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not stream.eof and length <= limit:
        raise ValueError("its compressed pixels end too early")
    return length
