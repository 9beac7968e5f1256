"""Cut-outs and masks of a photograph."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from paddleseg_u2net.inference.outputs import (
    OUTPUTS,
    OutputSettings,
    check_outputs,
    plan_outputs,
    write_output,
)
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.inference.result import CutoutSettings, Result, to_8bit
from paddleseg_u2net.io.color_profiles import adobe_rgb
from paddleseg_u2net.io.images import Photograph, read_photograph
from paddleseg_u2net.matting.alpha import refine_alpha
from paddleseg_u2net.matting.foreground import foreground_colors
from paddleseg_u2net.matting.ground import Background, Margin

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
SALIENCY = np.zeros((20, 30), np.float32)
SALIENCY[5:15, 10:20], SALIENCY[5:15, 20] = 1, 0.5


def result(photograph: Photograph | None = None, **settings) -> Result:
    """A plain cut-out, for tests of the other settings."""
    settings = {"refine_edges": False, "foreground": False, **settings}
    return Result(photograph or Photograph(IMAGE), Prediction(SALIENCY[None]), CutoutSettings(**settings))


def test_nothing_of_the_background_is_left_in_a_cutout(tmp_path):
    cutout = result().cutout()
    np.testing.assert_array_equal(cutout[..., 3], np.rint(SALIENCY * 255 + 0.01))
    assert not cutout[SALIENCY == 0].any()
    np.testing.assert_array_equal(cutout[SALIENCY > 0][:, :3], IMAGE[SALIENCY > 0])
    write_output("cutout", tmp_path / "a.png", result(), OutputSettings(), Path("a.jpg"))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), cutout)


def test_transparency_of_the_photograph_is_kept(tmp_path):
    rgba = np.dstack([IMAGE, np.full((20, 30), 100, np.uint8)])
    rgba[:, 12, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    photograph = read_photograph(tmp_path / "a.png")
    cutout = result(photograph).cutout()
    np.testing.assert_array_equal(cutout[..., 3], np.floor(SALIENCY * rgba[..., 3] + 0.5))
    visible = cutout[..., 3] > 0
    np.testing.assert_array_equal(cutout[visible][:, :3], IMAGE[visible])  # not those over the ground


def test_cutout_of_a_wide_colour_space_has_the_same_numbers_and_its_profile(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.png", icc_profile=adobe_rgb())
    photograph = read_photograph(tmp_path / "a.png")
    assert np.abs(photograph.image.astype(int) - IMAGE).max() > 20
    for name in ("png", "webp"):
        settings = OutputSettings(format=name, quality=100)
        write_output("cutout", tmp_path / f"b.{name}", result(photograph), settings, tmp_path / "a.png")
        written = Image.open(tmp_path / f"b.{name}")
        assert written.info["icc_profile"] == adobe_rgb()
        np.testing.assert_array_equal(np.asarray(written)[SALIENCY > 0][:, :3], IMAGE[SALIENCY > 0])


def test_sideways_photographs_come_out_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(IMAGE))).save(
        tmp_path / "a.png", exif=exif, icc_profile=adobe_rgb()
    )
    photograph = read_photograph(tmp_path / "a.png")
    settings = OutputSettings(keep_exif=True)
    write_output("cutout", tmp_path / "b.png", result(photograph), settings, tmp_path / "a.png")
    written = Image.open(tmp_path / "b.png")
    assert written.getexif()[0x0112] == 1
    np.testing.assert_array_equal(np.asarray(written)[SALIENCY > 0][:, :3], IMAGE[SALIENCY > 0])


def test_background_gives_opaque_pixels():
    picture = result(background=Background((255, 0, 0))).cutout()
    assert picture.shape == (20, 30, 3)
    assert (picture[SALIENCY == 0] == (255, 0, 0)).all()
    np.testing.assert_array_equal(picture[SALIENCY == 1], IMAGE[SALIENCY == 1])
    np.testing.assert_array_equal(result().composite("red"), picture)
    edge = IMAGE[5:15, 20] * (128 / 255) + np.array([255, 0, 0]) * (127 / 255)
    np.testing.assert_allclose(picture[5:15, 20], edge, atol=0.51)


@pytest.mark.parametrize("background", [None, Background("blur")])
def test_trimming_leaves_the_object_and_the_margin(background):
    picture = result(crop=Margin.parse("2"), background=background).cutout()
    np.testing.assert_array_equal(picture, result(background=background).cutout()[3:17, 8:23])


def test_steps_change_the_opacity_in_order():
    grown = result(grow=2).alpha > 0
    assert grown[3:17, 12:18].all()
    assert grown[7:13, 8:23].all()
    assert not result(grow=-2).alpha[:7].any()
    assert (result(feather=2).alpha > 0).sum() > (SALIENCY > 0).sum()
    holes = SALIENCY.copy()
    holes[9:11, 13:15] = 0
    filled = Result(Photograph(IMAGE), Prediction(holes[None]), CutoutSettings(fill_holes=True))
    np.testing.assert_array_equal(filled.mask(), SALIENCY >= 0.5)
    assert (
        not Result(Photograph(IMAGE), Prediction(holes[None]), CutoutSettings(drop_specks=1000)).mask().any()
    )
    drawn = OUTPUTS["saliency"].draw(filled, OutputSettings())
    np.testing.assert_array_equal(drawn, to_8bit(SALIENCY))


def test_edges_are_refined_unless_it_is_switched_off_and_maps_stay():
    soft = cv2.GaussianBlur(SALIENCY, (0, 0), 2)
    photograph, prediction = (
        Photograph(cv2.resize(IMAGE, (600, 400))),
        Prediction(cv2.resize(soft, (600, 400))[None]),
    )
    found = Result(photograph, prediction)
    alpha = refine_alpha(photograph.image, prediction.saliency)
    np.testing.assert_array_equal(found.alpha, to_8bit(alpha))
    expected = foreground_colors(photograph.image, found.alpha.astype(np.float32) / 255)
    np.testing.assert_array_equal(found.cutout()[..., :3], expected)
    assert not expected[found.alpha == 0].any()
    plain = Result(photograph, prediction, CutoutSettings(refine_edges=False, foreground=False))
    for own in (found, plain):
        np.testing.assert_array_equal(own.saliency, prediction.saliency)
        np.testing.assert_array_equal(own.mask(), prediction.saliency >= 0.5)
        np.testing.assert_array_equal(own.classes, prediction.classes)
    assert (plain.alpha != found.alpha).any()
    assert (plain.colors != found.colors).any()


@pytest.mark.parametrize("grid", [(400, 600), (200, 300), None])
def test_detail_is_added_from_the_resolution_that_the_network_saw(grid):
    image = RNG.integers(0, 256, (400, 600, 3), dtype=np.uint8)
    saliency = (image[..., 1] > 128).astype(np.float32)
    alpha = Result(Photograph(image), Prediction(saliency[None], grid=grid)).alpha
    np.testing.assert_array_equal(alpha, to_8bit(refine_alpha(image, saliency, grid or (320, 320))))
    assert (alpha == saliency * 255).all() == (grid == (400, 600))


def test_masks_follow_the_threshold(tmp_path):
    for threshold, expected in ((0.5, SALIENCY >= 0.5), (0.6, SALIENCY >= 0.6), ("otsu", SALIENCY > 0.4)):
        write_output("mask", tmp_path / "a.png", result(), OutputSettings(threshold=threshold), Path("a.jpg"))
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), expected * 255)


def test_class_ids_and_contours(tmp_path):
    maps = np.stack([1 - SALIENCY, SALIENCY * 0.3, SALIENCY * 0.7])
    settings, several = OutputSettings(), Result(Photograph(IMAGE), Prediction(maps))
    write_output("class_ids", tmp_path / "a.png", several, settings, Path("a.jpg"))
    ids = Image.open(tmp_path / "a.png")
    assert ids.mode == "L"
    np.testing.assert_array_equal(np.asarray(ids), several.classes)
    write_output("contour", tmp_path / "b.png", several, settings, Path("a.jpg"))
    changed = (np.asarray(Image.open(tmp_path / "b.png")) != IMAGE).any(axis=2)
    assert changed[5, 10:20].all()  # the outline
    assert not changed[8:12, 13:17].any()  # not inside
    assert not changed[:3].any()  # not outside


def test_saliency_maps_of_16_bits(tmp_path):
    write_output("saliency", tmp_path / "a.png", result(), OutputSettings(bits=16), Path("a.jpg"))
    found = np.asarray(Image.open(tmp_path / "a.png"), np.uint16)
    np.testing.assert_array_equal(found, np.floor(SALIENCY * 65535 + 0.5))


def test_quality_counts_for_pictures_in_the_format_of_the_photograph(tmp_path):
    noise = Photograph(RNG.integers(0, 256, (90, 90, 3), dtype=np.uint8))
    found = Result(noise, Prediction(np.zeros((1, 90, 90), np.float32)))
    for name in ("a.jpg", "a.webp", "a.bmp", "a.tif"):
        sizes = []
        for quality in (None, 5):
            write_output("added", tmp_path / name, found, OutputSettings(quality=quality), Path("a"))
            sizes.append((tmp_path / name).stat().st_size)
        assert (sizes[1] < sizes[0] / 2) == (name in ("a.jpg", "a.webp"))


def test_names_follow_the_format():
    plans = plan_outputs(
        [Path("a.jpg"), Path("b.png")], Path("."), Path("out"), ["added", "cutout", "mask"], "webp"
    )
    assert {name: str(path) for name, path in plans[0].items()} == {
        "added": "out/added_prediction/a.webp",
        "cutout": "out/cutout/a.webp",
        "mask": "out/mask/a.png",
    }


def test_formats_are_checked_before_anything_is_predicted():
    with pytest.raises(ValueError, match="--format jpg keeps no transparency. Fix: --background COLOUR"):
        check_outputs(["cutout"], OutputSettings(format="jpg"))
    check_outputs(
        ["cutout"], OutputSettings(format="jpg", cutout=CutoutSettings(background=Background("blur")))
    )
    check_outputs(["mask"], OutputSettings(format="jpg"))
    with pytest.raises(ValueError, match="--format jpg has 8 bits. Fix: --bits 8, or one of png, tiff"):
        check_outputs(["saliency"], OutputSettings(format="jpg", bits=16))


def test_settings_from_python_are_checked():
    with pytest.raises(ValueError, match=r"grow: expected a whole number of pixels, got 1.5. Fix: such as 2"):
        CutoutSettings(grow=1.5)
    assert CutoutSettings(crop="5%").margin == Margin(5, percent=True)
    with pytest.raises(ValueError, match="expected pixels or percent, got 'wide'. Fix: such as 20 or 5%"):
        result(crop="wide").cutout()
