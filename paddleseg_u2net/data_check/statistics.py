"""A data set -> numbers: classes, sizes, shares, and the input size they suggest. Light."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from paddleseg_u2net.data_check.survey import SurveyedDataset

MULTIPLE, SMALLEST, LARGEST = 32, 256, 512  # of a suggested input's sides
SAME_SHAPE = 0.1  # how far most aspect ratios may lie from their median where the suggestion keeps it
QUANTILES = {"min": 0, "5%": 0.05, "median": 0.5, "95%": 0.95, "max": 1}


def summary(surveyed: SurveyedDataset) -> dict[str, Any]:
    """A data set in numbers."""
    sizes = [record.size for record in surveyed.seen if record.size]
    shares = [content.share for _, content in surveyed.measured()]
    found: dict[str, Any] = {
        "pairs": len(surveyed.inspection.records),
        "encoding": str(surveyed.inspection.encoding),
        "mask files": dict(
            Counter(record.mask_levels.kind for record, _ in surveyed.measured() if record.mask_levels)
        ),
        "classes": class_balance(surveyed),
    }
    if sizes:
        sides = np.array(sizes)
        found["height"], found["width"] = (_quantiles(sides[:, axis]) for axis in (0, 1))
        found["suggested target_size"] = list(suggest_size(sizes))
    if shares:
        found["foreground share"] = _quantiles(shares)
    return found


def class_balance(surveyed: SurveyedDataset) -> list[dict[str, float]]:
    """Per class its pixels, its share of all of them, and the images it occurs in."""
    areas = [content.areas for _, content in surveyed.measured()]
    if not areas:
        return []
    pixels, images = np.sum(areas, 0), np.sum(np.array(areas) > 0, 0)
    total = max(pixels.sum(), 1)
    return [
        {"pixels": int(area), "share": float(area / total), "images": int(count)}
        for area, count in zip(pixels, images, strict=True)
    ]


def suggest_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """(W, H) of an input: of the median area, each side a multiple of 32, the mean side 256 to 512.

    The median shape is kept where four of five images have it within a tenth; otherwise it is a square.
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
