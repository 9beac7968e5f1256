"""Small data sets on disk whose images and masks the tests change."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from paddleseg_u2net.data.pairs import list_pairs
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data_check.checks import run_checks
from paddleseg_u2net.data_check.survey import examine

ORIENTATION = 0x0112


def load_sets(root: Path, num_classes: int = 1, **options) -> list[DatasetSpec]:
    """The data sets of train_list.txt and val_list.txt."""
    loaded = []
    for mode in ("train", "val"):
        pairs, faults = list_pairs(mode, str(root), "train_list.txt", "val_list.txt")
        loaded.append(DatasetSpec(pairs, num_classes, mode=mode, name=mode, faults=faults, **options))
    return loaded


def check_sets(root: Path, num_classes: int = 1, **options) -> dict[str, list[str]]:
    """Check -> its faults as text."""
    findings = run_checks(examine(load_sets(root, num_classes, **options)))
    return {finding.check.name: [str(example.fault) for example in finding.examples] for finding in findings}


def set_orientation(path: Path, orientation: int) -> None:
    """Write an EXIF orientation into a file; its pixels do not change."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    with Image.open(path) as picture:
        picture.load()
    picture.save(path, exif=exif)


def image_of(root: Path, name: str) -> Path:
    return root / "images" / f"{name}.png"


def mask_of(root: Path, name: str) -> Path:
    return root / "masks" / f"{name}.png"


def append(root: Path, line: str) -> None:
    with (root / "train_list.txt").open("a") as file:
        file.write(line)
