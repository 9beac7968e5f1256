"""Damage that decoders pass over, found by what PNG and TIFF files store beside their pixels."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from paddleseg_u2net.io.pages import MAX_PAGES
from paddleseg_u2net.io.png_chunks import chunks

STEP = 1 << 20  # bytes that are unpacked at once
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # kind of colours of a PNG file -> channels
# first row and column of each pass of an interlaced PNG file, and the steps to the next ones (PNG 8.2)
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
OFFSETS, LENGTHS = (273, 324), (279, 325)  # tags of a TIFF file: of strips, and of tiles
COMPRESSION, DEFLATE, JPEG, TABLES = 259, (8, 32946), 7, 347
WIDTH, HEIGHT, BITS, PHOTOMETRIC, BIT_ORDER, SAMPLES, ROWS, PLANES = 256, 257, 258, 262, 266, 277, 278, 284
PREDICTOR, TILE_WIDTH, TILE_HEIGHT, EXTRA, FORMAT = 317, 322, 323, 338, 339
# tags that have one value each
SINGLE = {WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, BIT_ORDER, SAMPLES, ROWS, PLANES, PREDICTOR}
SINGLE |= {TILE_WIDTH, TILE_HEIGHT}
DECISIVE = SINGLE | {BITS, FORMAT, *OFFSETS, *LENGTHS}  # tags that decide the pixels
TIFF_HEADER = 8  # bytes before anything else
SEPARATE, YCBCR = 2, 6  # values of PLANES, of PHOTOMETRIC


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


def directories(data: bytes) -> Iterator[tuple[Any, set[int]]]:
    """Yield the tags of each page of a TIFF file, and the numbers of all tags, the unreadable ones included.

    Raises:
        Exception: of any kind, as Pillow does; the file is damaged.
    """
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    file, seen, big = io.BytesIO(data), set(), b"+" in data[2:4]
    order, head, entry = "little" if data.startswith(b"II") else "big", *((8, 20) if big else (2, 12))
    tags = ImageFileDirectory_v2(data[: 16 if big else 8])
    while tags.next and tags.next not in seen and len(seen) < MAX_PAGES:
        start = tags.next
        seen.add(start)
        file.seek(start)
        tags.reset()
        tags.load(file)
        end = start + head + entry * int.from_bytes(data[start : start + head], order)
        places = range(start + head, min(end, len(data)), entry)
        yield tags, {int.from_bytes(data[place : place + 2], order) for place in places}


def check_tiff(tags: Mapping[int, Any], listed: Set[int], data: bytes, sparse: bool = False) -> None:
    """Raise an error unless a page has all tags and parts that its pixels need, and the checksums of deflate.

    Args:
        tags: of the page, number -> value.
        listed: see `directories`.
        data: a TIFF file.
        sparse: whether its reader takes parts of length 0 at 0 for empty, as GDAL writes them.
    """
    for tag in DECISIVE & listed:
        if tag not in tags or (tag in SINGLE and not isinstance(tags[tag], int)):
            raise ValueError(f"its tag {tag} cannot be read")
    if tags.get(PLANES, 1) not in (1, SEPARATE) or len(tags.get(EXTRA, ())) > tags.get(SAMPLES, 1):
        raise ValueError("its tags of channels contradict each other")
    parts = _parts(tags)
    if len(parts) < (expected := _count_parts(tags)):
        raise ValueError(f"it has {len(parts)} strips or tiles, expected {expected}")
    for start, length in parts:
        if not (TIFF_HEADER <= start < len(data) and length) and not (sparse and start == length == 0):
            raise ValueError(f"a strip or tile begins at {start}, and the file has {len(data)} bytes")
    found, least = sum(length for _, length in parts), _count_bytes(tags)
    if tags.get(COMPRESSION, 1) == 1 and found < least and not sparse:
        raise ValueError(f"it holds {found} bytes of pixels, expected {least}")
    if tags.get(COMPRESSION) in DEFLATE and tags.get(BIT_ORDER, 1) == 1:
        left = 2 * tags[WIDTH] * tags[HEIGHT] * tags.get(SAMPLES, 1) + STEP
        for start, length in parts:
            left -= _unpack([data[start : start + length]], left) if length else 0


def _count_parts(tags: Mapping[int, Any]) -> int:
    """The number of strips or tiles that a page of a TIFF file consists of."""
    width, height = tags[WIDTH], tags[HEIGHT]
    columns, rows = tags.get(TILE_WIDTH, width), tags.get(TILE_HEIGHT, tags.get(ROWS, height))
    planes = tags.get(SAMPLES, 1) if tags.get(PLANES, 1) == SEPARATE else 1
    return math.ceil(width / columns) * math.ceil(height / rows) * planes


def _count_bytes(tags: Mapping[int, Any]) -> int:
    """The bytes that the pixels of a page of a TIFF file have at least."""
    halved = tags.get(PHOTOMETRIC) == YCBCR  # colours of fewer pixels
    samples = 1 if halved else tags.get(SAMPLES, 1)
    return tags[WIDTH] * tags[HEIGHT] * samples * min(tags.get(BITS, (1,))) // 8


def jpegs_in(tags: Mapping[int, Any], data: bytes) -> Iterator[bytes]:
    """Yield the JPEG files that a page of a TIFF file consists of, if it is compressed so."""
    if tags.get(COMPRESSION) == JPEG:
        for start, length in _parts(tags):
            yield tags.get(TABLES, b"")[:-2] + data[start : start + length][2 if TABLES in tags else 0 :]


def _parts(tags: Mapping[int, Any]) -> list[tuple[int, int]]:
    """Start and length of each strip or tile of a page of a TIFF file."""
    return [
        part
        for starts, lengths in zip(OFFSETS, LENGTHS, strict=True)
        for part in zip(tags.get(starts, ()), tags.get(lengths, ()), strict=False)
    ]


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
