"""Palettes of indexed masks: equal, in another order, different."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support import draw_pair

from paddleseg_u2net.data.dataset import open_datasets
from paddleseg_u2net.data.inspection import inspect
from paddleseg_u2net.data.masks import MaskLevels, read_raw, tally
from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.data.palettes import compare, read_colors
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data_check.survey import examine
from paddleseg_u2net.errors import ConfigError, DataError

RED, GREEN, BLUE, BLACK, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255)
# what a person sees: 0 is the background
DRAWN = np.array([[0, 1, 2, 2], [1, 1, 0, 0]], np.uint8)
OBJECT = np.eye(20, dtype=np.uint8)


def write_indexed(path, picture: np.ndarray, order: list[tuple[int, int, int]], spare=()) -> None:
    """Store an RGB picture (H, W, 3) with a palette in the given order, and colours that are not used."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(picture.shape[:2], np.uint8)
    for index, color in enumerate(order):
        values[(picture == color).all(-1)] = index
    image = Image.frombytes("P", values.shape[::-1], values.tobytes())
    image.putpalette([n for color in (*order, *spare) for n in color])
    image.save(path)


def spec_of(folder, orders, drawn=DRAWN, colors=(RED, GREEN, BLUE), **options) -> DatasetSpec:
    """A data set whose masks show the same picture, stored with palettes of different orders."""
    picture, pairs = np.array(colors, np.uint8)[drawn], []
    for index, order in enumerate(orders):
        name = f"p{index}"
        draw_pair(folder, name, size=drawn.shape[:2] if min(drawn.shape) > 8 else (16, 16))
        Image.fromarray(np.random.default_rng(index).integers(0, 255, (*drawn.shape, 3), np.uint8)).save(
            folder / "images" / f"{name}.png"
        )
        write_indexed(folder / "masks" / f"{name}.png", picture, order)
        pairs.append(Pair(folder / "images" / f"{name}.png", folder / "masks" / f"{name}.png"))
    return DatasetSpec(pairs, **{"num_classes": 3, "name": folder.name, **options})


def test_colours_in_another_order_are_classes_by_colour_and_that_is_said(tmp_path, caplog):
    caplog.set_level("INFO")
    spec = spec_of(tmp_path, [[RED, GREEN, BLUE], [RED, GREEN, BLUE], [GREEN, BLUE, RED], [BLUE, RED, GREEN]])
    (dataset,) = open_datasets([spec])
    for index in range(4):
        np.testing.assert_array_equal(dataset.load(index)[1], DRAWN)
    text = "the palettes of 2 masks hold the same colours in another order, first: "
    assert f"{text}{tmp_path}/masks/p2.png. Classes are found by colour: 0 (255, 0, 0), 1 (0," in caplog.text
    assert "pixel = class id by colour" in caplog.text


def test_two_halves_that_swap_background_and_object_are_one_data_set(tmp_path):
    orders = [[RED, GREEN], [RED, GREEN], [GREEN, RED], [GREEN, RED]]
    spec = spec_of(tmp_path, orders, OBJECT, (RED, GREEN), num_classes=1)
    (dataset,) = open_datasets([spec])
    shares = [content.share for content in inspect(spec).contents if content]
    assert shares == [pytest.approx(1 / 20)] * 4
    for index in range(4):
        np.testing.assert_array_equal(dataset.load(index)[1], OBJECT)


def test_train_and_val_are_compared_too(tmp_path):
    specs = [
        spec_of(tmp_path / "train", [[RED, GREEN, BLUE]] * 3),
        spec_of(tmp_path / "val", [[GREEN, RED, BLUE]] * 2, mode="val"),
    ]
    for dataset in (*open_datasets(specs), *examine(specs).datasets):
        encoding = dataset.encoding
        for pair in dataset.spec.pairs:
            np.testing.assert_array_equal(encoding.decode(read_raw(pair.mask)), DRAWN)


def test_other_colours_are_an_error_that_names_both_files(tmp_path):
    spec = spec_of(tmp_path, [[RED, GREEN, BLUE]] * 2)
    write_indexed(
        tmp_path / "masks" / "p1.png", np.array([RED, WHITE, BLUE], np.uint8)[DRAWN], [RED, WHITE, BLUE]
    )
    with pytest.raises(DataError) as caught:
        open_datasets([spec])
    assert str(caught.value) == (
        f"{tmp_path}/masks/p1.png: the palette has the colour (255, 255, 255) for the value 1, but "
        f"(0, 255, 0) in {tmp_path}/masks/p0.png. Fix: store all masks with one palette, or u2net "
        "make-dataset --colors converts them by colour"
    )
    write_indexed(tmp_path / "masks" / "p1.png", np.array([RED, GREEN, BLUE])[DRAWN], [RED, GREEN, BLUE])
    assert len(open_datasets([spec])[0]) == 2  # the fix works


def levels(*masks: dict[int, tuple[int, int, int]], kind="palette") -> list[MaskLevels]:
    """Masks whose used values have these colours."""
    made = []
    for index, colors in enumerate(masks):
        palette = np.zeros((256, 3), np.uint8)
        for value, color in colors.items():
            palette[value] = color
        made.append(MaskLevels(f"m{index}", kind, np.array(list(colors)), palette))
    return made


RAMP = {value: (value,) * 3 for value in (0, 1, 2)}


@pytest.mark.parametrize(
    ("masks", "reordered", "wrong"),
    [
        ([{0: BLACK, 1: RED}, {0: BLACK, 2: GREEN}, {0: BLACK}], [], []),  # parts of one palette
        ([{0: BLACK, 1: RED}, {0: BLACK, 1: RED, 255: WHITE}], [], []),  # an ignored border
        ([RAMP, {0: BLACK, 1: RED, 2: GREEN}], [], []),  # greys that only repeat the values
        ([{0: BLACK, 1: BLACK}, {0: BLACK, 1: RED}], [], []),  # a palette that tells nothing
        ([{0: BLACK, 1: RED}] * 2 + [{0: RED}], ["m2"], []),  # a mask of one class, of the wrong value
        ([{0: BLACK, 1: RED}] * 2 + [{0: BLACK, 2: RED}], ["m2"], []),  # one colour at two values
        ([{0: WHITE, 1: BLACK}, {0: BLACK, 1: WHITE}], ["m0"], []),  # of two halves that whose 0 is black
        ([{0: RED, 1: BLACK}] * 2 + [{0: BLACK}], ["m2"], []),  # a mask of nothing but black
        ([{0: RED, 1: BLACK}] * 2 + [RAMP], [], []),
        # the majority counts
        ([{0: BLACK, 1: WHITE}, {0: WHITE, 1: BLACK}, {0: WHITE, 1: BLACK}], ["m0"], []),
        ([{0: BLACK, 1: RED}, {0: BLACK, 1: GREEN}], [], [1]),
        ([{0: BLACK, 1: RED}] * 2 + [{0: RED, 1: GREEN}], [], [2]),
    ],
)
def test_palettes_agree_are_reordered_or_differ(masks, reordered, wrong):
    found = compare([None, *levels(*masks)])
    assert list(found.reordered) == reordered
    assert [index - 1 for index in found.faults] == wrong
    assert (found.colors is not None) == bool(reordered)


def test_colours_that_are_not_used_and_masks_without_palette_do_not_matter(tmp_path):
    picture = np.array([BLACK, RED], np.uint8)[DRAWN % 2]
    for name, spare in (("a", [GREEN]), ("b", [BLUE, WHITE])):
        write_indexed(tmp_path / f"{name}.png", picture, [BLACK, RED], spare)
    raws = [read_raw(tmp_path / f"{name}.png") for name in "ab"]
    masks = [MaskLevels(str(i), raw.kind, tally(raw)[0], raw.palette) for i, raw in enumerate(raws)]
    masks += [MaskLevels("grey", "8-bit", np.array([0, 1, 2]))]
    assert compare(masks)[:3] == (None, [], {})


def test_mask_encoding_index_takes_the_values_and_warns(tmp_path, caplog):
    spec = spec_of(tmp_path, [[RED, GREEN, BLUE], [GREEN, BLUE, RED]], mask_encoding="index")
    (dataset,) = open_datasets([spec])
    np.testing.assert_array_equal(dataset.load(1)[1], np.array([2, 0, 1])[DRAWN])
    assert "mask_encoding: index takes the values, but the palettes of 1 masks have other" in caplog.text


def test_mask_colors_say_which_colour_is_which_class(tmp_path):
    colors = {0: BLUE, 1: RED, 2: GREEN}
    spec = spec_of(tmp_path, [[RED, GREEN, BLUE], [GREEN, BLUE, RED]], mask_colors=colors)
    (dataset,) = open_datasets([spec])
    for index in range(2):
        np.testing.assert_array_equal(dataset.load(index)[1], np.array([1, 2, 0])[DRAWN])
    spec = spec_of(tmp_path, [[RED, GREEN, BLUE]], mask_colors={0: RED, 1: GREEN, 2: WHITE})
    message = (
        r"p0.png: the palette has the colour \(0, 0, 255\) for the value 2, .*Fix: add it to mask_colors$"
    )
    with pytest.raises(DataError, match=message):
        open_datasets([spec])


def test_ignored_pixels_need_no_colour_in_mask_colors(tmp_path):
    order = [BLACK, RED, GREEN]
    spec = spec_of(tmp_path, [order], colors=(BLACK, RED, GREEN), ignore_index=2, num_classes=2)
    (dataset,) = open_datasets([replace(spec, mask_colors={0: BLACK, 1: RED})])
    np.testing.assert_array_equal(dataset.load(0)[1], np.array([0, 1, 255])[DRAWN])


@pytest.mark.parametrize(
    "orders", [[[WHITE, BLACK]] * 2, [[WHITE, BLACK], [BLACK, WHITE]], [[BLACK, WHITE]] * 2]
)
def test_white_of_a_palette_is_the_object_whatever_its_value(tmp_path, orders):
    (dataset,) = open_datasets([spec_of(tmp_path, orders, OBJECT, (BLACK, WHITE), num_classes=1)])
    for index in range(2):
        np.testing.assert_array_equal(dataset.load(index)[1], OBJECT)


def test_black_and_white_are_values_where_classes_or_index_are_asked_for(tmp_path):
    for name, options in (("a", {"num_classes": 2}), ("b", {"num_classes": 1, "mask_encoding": "index"})):
        spec = spec_of(tmp_path / name, [[WHITE, BLACK]] * 2, OBJECT, (BLACK, WHITE), **options)
        np.testing.assert_array_equal(open_datasets([spec])[0].load(0)[1], 1 - OBJECT)


def test_greys_of_a_palette_are_soft_values_if_grey_is_asked_for(tmp_path):
    colors = [BLACK, (51,) * 3, WHITE]
    spec = spec_of(tmp_path, [colors, colors[::-1]], colors=colors, num_classes=1, mask_encoding="grey")
    (dataset,) = open_datasets([spec])
    for index in range(2):
        np.testing.assert_allclose(dataset.load(index)[1], np.array([0, 0.2, 1], np.float32)[DRAWN])


@pytest.mark.parametrize(
    "value",
    [
        *([RED, GREEN], {0: RED, 1: RED}, {"a": RED}, {0: (1, 2)}, {0: (1, 2, 256)}, {}, {0: "red"}),
        *({256: RED}, {-1: RED}),
    ],
)
def test_mask_colors_that_are_no_colours_are_rejected(value):
    with pytest.raises(ConfigError, match="train_dataset: mask_colors: expected different colours as"):
        read_colors("train_dataset", value)
