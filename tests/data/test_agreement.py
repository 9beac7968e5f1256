"""What data sets that are used together share: white of 16-bit images, palettes of masks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from paddleseg_u2net.data.agreement import agree, as_classes
from paddleseg_u2net.data.masks import MaskLevels
from paddleseg_u2net.data.palettes import PaletteAgreement
from paddleseg_u2net.data.spec import DatasetSpec

BLACK, WHITE, RED, GREEN = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0)


def record(*colors, top: int = 0):
    """A pair whose mask has these colours at the values 0, 1, …; an empty palette is none."""
    palette = np.array(colors, np.uint8) if colors else None
    levels = np.arange(len(colors) or 2)
    return SimpleNamespace(
        top=top, mask_levels=MaskLevels("m", "palette" if colors else "8-bit", levels, palette)
    )


@pytest.mark.parametrize(
    ("given", "tops", "white", "text"),
    [
        (None, [1000, 0], 1023, "1 16-bit images with values up to 1000: white is 1023 (10 bits). Another"),
        (None, [1000, 3000], 4095, "2 16-bit images with values up to 3000: white is 4095"),
        (5000, [1000, 3000], 5000, "white is 5000"),
        (2000, [1000, 3000], 2000, "img_max: 2000: larger values, up to 3000 in 1 images, become white too"),
        (None, [0, 0], None, ""),
    ],
)
def test_data_sets_share_one_white(caplog, given, tops, white, text):
    caplog.set_level("INFO")
    specs = [DatasetSpec([], 1, white=given, name="train"), DatasetSpec([], 1, name="val")]
    found = agree(specs, [[record(top=top)] for top in tops])
    assert [agreement.white for agreement in found] == [white] * 2
    assert text in caplog.text


def test_faults_of_palettes_belong_to_their_data_set():
    specs = [DatasetSpec([], 2, name=name) for name in ("train", "val")]
    train, val = agree(specs, [[record(BLACK, RED)] * 2, [record(BLACK, RED), record(BLACK, GREEN)]])
    assert (list(train.palettes.faults), list(val.palettes.faults)) == ([], [1])


def test_colours_beyond_mask_colors_are_a_fault():
    spec = DatasetSpec([], 3, mask_colors={0: BLACK, 1: RED})
    (found,) = agree([spec], [[record(BLACK, RED), record(BLACK, RED, GREEN)]])
    assert list(found.palettes.faults) == [1]


def test_palettes_of_0_black_and_1_white_stay_values_beside_masks_of_0_and_1():
    (found,) = agree([DatasetSpec([], 1)], [[record(BLACK, WHITE), record()]])
    assert found.palettes == PaletteAgreement(None, [], {})


def test_values_are_sorted_after_they_are_found_by_colour():
    colors = {0: RED, 1: GREEN, 2: BLACK}
    found = as_classes(record(GREEN, BLACK, RED).mask_levels, PaletteAgreement(colors))
    assert found is not None
    assert found.levels.tolist() == [0, 1, 2]
