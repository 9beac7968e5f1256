"""What tests of make-dataset share: flags of folders, and what a config or a failed command leaves behind."""

from __future__ import annotations

from pathlib import Path

from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.data.pairs import list_pairs


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
