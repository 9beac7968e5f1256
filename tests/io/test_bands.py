"""Images with other channels than RGB, as tifffile, Pillow and OpenCV write them."""

from __future__ import annotations

import re
import struct
import sys
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from paddleseg_u2net.errors import MissingPackage
from paddleseg_u2net.io.bands import decode_picture, open_picture, read_picture, tiff_layout
from paddleseg_u2net.io.images import read_photograph, turn

RNG = np.random.default_rng(0)


def multi_band(path, bands: int, dtype=np.uint8, **options) -> np.ndarray:
    """Write a TIFF file; returns its pixels (H, W, bands)."""
    pixels = RNG.integers(0, 256, (12, 10, bands)).astype(dtype)
    planar = options.get("planarconfig") == "separate"
    tifffile.imwrite(path, np.moveaxis(pixels, -1, 0) if planar else pixels, metadata=None, **options)
    return pixels


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize(
    ("bands", "photometric"),
    [(2, "minisblack"), (4, "rgb"), (4, "minisblack"), (5, "rgb"), (8, "minisblack"), (13, "minisblack")],
)
@pytest.mark.parametrize("big", [False, True])
def test_tiff_files_are_read_with_the_channels_asked_for(
    tmp_path, planarconfig, compression, bands, photometric, big
):
    path = tmp_path / "a.tif"
    options = {"planarconfig": planarconfig, "compression": compression, "photometric": photometric}
    if (bands, photometric) == (4, "rgb"):
        options["extrasamples"] = ["unspecified"]  # infrared; tifffile would call it alpha
    pixels = multi_band(path, bands, bigtiff=big, **options)
    for channels in {2, min(bands, 4), bands}:
        np.testing.assert_array_equal(read_picture(path, channels), pixels[..., :channels])
    rgb = pixels[..., :3] if bands >= 3 else np.repeat(pixels[..., :1], 3, 2)
    for channels in (1, 3):
        np.testing.assert_array_equal(read_picture(path, channels), rgb)


def test_rgb_and_infrared_of_12_bits_share_one_white(tmp_path):
    pixels = RNG.integers(0, 4096, (12, 10, 4)).astype(np.uint16)
    pixels[0, 0, 3] = 4095
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", metadata=None)
    expected = np.rint(pixels / 4095 * 255)
    assert np.abs(read_picture(tmp_path / "a.tif", 4) - expected).max() <= 1
    data = (tmp_path / "a.tif").read_bytes()
    photograph = decode_picture(tmp_path / "a.tif", data, 4)
    assert (photograph.depth.top, photograph.held) == (4095, 4)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_opacity_of_16_bits_leaves_colours_of_12_bits_their_white(tmp_path, suffix):
    pixels = RNG.integers(0, 4096, (12, 10, 4)).astype(np.uint16)
    pixels[..., 3], pixels[0, 0] = 65535, (4095, 0, 0, 0)
    if suffix == ".tif":
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    else:
        cv2.imwrite(str(tmp_path / "a.png"), pixels[..., [2, 1, 0, 3]])
    expected = pixels / [4095, 4095, 4095, 65535] * 255
    assert np.abs(read_picture(tmp_path / f"a{suffix}", 4) - expected).max() <= 0.51


def write_packed(path, pixels: np.ndarray, bits: int, photometric: int = 1) -> None:
    """Write grey (H, W) as a TIFF file whose samples of some bits follow each other without gaps."""
    stored = np.unpackbits(pixels.astype(">u2")[..., None].view(np.uint8), axis=-1)[..., 16 - bits :]
    strip = np.packbits(stored.reshape(len(pixels), -1), axis=1).tobytes()
    height, width = pixels.shape
    tags = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        277: 1,
        278: height,
        279: len(strip),
    }
    tags[273] = 14 + 12 * (len(tags) + 1)  # position of the strip: after header and tags
    entries = b"".join(struct.pack(">HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    path.write_bytes(b"MM\0*" + struct.pack(">IH", 8, len(tags)) + entries + bytes(4) + strip)


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_tiff_files_of_any_bits_with_black_or_white_at_0(tmp_path, bits, photometric):
    white = 2**bits - 1
    pixels = RNG.integers(0, white + 1, (12, 10)).astype(np.uint16)
    pixels[0, 0] = white
    write_packed(tmp_path / "a.tif", pixels, bits, photometric)
    expected = (pixels if photometric else white - pixels)[..., None] / white * 255
    assert np.abs(read_picture(tmp_path / "a.tif") - expected).max() <= 0.51


def test_three_grey_bands_are_three_channels(tmp_path):
    pixels = multi_band(tmp_path / "a.tif", 3, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), pixels)


def test_several_bands_in_which_0_is_white_are_inverted(tmp_path):
    pixels = multi_band(tmp_path / "a.tif", 5, photometric="miniswhite", planarconfig="contig")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif", 5), 255 - pixels)


def test_grey_with_opacity_of_16_bits(tmp_path):
    grey, opacity = RNG.integers(0, 65536, (2, 12, 10)).astype(np.uint16)
    grey[0, 0] = opacity[0, 0] = 65535
    options = {"photometric": "minisblack", "extrasamples": ["unassalpha"], "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([grey, opacity]), planarconfig="contig", **options)
    photograph = open_picture(tmp_path / "a.tif")
    expected = grey / 257 * (opacity / 65535) + 200 * (1 - opacity / 65535)
    assert np.abs(photograph.image - expected[..., None]).max() <= 2
    assert np.abs(photograph.alpha - opacity / 257).max() <= 1
    assert [note.kind for note in photograph.notes] == ["transparency"]


def test_grey_with_opacity_of_a_16_bit_png_is_two_channels(tmp_path):
    grey, opacity = RNG.integers(0, 65536, (2, 12, 10))
    grey[0, 0] = 65535
    rows = b"".join(b"\0" + row.tobytes() for row in np.dstack([grey, opacity]).astype(">u2"))
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", 10, 12, 16, 4, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    file = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks.items():
        file += (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )
    (tmp_path / "a.png").write_bytes(file)
    assert np.abs(read_picture(tmp_path / "a.png", 2) - np.dstack([grey, opacity]) / 257).max() <= 0.51


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_transparent_tiff_files_are_the_same_in_planes(tmp_path, planarconfig):
    options = {"photometric": "rgb", "extrasamples": ["unassalpha"], "planarconfig": planarconfig}
    pixels = multi_band(tmp_path / "a.tif", 4, **options).astype(float)
    share = pixels[..., 3:] / 255
    photograph = open_picture(tmp_path / "a.tif")
    assert np.abs(photograph.image - (pixels[..., :3] * share + 200 * (1 - share))).max() <= 1
    np.testing.assert_array_equal(photograph.alpha, pixels[..., 3])


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_plain_rgb_tiff_files_are_the_same_in_planes(tmp_path, planarconfig):
    pixels = multi_band(tmp_path / "a.tif", 3, photometric="rgb", planarconfig=planarconfig)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), pixels)


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 4), ("LA", 2), ("RGB", 2)])
def test_other_formats_give_their_channels_in_order(tmp_path, mode, channels):
    pixels = RNG.integers(0, 256, (12, 10, len(mode))).astype(np.uint8)
    Image.fromarray(pixels, mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png", channels), pixels[..., :channels])


def test_four_channels_of_16_bit_png_are_red_first(tmp_path):
    pixels = RNG.integers(0, 65536, (12, 10, 4)).astype(np.uint16)
    pixels[0, 0, 0] = 65535
    cv2.imwrite(str(tmp_path / "a.png"), pixels[..., [2, 1, 0, 3]])
    assert np.abs(read_picture(tmp_path / "a.png", 4) - pixels / 257).max() <= 0.51


def test_files_with_fewer_channels_are_named_with_a_fix(tmp_path):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "a.png")
    multi_band(tmp_path / "b.tif", 4, photometric="rgb")
    for name, held, asked in (("a.png", 3, 4), ("b.tif", 4, 5)):
        message = f"{name}: holds {held} channels, expected {asked} (img_channels). Fix: a file of {asked} "
        with pytest.raises(ValueError, match=re.escape(message)):
            read_picture(tmp_path / name, asked)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_multi_band_files_are_turned_as_pillow_turns(tmp_path, orientation):
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(turn(pixels[..., None], orientation)[..., 0], expected)
    bands = multi_band(tmp_path / "a.tif", 5, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif", 5), turn(bands, orientation))


def test_damaged_and_too_large_files_are_named(tmp_path):
    multi_band(tmp_path / "a.tif", 5, photometric="rgb", compression="deflate")
    data = (tmp_path / "a.tif").read_bytes()
    with pytest.raises(ValueError, match="a.tif: 10 x 12 pixels, more than"):
        read_picture(tmp_path / "a.tif", 5, max_pixels=100)
    assert tiff_layout(data[:6]) is None
    (tmp_path / "a.tif").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="a.tif: "):
        read_picture(tmp_path / "a.tif", 5)


def test_without_tifffile_the_message_says_how_to_install_it(tmp_path, monkeypatch):
    multi_band(tmp_path / "a.tif", 5, photometric="rgb")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingPackage, match=r"tifffile is not installed. Fix: pip install .*\[multiband\]"):
        read_picture(tmp_path / "a.tif", 5)


@pytest.mark.parametrize("bands", [1, 3, 5])
def test_the_largest_page_is_read_whatever_its_channels(tmp_path, bands):
    kind = "rgb" if bands > 1 else "minisblack"
    shape = {1: ()}.get(bands, (bands,))
    pages = [RNG.integers(0, 256, (*size, *shape)).astype(np.uint8) for size in ((6, 5), (12, 10), (3, 3))]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages:
            file.write(page, photometric=kind, metadata=None)
    photograph = open_picture(tmp_path / "a.tif", 5 if bands == 5 else 3)
    expected = pages[1] if bands > 1 else np.repeat(pages[1][..., None], 3, 2)
    np.testing.assert_array_equal(photograph.image, expected)
    assert [note.text for note in photograph.notes] == ["page 2 of 3, the largest (10 x 12) is read"]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("white", "opaque"), [(4095, 4095), (4095, 65535), (65535, 65535)])
def test_transparent_images_of_more_than_8_bits_are_seen_over_the_ground(tmp_path, suffix, white, opaque):
    colors = RNG.integers(0, white + 1, (12, 10, 3)).astype(np.uint16)
    colors[0, 0] = white
    alpha = RNG.integers(0, opaque + 1, (12, 10)).astype(np.uint16)
    alpha[0, 0], alpha[-1] = opaque, 0
    stored = np.dstack([colors, alpha])
    if suffix == ".tif":
        tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["unassalpha"])
    else:
        cv2.imwrite(str(tmp_path / "a.png"), stored[..., [2, 1, 0, 3]])
    photograph = read_photograph(tmp_path / f"a{suffix}")
    share = (alpha / opaque)[..., None]
    expected = colors / white * 255 * share + 200 * (1 - share)
    assert np.abs(photograph.image - expected).max() <= 2
    assert np.abs(photograph.alpha - alpha / opaque * 255).max() <= 1


def test_colors_that_were_multiplied_by_the_opacity_are_divided_by_it(tmp_path):
    colors = RNG.integers(0, 65536, (12, 10, 3)).astype(np.uint16)
    colors[0, 0] = 65535
    share = np.linspace(0.3, 1, 120).reshape(12, 10, 1)
    share[0, 0] = 1
    stored = np.rint(np.dstack([colors * share, 65535 * share])).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["assocalpha"])
    expected = colors / 257 * share + 200 * (1 - share)
    assert np.abs(read_photograph(tmp_path / "a.tif").image - expected).max() <= 3
