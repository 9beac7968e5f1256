"""rembg's API: its clients need no change."""

import numpy as np
import pytest
from served import form, photograph, pixels, png, small_predictor

from paddleseg_u2net.inference.rembg import rembg_settings
from paddleseg_u2net.inference.result import to_8bit

PICTURE = photograph()
IMAGE = png(PICTURE)


@pytest.fixture(scope="module")
def predictor():
    return small_predictor()


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ({}, {}),
        ({"ppm": "true"}, {"post_process_mask": True}),
        ({"a": "1", "af": "240", "ab": "10", "ae": "10"}, {"alpha_matting": True}),
        ({"dc": "on"}, {"decontaminate": True}),
        ({"bgc": "255,0,10,255"}, {"bgcolor": (255, 0, 10, 255)}),
        ({"bgc": "255,0,10,0"}, {}),
        ({"bgc": ""}, {}),
    ],
)
def test_parameters_in_the_form_and_in_the_address(served, predictor, given, settings):
    expected = predictor(IMAGE, rembg_settings(**settings)).cutout()
    fields = [(name, None, value.encode()) for name, value in given.items()]
    in_form = served.send("/api/remove", ("file", "a.jpg", IMAGE), *fields)
    query = "&".join(f"{name}={value}" for name, value in given.items())
    in_address = served.send(f"/api/remove?{query}", ("file", "a.jpg", IMAGE))
    for answer in (in_form, in_address):
        assert (answer.status, answer.headers["content-type"]) == (200, "image/png"), answer.body[:300]
        assert np.array_equal(pixels(answer.body), expected)


def test_only_mask_is_the_map(served, predictor):
    answer = served.send("/api/remove", ("file", "a.jpg", IMAGE), ("om", None, b"true"))
    assert np.array_equal(pixels(answer.body), to_8bit(predictor(IMAGE).saliency))


def test_accept_gives_webp_and_jpeg_over_a_background(served):
    for accept, query in (("image/webp", ""), ("image/jpeg", "?bgc=255,255,255,255")):
        body, kind = form(("file", "a.png", IMAGE))
        answer = served.ask("POST", f"/api/remove{query}", body, {**kind, "Accept": accept})
        assert answer.headers["content-type"] == accept
        assert pixels(answer.body).shape[:2] == PICTURE.shape[:2]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("bgc=1,2,3", "400 bad_parameter"),
        ("bgc=red", "400 bad_parameter"),
        ("bgc=1,2,3,4", "400 bad_parameter"),
        ("a=perhaps", "400 bad_parameter"),
        ("vm=true", "400 unknown_parameter"),
        ("extras={}", "400 unknown_parameter"),
        ("model=birefnet", "404 unknown_model"),
    ],
)
def test_what_is_not_known_is_refused(served, query, code):
    assert served.send(f"/api/remove?{query}", ("file", "a.jpg", IMAGE)).code == code


def test_a_background_image_is_refused(served):
    answer = served.send("/api/remove", ("file", "a.png", IMAGE), ("background", "b.png", IMAGE))
    assert answer.code == "400 bad_request"
