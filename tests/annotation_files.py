"""Small COCO and LabelMe files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def encode(mask: np.ndarray) -> tuple[list[int], str]:
    """COCO's runs and their compressed text, by its description: an encoder of the tests' own."""
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


def coco(path: Path, annotations: list, **changes) -> Path:
    content = {
        "images": [{"id": 7, "file_name": "sub/ü a.jpg", "height": 4, "width": 6}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"image_id": 7, "category_id": 3, "segmentation": SQUARE, **row} for row in annotations
        ],
    }
    path.write_text(json.dumps(content | changes))
    return path


def labelme(path: Path, *shapes: dict, **changes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"version": "5.4.1", "shapes": list(shapes), "imagePath": f"{path.stem}.jpg", "imageData": None}
    path.write_text(json.dumps(content | {"imageHeight": 4, "imageWidth": 6} | changes))
    return path


def shape(label: str, points: list, kind: str | None = "polygon", **more) -> dict:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}
