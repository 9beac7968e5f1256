"""The run-length code of Label Studio's brush masks.

A mask is stored as the RGBA image that the browser paints: four equal bytes for each pixel. A header gives
the number of values (32 bits), the bits of a value less 1 (5 bits), and four lengths of counters less 1
(4 bits each). Runs follow: 1 bit, whether one value is repeated; 2 bits, which of the counters; the number of
values less 1; and the values.

Source: rle-pack of thi.ng/umbrella, as Label Studio's editor reads it; `encode_rle` and `decode_rle` of
label_studio_sdk/converter/brush.py (2.1.2), whose bytes are the same.
"""

from __future__ import annotations

import numpy as np

from paddleseg_u2net.bounds import MAX_PIXELS

CHANNELS, OPACITY = 4, 3  # RGBA; the last one is what Label Studio takes for the mask
WORD = 8  # bits of a value
COUNTERS = (3, 4, 8, 16)  # bits of the four counters, of which a run takes the shortest that holds its length
HEADER = 32 + 5 + 4 * len(COUNTERS)
LONGEST = 1 << COUNTERS[-1]
RUNS_AT_ONCE = 1 << 16  # whose bits are laid out together, as 1 byte each


def encode_brush(mask: np.ndarray) -> bytes:
    """Encode a mask as the bytes that Label Studio stores as a list of numbers.

    Args:
        mask: (H, W) bool; at least 1 pixel.
    """
    values = np.ascontiguousarray(mask, np.bool_).reshape(-1)
    ends = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)
    words, widths = _words(np.diff(ends, prepend=-1) * CHANNELS, values[ends])
    header = len(values) * CHANNELS << 21 | (WORD - 1) << 16
    for place, bits in enumerate(COUNTERS):
        header |= (bits - 1) << (12 - 4 * place)
    pieces = [_bits(np.array([header]), np.array([HEADER]))]
    for start in range(0, len(words), RUNS_AT_ONCE):
        some = slice(start, start + RUNS_AT_ONCE)
        pieces.append(_bits(words[some], widths[some]))
    code = np.packbits(np.concatenate(pieces)).tobytes()
    # the SDK's encoder ends with 1 to 8 zero bits
    return code if sum(map(len, pieces)) % 8 else code + b"\0"


def _words(lengths: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The code of each run, in the low bits of an int64, and its number of bits.

    Runs that are longer than the longest counter holds are split; all of their parts take that counter.
    """
    parts = (lengths + LONGEST - 1) // LONGEST
    which = np.searchsorted([1 << bits for bits in COUNTERS[:-1]], lengths).repeat(parts)
    rest = lengths - (parts - 1) * LONGEST
    lengths = np.full(len(which), LONGEST)
    lengths[parts.cumsum() - 1] = rest
    counter = np.array(COUNTERS)[which]
    words = ((0b100 | which) << counter | lengths - 1) << WORD | values.repeat(parts) * np.int64(255)
    return words, 3 + counter + WORD


def _bits(words: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The low bits of each word, one after the other: (sum of the widths) uint8, 0 or 1."""
    places = np.arange(widths.max() - 1, -1, -1)
    bits = (words[:, None] >> places & 1).astype(np.uint8)
    return bits[places < widths[:, None]]


def decode_brush(code: bytes, height: int, width: int) -> np.ndarray:
    """Decode a brush mask: (height, width) uint8, the opacity 0 .. 255 that was painted.

    Args:
        code: as Label Studio stores it, with any length of counters.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Raises:
        ValueError: of another size, too large, or damaged.
    """
    where = f"brush mask of {len(code)} bytes"
    reader = _Reader(code)
    count, word = reader.take(32), reader.take(5) + 1
    counters = [reader.take(4) + 1 for _ in range(4)]
    if count != height * width * CHANNELS or count > MAX_PIXELS * CHANNELS or word != WORD:
        raise ValueError(
            f"{where}: holds {count} values of {word} bits, expected {CHANNELS} of {WORD} bits for each of "
            f"{width} x {height} pixels. Fix: its own original_width and original_height"
        )
    values = np.zeros(count, np.uint8)
    done = 0
    while done < count:
        same = reader.take(1)
        end = done + reader.take(counters[reader.take(2)]) + 1
        if end > count or reader.at > 8 * len(code):
            raise ValueError(f"{where}: ends after {done} of {count} values. Fix: export it again")
        values[done:end] = reader.take(word) if same else reader.values(end - done)
        done = end
    return values.reshape(height, width, CHANNELS)[..., OPACITY]


class _Reader:
    """Reads numbers of up to 56 bits from bytes; bits after the end are 0."""

    def __init__(self, code: bytes):
        self.code, self.at = code + bytes(8), 0

    def take(self, bits: int) -> int:
        """The next number."""
        first, self.at = self.at, self.at + bits
        some = int.from_bytes(self.code[first >> 3 : (first >> 3) + 8], "big")
        return some >> (64 - (first & 7) - bits) & (1 << bits) - 1

    def values(self, count: int) -> np.ndarray:
        """The next values of 8 bits; 0 after the end."""
        first, shift = self.at >> 3, self.at & 7
        self.at += WORD * count
        some = np.zeros(count + 1, np.uint16)
        stored = np.frombuffer(self.code[first : first + count + 1], np.uint8)
        some[: len(stored)] = stored
        return (some[:-1] << shift | some[1:] >> (8 - shift)).astype(np.uint8)
