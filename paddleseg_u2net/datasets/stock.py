"""Data sets that configs of PaddleSeg name by their type, as data sets of this project.

PaddleSeg has a class for each of them. Here a row says where its files are and how its masks are numbered,
so that they are read and checked as those of `type: Dataset`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from paddleseg_u2net.config.runtime import CLASSES_OF_TYPE
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.data.pairs import Pair, pair_folders, read_list
from paddleseg_u2net.datasets.prepare import find_data
from paddleseg_u2net.errors import ConfigError, Fault
from paddleseg_u2net.io.listing import visible_files
from paddleseg_u2net.io.paths import local_path

log = logging.getLogger(__name__)

Found = tuple[list[Pair], list[Fault]]
StockPairs = tuple[Found, int | None, tuple[int, ...] | None]  # and ignore_index and `DatasetSpec.relabel`
IMAGES, TRAIN_IDS, LABEL_IDS = "_leftImg8bit", "_gtFine_labelTrainIds", "_gtFine_labelIds"
# label id of a mask file -> class; the rest is ignored.
# Source: cityscapesScripts, cityscapesscripts/helpers/labels.py (`id`, `trainId`).
CITYSCAPES: Mapping[int, int] = dict(
    zip((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33), range(19), strict=True)
)


class StockFiles(NamedTuple):
    """The files of a part of a data set.

    Args:
        found: pairs and faults.
        text: where they are, for the log.
        classes: stored value -> class, values without one are ignored; None if masks store classes.
    """

    found: Found
    text: str
    classes: Mapping[int, int] | None = None

    @property
    def relabel(self) -> tuple[int, ...] | None:
        """For each stored value 0 .. 255 its class id or `IGNORE`."""
        if self.classes is None:
            return None
        return tuple(self.classes.get(value, IGNORE) for value in range(256))


def _optic_disc(root: Path, mode: str) -> StockFiles:
    path = root / f"{mode}_list.txt"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list. Fix: correct dataset_root")
    return StockFiles(read_list(path, root), f"{mode}_path: {path}")


def _cityscapes(root: Path, mode: str) -> StockFiles:
    images, masks = root / "leftImg8bit" / mode, root / "gtFine" / mode
    converted = any(path.name.endswith(f"{TRAIN_IDS}.png") for path in visible_files(masks))
    ending, classes = (TRAIN_IDS, None) if converted else (LABEL_IDS, CITYSCAPES)
    found = pair_folders(images, masks, IMAGES, ending)
    return StockFiles(found, f"image_dir: {images}, mask_dir: {masks}, *{ending}.png", classes)


def _ade(root: Path, mode: str) -> StockFiles:
    part = {"train": "training", "val": "validation"}[mode]
    images, masks = root / "images" / part, root / "annotations" / part
    return StockFiles(
        pair_folders(images, masks),
        f"image_dir: {images}, mask_dir: {masks}, value n is class n - 1, 0 ignored",
        {value: value - 1 for value in range(1, 151)},
    )


# Source: paddleseg 2.8.0 datasets/{optic_disc_seg,cityscapes,ade}.py. Differences: files are paired by their
# names, not by their order; Cityscapes without converted masks is read from the published ones.
STOCK: dict[str, Callable[[Path, str], StockFiles]] = {
    "OpticDiscSeg": _optic_disc,
    "Cityscapes": _cityscapes,
    "ADE20K": _ade,
}

MODES = {"ADE20K": ("train", "val")}  # the others have a test part too


def require_classes(key: str, kind: str, num_classes: int) -> None:
    """Raise ConfigError if the model has another number of classes than a type of data set."""
    if num_classes != (fixed := CLASSES_OF_TYPE.get(kind, num_classes)):
        raise ConfigError(
            f"model: num_classes: {num_classes}, but {key}: type: {kind} has {fixed}. "
            f"Fix: num_classes: {fixed}"
        )


def require_root(key: str, kind: str, root: Any, download: bool) -> None:
    """Fetch a known data set if asked to; reject a missing folder, which paddleseg would fetch unchecked."""
    if root:
        find_data({"dataset_root": root}, download)
    if not root or not local_path(str(root)).is_dir():
        raise ConfigError(
            f"{key}: dataset_root: {root}: no such folder, and {kind} would fetch it unchecked. "
            "Fix: prepare the data, and set dataset_root to their folder"
        )


def known_files(key: str, kind: str, cfg: Mapping[str, Any], download: bool) -> StockPairs:
    """Return what a row of STOCK finds, the mask value that is ignored, and how masks are renumbered."""
    if others := [name for name in cfg if name not in ("dataset_root", "mode")]:
        raise ConfigError(
            f"{key}: {', '.join(others)}: no such key of type: {kind}. "
            f"Fix: leave it out; if a _base_ sets it, add _inherited_: false to {key}"
        )
    if cfg["mode"] not in (modes := MODES.get(kind, ("train", "val", "test"))):
        raise ConfigError(f"{key}: mode: {cfg['mode']}. Fix: one of {', '.join(modes)}")
    root = local_path(str(cfg.get("dataset_root", "")))
    require_root(key, kind, cfg.get("dataset_root"), download)
    files = STOCK[kind](root, cfg["mode"])
    log.info("%s: type: %s is read as type: Dataset, %s", key, kind, files.text)
    return files.found, IGNORE, files.relabel
