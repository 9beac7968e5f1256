"""What tests of make-dataset share: flags of folders, and what a config or a failed command leaves behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.data.pairs import list_pairs

HALVES = ["--split", "0.5", "0.5", "0"]
SQUARE = [[1, 1], [4, 1], [4, 4], [1, 4]]


def draw_image(path: Path, seed: int, height: int = 6, width: int = 8, tag: int | None = None) -> None:
    """Write an image of its own colours, with an EXIF orientation where `tag` is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colors = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    exif = Image.Exif()
    if tag:
        exif[274] = tag
    Image.fromarray(colors).save(path, exif=exif)


def folder_flags(root: Path) -> list:
    return ["--image_dir", root / "images", "--mask_dir", root / "masks"]


def pairs_of(config: Path | str, part: str) -> list[tuple[Path, Path]]:
    """The image and mask files that train or val would read with a config."""
    options = load_config(config)[f"{part}_dataset"]
    names = ("dataset_root", "mode", "train_path", "val_path")
    found, faults = list_pairs(**{name: options[name] for name in names if name in options})
    assert faults == []
    return [(pair.image.resolve(), pair.mask.resolve()) for pair in found]


def nothing_is_written() -> bool:
    return not Path("data").exists() or not list(Path("data").rglob("*"))


def assert_fix_works(make, root: Path, wrong, message: str, right) -> None:
    """A source is rejected with a fix, and makes a data set as soon as that is followed.

    Args:
        make: see the fixture.
        root: an empty folder.
        wrong: writes the source below a folder and returns flags of make-dataset.
        message: part of the message.
        right: writes the source as the fix says; returns flags.
    """
    code, _, err = make(*wrong(root))
    assert (code, message in err) == (1, True), err
    assert nothing_is_written()
    code, _, err = make(*right(root))
    assert code == 0, err
