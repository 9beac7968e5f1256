"""What a network sees of transparent pixels, and colours of other spaces, against arithmetic by hand."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from paddleseg_u2net.io.appearance import GROUND, GROUND_NAME, Note, note_lines
from paddleseg_u2net.io.color_profiles import adobe_rgb, from_srgb
from paddleseg_u2net.io.images import read_image, read_photograph

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
ALPHA[:5], ALPHA[5:9] = 0, 255
RGBA = Image.fromarray(np.dstack([RGB, ALPHA]))
SEEN = [Note("transparency", f"seen over {GROUND_NAME}")]


def over_ground(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    opacity = alpha[..., None] / 255
    return rgb * opacity + np.array(GROUND) * (1 - opacity)


# -- transparency ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_hidden_colours_are_not_seen(tmp_path, name):
    RGBA.save(tmp_path / name, **({"lossless": True, "exact": True} if name == "a.webp" else {}))
    photograph = read_photograph(tmp_path / name)
    assert np.abs(photograph.image - over_ground(RGB, ALPHA)).max() <= 0.51
    np.testing.assert_array_equal(photograph.alpha, ALPHA)
    assert list(photograph.notes) == SEEN
    assert (photograph.image[:5] == GROUND).all()


def palette(transparency) -> Image.Image:
    image = Image.fromarray((ALPHA // 64).astype(np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 255, 0, 9, 9, 9])
    image.info["transparency"] = transparency
    return image


def keyed(mode: str, key) -> Image.Image:
    image = Image.fromarray(RGB // 128 * 200).convert(mode)
    image.info["transparency"] = key
    return image


OTHER_FORMS = {
    "grey and alpha": RGBA.convert("LA"),
    "one index of a palette": palette(2),
    "each index of a palette": palette(bytes([0, 100, 255, 30])),
    "a grey level": keyed("L", 200),
    "a colour": keyed("RGB", (200, 0, 200)),
}


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_every_way_of_png_to_store_transparency_is_seen_alike(tmp_path, form):
    OTHER_FORMS[form].save(tmp_path / "a.png", transparency=OTHER_FORMS[form].info.get("transparency"))
    with Image.open(tmp_path / "a.png") as image:
        rgba = np.asarray(image.convert("RGBA"))
    assert 0 < (rgba[..., 3] < 255).mean() < 1
    photograph = read_photograph(tmp_path / "a.png")
    assert np.abs(photograph.image - over_ground(rgba[..., :3], rgba[..., 3])).max() <= 0.51
    np.testing.assert_array_equal(photograph.alpha, rgba[..., 3])
    assert list(photograph.notes) == SEEN


@pytest.mark.parametrize(
    ("level", "notes"), [(255, []), (0, ["the alpha channel is 0 everywhere and is ignored"])]
)
def test_alpha_of_one_extreme_says_nothing(tmp_path, level, notes):
    Image.fromarray(np.dstack([RGB, np.full_like(ALPHA, level)])).save(tmp_path / "a.png")
    photograph = read_photograph(tmp_path / "a.png")
    np.testing.assert_array_equal(photograph.image, RGB)
    assert photograph.alpha is None
    assert [note.text for note in photograph.notes] == notes


def test_transparency_is_rotated_with_the_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    RGBA.save(tmp_path / "a.png", exif=exif)
    photograph = read_photograph(tmp_path / "a.png")
    np.testing.assert_array_equal(photograph.alpha, np.rot90(ALPHA, -1))
    assert np.abs(photograph.image - np.rot90(over_ground(RGB, ALPHA), -1)).max() <= 0.51


# -- colour spaces ---------------------------------------------------------------------------------------

# X, Y, Z (D50) of each primary, as their standards publish them
ADOBE = [(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06317, 0.74457)]
SRGB = [(0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)]
P3 = [(0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)]
WHITE = (0.9642, 1.0, 0.8249)
ADOBE_GAMMA = 2.19921875


def fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def icc(
    space: bytes, tags: dict[bytes, bytes], connection: bytes = b"XYZ ", device: bytes = b"mntr"
) -> bytes:
    """A version 2 profile."""
    text = b"test space\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78),
        b"wtpt": b"XYZ \0\0\0\0" + fixed(*WHITE),
        **tags,
    }
    tags = {name: content + bytes(-len(content) % 4) for name, content in tags.items()}
    table, content, start = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(content), len(data))
        content += data
    head = struct.pack(
        ">I4xI4s4s4s12x4s", start + len(content), 0x02100000, device, space, connection, b"acsp"
    )
    head = head.ljust(68, b"\0") + fixed(*WHITE)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + content


def curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def matrix_profile(primaries, gamma: float) -> bytes:
    colors = {
        bytes([c]) + b"XYZ": b"XYZ \0\0\0\0" + fixed(*xyz) for c, xyz in zip(b"rgb", primaries, strict=True)
    }
    return icc(b"RGB ", colors | {bytes([c]) + b"TRC": curve(gamma) for c in b"rgb"})


def to_levels(linear: np.ndarray) -> np.ndarray:
    """The sRGB curve of IEC 61966-2-1: linear light -> 0 .. 255."""
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def by_hand(rgb: np.ndarray, primaries, gamma: float) -> np.ndarray:
    xyz = (rgb / 255) ** gamma @ np.array(primaries)
    return to_levels(xyz @ np.linalg.inv(np.array(SRGB)))


@pytest.mark.parametrize(
    ("color", "expected"),
    [((255, 0, 0), (219, 0, 0)), ((0, 255, 0), (144, 255, 60)), ((10, 200, 30), (113, 199, 56))],
)
def test_adobe_rgb_has_the_primaries_of_its_standard(color, expected):
    """The expected values follow from the matrices of IEC 61966-2-1 and Adobe RGB (1998), 4.3.5.3."""
    found = from_srgb(np.array([[color]], np.uint8), adobe_rgb())
    np.testing.assert_allclose(found[0, 0], expected, atol=1)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
@pytest.mark.parametrize("primaries", [ADOBE, P3], ids=["Adobe RGB", "Display P3 primaries"])
def test_colours_of_a_wide_space_become_srgb(tmp_path, name, primaries):
    colours = np.kron(RNG.integers(60, 200, (4, 5, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    profile = matrix_profile(primaries, ADOBE_GAMMA)
    options = {"quality": 100, "subsampling": 0} if name == "a.jpg" else {"lossless": True}
    Image.fromarray(colours).save(tmp_path / name, icc_profile=profile, **({} if "tif" in name else options))
    with Image.open(tmp_path / name) as image:
        stored = np.asarray(image)
    photograph = read_photograph(tmp_path / name)
    expected = by_hand(stored, primaries, ADOBE_GAMMA)
    assert np.abs(photograph.image - expected).max() <= 2
    assert np.abs(stored - expected).max() > 8
    assert [note.text for note in photograph.notes] == [
        "converted from 'test space' to sRGB by its ICC profile"
    ]


@pytest.mark.parametrize(
    "profile",
    [None, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()],
    ids=["none", "sRGB"],
)
def test_pixels_in_srgb_stay_as_they_are(tmp_path, profile):
    Image.fromarray(RGB).save(tmp_path / "a.png", icc_profile=profile)
    photograph = read_photograph(tmp_path / "a.png")
    np.testing.assert_array_equal(photograph.image, RGB)
    assert photograph.notes == ()


def test_a_grey_profile_applies_to_grey_images(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(8, 32)
    profile = icc(b"GRAY", {b"kTRC": curve(1.8)})
    Image.fromarray(grey).save(tmp_path / "a.png", icc_profile=profile)
    expected = to_levels((grey / 255) ** 1.8)[..., None]
    assert np.abs(read_image(tmp_path / "a.png") - expected).max() <= 2
    Image.fromarray(RGB).save(tmp_path / "b.png", icc_profile=profile)
    photograph = read_photograph(tmp_path / "b.png")
    np.testing.assert_array_equal(photograph.image, RGB)
    assert [note.text for note in photograph.notes] == [
        "the ICC profile is ignored: it is for GRAY and not for RGB"
    ]


@pytest.mark.parametrize("tags", [{0xA001: 2}, {0xA001: 0xFFFF, 0xA005: {1: "R03"}}], ids=["tag", "name"])
def test_adobe_rgb_that_a_camera_names_in_its_exif_data_becomes_srgb(tmp_path, tags):
    colours = np.kron(RNG.integers(60, 200, (4, 5, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    exif = Image.Exif()
    exif[0x8769] = tags
    Image.fromarray(colours).save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    with Image.open(tmp_path / "a.jpg") as image:
        expected = by_hand(np.asarray(image), ADOBE, ADOBE_GAMMA)
    photograph = read_photograph(tmp_path / "a.jpg")
    assert np.abs(photograph.image - expected).max() <= 2
    assert "converted from 'Adobe RGB (1998), named by EXIF' to sRGB" in photograph.notes[0].text


def print_profile() -> bytes:
    """CMYK by a table of the 16 corners: lightness 0 with black ink, else 100 - 20 for each other ink."""
    corners = np.array(np.meshgrid(*[[0, 1]] * 4, indexing="ij")).reshape(4, 16).T
    lightness = np.where(corners[:, 3] == 1, 0, 100 - 20 * corners[:, :3].sum(axis=1))
    table = (
        np.stack([lightness * 255 / 100, np.full(16, 128), np.full(16, 128)], axis=1).round().astype(np.uint8)
    )
    line = bytes(range(256))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + line * 4
    return icc(b"CMYK", {b"A2B0": lut + table.tobytes() + line * 3}, b"Lab ", b"prtr")


def test_inks_are_converted_by_their_profile(tmp_path):
    inks = np.zeros((8, 24, 4), np.uint8)
    inks[:, 8:16, 3], inks[:, 16:, 3] = 128, 255
    Image.fromarray(inks, "CMYK").save(tmp_path / "a.tif", icc_profile=print_profile())
    photograph = read_photograph(tmp_path / "a.tif")
    half = ((100 * 127 / 255 + 16) / 116) ** 3  # CIE lightness -> Y
    expected = [255, to_levels(np.array(half)), 0]
    assert np.abs(photograph.image[0, ::8] - np.array(expected)[:, None]).max() <= 2
    assert "converted from 'test space'" in photograph.notes[0].text


@pytest.mark.parametrize("profile", [b"junk" * 50, matrix_profile(ADOBE, 2.2)[:300]], ids=["junk", "cut"])
def test_a_broken_profile_is_ignored_and_said(tmp_path, profile):
    for name in ("a.png", "a.tif"):
        Image.fromarray(RGB).save(tmp_path / name, icc_profile=profile)
        photograph = read_photograph(tmp_path / name)
        np.testing.assert_array_equal(photograph.image, RGB)
        assert photograph.notes[0].text.startswith("the ICC profile is ignored: it cannot be read")


def test_profile_and_transparency_apply_together(tmp_path):
    colours = np.full((8, 8, 3), (90, 160, 120), np.uint8)
    alpha = np.full((8, 8), 102, np.uint8)
    picture = Image.fromarray(np.dstack([colours, alpha]))
    picture.save(tmp_path / "a.png", icc_profile=matrix_profile(ADOBE, ADOBE_GAMMA))
    photograph = read_photograph(tmp_path / "a.png")
    expected = over_ground(by_hand(colours, ADOBE, ADOBE_GAMMA), alpha)
    assert np.abs(photograph.image - expected).max() <= 2
    assert [note.kind for note in photograph.notes] == ["transparency", "profile"]


def test_notes_of_many_images_are_counted_by_kind():
    notes = [("a", Note("profile", "x")), ("b", Note("transparency", "y")), ("c", Note("profile", "z"))]
    assert [line for _, line in note_lines(notes, 9)] == [
        "1 of 9 images has transparent pixels, first: b: y",
        "2 of 9 images have other colours than sRGB, first: a: x",
    ]
