"""Small data sets whose images and masks tests change."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from paddleseg_u2net.data.pairs import list_pairs
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data_check.findings import diagnose
from paddleseg_u2net.data_check.survey import examine

ORIENTATION = 0x0112


def sets(root: Path, num_classes: int = 1, **options) -> list[DatasetSpec]:
    found = []
    for mode in ("train", "val"):
        pairs, faults = list_pairs(mode, str(root), "train_list.txt", "val_list.txt")
        found.append(DatasetSpec(pairs, num_classes, mode=mode, name=mode, faults=faults, **options))
    return found


def found(root: Path, num_classes: int = 1, **options) -> dict[str, list[str]]:
    """Check -> the texts of its examples."""
    findings = diagnose(examine(sets(root, num_classes, **options)))
    return {finding.name: [example.text for example in finding.examples] for finding in findings}


def turn(path: Path, orientation: int) -> None:
    """Give a picture an EXIF tag; its pixels stay as they are."""
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
