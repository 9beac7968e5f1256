"""What labelling configs ask for, and predictions as Label Studio stores them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.serving.brush import decode_brush
from paddleseg_u2net.serving.faults import ApiFault
from paddleseg_u2net.serving.labelling import (
    EXAMPLE,
    Control,
    clicks_of,
    match_labels,
    parse_config,
    to_label_studio,
)

CONTROL = Control("tag", "image", "image", ("Object",))
IMAGE = '<Image name="img" value="$photo"/>'
BRUSH = '<BrushLabels name="paint" toName="img"><Label value="A"/><Label value="B" alias="b"/></BrushLabels>'


def test_example_of_messages_is_a_config():
    assert parse_config(EXAMPLE) == CONTROL


def test_config_of_the_documentation_is_one():
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    assert parse_config(page.split("```xml\n")[1].split("```")[0]) == CONTROL


@pytest.mark.parametrize(
    "text",
    [
        f"<View>{IMAGE}{BRUSH}</View>",
        f"<View>{BRUSH}{IMAGE}</View>",
        f'<?xml version="1.0" encoding="latin-1"?><View><Header value="ä"/>{BRUSH}{IMAGE}</View>',
        f'<View><Choices name="r" toName="img"><Label value="C"/></Choices>{IMAGE}{BRUSH}</View>',
        f'<View><BrushLabels name="t" toName="text"><Label value="C"/></BrushLabels>{IMAGE}{BRUSH}</View>',
        f"<View>{IMAGE.replace('Image', 'image')}{BRUSH.replace('toName', 'toname')}</View>",
    ],
)
def test_brush_and_its_image_are_found(text):
    assert parse_config(text) == Control("paint", "img", "photo", ("A", "b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as XML"),
        ("<View>", "cannot be read as XML"),
        ("\x00", "cannot be read as XML"),
        ("\ud800", "cannot be read as XML"),
        ("<View/>", "no <BrushLabels> whose toName"),
        (f"<View>{BRUSH}</View>", "no <BrushLabels> whose toName"),
        (f'<View>{IMAGE}<BrushLabels name="b" toName="img"/></View>', "the brush 'b' has no labels"),
        (f'<View><Image name="img" value="x"/>{BRUSH}</View>', "is 'x', expected"),
        (f'<View><Image name="img" value="$"/>{BRUSH}</View>', "expected"),
        ("<a>" * 51 + "</a>" * 51, "holds 51 levels of nested tags"),
        ("<a>" + "<b/>" * 20_000 + "</a>", "holds 20,001 tags"),
        ("<a>" + " " * (1 << 20) + "</a>", "characters, expected at most"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "document type"),
        ("<a>&x;</a>", "undefined entity"),
    ],
)
def test_config_that_cannot_be_used_is_rejected(text, message):
    with pytest.raises(ApiFault, match=message) as stop:
        parse_config(text)
    assert "Fix: " in stop.value.message
    assert stop.value.status == 400


@pytest.mark.parametrize(
    ("labels", "names", "multilabel", "expected"),
    [
        (["Person"], ["background", "object"], False, {1: "Person"}),
        (["Person", "Dog"], ["background", "object"], False, {1: "Person"}),
        (["Person", " Object"], ["background", "object"], False, {1: " Object"}),
        (["Background", "object"], ["background", "object"], False, {0: "Background", 1: "object"}),
        (["car", "Road"], ["background", "road", "sky", "car"], False, {1: "Road", 3: "car"}),
        (["a", "b"], ["background", "road", "sky"], False, {1: "a", 2: "b"}),
        (["a", "b"], ["disc", "cup"], True, {0: "a", 1: "b"}),
    ],
)
def test_classes_take_labels_by_name_or_by_order(labels, names, multilabel, expected):
    assert match_labels(labels, names, multilabel) == expected


def test_labels_that_fit_neither_by_name_nor_by_order_are_rejected():
    with pytest.raises(ApiFault, match="labels a, b do not fit the model's classes road, sky, car") as stop:
        match_labels(["a", "b"], ["background", "road", "sky", "car"])
    assert match_labels(["road", "sky", "car"], ["background", "road", "sky", "car"])
    assert "Fix: labels with these names" in stop.value.message


def painted(region: dict) -> np.ndarray:
    """Where a region is, read back from its code."""
    return (
        decode_brush(bytes(region["value"]["rle"]), region["original_height"], region["original_width"]) > 0
    )


def test_object_becomes_one_region():
    saliency = np.zeros((1, 4, 6), np.float32)
    saliency[0, 1:3, 2:5] = 0.75
    saliency[0, 3, 5] = 0.25
    found = to_label_studio(Prediction(saliency), CONTROL, {1: "Object"})
    (region,) = found["result"]
    assert (painted(region) == (saliency[0] == 0.75)).all()
    assert found["score"] == region["score"] == 0.75
    names = {key: region[key] for key in ("from_name", "to_name", "type", "image_rotation")}
    assert names == {"from_name": "tag", "to_name": "image", "type": "brushlabels", "image_rotation": 0}
    assert region["value"]["format"] == "rle"
    assert region["value"]["brushlabels"] == ["Object"]


def test_image_without_objects_has_no_regions():
    assert to_label_studio(Prediction(np.zeros((1, 3, 3), np.float32)), CONTROL, {1: "Object"}) == {
        "result": [],
        "score": 0.0,
    }


def test_each_class_is_a_region():
    probabilities = np.zeros((4, 2, 3), np.float32)
    probabilities[0], probabilities[2, 0], probabilities[3, 1, 1] = 0.3, 0.6, 0.7
    found = to_label_studio(Prediction(probabilities), CONTROL, {1: "road", 2: "sky", 3: "car"})
    assert [region["value"]["brushlabels"] for region in found["result"]] == [["sky"], ["car"]]
    assert painted(found["result"][0]).tolist() == [[True] * 3, [False] * 3]
    assert painted(found["result"][1]).tolist() == [[False] * 3, [False, True, False]]
    assert [round(region["score"], 4) for region in found["result"]] == [0.6, 0.7]


def test_labels_of_a_multilabel_model_overlap():
    probabilities = np.full((2, 2, 2), 0.9, np.float32)
    probabilities[1, 0] = 0.1
    found = to_label_studio(Prediction(probabilities, True), CONTROL, {0: "disc", 1: "cup"})
    assert [painted(region).sum() for region in found["result"]] == [4, 2]


def point(x: float, y: float, positive: bool = True, label: str = "Object") -> dict:
    """A click, as Label Studio sends it; x and y in percent."""
    value = {"x": x, "y": y, "width": 0.3, "keypointlabels": [label]}
    return {"type": "keypointlabels", "is_positive": positive, "original_width": 9, "value": value}


TWO = np.zeros((1, 4, 10), np.float32)
TWO[0, 1:3, 1:4] = TWO[0, :, 6:] = 1


@pytest.mark.parametrize(
    ("points", "columns"),
    [
        ([], [1, 2, 3, 6, 7, 8, 9]),
        ([point(20, 50)], [1, 2, 3]),
        ([point(100, 100)], [6, 7, 8, 9]),
        ([point(20, 50), point(99, 0)], [1, 2, 3, 6, 7, 8, 9]),
        ([point(20, 50), point(99, 0, False)], [1, 2, 3]),
        ([point(99, 0, False)], []),
        ([point(0, 0)], []),
    ],
)
def test_clicks_choose_objects(points, columns):
    clicks = clicks_of({"result": points})
    regions = to_label_studio(Prediction(TWO), CONTROL, {1: "Object"}, clicks)["result"]
    mask = painted(regions[0]) if regions else np.zeros((4, 10), bool)
    assert np.flatnonzero(mask.any(axis=0)).tolist() == columns


def test_clicked_object_takes_the_label_that_was_chosen():
    control = Control("tag", "image", "image", ("Cat", "Dog"))
    for label, expected in (("Dog", "Dog"), ("Bird", "Cat")):
        clicks = clicks_of({"result": [point(20, 50, label=label)]})
        (region,) = to_label_studio(Prediction(TWO), control, {1: "Cat"}, clicks)["result"]
        assert region["value"]["brushlabels"] == [expected]


@pytest.mark.parametrize("context", [None, {}, {"result": None}, {"result": []}, [], "x"])
def test_context_without_clicks_chooses_all(context):
    assert clicks_of(context) == []


@pytest.mark.parametrize(
    "region",
    [
        None,
        {},
        "x",
        {"type": "rectanglelabels", "value": {"x": 1, "y": 2}},
        {"type": "keypointlabels", "value": {"x": "a", "y": 2}},
        {"type": "keypointlabels", "value": {"x": 101, "y": 2}},
        {"type": "keypointlabels", "value": {"x": float("nan"), "y": 2}},
        {"type": "keypointlabels", "value": {"x": 1, "y": 2, "keypointlabels": 5}},
    ],
)
def test_other_context_is_rejected(region):
    with pytest.raises(ApiFault, match="expected points .* Fix: <KeyPointLabels smart"):
        clicks_of({"result": [region]})
