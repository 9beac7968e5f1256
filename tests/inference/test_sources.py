"""Images from paths, bytes, files, Pillow, arrays and addresses; one or many."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import paddleseg_u2net
from paddleseg_u2net import Predictor, remove
from paddleseg_u2net.inference.result import CutoutSettings, Result
from paddleseg_u2net.io import fetch
from paddleseg_u2net.io.color_profiles import adobe_rgb
from paddleseg_u2net.io.images import read_photograph
from paddleseg_u2net.matting.ground import Background

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8)
CONFIG = {"model": {"type": "U2Netp", "num_classes": 1}, "val_dataset": {"transforms": []}}


@pytest.fixture
def predictor() -> Predictor:
    """A model whose saliency is the red channel."""
    return Predictor(lambda batch: batch[:, :1] / 255, CONFIG)


def as_png(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "kind", ["str", "path", "bytes", "bytearray", "memoryview", "file", "opened", "pillow", "array"]
)
def test_each_kind_of_source_gives_the_same(tmp_path, predictor, kind):
    path, data = tmp_path / "a.png", as_png(IMAGE)
    path.write_bytes(data)
    with path.open("rb") as opened, Image.open(path) as image:
        source = {
            "str": str(path),
            "path": path,
            "bytes": data,
            "bytearray": bytearray(data),
            "memoryview": memoryview(data),
            "file": io.BytesIO(data),
            "opened": opened,
            "pillow": image,
            "array": IMAGE,
        }[kind]
        np.testing.assert_allclose(predictor(source), IMAGE[..., 0] / 255, atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("profile", [None, adobe_rgb()], ids=["sRGB", "Adobe"])
def test_images_of_pillow_are_seen_as_their_files(tmp_path, predictor, mode, profile):
    rgba = np.dstack([IMAGE, RNG.integers(0, 256, IMAGE.shape[:2], dtype=np.uint8)])
    image = Image.fromarray(rgba).convert("RGB" if mode in ("P", "CMYK") else "RGBA")
    image = Image.fromarray(rgba[..., 0].astype(np.uint16) * 200) if mode.startswith("I") else image
    image = image.convert(mode)
    suffix = ".tif" if mode == "CMYK" else ".png"
    image.save(tmp_path / f"a{suffix}", icc_profile=profile)
    if profile:
        image.info["icc_profile"] = profile
    found, expected = predictor(image).photograph, read_photograph(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(found.image.astype(int), expected.image, atol=1)
    assert (found.alpha is None) == (expected.alpha is None)
    assert found.profile == expected.profile


@pytest.mark.parametrize(("orientation", "turns"), [(6, 1), (1, 0), (0, 0), (9, 0)])
def test_images_of_pillow_are_turned_upright(predictor, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = Image.open(io.BytesIO(as_png(np.ascontiguousarray(np.rot90(IMAGE, turns)), exif=exif)))
    np.testing.assert_array_equal(predictor(turned).photograph.image, IMAGE)


def test_arrays_with_opacity_and_grey_ones(predictor):
    alpha = RNG.integers(0, 256, (9, 12), dtype=np.uint8)
    result = predictor(np.dstack([IMAGE, alpha]))
    np.testing.assert_array_equal(result.alpha, np.floor(result.saliency * alpha + 0.5))
    np.testing.assert_array_equal(predictor(IMAGE[..., 0]).saliency, predictor(IMAGE[..., :1]).saliency)


@pytest.mark.parametrize(
    "source", [None, 5, {}, IMAGE.astype(float), IMAGE[..., :2], IMAGE[:0], IMAGE[0, 0], io.StringIO("x")]
)
def test_other_sources_are_named_with_what_is_expected(predictor, source):
    with pytest.raises(TypeError, match=r"expected a path, an https address, bytes|open it as binary"):
        predictor(source)


@pytest.mark.parametrize("source", [b"", b"no image", io.BytesIO(b"")])
def test_content_that_is_no_image_is_a_value_error(predictor, source):
    with pytest.raises(ValueError, match="bytes|BytesIO"):
        predictor(source)


def test_images_of_pillow_that_cannot_be_used_are_named(predictor):
    half = Image.open(io.BytesIO(as_png(RNG.integers(0, 256, (90, 90, 3), dtype=np.uint8))[:9000]))
    with pytest.raises(ValueError, match="image of Pillow: is damaged: .* Fix: another copy of its file"):
        predictor(half)
    floats = Image.fromarray(IMAGE[..., 0].astype(np.float32))
    with pytest.raises(TypeError, match="mode F, expected 8 or 16 bits. Fix: an array of uint8 instead"):
        predictor(floats)
    predictor(np.asarray(floats).astype(np.uint8))


def test_addresses_are_fetched_and_nothing_else_is_taken_for_one(predictor, monkeypatch, tmp_path):
    served = {"https://a.example/b.png": as_png(IMAGE)}
    monkeypatch.setattr(fetch, "fetch", served.__getitem__)
    np.testing.assert_allclose(predictor("https://a.example/b.png"), IMAGE[..., 0] / 255, atol=1e-6)
    served["https://a.example/page"] = b"<html>"
    with pytest.raises(ValueError, match="^https://a.example/page: holds"):
        predictor("https://a.example/page")
    monkeypatch.chdir(tmp_path)
    Path("https:").mkdir()
    (Path("https:") / "b.png").write_bytes(as_png(IMAGE))
    assert isinstance(predictor("https:/b.png"), Result)  # a path


def test_lists_and_iterators_give_lists_and_iterators(predictor):
    both = predictor([IMAGE, IMAGE[:4]])
    assert [np.asarray(found).shape for found in both] == [(9, 12), (4, 12)]
    asked = []

    def images():
        for number in range(3):
            asked.append(number)
            yield IMAGE

    results = predictor(images())
    assert not asked
    next(results)
    assert asked == [0]  # one at a time


def test_what_was_predicted_before_an_error_stays_and_the_item_is_named(predictor):
    def images():
        yield IMAGE
        yield IMAGE
        raise RuntimeError("the camera is gone")

    done = []
    with pytest.raises(ValueError, match=r"item 2: its iterator raised RuntimeError\('the camera is gone'\)"):
        done.extend(predictor(images()))
    assert len(done) == 2
    for wrong, message in (
        (b"nothing", "item 1: 7 bytes"),
        (None, "item 1: expected a path, .* got NoneType"),
    ):
        with pytest.raises(ValueError, match=message):
            predictor([IMAGE, wrong])


def test_results_are_saved_in_the_format_of_the_name(predictor, tmp_path):
    result = predictor(IMAGE)
    result.save(tmp_path / "new" / "a.PNG")
    result.save(str(tmp_path / "b.tiff"), "mask")
    result.save(tmp_path / "c.webp", "saliency", quality=100)
    with Image.open(tmp_path / "new" / "a.PNG") as cutout, Image.open(tmp_path / "b.tiff") as mask:
        np.testing.assert_array_equal(np.asarray(cutout), result.cutout())
        np.testing.assert_array_equal(np.asarray(mask), result.mask() * 255)
    with Image.open(tmp_path / "c.webp") as saliency:
        assert saliency.format == "WEBP"
    for name, what, message in (
        ("a.jpg", "cutout", "a.jpg keeps no transparency. Fix: a background in the settings, or one of png"),
        ("a", "cutout", r"expected a name that ends with one of .png, .* Fix: such as .*a.png"),
        ("a.png", "mask2", "unknown. Fix: one of cutout, mask"),
    ):
        with pytest.raises(ValueError, match=message):
            result.save(tmp_path / name, what)
    over_white = predictor(IMAGE, CutoutSettings(background=Background((255, 255, 255))))
    over_white.save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as picture:
        assert picture.mode == "RGB"


def test_removing_returns_the_type_that_was_given(predictor):
    expected = predictor(IMAGE).cutout()
    found = remove(as_png(IMAGE), predictor)
    assert isinstance(found, bytes)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(found))), expected)
    image = remove(Image.fromarray(IMAGE), predictor)
    assert isinstance(image, Image.Image)
    np.testing.assert_array_equal(np.asarray(image), expected)
    np.testing.assert_array_equal(remove(IMAGE, predictor), expected)
    np.testing.assert_array_equal(remove(IMAGE, predictor, only_mask=True), expected[..., 3])
    over_blue = remove(IMAGE, predictor, CutoutSettings(background=Background((0, 0, 255))))
    assert over_blue.shape == (9, 12, 3)

    class Plugin(Image.Image):
        """As the classes of plugins, which are not of the module PIL."""

    opened = Plugin()
    opened.__dict__.update(Image.fromarray(IMAGE).__dict__)
    np.testing.assert_array_equal(np.asarray(remove(opened, predictor)), expected)
    with pytest.raises(FileNotFoundError, match="absent.onnx"):
        remove(IMAGE, Path("absent.onnx"))
    with pytest.raises(TypeError, match=r"got str. Fix: Predictor\(...\)\(source\).cutout\(\)"):
        remove("a.png", predictor)


def test_profiles_of_photographs_are_those_of_results(predictor, tmp_path):
    result = predictor(as_png(IMAGE * np.uint8([0, 1, 1]), icc_profile=adobe_rgb()))
    for what in ("cutout", "saliency"):
        result.save(tmp_path / "a.png", what)
        with Image.open(tmp_path / "a.png") as saved:
            assert saved.info.get("icc_profile") == (adobe_rgb() if what == "cutout" else None)
    assert np.unique(result.composite("red").reshape(-1, 3), axis=0).tolist() == [[219, 0, 0]]  # in Adobe RGB


def test_profiles_survive_removing(predictor):
    found = remove(as_png(IMAGE, icc_profile=adobe_rgb()), predictor)
    assert Image.open(io.BytesIO(found)).info["icc_profile"] == adobe_rgb()
    image = Image.open(io.BytesIO(as_png(IMAGE, icc_profile=adobe_rgb())))
    assert remove(image, predictor).info["icc_profile"] == adobe_rgb()
    assert "icc_profile" not in remove(image, predictor, only_mask=True).info


def test_all_public_names_can_be_imported():
    for name in paddleseg_u2net.__all__:
        assert getattr(paddleseg_u2net, name).__name__ == name
    with pytest.raises(AttributeError):
        paddleseg_u2net.absent  # noqa: B018


def test_fix_of_a_file_opened_as_text_is_followed(tmp_path, predictor):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P2 2 2 9 0 3 6 9\n")
    with path.open() as file, pytest.raises(TypeError, match="gives str. Fix: open it as binary, with 'rb'"):
        predictor(file)
    with path.open("rb") as file:
        assert np.asarray(predictor(file)).shape == (2, 2)
