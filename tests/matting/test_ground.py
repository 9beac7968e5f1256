"""Backgrounds and trimming."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from paddleseg_u2net.io.color_profiles import adobe_rgb, find_conversion, from_srgb
from paddleseg_u2net.matting.ground import BLUR, Background, Margin, cover, over

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("white", (255, 255, 255)),
        ("#ff8000", (255, 128, 0)),
        ("1,2,3", (1, 2, 3)),
        ("hsl(0,100%,50%)", (255, 0, 0)),
    ],
)
def test_colours_are_read_in_each_form(text, color):
    assert Background.parse(text).kind == color


@pytest.mark.parametrize("text", ["", "1,2", "1,2,256", "-1,2,3", "nocolour", "absent.jpg", "#12345"])
def test_other_words_are_refused_with_the_choices(text):
    with pytest.raises(
        ValueError, match="expected blur, a colour or an image file, got .* Fix: a colour such as"
    ):
        Background.parse(text)


@pytest.mark.parametrize(
    "kind", ["white", (256, 0, 0), (1, 2), (0.5, 0, 0), None, np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3))]
)
def test_other_values_are_refused_and_texts_are_parsed(kind):
    with pytest.raises(
        ValueError, match=r"expected 'blur', \(R, G, B\) of 0 to 255, .*, got .* Fix: .*parse"
    ):
        Background(kind)
    assert Background.of("white") == Background.of(Background((255, 255, 255))) == Background((255,) * 3)


def test_damaged_image_is_refused_by_name(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 no image")
    with pytest.raises(ValueError, match=r"a\.jpg"):
        Background.parse(str(tmp_path / "a.jpg"))


def test_mixing_equals_float64():
    colors, ground = RNG.integers(0, 256, (2, 17, 19, 3), dtype=np.uint8)
    alpha = RNG.integers(0, 256, (17, 19), dtype=np.uint8)
    share = alpha[..., None] / 255
    expected = np.floor(colors * share + ground * (1 - share) + 0.5)
    np.testing.assert_allclose(over(colors, alpha, ground), expected, atol=0)
    np.testing.assert_array_equal(over(colors, np.full((17, 19), 255, np.uint8), ground), colors)
    np.testing.assert_array_equal(over(colors, np.zeros((17, 19), np.uint8), ground), ground)


@pytest.mark.parametrize("picture", [(1, 1), (10, 40), (40, 10), (7, 3), (60, 50)])
@pytest.mark.parametrize("size", [(1, 1), (30, 20), (13, 77)])
def test_pictures_cover_any_size(picture, size):
    assert cover(RNG.integers(0, 256, (*picture, 3), dtype=np.uint8), size).shape == (*size, 3)


def test_covering_keeps_proportions_and_the_middle():
    picture = np.zeros((10, 40, 3), np.uint8)
    picture[:, 15:25] = 255  # a square in the middle
    for turned in (picture, picture.swapaxes(0, 1)):
        assert (cover(turned, (20, 20))[1:-1, 1:-1] == 255).all()


def test_blur_has_no_colour_of_the_object():
    photograph = np.zeros((160, 240, 3), np.uint8)
    photograph[..., 2], photograph[40:120, 80:160] = 200, (255, 0, 0)
    alpha = np.zeros((160, 240), np.uint8)
    alpha[40:120, 80:160] = 255
    ground = Background(BLUR).picture(photograph, alpha)
    np.testing.assert_allclose(ground, np.broadcast_to((0, 0, 200), ground.shape), atol=1)


@pytest.mark.parametrize("opacity", [0, 255])
def test_blur_of_nothing_but_object_or_background(opacity):
    photograph = RNG.integers(0, 256, (9, 1, 3), dtype=np.uint8)
    ground = Background(BLUR).picture(photograph, np.full((9, 1), opacity, np.uint8))
    assert ground.shape == photograph.shape
    assert ground.min() >= photograph.min() - 1


def test_backgrounds_are_in_the_colours_of_the_photograph():
    profile, photograph = adobe_rgb(), np.zeros((4, 5, 3), np.uint8)
    ground = Background((255, 0, 0)).picture(photograph, np.zeros((4, 5), np.uint8), profile)
    assert ground[0, 0].tolist() == pytest.approx([219, 0, 0], abs=2)  # sRGB's red in Adobe RGB
    back = find_conversion(profile, "RGB").transform.apply(Image.fromarray(ground))
    assert np.asarray(back)[0, 0].tolist() == pytest.approx([255, 0, 0], abs=3)
    assert from_srgb(photograph, None) is photograph


@pytest.mark.parametrize(
    ("text", "rows", "columns"),
    [
        ("0", (10, 20), (5, 45)),
        ("3", (7, 23), (2, 48)),
        ("10%", (6, 24), (1, 49)),
        ("99px", (0, 60), (0, 50)),
    ],
)
def test_trimming_leaves_a_margin_inside_the_picture(text, rows, columns):
    alpha = np.zeros((60, 50), np.uint8)
    alpha[10:20, 5:45], alpha[50, 3] = 255, 20  # a faint pixel does not count
    assert Margin.parse(text).box(alpha) == (slice(*rows), slice(*columns))


def test_nothing_is_trimmed_without_objects():
    assert Margin.parse("5").box(np.zeros((3, 4), np.uint8)) == (slice(None), slice(None))


@pytest.mark.parametrize("text", ["", "-1", "x", "5%%", "nan", "inf", "photo.jpg"])
def test_wrong_margins_are_refused(text):
    with pytest.raises(ValueError, match="expected pixels or percent, got .* Fix: such as 20 or 5%"):
        Margin.parse(text)
