"""Damage that OpenCV or Pillow pass over, errors of any kind, and formats that are never opened."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from damaged_images import bands, chunks_of, encoded, png_of, run_length_bmp
from PIL import Image, ImageFile, PpmImagePlugin

from paddleseg_u2net.data.inspection import read_pair
from paddleseg_u2net.data.masks import read_raw
from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.importers.color_masks import read_colors
from paddleseg_u2net.io.bands import read_picture

RNG = np.random.default_rng(0)
SMALL = RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8)
RGB = np.asarray(Image.fromarray(SMALL).resize((60, 44), Image.Resampling.BICUBIC))
PICTURE, GREY = Image.fromarray(RGB), Image.fromarray(RGB[..., 0])
DEEP = RGB.astype(np.uint16) * 257
FIVE = np.dstack([RGB, RGB[..., :2]])
READERS = {"photograph": read_picture, "four bands": lambda path: read_picture(path, 4), "mask": read_raw}
READERS["colours"] = read_colors


def refused(path: Path, content: bytes, *readers: str) -> None:
    """Require one line with the name of the file from each reader."""
    path.write_bytes(content)
    for reader in readers or READERS:
        with pytest.raises(ValueError, match="truncated or damaged|cannot be read") as caught:
            READERS[reader](path)
        assert str(path) in str(caught.value), reader
        assert "\n" not in str(caught.value), reader


def flipped(data: bytes, place: int, bit: int = 4) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def tag_of(tiff: bytearray, number: int) -> int | None:
    """Position of a tag in the first page of a TIFF file."""
    start = struct.unpack_from("<I", tiff, 4)[0]
    places = range(start + 2, start + 2 + 12 * struct.unpack_from("<H", tiff, start)[0], 12)
    return next((place for place in places if struct.unpack_from("<H", tiff, place)[0] == number), None)


@pytest.mark.parametrize("name", ["IHDR", "PLTE", "IDAT", "tRNS"])
def test_a_wrong_checksum_of_a_png_is_named(tmp_path, name):
    whole = encoded(GREY.convert("P"), "PNG", transparency=3)
    start = whole.index(name.encode())
    place = start + 4 + int.from_bytes(whole[start - 4 : start], "big")  # of the checksum
    refused(tmp_path / "a.png", flipped(whole, place))
    with pytest.raises(ValueError, match=f"the checksum of its chunk {name} is wrong"):
        read_picture(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(whole)
    assert read_picture(tmp_path / "a.png").any()


def rows_missing(chunks):
    """The pixels of half of the rows, packed well."""
    unpacked = zlib.decompress(b"".join(part for name, part in chunks if name == b"IDAT"))
    return [chunks[0], (b"IDAT", zlib.compress(unpacked[: len(unpacked) // 2])), (b"IEND", b"")]


CHUNKS = {
    "rows": rows_missing,
    "end": lambda chunks: [(name, part[:-2] if name == b"IDAT" else part) for name, part in chunks],
    "sum": lambda chunks: [(name, part[:-1] + b"?" if name == b"IDAT" else part) for name, part in chunks],
}


@pytest.mark.parametrize("change", CHUNKS)
@pytest.mark.parametrize("picture", [PICTURE, GREY, Image.fromarray(DEEP[..., 0])], ids=["RGB", "L", "I;16"])
def test_a_png_whose_pixels_do_not_unpack_is_named(tmp_path, change, picture):
    damaged = png_of(CHUNKS[change](chunks_of(encoded(picture, "PNG"))))
    refused(tmp_path / "a.png", damaged, "photograph", "mask")


def test_animated_pngs_are_checked_too(tmp_path):
    whole = encoded(PICTURE, "PNG", save_all=True, append_images=[PICTURE.rotate(180)])
    refused(tmp_path / "a.png", flipped(whole, whole.index(b"IDAT") + 300))


@pytest.mark.parametrize("kind", ["RGB", "16 bit", "planes", "tiles", "mask"])
def test_a_tiff_with_a_wrong_checksum_of_its_pixels_is_named(tmp_path, kind):
    layouts = {
        "RGB": encoded(PICTURE, "TIFF", compression="tiff_adobe_deflate"),
        "16 bit": bands(DEEP, photometric="rgb", compression="zlib"),
        "planes": bands(np.moveaxis(FIVE, 2, 0), planarconfig="separate", compression="zlib"),
        "tiles": bands(RGB, photometric="rgb", compression="zlib", tile=(32, 32)),
        "mask": encoded(GREY, "TIFF", compression="tiff_adobe_deflate"),
    }
    whole, path = layouts[kind], tmp_path / "a.tif"
    readers = ["mask"] if kind == "mask" else ["photograph"]
    path.write_bytes(whole)
    READERS[readers[0]](path)
    with tifffile.TiffFile(io.BytesIO(whole)) as file:
        start, length = file.pages[0].dataoffsets[-1], file.pages[0].databytecounts[-1]
    for place in range(start, start + length, length // 25):  # libtiff notices about half of them
        refused(path, flipped(whole, place), *readers)


def test_a_jpeg_within_a_tiff_is_checked(tmp_path):
    whole = encoded(PICTURE, "TIFF", compression="jpeg")
    (tmp_path / "a.tif").write_bytes(whole)
    assert np.abs(read_picture(tmp_path / "a.tif").astype(int) - RGB).mean() < 20
    middle = whole.rindex(b"\xff\xda") + 300
    refused(tmp_path / "a.tif", whole[:middle] + bytes(40) + whole[middle + 40 :], "photograph", "colours")


def test_jpeg_masks_are_read_as_strictly_as_photographs(tmp_path):
    whole = encoded(GREY, "JPEG", quality=95)
    (tmp_path / "m.jpg").write_bytes(whole)
    np.testing.assert_array_equal(
        read_raw(tmp_path / "m.jpg").values, Image.open(tmp_path / "m.jpg", formats=["JPEG"])
    )
    refused(tmp_path / "m.jpg", whole[:-900] + whole[-700:])


def test_scans_of_a_progressive_jpeg_that_refine_other_bits_are_named(tmp_path):
    whole = encoded(PICTURE, "JPEG", progressive=True)
    start = whole.index(b"\xff\xda") + 2
    bits = start + int.from_bytes(whole[start : start + 2], "big") - 1  # the first and the last one of a scan
    assert whole[bits] == 0x01
    for other in (0x00, 0x02):
        refused(tmp_path / "a.jpg", whole[:bits] + bytes([other]) + whole[bits + 1 :])


def test_a_scan_of_details_before_that_of_mean_values_is_read(tmp_path):
    whole = encoded(GREY, "JPEG", progressive=True)
    starts = [place for place in range(len(whole)) if whole.startswith(b"\xff\xda", place)]
    # Huffman tables precede each scan
    heads = [whole.rindex(b"\xff\xc4", 0, start) for start in starts]
    first, second, third = heads[:3]
    moved = whole[:first] + whole[second:third] + whole[first:second] + whole[third:]
    for name, content in {"a.jpg": whole, "b.jpg": moved}.items():
        (tmp_path / name).write_bytes(content)
    np.testing.assert_array_equal(read_picture(tmp_path / "b.jpg"), read_picture(tmp_path / "a.jpg"))


def test_run_lengths_of_a_bmp_that_end_early_are_named(tmp_path):
    whole = run_length_bmp((RGB[..., 0] > 120) * np.uint8(200))
    (tmp_path / "a.bmp").write_bytes(whole)
    assert read_picture(tmp_path / "a.bmp").any()
    refused(tmp_path / "a.bmp", whole[:-60] + whole[-40:], "photograph", "mask")


def test_a_grey_gif_whose_pixels_are_beyond_its_palette_is_named_as_mask(tmp_path):
    mask = Image.fromarray((RGB[..., 0] > 120).astype(np.uint8), "P")
    mask.putpalette([0, 0, 0, 255, 255, 255])
    whole = encoded(mask, "GIF")
    (tmp_path / "m.gif").write_bytes(whole)
    assert set(np.unique(read_raw(tmp_path / "m.gif").values)) == {0, 255}
    large = Image.fromarray((RGB[..., 0] % 4).astype(np.uint8), "P")
    large.putpalette(bytes(12))
    data = encoded(large, "GIF", optimize=False)
    start = data.index(b",", 13)  # of the image, behind the global palette, of which two colours are left
    refused(tmp_path / "m.gif", data[:10] + bytes([data[10] & 0xF8]) + data[11:19] + data[start:], "mask")


NOISE = np.random.default_rng(0).integers(0, 256, FIVE.shape, dtype=np.uint8)  # which LZW makes longer
# tag, position in its entry and bytes of what is changed, and the new number
TAGS = {
    "type of the compression": (259, 2, 2, 0),
    "count of the compression": (259, 4, 4, 111),
    "type of the predictor": (317, 2, 2, 99),
    "more rows": (257, 8, 4, 13000),
    "rows of a strip": (278, 8, 4, 7),
    "planes": (284, 8, 2, 256),
    "a lost strip": (273, 8, 4, 0),
    "an empty strip": (279, 8, 4, 0),
    "a strip in the header": (273, 8, 4, 4),
    "a strip behind the end": (273, 8, 4, 1 << 24),
}


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
@pytest.mark.parametrize("change", TAGS)
@pytest.mark.parametrize("kind", ["grey", "RGB", "bands"])
def test_tags_that_cannot_be_are_named(tmp_path, compression, change, kind):
    pixels = {"grey": NOISE[..., 0], "RGB": NOISE[..., :3], "bands": NOISE}[kind]
    photometric, predictor = "rgb" if kind == "RGB" else "minisblack", compression in ("lzw", "zlib")
    layout = {"photometric": photometric, "planarconfig": None if kind == "grey" else "contig"}
    whole = bytearray(bands(pixels, compression=compression, predictor=predictor, **layout))
    path, (number, position, size, value) = tmp_path / "a.tif", TAGS[change]
    path.write_bytes(whole)
    np.testing.assert_array_equal(read_picture(path)[..., 0], NOISE[..., 0])
    place = tag_of(whole, number)
    if place is None:  # a predictor without compression, planes of one channel
        return
    whole[place + position : place + position + size] = value.to_bytes(size, "little")
    refused(
        path, bytes(whole), *{"grey": ["photograph", "mask"], "RGB": ["photograph", "colours"]}.get(kind, ())
    )


def test_parts_that_gdal_leaves_out_are_0(tmp_path):
    whole = bytearray(bands(FIVE, compression="lzw", photometric="minisblack", planarconfig="contig"))
    for number in (273, 279):  # start and length of the only part
        struct.pack_into("<I", whole, tag_of(whole, number) + 8, 0)
    (tmp_path / "a.tif").write_bytes(whole)
    assert not read_picture(tmp_path / "a.tif", 5).any()


def test_bands_whose_compressed_pixels_are_cut_are_named(tmp_path):
    layout = {"compression": "zlib", "photometric": "minisblack", "planarconfig": "contig"}
    whole = bytearray(bands(FIVE, **layout))
    place = tag_of(whole, 279) + 8  # of the length of the only part
    struct.pack_into("<I", whole, place, struct.unpack_from("<I", whole, place)[0] - 3)
    refused(tmp_path / "a.tif", bytes(whole), "photograph", "four bands")


def test_a_text_of_numbers_that_lacks_its_last_byte_and_binary_numbers_likewise(tmp_path):
    binary = b"P5 3 2 255\n" + bytes(range(6))
    (tmp_path / "a.pgm").write_bytes(binary)
    assert read_raw(tmp_path / "a.pgm").values.tolist() == [[0, 1, 2], [3, 4, 5]]
    refused(tmp_path / "a.pgm", binary[:-1], "photograph", "mask")


# -- formats that are never opened, errors of any kind ----------------------------------------------------


HEADS = ("%!PS-Adobe-3.0", "Pf 1 1 1.0", "PyP 1 1 255", "P0CMYK 1 1 255", "qoif", "BLP2")


@pytest.mark.parametrize("head", HEADS)
def test_pillow_is_not_called_for_other_formats(tmp_path, monkeypatch, head):
    Image.init()  # all readers are there
    called = []
    for name, (_, accepts) in list(Image.OPEN.items()):
        monkeypatch.setitem(Image.OPEN, name, (lambda *_, name=name: called.append(name), accepts))
    path = tmp_path / "a.png"
    path.write_bytes(head.encode() + b"\n" + bytes(200))
    for read in READERS.values():
        with pytest.raises(ValueError, match="a.png: .*(holds an? |no image of a known format)"):
            read(path)
    assert not called


ERRORS = (struct.error("odd"), SyntaxError("odd"), OverflowError("odd"), EOFError(), IndexError("odd"))
ERRORS += (
    cv2.error("two\nlines"),
    RecursionError("odd"),
    AttributeError("odd"),
    KeyError(3),
)


@pytest.mark.parametrize("error", [*ERRORS, MemoryError()], ids=lambda error: type(error).__name__)
def test_whatever_a_decoder_raises_is_a_fault_of_that_file(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    monkeypatch.setattr(PpmImagePlugin.PpmImageFile, "load", fail)
    path = tmp_path / "a.ppm"
    path.write_bytes(encoded(PICTURE, "PPM"))
    for name, read in READERS.items():
        with pytest.raises(ValueError, match="memory" if type(error) is MemoryError else "damaged") as caught:
            read(path)
        assert str(path) in str(caught.value), name
        assert "\n" not in str(caught.value), name
    assert len(read_pair(Pair(path, path, "list.txt:1")).broken) == 2


def test_files_are_decoded_in_one_place():
    root = Path(__file__).parents[2]
    allowed = {"decoders.py", "bands.py"}
    calls = ("Image.open(", "imread", "imdecode", "decode_jpeg(data", "TiffFile(")
    found = [
        f"{path.name}: {call}"
        for folder in ("paddleseg_u2net", "Benckmark_data_prepare", "tools")
        for path in (root / folder).rglob("*.py")
        if path.name not in allowed and "benchmarks" not in path.parts
        for call in calls
        if call in path.read_text()
    ]
    assert not found
