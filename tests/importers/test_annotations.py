"""Classes of labels, and masks of annotated images."""

from __future__ import annotations

from pathlib import Path

import pytest
from annotation_files import SQUARE

from paddleseg_u2net.importers.annotations import IGNORE_LABEL, AnnotatedImage, Region
from paddleseg_u2net.importers.drawing import draw_mask
from paddleseg_u2net.importers.labels import assign_classes


def test_unknown_or_too_many_classes_are_rejected():
    with pytest.raises(ValueError, match="class 'dgo': .* no such label. Did you mean 'dog'"):
        assign_classes(["dog", "cat"], ["cat", "dgo"])
    with pytest.raises(ValueError, match="contain no object"):
        assign_classes([IGNORE_LABEL])
    with pytest.raises(ValueError, match="255 classes, expected at most 254. Fix:"):
        assign_classes([f"c{n}" for n in range(255)])
    assert set(assign_classes([f"c{n}" for n in range(255)], saliency=True)[1].values()) == {0, 1, 255}
    assert assign_classes(["b", "a", "b"], saliency=True) == (
        ["b", "a"],
        {"_background_": 0, "b": 1, "a": 1, "__ignore__": 255},
    )


def test_shape_with_another_label_is_left_out():
    image = AnnotatedImage(Path("a.jpg"), "a", "", None, [Region("", "dog", "outlines", SQUARE)], False)
    assert not draw_mask(image, {}, 4, 6)[0].any()
