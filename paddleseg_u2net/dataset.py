"""Pairs of image and mask -> checked samples. The only place where masks get their unit."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from paddleseg_u2net.images import list_images, read_image
from paddleseg_u2net.masks import ENCODINGS, IGNORE, MaskEncoding, Survey, decide_encoding, levels, read_raw

log = logging.getLogger(__name__)

MAX_SHOWN = 100


class DataError(ValueError):
    """The faults of one or more data sets, all together."""

    def __init__(self, faults: Sequence[str]):
        hidden = len(faults) - MAX_SHOWN
        more = [f"… and {hidden} more"] if hidden > 0 else []
        super().__init__("\n".join([*faults[:MAX_SHOWN], *more]))
        self.faults = list(faults)


class Pair(NamedTuple):
    """An image, its mask, and where they were named (`train.txt:17`, or a folder)."""

    image: Path
    mask: Path | None
    where: str


def read_list(path: Path, root: Path, separator: str | None = None, masks: bool = True) -> list[Pair]:
    """Read a list file: `image mask` a line, separated by a tab where there is one, else by spaces.

    Args:
        path: the list; empty lines and lines that start with # are left out.
        root: folder the paths are relative to.
        separator: what stands between the two, where it is something else.
        masks: two columns are needed; otherwise the first is taken.

    Raises:
        DataError: lines with another number of columns, all of them.
    """
    pairs, faults = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        columns = line.split(separator or ("\t" if "\t" in line else None))
        where = f"{path}:{number}"
        if masks and len(columns) != 2:
            faults.append(
                f"{where}: expected 'image mask', got {len(columns)} column(s): '{line}'. "
                "Fix: separate the two paths by a space (or a tab, where paths hold spaces)"
            )
            continue
        image, mask = (root / column.strip() for column in (columns * 2)[:2])
        pairs.append(Pair(image, mask if masks else None, where))
    if faults:
        raise DataError(faults)
    return pairs


def pair_folders(image_dir: Path, mask_dir: Path) -> list[Pair]:
    """Pair the images of two folders by their path below them without suffix.

    Raises:
        DataError: images without a mask, or two files of one name, all of them.
    """
    images, masks = (_by_stem(folder) for folder in (image_dir, mask_dir))
    faults = [
        f"{paths[1]}: a second file named '{stem}'. Fix: rename it"
        for found in (images, masks)
        for stem, paths in found.items()
        if len(paths) > 1
    ]
    faults += [
        f"{paths[0]}: no mask named '{stem}' in {mask_dir}"
        for stem, paths in images.items()
        if stem not in masks
    ]
    if faults:
        raise DataError(faults)
    unused = sorted(set(masks) - set(images))
    if unused:
        log.warning("%s: %d masks have no image, first: %s", mask_dir, len(unused), masks[unused[0]][0])
    return [Pair(paths[0], masks[stem][0], str(image_dir)) for stem, paths in images.items()]


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    found: dict[str, list[Path]] = {}
    for path in list_images(folder):
        found.setdefault(str(path.relative_to(folder).with_suffix("")), []).append(path)
    return found


def list_pairs(
    mode: str = "train",
    dataset_root: str = ".",
    train_path: str | None = None,
    val_path: str | None = None,
    test_path: str | None = None,
    image_dir: str | None = None,
    mask_dir: str | None = None,
    separator: str | None = None,
) -> list[Pair]:
    """The pairs of a `train_dataset` or `val_dataset` section.

    Args:
        mode: `train`, `val` or `test`; chooses among the three list files.
        dataset_root: folder that the paths in a list are relative to.
        train_path: list file, relative to the working folder or to dataset_root.
        val_path: as train_path.
        test_path: as train_path.
        image_dir: instead of a list, the folder of images below dataset_root …
        mask_dir: … and that of masks of the same names.
        separator: see `read_list`.

    Raises:
        FileNotFoundError: the list or a folder is absent.
        ValueError: neither or both ways are given, or there is no pair.
    """
    root = Path(dataset_root)
    lists = {"train": train_path, "val": val_path, "test": test_path}
    if mode not in lists:
        raise ValueError(f"mode: '{mode}', expected train, val or test")
    list_path = lists[mode]
    if (list_path is None) == (image_dir is None) or (image_dir is None) != (mask_dir is None):
        raise ValueError(f"{mode} data: give either {mode}_path, or image_dir and mask_dir")
    if not root.is_dir():
        raise FileNotFoundError(
            f"dataset_root: {root}: no such folder. Fix: prepare the data, or set dataset_root"
        )
    if image_dir and mask_dir:
        pairs, source = pair_folders(root / image_dir, root / mask_dir), root / image_dir
    else:
        source = next(
            (path for path in (Path(str(list_path)), root / str(list_path)) if path.is_file()), None
        )
        if source is None:
            raise FileNotFoundError(f"{mode}_path: {list_path}: no such list, here or in {root}")
        pairs = read_list(source, root, separator)
    if not pairs:
        raise ValueError(f"{source}: {mode} images: 0. Fix: list at least one pair of image and mask")
    return pairs


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Make `random` and `numpy.random`, which the transforms draw from, a function of `seed`."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


class Dataset:
    """Images and masks, checked by `inspect` before anything is read from them.

    Args:
        pairs: what it consists of.
        num_classes: 1 for soft masks (saliency), else class ids.
        transforms: callables on paddleseg's sample, applied by indexing.
        ignore_index: mask value of pixels that do not count; None where all do.
        mask_encoding: `index`, `grey`, or None to decide over all masks.
        img_channels: 3, or 1 to turn images grey.
        mode: `train` data need foreground.
        name: what messages call it.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        num_classes: int,
        transforms: Sequence[Callable[[dict], dict]] = (),
        ignore_index: int | None = None,
        mask_encoding: str | None = None,
        img_channels: int = 3,
        mode: str = "train",
        name: str = "dataset",
    ):
        if mask_encoding not in (None, *ENCODINGS):
            raise ValueError(f"{name}: mask_encoding: '{mask_encoding}', expected {' or '.join(ENCODINGS)}")
        if not 1 <= num_classes <= IGNORE:
            raise ValueError(f"{name}: num_classes: {num_classes}, expected 1 .. {IGNORE}")
        if img_channels not in (1, 3):
            raise ValueError(f"{name}: img_channels: {img_channels}, expected 1 or 3")
        self.pairs, self.transforms = list(pairs), list(transforms)
        self.mode, self.name = mode, name
        self.num_classes, self.ignore_index, self.channels = num_classes, ignore_index, img_channels
        self.requested_encoding = mask_encoding
        self.encoding: MaskEncoding | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    def inspect(self) -> list[str]:
        """Read every file once, decide the mask encoding, and log it.

        Returns:
            All faults: missing, broken or differing files, contradictory masks, ids out of range, and
            for data to train on a complete lack of foreground.
        """
        with ThreadPoolExecutor() as pool:  # decoding releases the interpreter
            results = pool.map(_inspect_pair, self.pairs)
            bar = tqdm(results, self.name, len(self), disable=None, delay=1, leave=False, unit=" pairs")
            outcomes = list(bar)
        faults = [fault for outcome in outcomes for fault in outcome if isinstance(fault, str)]
        surveys = [found for outcome in outcomes for found in outcome if isinstance(found, Survey)]
        self.encoding, contradictions = decide_encoding(
            surveys, self.num_classes, self.ignore_index, self.requested_encoding
        )
        empty = [s for s in surveys if not s.levels[s.levels != self.ignore_index].any()]
        if self.mode == "train" and surveys and len(empty) == len(surveys):
            contradictions.append(
                f"{self.name}: none of the {len(surveys)} masks has any foreground. Fix: check the masks"
            )
        elif empty:
            log.warning("%s: %d of %d masks are empty", self.name, len(empty), len(surveys))
        if not faults + contradictions:
            log.info("%s: %d images, %s", self.name, len(self), self.encoding)
        return faults + contradictions

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, 3) uint8 RGB, and mask (H, W): float32 in [0, 1] or class ids as uint8."""
        if self.encoding is None:
            raise RuntimeError("Dataset.inspect decides how masks are read; call it first")
        pair = self.pairs[index]
        if pair.mask is None:
            raise ValueError(f"{pair.where}: has no mask")
        return read_image(pair.image), self.encoding.decode(read_raw(pair.mask))

    def __getitem__(self, key: tuple[int, int]) -> dict[str, np.ndarray]:
        """The sample of (index, seed): `img` (C, h, w) float32, `label` (1, h, w) float32 or int64."""
        index, seed = key
        image, mask = self.load(index)
        if self.channels == 1:
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
        sample = {"img": image.astype(np.float32), "label": mask, "gt_fields": ["label"], "trans_info": []}
        with _seeded(seed):
            for transform in self.transforms:
                sample = transform(sample)
        image, mask = sample["img"], sample["label"]
        image = image[..., None] if image.ndim == 2 else image
        return {
            "img": np.ascontiguousarray(image.transpose(2, 0, 1), np.float32),
            "label": np.ascontiguousarray(mask[None], np.float32 if self.num_classes == 1 else np.int64),
        }


def _inspect_pair(pair: Pair) -> list[str | Survey]:
    """The survey of a mask and the faults of a pair, as far as each can be read."""
    found: list[str | Survey] = []
    image = raw = None
    try:
        image = read_image(pair.image)
    except (OSError, ValueError) as error:
        found.append(f"{pair.where}: {error}")
    try:
        raw = read_raw(pair.mask) if pair.mask else None
    except (OSError, ValueError) as error:
        found.append(f"{pair.where}: {error}")
    if raw is not None:
        found.append(Survey(f"{pair.where}: {pair.mask}", raw.kind, levels(raw)))
        if image is not None and image.shape[:2] != raw.values.shape:
            found.append(
                f"{pair.where}: {pair.mask}: mask (H, W) {raw.values.shape} differs from its image's "
                f"{image.shape[:2]} (both upright by their EXIF tags). Fix: make them the same size"
            )
    return found


def inspect_all(datasets: Sequence[Dataset]) -> None:
    """Inspect several data sets; raise one DataError with the faults of all."""
    faults = [fault for dataset in datasets for fault in dataset.inspect()]
    if faults:
        raise DataError(faults)
