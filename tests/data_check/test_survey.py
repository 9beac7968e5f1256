"""Overlap of the masks of images that show the same picture."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_sets import image_of, mask_of
from support import write_mask

from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data_check.checks import run_checks
from paddleseg_u2net.data_check.survey import agreement, examine


def drawing(size=(400, 600), thickness: int = 3) -> np.ndarray:
    """Thin objects: lines along both axes, a slanted line and a curve."""
    mask = np.zeros(size, np.uint8)
    lines = ((20, 87, 560, 87), (300, 15, 300, 380), (30, 350, 550, 130))
    for x1, y1, x2, y2 in lines:
        cv2.line(mask, (x1, y1), (x2, y2), 255, thickness)
    cv2.ellipse(mask, (380, 220), (140, 90), 20, 0, 300, 255, thickness)
    return mask


def resized(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)


def recoded(mask: np.ndarray) -> np.ndarray:
    stored = cv2.imencode(".jpg", mask, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    return cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE)


def disagreements(root: Path, mask: np.ndarray, other: np.ndarray, num_classes: int = 1) -> list[str]:
    """The faults of two copies of one picture with these masks."""
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8), (600, 400))
    for name, drawn in (("a", mask), ("b", other)):
        write_mask(image_of(root, name), cv2.resize(image, drawn.shape[::-1], interpolation=cv2.INTER_AREA))
        write_mask(mask_of(root, name), drawn)
    pairs = [Pair(image_of(root, name), mask_of(root, name)) for name in ("a", "b")]
    findings = run_checks(examine([DatasetSpec(pairs, num_classes)]))
    examples = {finding.check.name: finding.examples for finding in findings}
    assert len(examples["duplicates"]) == 1
    return [str(example.fault) for example in examples.get("masks disagree", [])]


SAME = {
    "itself": lambda x: x,
    "half": lambda x: resized(x, 200, 300),
    "1.7 times": lambda x: resized(x, 680, 1020),
    "square": lambda x: resized(x, 300, 300),
    "JPEG": recoded,
    "half, JPEG": lambda x: recoded(resized(x, 200, 300)),
    "one pixel shifted": lambda x: np.roll(x, 1, (0, 1)),
    "thicker": lambda x: cv2.dilate(x, np.ones((3, 3))),
}


@pytest.mark.parametrize("how", SAME)
def test_masks_of_thin_objects_agree_at_any_size(tmp_path, how):
    assert disagreements(tmp_path, drawing(), SAME[how](drawing())) == []


DIFFERENT = {
    "nothing": lambda x: x * 0,
    "everything": lambda x: x | 255,
    "inverted": lambda x: 255 - x,
    "inverted, half": lambda x: resized(255 - x, 200, 300),
    "shifted": lambda x: np.roll(x, 20, (0, 1)),
    "mirrored": lambda x: x[:, ::-1].copy(),
    "half of it": lambda x: np.where(np.arange(600) < 300, x, 0).astype(np.uint8),
}


@pytest.mark.parametrize("how", DIFFERENT)
@pytest.mark.parametrize("thickness", [3, -1])
def test_masks_that_differ_are_found(tmp_path, how, thickness):
    mask = drawing()
    if thickness < 0:  # a solid object
        mask[:] = 0
        cv2.ellipse(mask, (300, 220), (70, 50), 20, 0, 360, 255, -1)
    (text,) = disagreements(tmp_path, mask, DIFFERENT[how](mask))
    assert re.search(r"a.png: the images show the same, but this mask and .*b.png overlap by 0\.", text)


def test_swapped_classes_are_found(tmp_path):
    ids = (drawing() > 0) * np.where(np.arange(600) < 300, 1, 2).astype(np.uint8)
    assert disagreements(tmp_path, ids, resized(ids, 200, 300), num_classes=3) == []
    assert len(disagreements(tmp_path, ids, (3 - ids) * (ids > 0), num_classes=3)) == 1


@pytest.mark.parametrize("sizes", [((40, 60), (40, 60)), ((40, 60), (20, 30)), ((33, 7), (100, 10))])
def test_agreement_equals_its_definition(sizes):
    """Computed pixel by pixel, with the smaller mask enlarged to its nearest pixels."""
    rng = np.random.default_rng(0)
    first, second = ((rng.random(size) < 0.1) * rng.integers(1, 3, size, np.uint8) for size in sizes)
    size = [max(pair) for pair in zip(*sizes, strict=True)]
    reach = [-(-max(pair) // min(pair)) for pair in zip(*sizes, strict=True)]
    grown = [
        ids[
            np.ix_(
                *((2 * np.arange(n) + 1) * have // (2 * n) for n, have in zip(size, ids.shape, strict=True))
            )
        ]
        for ids in (first, second)
    ]
    right = []
    for y, x in zip(*np.nonzero((grown[0] > 0) | (grown[1] > 0)), strict=True):
        rows, columns = (slice(max(n - r, 0), n + r + 1) for n, r in zip((y, x), reach, strict=True))
        right.append(all(a[y, x] in b[rows, columns] for a, b in (grown, grown[::-1])))
    assert 0.1 < np.mean(right) < 0.95
    assert agreement(first, second) == pytest.approx(np.mean(right))
