"""Folders of saliency maps and masks for tests of `u2net evaluate`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
from oracle import blob
from support import write_mask

SIZES = ((31, 40), (33, 33), (20, 51), (40, 30), (25, 25))
NAMES = ("a", "b ü", "sub/c", "d.e", "f")


def write_folders(maps: Path, masks: Path) -> None:
    """Five maps and masks whose names contain a space, a dot, an umlaut and a folder."""
    for seed, (name, size) in enumerate(zip(NAMES, SIZES, strict=True)):
        saliency, mask = blob(*size, seed=seed)
        write_mask(maps / f"{name}.png", saliency)
        write_mask(masks / f"{name}.png", mask)


def add_copies(*folders: Path) -> None:
    """16 more images in each folder, so that there is more than one chunk."""
    for copy in range(8):
        for folder in folders:
            shutil.copytree(folder / "sub", folder / f"sub{copy}")
            shutil.copy(folder / "a.png", folder / f"copy{copy}.png")


def read_grey(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)


def read_pairs(maps: Path, masks: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(read_grey(maps / f"{name}.png"), read_grey(masks / f"{name}.png")) for name in NAMES]


def stored(folder="scores") -> dict:
    """The content of `metrics.json`."""
    return json.loads(Path(folder, "metrics.json").read_text())
