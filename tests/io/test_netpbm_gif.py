"""Netpbm and GIF files as images and as masks: values as stored, written here byte by byte."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from paddleseg_u2net.data.masks import read_raw
from paddleseg_u2net.io.bands import read_picture
from paddleseg_u2net.io.images import read_photograph

RNG = np.random.default_rng(0)


def netpbm(values: np.ndarray, top: int, plain: bool = False) -> bytes:
    """A file of grey values (H, W) or colours (H, W, 3); `plain` as a text whose last line has no end."""
    kind = {(2, True): b"P2", (2, False): b"P5", (3, True): b"P3", (3, False): b"P6"}[values.ndim, plain]
    head = b"%b\n# a comment\n%d %d\n%d\n" % (kind, values.shape[1], values.shape[0], top)
    numbers = " ".join(map(str, values.ravel())).encode()
    return head + (numbers if plain else values.astype(">u2" if top > 255 else "u1").tobytes())


@pytest.mark.parametrize("plain", [False, True], ids=["binary", "text"])
@pytest.mark.parametrize("channels", [(), (3,)], ids=["grey", "RGB"])
@pytest.mark.parametrize("top", [1, 100, 255, 1023, 65535])
def test_white_of_a_netpbm_image_is_255(tmp_path, top, channels, plain):
    values = RNG.integers(0, top + 1, (7, 9, *channels))
    values[0, 0], values[0, 1] = top, 0
    (tmp_path / "a.ppm").write_bytes(netpbm(values, top, plain))
    expected = np.broadcast_to((values / top * 255).reshape(7, 9, -1), (7, 9, 3))
    photograph = read_photograph(tmp_path / "a.ppm")
    assert np.abs(photograph.image - expected).max() <= 0.51
    assert photograph.depth.top == (top if top > 255 else 0)


@pytest.mark.parametrize("plain", [False, True], ids=["binary", "text"])
@pytest.mark.parametrize("top", [3, 255, 1000])
def test_class_ids_of_a_netpbm_mask_are_as_stored(tmp_path, top, plain):
    values = RNG.integers(0, 4, (7, 9))
    (tmp_path / "m.pgm").write_bytes(netpbm(values, top, plain))
    raw = read_raw(tmp_path / "m.pgm")
    np.testing.assert_array_equal(raw.values, values)
    assert raw.kind == ("16-bit" if top > 255 else "8-bit")


def test_bits_of_a_netpbm_mask_are_1_where_it_is_white(tmp_path):
    (tmp_path / "m.pbm").write_bytes(b"P1\n3 1\n0 1 0")
    assert read_raw(tmp_path / "m.pbm").values.tolist() == [[1, 0, 1]]


@pytest.mark.parametrize("top", [255, 4095])
@pytest.mark.parametrize("read", [read_photograph, read_raw])
def test_a_netpbm_file_that_ends_early_is_named(tmp_path, top, read):
    (tmp_path / "a.pgm").write_bytes(netpbm(RNG.integers(0, top, (40, 40)), top)[:-300])
    with pytest.raises(ValueError, match="a Netpbm image that is truncated or damaged"):
        read(tmp_path / "a.pgm")


@pytest.mark.parametrize("levels", [[0, 255], [0, 1, 2], [9, 80, 200, 255]])
def test_grey_values_of_a_gif_mask_are_those_of_its_palette(tmp_path, levels):
    values = RNG.choice(np.array(levels, np.uint8), (7, 9))
    Image.fromarray(values).save(tmp_path / "m.gif")
    raw = read_raw(tmp_path / "m.gif")
    np.testing.assert_array_equal(raw.values, values)
    assert raw.kind == "8-bit"


def test_class_ids_of_a_gif_mask_with_colours_are_its_indices(tmp_path):
    values = RNG.integers(0, 3, (7, 9), dtype=np.uint8)
    image = Image.fromarray(values, "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save(tmp_path / "m.gif", optimize=False)
    raw = read_raw(tmp_path / "m.gif")
    np.testing.assert_array_equal(raw.values, values)
    assert raw.kind == "palette"


def test_all_channels_of_a_netpbm_text_are_read(tmp_path):
    values = RNG.integers(0, 256, (7, 9, 3))
    (tmp_path / "a.ppm").write_bytes(netpbm(values, 255, plain=True))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.ppm", 2), values[..., :2])
