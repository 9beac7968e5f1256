"""Decoding mask files of all kinds, and deciding the encoding of a data set."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest
import tifffile
from mask_files import store
from PIL import Image, ImageOps, PngImagePlugin

from paddleseg_u2net.data.masks import IGNORE, MaskEncoding, MaskLevels, decide_encoding, read_raw, tally
from paddleseg_u2net.io.images import read_header, read_image

# a truncated header, for which Pillow raises a ValueError without the name of the file
BROKEN_TIFF = bytes.fromhex(
    "49492a0008000000030000010300010000000400000001010300010000000400000011010400010000003200000000000000"
)
IDS = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
BINARY = (IDS > 0).astype(np.uint8)


def levels_of(path) -> MaskLevels:
    raw = read_raw(path)
    return MaskLevels(str(path.name), raw.kind, tally(raw)[0])


def decode(path, num_classes: int, ignore_index=None, requested=None) -> np.ndarray:
    encoding, faults = decide_encoding([levels_of(path)], num_classes, ignore_index, requested)
    assert not faults
    return encoding.decode(read_raw(path))


@pytest.mark.parametrize("mode", ["grey", "palette", "16-bit", "RGB", "RGBA"])
def test_class_ids_are_exact_in_every_kind_of_file(tmp_path, mode):
    decoded = decode(store(tmp_path / "m.png", IDS, mode), num_classes=3)
    np.testing.assert_array_equal(decoded, IDS)
    assert decoded.dtype == np.uint8


@pytest.mark.parametrize("num_classes", [1, 2])
@pytest.mark.parametrize(
    ("mode", "white"),
    [
        ("grey", 1),
        ("grey", 255),
        ("palette", 1),
        ("1-bit", 1),
        ("16-bit", 65535),
        ("16-bit", 255),
        ("RGB", 255),
    ],
)
def test_binary_masks_are_equal_in_every_kind_of_file(tmp_path, mode, white, num_classes):
    dtype = np.uint16 if white > 255 else np.uint8
    path = store(tmp_path / "m.png", BINARY.astype(dtype) * white, mode)
    decoded = decode(path, num_classes)
    np.testing.assert_array_equal(decoded, BINARY)
    assert decoded.dtype == (np.float32 if num_classes == 1 else np.uint8)


@pytest.mark.parametrize("mode", ["grey", "16-bit", "RGB"])
def test_soft_values_are_kept_for_saliency(tmp_path, mode):
    soft = np.array([[0, 64, 255], [128, 200, 1]], np.uint8)
    values = soft.astype(np.uint16) * 257 if mode == "16-bit" else soft
    np.testing.assert_allclose(decode(store(tmp_path / "m.png", values, mode), 1), soft / 255, atol=1e-6)


def test_soft_values_are_split_at_half_for_two_classes_if_grey_is_requested(tmp_path):
    path = store(tmp_path / "m.png", np.array([[0, 100, 127, 128, 255]], np.uint8), "grey")
    np.testing.assert_array_equal(decode(path, 2, requested="grey"), [[0, 0, 0, 1, 1]])


def test_masks_are_rotated_by_their_exif_tag(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to be upright
    Image.fromarray(BINARY * 255).save(tmp_path / "m.png", exif=exif)
    assert read_raw(tmp_path / "m.png").values.shape == (3, 2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_are_applied_as_by_pillow(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    picture.save(tmp_path / "m.png", exif=exif)
    with Image.open(tmp_path / "m.png") as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(read_raw(tmp_path / "m.png").values, expected)


def test_other_exif_tags_may_be_broken(tmp_path):
    """`ImageOps.exif_transpose` rewrites all tags and fails on a broken one."""
    tags = struct.pack(
        ">HHI4sHHI4s", 0x112, 3, 1, b"\0\x06\0\0", 0x102, 2, 2, b"7\0\0\0"
    )  # the second is text instead of a number
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + tags + bytes(4)
    Image.fromarray(BINARY * 255).save(tmp_path / "m.png", exif=exif)
    raw = read_raw(tmp_path / "m.png")
    assert (raw.orientation, raw.values.shape) == (6, (3, 2))


@pytest.mark.parametrize("name", ["m.png", "m.jpg"])
def test_orientation_in_xmp_is_not_applied(tmp_path, name):
    """OpenCV, which reads the images, does not apply it either."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF tiff:Orientation="6"/></x:xmpmeta>'
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    options = {"pnginfo": text} if name == "m.png" else {"xmp": xmp}
    Image.fromarray(BINARY * 255).save(tmp_path / name, **options)
    data = (tmp_path / name).read_bytes()
    assert b"tiff:Orientation" in data
    assert read_raw(tmp_path / name).values.shape == BINARY.shape
    assert read_header(data).orientation == 1
    assert read_image(tmp_path / name).shape[:2] == BINARY.shape


def test_ignored_values_decode_to_ignore_in_soft_masks_and_class_ids(tmp_path):
    path = store(tmp_path / "m.png", np.array([[0, 1, 250]], np.uint8), "grey")
    np.testing.assert_array_equal(decode(path, 2, ignore_index=250), [[0, 1, IGNORE]])
    np.testing.assert_array_equal(decode(path, 1, ignore_index=250), [[0, 1, IGNORE]])


def test_coloured_masks_are_rejected(tmp_path):
    Image.fromarray(np.dstack([IDS, IDS * 2, IDS])).save(tmp_path / "m.png")
    Image.fromarray(np.float32(IDS)).save(tmp_path / "f.tiff")
    with pytest.raises(ValueError, match="f.tiff: a mask of colours or floating-point numbers"):
        read_raw(tmp_path / "f.tiff")
    with pytest.raises(ValueError, match="m.png: a mask of colours .* Fix: store the class id"):
        read_raw(tmp_path / "m.png")


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n broken", b"text", BROKEN_TIFF])
def test_broken_masks_raise_an_error_with_their_name(tmp_path, content):
    (tmp_path / "m.png").write_bytes(content)
    with pytest.raises(ValueError, match="m.png: cannot be read as a mask"):
        read_raw(tmp_path / "m.png")


def test_truncated_and_missing_masks_raise_an_error_with_their_name(tmp_path):
    path = store(tmp_path / "m.png", np.random.default_rng(0).integers(0, 256, (99, 99), np.uint8), "grey")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match="m.png: cannot be read as a mask: .*truncated"):
        read_raw(path)
    with pytest.raises(FileNotFoundError, match="absent.png: no such mask file"):
        read_raw(tmp_path / "absent.png")


def made(*masks: tuple[str, list[int]]) -> list[MaskLevels]:
    """Masks named a, b, … of (kind, levels)."""
    return [MaskLevels(chr(97 + i), kind, np.array(values)) for i, (kind, values) in enumerate(masks)]


@pytest.mark.parametrize(
    ("masks", "num_classes", "name"),
    [
        ([("8-bit", [0, 255]), ("1-bit", [0, 1]), ("8-bit", [0])], 1, "grey"),
        ([("8-bit", [0, 1]), ("1-bit", [0, 1]), ("8-bit", [0])], 1, "index"),
        ([("8-bit", [0, 3, 90, 255]), ("8-bit", [0, 255])], 1, "grey"),
        ([("palette", [0, 1]), ("8-bit", [0, 1])], 2, "index"),
        ([("8-bit", [0, 255]), ("8-bit", [255])], 2, "grey"),
        ([("8-bit", [0]), ("8-bit", [0])], 2, "index"),
    ],
)
def test_the_encoding_is_decided_from_all_masks(masks, num_classes, name):
    encoding, faults = decide_encoding(made(*masks), num_classes, None, None)
    assert (encoding.name, faults) == (name, {})


@pytest.mark.parametrize(
    ("masks", "num_classes", "wrong", "message"),
    [
        ([("8-bit", [0, 255]), ("8-bit", [0, 1])], 1, ["b"], "mask is grey, as a"),
        ([("8-bit", [0, 255]), ("palette", [0, 1])], 2, ["b"], "mask is grey, as a"),
        ([("8-bit", [0, 1]), ("8-bit", [0, 255]), ("8-bit", [0, 1])], 2, ["a", "c"], "1 mask is grey, as b"),
        ([("8-bit", [0, 1, 4]), ("8-bit", [0, 3])], 3, ["a", "b"], r"expected class ids 0 .. 2"),
        ([("8-bit", [0, 1, 255])], 2, ["a"], r"holds 0, 1, 255, expected class ids 0 .. 1"),
        ([("palette", [0, 255])], 2, ["a"], r"expected class ids 0 .. 1"),
        ([("8-bit", [0, 2, 3])], 1, ["a"], "look like class ids and not like brightness"),
        ([("8-bit", [0, 255]), ("8-bit", [0, 1, 255])], 1, ["b"], "ignore_index: 255 if white marks"),
        ([("8-bit", [0, 1, 2, 20, 255])], 1, ["a"], "no mask has values between 32 and white"),
        ([("16-bit", [0, 300, 40000]), ("8-bit", [0, 1])], 1, ["b"], "mask is grey"),
    ],
)
def test_contradictory_masks_are_faults_keyed_by_their_index(masks, num_classes, wrong, message):
    _, faults = decide_encoding(made(*masks), num_classes, None, None)
    assert [fault.where for fault in faults.values()] == wrong
    assert ["abc"[index] for index in faults] == wrong
    assert all(re.search(message, str(fault)) and fault.fix for fault in faults.values())


def test_grey_is_suggested_only_where_it_can_help():
    for kind, num_classes, offered in (("8-bit", 2, True), ("8-bit", 3, False), ("palette", 2, False)):
        _, faults = decide_encoding(made((kind, [0, 9])), num_classes, None, None)
        assert ("mask_encoding: grey" in faults[0].fix) == offered


def test_masks_that_a_requested_encoding_makes_dark_are_a_warning(caplog):
    decide_encoding(made(("8-bit", [0, 255]), ("8-bit", [0, 1])), 1, None, "grey")
    assert "1 mask holds 1 and nothing above: almost black as grey, b" in caplog.text


def test_a_requested_encoding_takes_precedence():
    dark = made(("8-bit", [0, 2, 3]), ("8-bit", [0, 1]))
    encoding, faults = decide_encoding(dark, 1, None, "grey")
    assert (encoding.name, faults) == ("grey", {})
    _, faults = decide_encoding(made(("palette", [0, 1])), 1, None, "grey")
    assert "a palette is not brightness" in faults[0].what
    _, faults = decide_encoding(made(("8-bit", [0, 255])), 2, None, "index")
    assert faults[0].what.startswith("holds 0, 255, expected class ids 0 .. 1")


def test_0_255_masks_with_ignore_index_255_are_empty():
    """Stock PaddleSeg trains on such masks without an error; here `inspect` reports no foreground."""
    encoding, faults = decide_encoding(made(("8-bit", [0, 255])), 2, 255, None)
    assert (encoding.name, faults) == ("index", {})


def test_white_of_16_bits_is_found_without_the_ignored_value():
    for num_classes in (1, 2):
        masks = made(("16-bit", [0, 1023, 65535]), ("16-bit", [0]))
        encoding, faults = decide_encoding(masks, num_classes, 65535, None)
        assert (encoding.name, encoding.top16, faults) == ("grey", 1023, {})


def test_a_16_bit_tiff_in_which_0_is_white_is_rejected_and_one_of_8_bits_is_read(tmp_path):
    values = np.array([[255, 0]], np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values * np.uint16(257), photometric="miniswhite")
    with pytest.raises(
        ValueError, match=r"a.tif: a TIFF mask of 16 bits in which 0 is white. Fix: save it as"
    ):
        read_raw(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")  # the fix works
    assert read_raw(tmp_path / "a.tif").values.tolist() == [[0, 255]]


def test_the_text_of_an_encoding_explains_it():
    assert str(MaskEncoding("grey", 1)) == "mask_encoding: grey (0 .. white -> 0 .. 1)"
    assert str(MaskEncoding("index", 3, 250)) == "mask_encoding: index (pixel = class id, 250 ignored)"


def test_masks_that_cannot_be_read_are_skipped_and_keep_their_index():
    masks = [None, *made(("8-bit", [0, 255]), ("8-bit", [0, 1])), None]
    encoding, faults = decide_encoding(masks, 1, None, None)
    assert (encoding.name, list(faults)) == ("grey", [2])
    assert decide_encoding([None], 1, None, None)[1] == {}


def test_faults_are_sorted_by_index_and_show_at_most_eight_values():
    masks = made(("palette", [0, 1]), ("8-bit", [0, 2, 3]), ("8-bit", list(range(2))))
    _, faults = decide_encoding(masks, 1, None, None)
    assert list(faults) == [0, 1, 2]
    _, faults = decide_encoding(made(("8-bit", list(range(20)))), 3, None, None)
    assert faults[0].what.startswith("holds 0, 1, 2, 3, 4, 5, 6, 7, … (20 values), expected class ids 0 .. 2")


def test_a_mask_is_measured_without_its_ignored_pixels():
    levels, counts = np.array([0, 7, 51, 255]), np.array([50, 100, 30, 20])
    content = MaskEncoding("grey", 1, ignore_index=7).measure(MaskLevels("", "8-bit", levels), counts)
    assert content.areas.tolist() == [80, 20]
    assert content.share == pytest.approx((30 * 0.2 + 20) / 100)
    assert content.soft == pytest.approx(0.3)
    content = MaskEncoding("index", 3, ignore_index=7).measure(
        MaskLevels("", "8-bit", levels[:2]), counts[:2]
    )
    assert (content.areas.tolist(), content.share, content.soft) == ([50, 0, 0], 0, 0)
