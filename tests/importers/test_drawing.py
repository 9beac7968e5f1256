"""What becomes of each annotation when masks are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from paddleseg_u2net.importers.annotations import AnnotatedImage, Region
from paddleseg_u2net.importers.drawing import draw_mask

VALUES = {"_background_": 0, "cat": 1, "dog": 2, "__ignore__": 255}


def box(label: str, left: float, top: float, right: float, bottom: float) -> Region:
    return Region(f"{label} at {left}", label, "rectangle", [[left, top], [right, bottom]])


def image(*regions: Region, in_order: bool = True) -> AnnotatedImage:
    return AnnotatedImage(Path("a.jpg"), "a", "a.json", None, list(regions), in_order)


def outcomes(*regions: Region, in_order: bool = True) -> list[tuple]:
    counts = draw_mask(image(*regions, in_order=in_order), VALUES, 8, 8).counts
    return [(row.outcome, row.reason, row.count, row.first) for row in counts.rows()]


def test_annotation_under_others_is_counted_as_hidden():
    hidden, cover = box("cat", 1, 1, 3, 3), box("dog", 0, 0, 4, 4)
    assert outcomes(hidden, cover) == [
        ("kept", "", 1, ()),
        ("left out", "hidden by other annotations", 1, ("cat at 1",)),
    ]
    assert outcomes(hidden, cover, in_order=False) == [("kept", "", 2, ())]  # the smaller one is on top
    same = box("cat", 0, 0, 4, 4)
    assert outcomes(hidden, same) == [("kept", "", 2, ())]  # its pixels have its class


def test_annotation_without_a_pixel_is_counted():
    reason = "covers no centre of a pixel of the image"
    assert outcomes(box("cat", 20, 20, 30, 30)) == [("left out", reason, 1, ("cat at 20",))]
    assert outcomes(box("cat", 1.6, 1, 2.4, 5)) == [("left out", reason, 1, ("cat at 1.6",))]


def test_background_ignored_pixels_and_other_labels_are_counted():
    found = outcomes(box("_background_", 0, 0, 2, 2), box("__ignore__", 4, 4, 8, 8), box("hare", 2, 2, 4, 4))
    assert found == [
        ("kept", "drawn as background, class 0", 1, ("_background_ at 0",)),
        ("ignored", "label __ignore__", 1, ("__ignore__ at 4",)),
        ("left out", "label is not among --classes", 1, ("hare",)),
    ]


def test_good_outlines_of_an_object_are_drawn_and_the_others_are_faults():
    outlines = [[0, 0, 4, 0, 4, 4, 0, 4], [1, 2, 3, 4], {"size": [9, 9], "counts": [81]}]
    region = Region("here", "cat", "outlines", outlines)
    drawn = draw_mask(image(region), VALUES, 8, 8, skip_faulty=True)
    expected = np.zeros((8, 8), int)
    expected[:4, :4] = 1
    np.testing.assert_array_equal(drawn.ids, expected)
    assert [fault.where for fault in drawn.faults] == ["here: outline 1", "here: outline 2"]
    assert (drawn.counts.count("skipped", "outlines"), drawn.counts.count("kept", "annotations")) == (2, 1)
    assert draw_mask(image(region), VALUES, 8, 8).counts.count("skipped", "outlines") == 0
