"""Previews of validation images: which ones, and what each cell shows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from support import draw_pair, pixels, write_mask

from paddleseg_u2net.data.dataset import open_datasets
from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data.visualize import make_palette
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.training.previews import chosen_images, colored, draw_preview, write_preview


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [0]), (2, [0, 1]), (6, [0, 1, 2, 3, 4, 5]), (101, [0, 20, 40, 60, 80, 100])],
)
def test_images_are_spread_over_the_list(count, expected):
    assert chosen_images(count) == expected


def opened(root, names, num_classes=1):
    pairs = [Pair(root / "images" / f"{name}.png", root / "masks" / f"{name}.png") for name in names]
    return open_datasets([DatasetSpec(pairs, num_classes, mode="val")])[0]


def test_rows_are_image_mask_and_one_prediction_per_network(tmp_path):
    draw_pair(tmp_path, "ü", size=(112, 80))
    draw_pair(tmp_path, "b", size=(56, 112))
    data = opened(tmp_path, ["ü", "b"])
    calls = []

    def network(value):
        def predict(images):
            calls.append([image.shape for image in images])
            return [Prediction(np.full((1, *image.shape[:2]), value, np.float32)) for image in images]

        return predict

    preview = draw_preview(data, {"model": network(0.5), "ema_model": network(0.25)})
    assert preview.shape == (18 + 4 * 116, 82 + 80 + 4 + 224 + 4, 3)
    left, right = (slice(82, 162), slice(166, 390))  # columns of the two images
    rows = [slice(18 + 116 * row, 130 + 116 * row) for row in range(4)]
    np.testing.assert_array_equal(preview[rows[0], left], pixels(tmp_path / "images" / "ü.png", "RGB"))
    np.testing.assert_array_equal(preview[rows[1], left], pixels(tmp_path / "masks" / "ü.png", "RGB"))
    np.testing.assert_array_equal(  # twice as large, by repeating pixels
        preview[rows[1], right], pixels(tmp_path / "masks" / "b.png", "RGB").repeat(2, 0).repeat(2, 1)
    )
    assert (preview[rows[2], left] == 128).all()
    assert (preview[rows[3], right] == 64).all()
    assert calls == [[(112, 80, 3)], [(112, 80, 3)], [(56, 112, 3)], [(56, 112, 3)]]  # sizes differ


def test_classes_have_their_colours_and_ignored_pixels_are_magenta():
    palette = make_palette(3)
    found = colored(np.array([[0, 1, 2, 255]], np.uint8), palette)
    np.testing.assert_array_equal(found[0], [*palette[:3], (255, 0, 255)])
    soft = colored(np.array([[0, 0.5, 1, 255]], np.float32), palette)
    np.testing.assert_array_equal(soft[0], [[0] * 3, [128] * 3, [255] * 3, (255, 0, 255)])


def test_predicted_classes_have_the_colours_of_the_mask(tmp_path):
    mask = np.repeat(np.repeat([[0, 1], [2, 1]], 56, 0), 56, 1).astype(np.uint8)
    write_mask(tmp_path / "masks" / "a.png", mask)
    write_mask(tmp_path / "images" / "a.png", np.full((112, 112, 3), 90, np.uint8))
    probabilities = (mask == np.arange(3)[:, None, None]).astype(np.float32)
    preview = draw_preview(opened(tmp_path, "a", 3), {"model": lambda images: [Prediction(probabilities)]})
    truth, prediction = preview[134:246, 82:194], preview[250:362, 82:194]
    np.testing.assert_array_equal(truth, make_palette(3)[mask])
    np.testing.assert_array_equal(prediction, truth)


@pytest.mark.parametrize("size", [(1, 1), (2000, 3), (3, 2000)])
def test_extreme_sizes_fit_their_cell(tmp_path, size):
    write_mask(tmp_path / "masks" / "a.png", np.zeros(size, np.uint8))
    write_mask(tmp_path / "images" / "a.png", np.zeros((*size, 3), np.uint8))
    preview = draw_preview(opened(tmp_path, "a"), {})
    assert preview.shape[0] == 18 + 2 * 116
    assert 82 + 56 + 4 <= preview.shape[1] <= 82 + 224 + 4


def test_file_has_few_colours_and_looks_like_the_preview(tmp_path, photos):
    photo = cv2.resize(photos["coffee.png"], (300, 200), interpolation=cv2.INTER_AREA)
    write_preview(tmp_path / "previews" / "iter_1.png", photo)
    stored = pixels(tmp_path / "previews" / "iter_1.png", "RGB")
    assert np.abs(stored.astype(int) - photo).mean() < 8
    assert len(np.unique(stored.reshape(-1, 3), axis=0)) <= 256
