"""The chunks of PNG files: pixels apart from metadata, the ICC profile read and written."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# what decides the pixels and their rotation; texts may be of any size, and decoders refuse large ones
NEEDED = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf"}
CHECKED = NEEDED - {b"eXIf"}  # by their checksums, which OpenCV and Pillow pass over
MAX_PROFILE = 16 << 20  # bytes of an ICC profile, which is stored compressed


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of each chunk, the end clipped to the file; damage ends the walk.

    Args:
        data: a PNG file.
    """
    start = len(SIGNATURE)
    while start + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if not name.isalpha():
            return
        yield name, start, min(end, len(data))
        if name == b"IEND" or end > len(data):
            return
        start = end


def without_metadata(data: bytes) -> bytes:
    """A file without the chunks that do not decide its pixels; other files than PNG unchanged.

    Raises:
        ValueError: the checksum of a chunk that decides them is wrong.
    """
    if not data.startswith(SIGNATURE):
        return data
    parts: list[bytes | memoryview] = [SIGNATURE]
    last, dropped = len(SIGNATURE), False
    for name, start, end in chunks(data):
        checksum = zlib.crc32(data[start + 4 : end - 4]).to_bytes(4, "big")
        if name in CHECKED and checksum != data[end - 4 : end]:
            raise ValueError(f"the checksum of its chunk {name.decode()} is wrong")
        if name in NEEDED:
            parts.append(memoryview(data)[start:end])
        dropped |= name not in NEEDED
        last = end
    return b"".join([*parts, memoryview(data)[last:]]) if dropped else data


def profile_of(data: bytes) -> bytes | None:
    """The ICC profile of a PNG file; None without one, empty if it cannot be unpacked or is too large."""
    for name, start, end in chunks(data):
        if name == b"iCCP":
            _, _, stored = data[start + 8 : end - 4].partition(b"\0")
            unpacker = zlib.decompressobj()
            try:
                profile = unpacker.decompress(stored[1:], MAX_PROFILE)
            except zlib.error:
                return b""
            return profile if unpacker.eof else b""
        if name == b"IDAT":
            break
    return None


def with_metadata(data: bytes, profile: bytes | None, exif: bytes | None) -> bytes:
    """A PNG file with an ICC profile and EXIF data, where they are given, before its pixels.

    Args:
        data: a PNG file without them.
        profile: content of an ICC profile.
        exif: as TIFF, without the head `Exif`.
    """
    added = b""
    if profile:
        added += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    if exif:
        added += _chunk(b"eXIf", exif)
    after_header = len(SIGNATURE) + 25
    return data[:after_header] + added + data[after_header:]


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
