"""Pictures in files of several formats."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from paddleseg_u2net.io import encoding
from paddleseg_u2net.io.color_profiles import adobe_rgb
from paddleseg_u2net.io.encoding import FORMATS, check_format, encode, exif_of

RNG = np.random.default_rng(0)
SHAPES = {"grey": (9, 7), "rgb": (9, 7, 3), "rgba": (9, 7, 4)}
GPS, MAKE, ORIENTATION, THUMBNAIL = 0x8825, 0x010F, 0x0112, 0x0201


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
    exif[MAKE] = "a camera"
    data = encode(np.zeros((5, 6, 3), np.uint8), FORMATS[name], None, adobe_rgb(), exif.tobytes()[6:])
    found = Image.open(io.BytesIO(data))
    assert found.info["icc_profile"] == adobe_rgb()
    assert found.getexif()[MAKE] == "a camera"
    found.load()
    plain = Image.open(io.BytesIO(encode(np.zeros((5, 6, 3), np.uint8), FORMATS[name])))
    assert "icc_profile" not in plain.info
    assert MAKE not in plain.getexif()


def test_exif_data_of_results_are_upright_and_without_thumbnail(tmp_path):
    exif = Image.Exif()
    exif[MAKE], exif[ORIENTATION] = "a camera", 6
    exif.get_ifd(GPS)[1] = "N"
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    found = Image.Exif()
    data = exif_of(tmp_path / "a.jpg")
    assert data is not None
    found.load(data)
    assert (found[MAKE], found[ORIENTATION], found.get_ifd(GPS)[1]) == ("a camera", 1, "N")
    assert THUMBNAIL not in found.get_ifd(1)


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


def test_quality_decides_the_size():
    photograph = np.asarray(
        Image.open(Path(__file__).parents[2] / "docs/photos/coffee.jpg").resize((160, 120))
    )
    for name in ("jpg", "webp", "avif"):
        written(name)
        sizes = [len(encode(photograph, FORMATS[name], quality)) for quality in (10, 50, 95)]
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[2] / 2
