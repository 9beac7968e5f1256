"""Statistics of a data set: class balance, image sizes, foreground shares, and a suggested input size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from paddleseg_u2net.data_check.survey import SurveyedDataset

MULTIPLE, SMALLEST, LARGEST = 32, 256, 512  # pixels; of the sides of a suggested input size
SAME_SHAPE = 0.1  # relative distance from the median aspect ratio within which images have that shape
QUANTILES = {"min": 0, "5%": 0.05, "median": 0.5, "95%": 0.95, "max": 1}


def summary(dataset: SurveyedDataset) -> dict[str, Any]:
    """Statistics of a data set as plain data; keys are absent where no file could be read."""
    sizes = [pair.record.size for pair in dataset.readable if pair.record.size]
    shares = [content.share for content in dataset.contents]
    levels = [pair.record.mask_levels for pair in dataset.pairs if pair.content]
    found: dict[str, Any] = {
        "pairs": len(dataset.pairs),
        "encoding": str(dataset.encoding),
        "mask files": dict(Counter(mask.kind for mask in levels if mask)),
        "classes": class_balance(dataset),
    }
    if sizes:
        sides = np.array(sizes)
        found["height"], found["width"] = (_quantiles(sides[:, axis]) for axis in (0, 1))
        found["suggested target_size"] = list(suggest_size(sizes))
    if shares:
        found["foreground share"] = _quantiles(shares)
    return found


def class_balance(dataset: SurveyedDataset) -> list[dict[str, float]]:
    """Per class: its pixels, its share of all pixels (0 to 1), and the number of images it occurs in."""
    areas = [content.areas for content in dataset.contents]
    if not areas:
        return []
    pixels, images = np.sum(areas, 0), np.sum(np.array(areas) > 0, 0)
    total = max(pixels.sum(), 1)
    return [
        {"pixels": int(area), "share": float(area / total), "images": int(count)}
        for area, count in zip(pixels, images, strict=True)
    ]


def suggest_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Suggest an input size with the median area of the images and a mean side of 256 to 512 pixels.

    It has the median aspect ratio if four of five images are within a tenth of it, else it is a square.

    Args:
        sizes: (H, W) of each image.

    Returns:
        (W, H) as PaddleSeg's `target_size` expects, each a multiple of 32.
    """
    height, width = np.array(sizes, float).T
    side = np.clip(np.median(np.sqrt(height * width)), SMALLEST, LARGEST)
    ratios = height / width
    ratio = float(np.median(ratios))
    if np.mean(np.abs(ratios / ratio - 1) <= SAME_SHAPE) < 0.8:
        ratio = 1.0
    rounded = [max(round(n / MULTIPLE), 1) * MULTIPLE for n in (side / ratio**0.5, side * ratio**0.5)]
    return rounded[0], rounded[1]


def _quantiles(values: Any) -> dict[str, float]:
    return {name: round(float(np.quantile(values, q)), 4) for name, q in QUANTILES.items()}
