"""Files made from predictions, and their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from paddleseg.utils.visualize import get_color_map_list
from PIL import Image

from paddleseg_u2net.data.visualize import make_palette, paddleseg_palette
from paddleseg_u2net.inference.outputs import OutputSettings, check_outputs, plan_outputs, write_output
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.inference.result import CutoutSettings, Result, to_8bit
from paddleseg_u2net.io.images import Photograph, read_image, write_image

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
SALIENCY = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)


def written(tmp_path, name: str, prediction: Prediction, palette) -> Path:
    path = tmp_path / f"{name}.png"
    result = Result(Photograph(IMAGE), prediction, CutoutSettings(refine_edges=False, foreground=False))
    write_output(name, path, result, OutputSettings(palette), Path("absent.jpg"))
    return path


def test_palette_equals_that_of_paddleseg():
    assert paddleseg_palette(256) == get_color_map_list(256)


def test_custom_colours_replace_the_first_ones():
    palette = make_palette(2, [1, 2, 3, 4, 5, 6])
    assert palette[:2].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert palette[2].tolist() == get_color_map_list(256)[6:9]
    assert make_palette(1)[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("custom", [[1, 2], [1, 2, 3], [0, 0, 0, 0, 0, 256], [-1, 0, 0, 0, 0, 0], [0] * 7])
def test_invalid_colours_are_rejected(custom):
    with pytest.raises(
        ValueError,
        match=r"--custom_color .*: expected R G B of each of the 2 classes, background first, each 0",
    ):
        make_palette(2, custom)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_output_holds_what_the_table_says(tmp_path, channels):
    maps = SALIENCY[None] if channels == 1 else np.stack([1 - SALIENCY, SALIENCY / 3, SALIENCY * 2 / 3])
    prediction, palette = Prediction(maps), make_palette(channels)
    saliency = np.asarray(Image.open(written(tmp_path, "saliency", prediction, palette)))
    np.testing.assert_array_equal(saliency, np.floor(SALIENCY * 255 + 0.5))
    assert saliency.dtype == np.uint8
    cutout = np.asarray(Image.open(written(tmp_path, "cutout", prediction, palette)))
    visible = IMAGE * (saliency > 0)[..., None]
    np.testing.assert_array_equal(cutout, np.dstack([visible, saliency]))
    colored = Image.open(written(tmp_path, "pseudo_color", prediction, palette))
    assert colored.mode == "P"
    np.testing.assert_array_equal(np.asarray(colored), prediction.classes)
    np.testing.assert_array_equal(np.asarray(colored.convert("RGB")), palette[prediction.classes])
    added = read_image(written(tmp_path, "added", prediction, palette)).astype(float)
    np.testing.assert_allclose(added, 0.6 * IMAGE + 0.4 * palette[prediction.classes], atol=0.51)


def test_8_bit_values_are_rounded_to_the_nearest():
    assert to_8bit(np.array([0, 0.4999 / 255, 0.5001 / 255, 1])).tolist() == [0, 0, 1, 255]


def plan(*names: str, save_dir="out", outputs=("added", "cutout")) -> list[dict[str, str]]:
    root = Path("photos")
    plans = plan_outputs([root / name for name in names], root, Path(save_dir), outputs)
    return [{key: str(path) for key, path in plan.items()} for plan in plans]


def test_sub_folders_are_mirrored_and_names_are_kept():
    assert plan("a.jpg", "sub/dir/b.c.png") == [
        {"added": "out/added_prediction/a.jpg", "cutout": "out/cutout/a.png"},
        {"added": "out/added_prediction/sub/dir/b.c.png", "cutout": "out/cutout/sub/dir/b.c.png"},
    ]


def test_images_with_the_same_stem_keep_their_full_names():
    found = [p["cutout"] for p in plan("a.jpg", "a.png", "sub/a.jpg")]
    assert found == ["out/cutout/a.jpg.png", "out/cutout/a.png.png", "out/cutout/sub/a.png"]


def test_full_name_that_is_taken_gets_another_suffix():
    found = [p["cutout"] for p in plan("a.jpg", "a.png", "a.jpg.png")]
    assert found == ["out/cutout/a.jpg.png", "out/cutout/a.png.png", "out/cutout/a.jpg.png.png"]


def test_image_of_an_unwritable_format_becomes_png():
    assert plan("a.gif")[0]["added"] == "out/added_prediction/a.gif.png"


def test_unknown_outputs_are_rejected():
    with pytest.raises(
        ValueError, match="--outputs masks: unknown. Fix: any of added,pseudo_color,saliency,cutout"
    ):
        check_outputs(["masks"], OutputSettings())


def test_overwriting_an_input_is_rejected(tmp_path):
    image = tmp_path / "cutout" / "a.png"
    with pytest.raises(ValueError, match="is an image to predict and would be overwritten"):
        plan_outputs([image], tmp_path / "cutout", tmp_path, ["cutout"])


def test_image_too_large_for_its_format_is_named_in_the_message(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"a.webp: cannot encode an image of shape .* in this format. Fix: use another format",
    ):
        write_image(tmp_path / "a.webp", np.zeros((4, 17000, 3), np.uint8))
