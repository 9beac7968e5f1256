"""Small COCO and LabelMe files for tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from paddleseg_u2net.importers.annotations import AnnotationSet
from paddleseg_u2net.importers.drawing import draw_mask
from paddleseg_u2net.importers.labels import assign_classes, merge_labels


def encode_rle(mask: np.ndarray) -> tuple[list[int], str]:
    """Return COCO's runs and their compressed text: an independent encoder, written from the description."""
    runs, last = [0], 0
    for pixel in mask.T.ravel().tolist():
        if pixel != last:
            runs, last = [*runs, 0], pixel
        runs[-1] += 1
    text = ""
    for index, run in enumerate(runs):
        number = run - (runs[index - 2] if index > 2 else 0)
        while not -16 <= number < 16:
            text += chr(48 + 32 + number % 32)
            number //= 32
        text += chr(48 + number % 32)
    return runs, text


SQUARE = [[0, 0, 4, 0, 4, 4, 0, 4]]


def write_coco(path: Path, annotations: list, **changes) -> Path:
    """Write a file with one 4 x 6 image and two categories; keyword arguments replace its tables."""
    content = {
        "images": [{"id": 7, "file_name": "sub/ü a.jpg", "height": 4, "width": 6}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"image_id": 7, "category_id": 3, "segmentation": SQUARE, **row} for row in annotations
        ],
    }
    path.write_text(json.dumps(content | changes))
    return path


def write_labelme(path: Path, *shapes: dict, **changes) -> Path:
    """Write the file of a 4 x 6 image; keyword arguments replace its keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"version": "5.4.1", "shapes": list(shapes), "imagePath": f"{path.stem}.jpg", "imageData": None}
    path.write_text(json.dumps(content | {"imageHeight": 4, "imageWidth": 6} | changes))
    return path


def labelme_shape(label: str, points: list, kind: str | None = "polygon", **more) -> dict:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def draw_first(
    annotations: AnnotationSet, wanted: list[str] | None = None, saliency: bool = False
) -> np.ndarray:
    """Draw the 4 x 6 mask of the first image."""
    _, values = assign_classes(merge_labels([annotations])[0], wanted, saliency)
    drawn = draw_mask(annotations.images[0], values, 4, 6)
    assert drawn.faults == []
    return drawn.ids


# a bitmap of Supervisely, a ring of 3 x 3 pixels: `encoded_string` in the documentation of
# Bitmap.base64_2_data, supervisely/geometry/bitmap.py
RING = (
    "eJzrDPBz5+WS4mJgYOD19HAJAtLMIMwIInOeqf8BUmwBPiGuQPr///9Lb86/C2QxlgT5BTM4PLuRBuTwebo4hlTMSa44sKHhISMDuxpT"
    "Yrr03F6gDIOnq5/LOqeEJgDM5ht6"
)
