"""Small images in every format and mode that is read, and ways to damage them."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import tifffile
from PIL import Image, features

HEIGHT, WIDTH = 48, 70
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 16, 127, 128, 255, 256, 257, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)
PNG = b"\x89PNG\r\n\x1a\n"


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def bands(pixels: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG file with the right checksum of each chunk."""
    parts = [
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
        for name, part in chunks
    ]
    return PNG + b"".join(parts)


def chunks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    found, start = [], len(PNG)
    while start + 8 <= len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        found.append((data[start + 4 : start + 8], data[start + 8 : start + 8 + length]))
        start += 12 + length
    return found


def interlaced(pixels: np.ndarray) -> bytes:
    """An interlaced PNG of (H, W, 3) uint8, which Pillow and OpenCV do not write."""
    grid = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
    rows = [row for y, down, x, right in grid for row in pixels[y::down, x::right]]
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return png_of([(b"IHDR", head), (b"IDAT", packed), (b"IEND", b"")])


def run_length_bmp(values: np.ndarray) -> bytes:
    """A BMP of (H, W) uint8 below 256 columns with run lengths, which Pillow does not write."""
    packed = b""
    for row in values[::-1]:
        starts = [0, *(np.flatnonzero(np.diff(row)) + 1).tolist(), len(row)]
        packed += b"".join(bytes([b - a, row[a]]) for a, b in zip(starts, starts[1:], strict=False)) + b"\0\0"
    palette = b"".join(bytes([level, level, level, 0]) for level in range(256))
    start, size = 54 + len(palette), len(packed) + 2
    head = b"BM" + struct.pack("<IHHI", start + size, 0, 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, *values.shape[::-1], 1, 8, 1, size, 0, 0, 256, 0)
    return head + info + palette + packed + b"\0\1"


class Pictures(NamedTuple):
    """Pictures of one scene.

    Args:
        pixels: (H, W, 3) uint8.
        deep: (H, W, 3) uint16.
        drawn: (H, W) uint8, 0 and 1.
        modes: name -> picture, of the kinds that most formats hold.
        more: name -> picture, of other kinds.
    """

    pixels: np.ndarray
    deep: np.ndarray
    drawn: np.ndarray
    modes: dict[str, Image.Image]
    more: dict[str, Image.Image]

    @property
    def animation(self) -> dict[str, Any]:
        """Options for a second frame."""
        return {"save_all": True, "append_images": [self.modes["rgb"].rotate(180)]}


def draw_pictures() -> Pictures:
    """The same ones each time."""
    rng = np.random.default_rng(7)
    small = rng.integers(0, 256, (8, 11, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), int)
    pixels = (smooth + rng.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8)
    deep, drawn = pixels.astype(np.uint16) * 257, (smooth[..., 0] > 120).astype(np.uint8)
    rgb = Image.fromarray(pixels)
    rgba = Image.fromarray(np.dstack([pixels, 255 - pixels[..., 1]]))
    ids = Image.fromarray(drawn, "P")
    ids.putpalette([0, 0, 0, 200, 0, 0])
    modes = {"rgb": rgb, "rgba": rgba, "grey": rgb.convert("L"), "palette": rgb.quantize(64)}
    modes |= {"bits": Image.fromarray(drawn * 255).convert("1"), "ids": Image.fromarray(drawn)}
    modes |= {"black-white": Image.fromarray(drawn * 255)}
    more = {"grey-alpha": rgba.convert("LA"), "deep": Image.fromarray(deep[..., 0]), "indexed": ids}
    return Pictures(pixels, deep, drawn, modes, more)


def turned_by_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def whole_png(of: Pictures) -> Iterator[tuple[str, bytes]]:
    for name, picture in (of.modes | of.more).items():
        yield name, encoded(picture, "PNG")
    rgb = encoded(of.modes["rgb"], "PNG")
    yield "exif", encoded(of.modes["rgb"], "PNG", exif=turned_by_exif())
    yield "animation", encoded(of.modes["rgb"], "PNG", **of.animation)
    yield "transparent colour", encoded(of.modes["palette"], "PNG", transparency=3)
    yield "interlaced", interlaced(of.pixels)
    head, *_ = parts = chunks_of(rgb)
    packed = b"".join(part for name, part in parts if name == b"IDAT")
    split = [(b"IDAT", packed[start : start + 500]) for start in range(0, len(packed), 500)]
    yield "chunks", png_of([head, *split, (b"IEND", b"")])
    for name, values in {"rgb": of.deep, "rgba": np.dstack([of.deep, 65535 - of.deep[..., 1]])}.items():
        yield f"deep {name}", cv2.imencode(".png", values)[1].tobytes()


def whole_bmp(of: Pictures) -> Iterator[tuple[str, bytes]]:
    for name, picture in of.modes.items():
        yield name, encoded(picture, "BMP")
    yield "run lengths", run_length_bmp(of.drawn * 200)


def whole_jpeg(of: Pictures) -> Iterator[tuple[str, bytes]]:
    rgb = of.modes["rgb"]
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}):
        yield " ".join(options), encoded(rgb, "JPEG", quality=90, **options)
    for name in ("grey", "ids", "black-white"):
        yield name, encoded(of.modes[name], "JPEG", quality=90)
    yield "cmyk", encoded(rgb.convert("CMYK"), "JPEG")
    yield "exif", encoded(rgb, "JPEG", exif=turned_by_exif())
    yield "mpo", encoded(rgb, "MPO", **of.animation)


def whole_jpeg2000(of: Pictures) -> Iterator[tuple[str, bytes]]:
    for name in ("rgb", "rgba", "grey"):
        yield name, encoded(of.modes[name], "JPEG2000")
    yield "deep", cv2.imencode(".jp2", of.deep)[1].tobytes()
    yield "stream", encoded(of.modes["rgb"], "JPEG2000", no_jp2=True, irreversible=True)


def whole_webp(of: Pictures) -> Iterator[tuple[str, bytes]]:
    for name in ("rgb", "rgba", "grey"):
        yield name, encoded(of.modes[name], "WEBP", lossless=name == "grey")
    yield "animation", encoded(of.modes["rgb"], "WEBP", **of.animation)


def whole_avif(of: Pictures) -> Iterator[tuple[str, bytes]]:
    for name in ("rgb", "rgba", "grey") if features.check("avif") else ():
        yield name, encoded(of.modes[name], "AVIF")


def whole_gif(of: Pictures) -> Iterator[tuple[str, bytes]]:
    for name in ("palette", "black-white"):
        yield name, encoded(of.modes[name], "GIF")
    yield "animation", encoded(of.modes["palette"], "GIF", **of.animation)


def whole_tiff(of: Pictures) -> Iterator[tuple[str, bytes]]:
    rgb = of.modes["rgb"]
    pictures = {**of.modes, "cmyk": rgb.convert("CMYK"), "deep": of.more["deep"]}
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        for name, picture in pictures.items():
            yield f"{compression} {name}", encoded(picture, "TIFF", compression=compression)
    yield "jpeg", encoded(rgb, "TIFF", compression="jpeg")
    yield "fax", encoded(of.modes["bits"], "TIFF", compression="group4")
    pages = {"save_all": True, "append_images": [rgb.resize((90, 60))]}
    yield "pages", encoded(rgb, "TIFF", compression="tiff_lzw", **pages)
    five = np.dstack([of.pixels, of.pixels[..., :2]])
    for compression in (None, "zlib", "lzw", "packbits"):
        plain = {"compression": compression, "photometric": "minisblack"}
        colors = {"compression": compression, "photometric": "rgb"}
        yield f"5 bands {compression}", bands(five, planarconfig="contig", **plain)
        yield f"planes {compression}", bands(np.moveaxis(five, 2, 0), planarconfig="separate", **plain)
        yield f"big {compression}", bands(of.deep, bigtiff=True, **colors)
        yield f"tiles {compression}", bands(of.pixels, tile=(32, 32), byteorder=">", **colors)
    yield "predictor", bands(of.pixels, compression="lzw", predictor=True, photometric="rgb")


def whole_netpbm(of: Pictures) -> Iterator[tuple[str, bytes]]:
    for name in ("rgb", "grey", "bits", "ids"):
        yield name, encoded(of.modes[name], "PPM")
    yield "deep", b"P5 %d %d 4095\n" % (WIDTH, HEIGHT) + (of.deep[..., 0] >> 4).astype(">u2").tobytes()
    for kind, values in ((1, of.drawn), (2, of.pixels[..., 0]), (3, of.pixels)):
        white = b"" if kind == 1 else b"255\n"
        numbers = b" ".join(b"%d" % value for value in values.ravel())
        yield f"text {kind}", b"P%d\n%d %d\n" % (kind, WIDTH, HEIGHT) + white + numbers


WHOLE: dict[str, Callable[[Pictures], Iterator[tuple[str, bytes]]]] = {
    "png": whole_png,
    "bmp": whole_bmp,
    "jpeg": whole_jpeg,
    "jpeg2000": whole_jpeg2000,
    "webp": whole_webp,
    "avif": whole_avif,
    "gif": whole_gif,
    "tiff": whole_tiff,
    "netpbm": whole_netpbm,
}


def whole_images() -> dict[str, bytes]:
    """Name, beginning with the format -> content."""
    pictures = draw_pictures()
    return {f"{kind} {name}": data for kind, make in WHOLE.items() for name, data in make(pictures)}


Damage = Callable[[random.Random, bytearray], object]


def flip_bits(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def cut_end(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def cut_out(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 2, 16, 100))]


def insert(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    data[start:start] = rng.randbytes(rng.choice((1, 2, 16, 100)))


def overwrite(rng: random.Random, data: bytearray) -> None:
    """Replace a part by zeros, by noise, or by another part."""
    start, length = rng.randrange(len(data)), rng.choice((1, 4, 16, 64, 300))
    length, other = len(data[start : start + length]), rng.randrange(len(data))
    new = rng.choice((bytes(length), rng.randbytes(length), bytes(data[other : other + length])))
    data[start : start + len(new)] = new


def edit_header(rng: random.Random, data: bytearray) -> None:
    start, size = rng.randrange(min(len(data), rng.choice((32, 64, 256, 700)))), rng.choice((1, 2, 4))
    number = rng.choice(NUMBERS) % 256**size
    data[start : start + size] = number.to_bytes(size, rng.choice(("big", "little")))


def mix_up(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    part = list(data[start : start + rng.randrange(2, 200)])
    rng.shuffle(part)
    data[start : start + len(part)] = bytes(part)


def change_chunks(rng: random.Random, data: bytearray) -> None:
    """Change the chunks of a PNG and repair their checksums."""
    chunks = chunks_of(data)
    index = rng.randrange(len(chunks))
    name, part = chunks[index]
    case = rng.randrange(5)
    if case == 0:
        rng.shuffle(chunks)
    elif case == 1:
        del chunks[index]
    elif case == 2:
        chunks.insert(rng.randrange(len(chunks)), (name, part))
    elif part:
        damaged = bytearray(part)
        (flip_bits if case == 3 else cut_end)(rng, damaged)
        chunks[index] = name, bytes(damaged)
    data[:] = png_of(chunks)


def change_tag(rng: random.Random, data: bytearray) -> None:
    """Give a tag of a TIFF another type, count or value."""
    order = "little" if data.startswith(b"II") else "big"
    big = b"+" in data[2:4]
    start = int.from_bytes(data[8:16] if big else data[4:8], order)
    head, entry, width = (8, 20, 8) if big else (2, 12, 4)
    count = int.from_bytes(data[start : start + head], order)
    start += head + entry * rng.randrange(count)
    position, size, number = rng.choice(
        ((2, 2, rng.randrange(20)), (4, width, rng.choice(NUMBERS)), (4 + width, width, rng.choice(NUMBERS)))
    )
    data[start + position : start + position + size] = number.to_bytes(size, order)


DAMAGES: tuple[Damage, ...] = (
    flip_bits,
    cut_end,
    cut_out,
    insert,
    overwrite,
    edit_header,
    edit_header,
    mix_up,
)
OF_FORMAT: dict[str, tuple[Damage, ...]] = {"png": (change_chunks,) * 3, "tiff": (change_tag,) * 3}


def damaged(rng: random.Random, name: str, whole: dict[str, bytes]) -> tuple[str, bytes]:
    """Name of the damage and the content; of one case in twelve the end of another image."""
    data = bytearray(whole[name])
    if rng.randrange(12) == 0:
        other, start = whole[rng.choice(list(whole))], rng.randrange(len(data))
        return "end of another", bytes(data[:start] + other[min(start, len(other) - 1) :])
    damage = rng.choice(DAMAGES + OF_FORMAT.get(name.split()[0], ()))
    damage(rng, data)
    return damage.__name__, bytes(data)
