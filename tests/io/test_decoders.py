"""Damage inside files, pages, metadata of any size, and bounds of memory and time."""

from __future__ import annotations

import io
import re
import struct
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from bombs import CHUNK, with_parts
from PIL import Image, PngImagePlugin

from paddleseg_u2net.bounds import Bound
from paddleseg_u2net.data.masks import read_raw
from paddleseg_u2net.io import parts
from paddleseg_u2net.io.decoders import warn_missing
from paddleseg_u2net.io.images import read_image, read_photograph
from tools.benchmarks import decoding

RNG = np.random.default_rng(0)
RGB = np.asarray(Image.fromarray(RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((240, 180)))
PICTURE = Image.fromarray(RGB)


TIFFS = ({}, {"bigtiff": True}, {"byteorder": ">"})


def encoded(kind: str, picture: Image.Image = PICTURE, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def read(content: bytes, folder: Path):
    (folder / "a.jpg").write_bytes(content)
    return read_photograph(folder / "a.jpg")


def put(content: bytes, middle: bytes) -> bytes:
    start = len(content) // 2
    return content[:start] + middle + content[start + len(middle) :]


JPEGS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_rows": 1},
    "grey": {},
    "CMYK": {},
}
DAMAGE = {
    "zeros": lambda content: put(content, bytes(600)),
    "other bytes": lambda content: put(content, np.random.default_rng(1).bytes(600)),
    "a hole": lambda content: content[: len(content) // 2] + content[len(content) // 2 + 300 :],
    "a second file": lambda content: put(content, b"version https://example.org/" * 20),
    "no end": lambda content: content[:-2],
}


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_jpegs_damaged_in_the_middle_are_named(tmp_path, kind, damage):
    picture = PICTURE.convert({"grey": "L", "CMYK": "CMYK"}.get(kind, "RGB"))
    whole = encoded("JPEG", picture, quality=90, **JPEGS[kind])
    assert np.abs(read(whole, tmp_path).image.astype(int) - np.asarray(picture.convert("RGB"))).mean() < 5
    with pytest.raises(ValueError, match="a.jpg: a JPEG image that is truncated or damaged .* Fix: restore"):
        read(DAMAGE[damage](whole), tmp_path)


def test_a_part_that_was_never_written_is_found_behind_a_preview(tmp_path):
    preview = encoded("JPEG", PICTURE.resize((24, 18)))
    whole = encoded("JPEG", quality=95)
    whole = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview + whole[2:]
    np.testing.assert_array_equal(
        read(whole, tmp_path).image, read(encoded("JPEG", quality=95), tmp_path).image
    )
    for length in (64, 65, 500):
        for start in range(len(whole) * 2 // 3, len(whole) - 600, 97):
            with pytest.raises(ValueError, match="zero bytes or more in a row among its pixels"):
                read(whole[:start] + bytes(length) + whole[start + length :], tmp_path)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_tiffs_damaged_in_the_middle_are_named(tmp_path, compression):
    whole = encoded("TIFF", compression=compression)
    np.testing.assert_array_equal(read(whole, tmp_path).image, RGB)
    with pytest.raises(ValueError, match="a TIFF image that is truncated or damaged"):
        read(put(whole, np.random.default_rng(1).bytes(300)), tmp_path)


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_a_png_with_one_wrong_bit_is_named(tmp_path, bit):
    whole = encoded("PNG")
    with pytest.raises(ValueError, match="a PNG image that is truncated or damaged"):
        read(put(whole, bytes([whole[len(whole) // 2] ^ 1 << bit])), tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda jpeg: jpeg + bytes(5000),  # a camera's filling
        lambda jpeg: jpeg[:-2] + bytes(64) + jpeg[-2:],  # filling before the end marker
        lambda jpeg: jpeg.replace(  # a header of a scan as some telephones write it
            b"\0\x3f\0", b"\0\x3e\0"
        ),
    ],
)
def test_jpegs_whose_pixels_are_all_right_are_read(tmp_path, change):
    whole = encoded("JPEG", quality=95)
    assert change(whole) != whole
    np.testing.assert_array_equal(read(change(whole), tmp_path).image, read(whole, tmp_path).image)


@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_jpegs_decode_as_by_pillow(tmp_path, kind):
    more = {"save_all": True, "append_images": [PICTURE.rotate(180)]} if kind == "MPO" else {}
    whole = encoded(kind, **more)
    with Image.open(io.BytesIO(whole)) as image:
        np.testing.assert_array_equal(read(whole, tmp_path).image, np.asarray(image.convert("RGB")))


# -- metadata --------------------------------------------------------------------------------------------


def texts(*entries: tuple[str, int, bool], xmp: int = 0) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for key, length, zipped in entries:
        info.add_text(key, "x" * length, zip=zipped)
    if xmp:
        info.add_itxt("XML:com.adobe.xmp", "x" * xmp, zip=True)
    return info


@pytest.mark.parametrize(
    "info",
    [texts(("a", 2 << 20, True)), texts(("a", 2 << 20, False)), texts(xmp=3 << 20)]
    + [texts(*((f"k{index}", 2000, False) for index in range(2000)))],
    ids=["compressed", "plain", "XMP", "2000 texts"],
)
def test_png_with_large_texts_is_read_as_image_and_as_mask(tmp_path, info):
    PICTURE.save(tmp_path / "a.png", pnginfo=info)
    PICTURE.convert("L").save(tmp_path / "m.png", pnginfo=info)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)
    np.testing.assert_array_equal(read_raw(tmp_path / "m.png").values, np.asarray(PICTURE.convert("L")))


def test_texts_and_profiles_that_unpack_to_much_take_neither_memory_nor_time(tmp_path):
    bomb = zlib.compressobj(1)
    packed = b"a\0\0" + b"".join(bomb.compress(bytes(1 << 20)) for _ in range(80)) + bomb.flush()
    chunk = struct.pack(">I4s", len(packed), b"zTXt") + packed + bytes(4)  # a wrong checksum, too
    profile = struct.pack(">I4s", len(packed), b"iCCP") + packed + bytes(4)
    whole = encoded("PNG")
    (tmp_path / "a.png").write_bytes(whole[:33] + chunk + profile + whole[33:])
    tracemalloc.start()
    start = time.process_time()
    photograph = read_photograph(tmp_path / "a.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(photograph.image, RGB)
    assert "the ICC profile is ignored" in photograph.notes[0].text
    assert peak < 40 << 20
    assert time.process_time() - start < 2


def test_orientation_is_kept_among_other_chunks(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    PICTURE.save(tmp_path / "a.png", exif=exif, pnginfo=texts(("a", 2 << 20, True)))
    photograph = read_photograph(tmp_path / "a.png")
    assert photograph.orientation == 6
    np.testing.assert_array_equal(photograph.image, np.rot90(RGB, -1))


def test_progressive_jpeg_of_too_many_scans_is_refused(tmp_path):
    whole = encoded("JPEG", progressive=True)
    start = whole.rindex(b"\xff\xda")
    with pytest.raises(ValueError, match="holds 1,0.. scans"):
        read(whole[:-2] + whole[start:-2] * 1000 + whole[-2:], tmp_path)


# -- pages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
@pytest.mark.parametrize(
    ("sizes", "read_page", "note"),
    [
        (((24, 18), (240, 180), (60, 45)), 1, "page 2 of 3, the largest (240 x 180) is read"),
        (((240, 180), (24, 18)), 0, None),
        (((240, 180), (240, 180)), 0, "the first of 2 pages is read"),
    ],
)
def test_the_largest_page_of_a_tiff_is_read_and_said(tmp_path, mode, sizes, read_page, note):
    pages = [
        Image.fromarray(np.full(size[::-1], 40 * (index + 1), np.uint8)) for index, size in enumerate(sizes)
    ]
    if mode == "I;16":
        pages = [np.asarray(page).astype(np.uint16) * 257 for page in pages]
        for page in pages:
            page[0, 0] = 65535  # white
        pages = [Image.fromarray(page) for page in pages]
    else:
        pages = [page.convert(mode) for page in pages]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    photograph = read_photograph(tmp_path / "a.tif")
    assert photograph.image.shape == (*sizes[read_page][::-1], 3)
    assert (photograph.image[1:] == 40 * (read_page + 1)).all()
    assert [one.text for one in photograph.notes] == ([note] if note else [])


def test_a_damaged_later_page_does_not_matter(tmp_path):
    PICTURE.save(tmp_path / "a.tif", save_all=True, append_images=[PICTURE.resize((9, 9))])
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[:-150])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), RGB)


@pytest.mark.parametrize(("kind", "name"), [("GIF", "a.gif"), ("WEBP", "a.webp"), ("PNG", "a.png")])
def test_the_first_frame_of_an_animation_is_read_and_said(tmp_path, kind, name):
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "lime")]
    frames[0].save(tmp_path / name, kind, save_all=True, append_images=frames[1:], lossless=True)
    photograph = read_photograph(tmp_path / name)
    assert (photograph.image == (255, 0, 0)).all()
    assert [note.text for note in photograph.notes] == ["the first frame of an animation is read"]


@pytest.mark.parametrize(("package", "module"), [("Pillow", "PIL"), ("simplejpeg", "simplejpeg")])
def test_images_are_read_without_a_package_that_is_named(tmp_path, monkeypatch, caplog, package, module):
    (tmp_path / "a.jpg").write_bytes(encoded("JPEG"))
    whole = read_image(tmp_path / "a.jpg")
    warn_missing.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), whole)
    assert f"{package} is not installed: " in caplog.text
    warn_missing.cache_clear()


def tiff(**options) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, **options) as file:
        for _ in range(2):
            file.write(RGB[:8, :8], metadata=None)
    return buffer.getvalue()


def tags_of(data: bytes) -> int:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return sum(len(page.tags) for page in file.pages)


SMALL = {
    "PNG_CHUNKS": (with_parts("PNG", CHUNK * 3), 6),  # and IHDR, IDAT, IEND
    "JPEG_SEGMENTS": (with_parts("JPEG", b"\xff\xff\xfe\0\2" * 3), 12),  # and APP0, DQT, SOF, two DHT, SOS
    "GIF_BLOCKS": (with_parts("GIF", b"!\xfe\1a\1b\0" * 3), 10),  # and the picture
    "GIF_COMMENTS": (with_parts("GIF", b"!\xfe\1a\1b\0" * 3), 6),
    **{f"TIFF_TAGS {options}": (data := tiff(**options), tags_of(data)) for options in TIFFS},
}


@pytest.mark.parametrize("name", SMALL)
def test_parts_are_counted(tmp_path, monkeypatch, name):
    data, count = SMALL[name]
    name = name.split()[0]
    monkeypatch.setattr(parts, name, Bound(count, "parts", ""))
    read(data, tmp_path)
    monkeypatch.setattr(parts, name, Bound(count - 1, "parts", ""))
    with pytest.raises(ValueError, match=f"holds {count} parts, expected at most {count - 1}"):
        read(data, tmp_path)


def test_benchmark_measures_both_ways(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(decoding, "LARGE", (40, 30))
    threads = cv2.getNumThreads()
    words = ["--image_path", str(tmp_path), "--repeats", "1"]
    assert decoding.main(words) == 1
    assert "holds no images. Fix: a folder of photographs" in capsys.readouterr().err
    for name in ("a.jpg", "b.jpg"):
        cv2.imwrite(str(tmp_path / name), np.full((8, 9, 3), 90, np.uint8))
    assert decoding.main([*words, "--count", "1"]) == 0
    cv2.setNumThreads(threads)
    first, last = capsys.readouterr().out.splitlines()[2:]
    assert re.fullmatch(
        rf"\| 1 photographs of {tmp_path.name} \| \d+\.\d\d \| \d+\.\d\d \| -?\d+\.\d\d \|", first
    )
    assert last.startswith("| JPEG of 40 x 30 | ")
