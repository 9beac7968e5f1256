"""Pictures of single images."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.data.visualize import make_palette
from paddleseg_u2net.reports.pictures import DIMMED, EXTRA, HIT, MISSED, Item, draw, error_map, short_names

GREY = np.full((2, 4, 3), 100, np.uint8)


def mixed(color, strength, below=100 * DIMMED + 255 * (0.5 - DIMMED / 2)) -> list[int]:
    return (below + strength * (np.array(color) - below)).round().astype(int).tolist()


def test_error_map_shows_found_missed_extra_and_ignored_pixels():
    mask = np.array([[1, 1, 0, 0]] * 2, np.float32)
    found = np.array([[1, 0.25, 0.5, 0]] * 2, np.float32)
    drawn = error_map(GREY, mask, found).astype(int)
    assert drawn[0, 0].tolist() == mixed(HIT, 0.6)
    half = mixed(HIT, 0.6 * 0.25, below=np.full(3, 100 * DIMMED + 255 * (0.5 - DIMMED / 2)))
    assert np.abs(drawn[0, 1] - mixed(MISSED, 0.8 * 0.75, np.array(half))).max() <= 1
    assert drawn[0, 2].tolist() == mixed(EXTRA, 0.4)
    assert drawn[0, 3].tolist() == mixed(HIT, 0)
    mask[1, 3] = IGNORE
    assert error_map(GREY, mask, found)[1, 3].tolist() == [255, 0, 255]


def test_error_map_of_classes_shows_wrong_pixels():
    mask, found = (np.array([row] * 2, np.uint8) for row in ([0, 1, 2, IGNORE], [0, 2, 2, 1]))
    drawn = error_map(GREY, mask, found)
    assert drawn[0].tolist() == [mixed(HIT, 0), mixed(EXTRA, 0.8), mixed(HIT, 0), [255, 0, 255]]


def test_pictures_of_any_size_have_the_height_of_the_page():
    for shape in ((1, 1), (7, 300), (300, 7)):
        values = np.zeros(shape, np.float32)
        pictures = draw(Item(np.zeros((*shape, 3), np.uint8), values, values), make_palette(1))
        assert [picture.caption for picture in pictures] == ["photograph", "mask", "prediction", "errors"]
        for picture in pictures:
            data = base64.b64decode(picture.uri.removeprefix("data:image/jpeg;base64,"))
            assert 80 <= cv2.imdecode(np.frombuffer(data, np.uint8), 1).shape[1] <= 720
    assert len(draw(Item(None, values, values), make_palette(1))) == 3


def test_names_lose_the_folder_that_all_share():
    assert short_names(["/d/a/1.jpg", "/d/b/1.jpg"]) == {"/d/a/1.jpg": "a/1.jpg", "/d/b/1.jpg": "b/1.jpg"}
    assert short_names(["1.jpg"]) == {"1.jpg": "1.jpg"}
    assert short_names(["/d/1.jpg", "e/2.jpg"]) == {"/d/1.jpg": "/d/1.jpg", "e/2.jpg": "e/2.jpg"}
    assert short_names([]) == {}
