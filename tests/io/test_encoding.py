"""Pictures in files of several formats."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from PIL.ExifTags import IFD

from paddleseg_u2net.io import encoding
from paddleseg_u2net.io.color_profiles import adobe_rgb
from paddleseg_u2net.io.encoding import FORMATS, check_format, encode, exif_of

RNG = np.random.default_rng(0)
SHAPES = {"grey": (9, 7), "rgb": (9, 7, 3), "rgba": (9, 7, 4)}
GPS, MAKE, ORIENTATION, THUMBNAIL = 0x8825, 0x010F, 0x0112, 0x0201
EXIF_IFD, DATE, MAKER_NOTE, PHOTOSHOP = 0x8769, 0x9003, 0x927C, 0x8649


def written(name: str) -> None:
    if name in ("webp", "avif") and not features.check(name):
        pytest.skip(f"this Pillow writes no {name}")


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("name", FORMATS)
def test_pillow_reads_what_was_written(name, kind):
    written(name)
    row = FORMATS[name]
    if kind == "rgba" and not row.transparent:
        return
    pixels = RNG.integers(0, 256, SHAPES[kind], dtype=np.uint8)
    found = Image.open(io.BytesIO(encode(pixels, row, 100)))
    assert found.format == row.name
    wanted = found.convert({"grey": "L", "rgb": "RGB", "rgba": "RGBA"}[kind])
    np.testing.assert_allclose(np.asarray(wanted, int), pixels, atol=0 if row.quality in (None, 90) else 12)


@pytest.mark.parametrize("name", [name for name, row in FORMATS.items() if row.deep])
def test_16_bits_are_kept(name):
    pixels = RNG.integers(0, 65536, (5, 6), dtype=np.uint16)
    found = Image.open(io.BytesIO(encode(pixels, FORMATS[name])))
    np.testing.assert_array_equal(np.asarray(found, np.uint16), pixels)


@pytest.mark.parametrize("name", FORMATS)
def test_profile_and_exif_data_are_written(name):
    written(name)
    exif = Image.Exif()
    exif[MAKE], exif.get_ifd(EXIF_IFD)[DATE], exif.get_ifd(GPS)[1] = "a camera", "2020", "N"
    data = encode(np.zeros((5, 6, 3), np.uint8), FORMATS[name], None, adobe_rgb(), exif.tobytes()[6:])
    found = Image.open(io.BytesIO(data))
    assert found.info["icc_profile"] == adobe_rgb()
    read = found.getexif()
    assert (read[MAKE], read.get_ifd(EXIF_IFD)[DATE], read.get_ifd(GPS)[1]) == ("a camera", "2020", "N")
    found.load()
    plain = Image.open(io.BytesIO(encode(np.zeros((5, 6, 3), np.uint8), FORMATS[name])))
    assert "icc_profile" not in plain.info
    assert MAKE not in plain.getexif()


def directory(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """A directory of TIFF: tag, type, count and value or position of each entry."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + packed + struct.pack("<I", following)


def test_exif_data_of_results_are_upright_and_hold_no_picture(tmp_path):
    thumbnail, note, photoshop = b"\xff\xd8 thumbnail", b"notes with a picture", b"8BIM with a picture"
    ends = np.cumsum([140, len(thumbnail), len(note), len(photoshop)]).tolist()
    first = [(MAKE, 2, 4, int.from_bytes(b"abc\0", "little")), (ORIENTATION, 3, 1, 6)]
    first += [(PHOTOSHOP, 7, len(photoshop), ends[2]), (EXIF_IFD, 4, 1, 74), (GPS, 4, 1, 92)]
    exif = b"Exif\0\0II*\0\x08\0\0\0" + directory(*first, following=110)
    exif += directory((MAKER_NOTE, 7, len(note), ends[1])) + directory((1, 2, 2, ord("N")))
    exif += directory((THUMBNAIL, 4, 1, ends[0]), (THUMBNAIL + 1, 4, 1, len(thumbnail)))
    exif += thumbnail + note + photoshop
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as image:
        stored = image.getexif()
        assert (stored.get_ifd(EXIF_IFD)[MAKER_NOTE], stored[PHOTOSHOP]) == (note, photoshop)
        assert stored.get_ifd(IFD.IFD1)[THUMBNAIL + 1] == len(thumbnail)
    data = exif_of(tmp_path / "a.jpg")
    assert data is not None
    assert not any(part in data for part in (thumbnail, note, photoshop))
    found = Image.Exif()
    found.load(data)
    assert (found[MAKE], found[ORIENTATION], found.get_ifd(GPS)[1]) == ("abc", 1, "N")


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe1\x00\x10Exif\0\0MM\0\0"])
def test_files_without_exif_data_have_none(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    assert exif_of(tmp_path / "a.jpg") is None
    assert exif_of(tmp_path / "absent.jpg") is None


def test_formats_that_cannot_hold_a_picture_are_refused_with_those_that_can():
    with pytest.raises(
        ValueError, match="jpg keeps no transparency. Fix: --background COLOUR, or one of png, webp"
    ):
        check_format("jpg", transparent=True)
    with pytest.raises(ValueError, match="webp has 8 bits. Fix: --bits 8, or one of png, tiff"):
        check_format("webp", transparent=False, deep=True)
    assert check_format("jpg", transparent=False).suffix == ".jpg"
    assert check_format("tiff", transparent=True, deep=True).deep


def test_format_that_pillow_does_not_write_is_named(monkeypatch):
    monkeypatch.setattr(encoding, "_writes", lambda wanted: False)
    with pytest.raises(ValueError, match="avif: this Pillow does not write it. Fix: pip install -U pillow"):
        check_format("avif", transparent=True)
    assert check_format("png", transparent=True).name == "PNG"


def test_picture_too_large_for_its_format_is_an_error_of_one_line():
    written("webp")
    with pytest.raises(ValueError, match="17000 x 1 pixels as WEBP: .* Fix: another --format"):
        encode(np.zeros((1, 17000, 3), np.uint8), FORMATS["webp"])


@pytest.mark.parametrize("quality", [0, -1, 101, 0.5])
def test_other_qualities_are_refused(quality):
    with pytest.raises(ValueError, match=f"quality: expected 1 to 100, got {quality}. Fix: 90"):
        encode(np.zeros((1, 1), np.uint8), FORMATS["png"], quality)


def test_quality_decides_the_size():
    photograph = np.asarray(
        Image.open(Path(__file__).parents[2] / "docs/photos/coffee.jpg").resize((160, 120))
    )
    for name in ("jpg", "webp", "avif"):
        written(name)
        sizes = [len(encode(photograph, FORMATS[name], quality)) for quality in (10, 50, 95)]
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[2] / 2
