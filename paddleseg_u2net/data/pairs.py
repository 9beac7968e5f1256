"""List files and folders -> pairs of image and mask."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from paddleseg_u2net.bounds import LIST_FAULTS
from paddleseg_u2net.errors import ConfigError, Fault, counted, suggest
from paddleseg_u2net.io.listing import first_names, list_images, stem_of
from paddleseg_u2net.io.paths import local_path
from paddleseg_u2net.io.text_files import text_lines

log = logging.getLogger(__name__)

# keys of a dataset section besides the arguments of `list_pairs`
OTHER_KEYS = (
    *("ignore_index", "mask_encoding", "img_channels", "num_classes", "transforms", "download"),
    *("multi_scale", "img_max", "mask_colors"),
)
SHOWN = 200  # characters of a line in a message
# Cityscapes has these files beside each other; a data set uses one of them as its masks
CITYSCAPES = re.compile(r".*_gt(Fine|Coarse)_(color|(label|instance)(Train)?Ids)")


class Pair(NamedTuple):
    """An image file and its mask file.

    Args:
        image: path of the image.
        mask: path of the mask; None if there is no mask file.
        where: file and line of the list that names the pair (`train.txt:17`); empty without a list.
    """

    image: Path
    mask: Path | None
    where: str = ""

    @property
    def image_place(self) -> str:
        """List, line and path of the image, for messages."""
        return f"{self.where}: {self.image}" if self.where else str(self.image)

    @property
    def mask_place(self) -> str:
        """List, line and path of the mask, for messages."""
        return f"{self.where}: {self.mask}" if self.where else str(self.mask)


def read_list(path: Path, root: Path, separator: str | None = None) -> tuple[list[Pair], list[Fault]]:
    """Read a list file with one `image mask` per line.

    Args:
        path: the list file; empty lines and lines that start with # are skipped.
        root: folder that the paths in the list are relative to.
        separator: text between the two paths; None for a tab if the line has one, otherwise spaces.

    Returns:
        The pairs, and one fault per line that does not have two columns.
    """
    pairs, faults = [], []
    for number, line in list_lines(path):
        columns = line.split(separator or ("\t" if "\t" in line else None))
        where = f"{path}:{number}"
        if len(columns) == 2:
            image, mask = (local_path(column.strip(), root) for column in columns)
            pairs.append(Pair(image, mask, where))
        else:
            LIST_FAULTS.check(len(faults), str(path))
            what = f"expected 'image mask', got {counted(len(columns), 'column')}: '{line[:SHOWN]}'"
            fix = f"separate the two paths by '{separator}', or remove the key separator"
            if separator is None:
                fix = "separate the two paths by a space (or a tab, where paths hold spaces)"
            faults.append(Fault(where, what, fix))
    return pairs, faults


def list_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line of a list file that is neither empty nor a comment."""
    try:
        lines = text_lines(path)
    except UnicodeDecodeError:
        raise ValueError(f"{path}: the list is not valid UTF-8. Fix: save it as UTF-8") from None
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.strip()


def pair_folders(
    image_dir: Path, mask_dir: Path, image_suffix: str = "", mask_suffix: str = ""
) -> tuple[list[Pair], list[Fault]]:
    """Pair the images and masks of two folders, or of one, by their relative paths without suffix.

    Args:
        image_dir: folder of images, searched with its sub-folders.
        mask_dir: folder of masks; it may lie inside `image_dir`, or be the same folder if the suffixes
            distinguish images from masks.
        image_suffix: ending of image names, before the dot (`_rgb`) or including it (`.jpg`).
        mask_suffix: ending of mask names; within one folder the longer suffix takes precedence.

    Returns:
        The pairs, and one fault per image without a mask and per duplicate name.
    """
    image_side, mask_side = (image_dir, image_suffix), (mask_dir, mask_suffix)
    images, masks = by_stem(*image_side, apart=mask_side), by_stem(*mask_side, apart=image_side)
    faults = second_files(images) + second_files(masks)
    without_mask = [stem for stem in images if stem not in masks]
    similar = next((stem for stem in masks if without_mask and stem.startswith(without_mask[0])), None)
    fix = (
        f"use the same name without suffix; there is '{similar}'"
        if similar
        else "add it, or remove the image"
    )
    for number, stem in enumerate(without_mask):  # one fix is enough for many
        what = f"no mask named '{stem}{mask_suffix}' in {mask_dir}"
        faults.append(Fault(str(images[stem][0]), what, "" if number else fix))
    if unused := sorted(masks.keys() - images.keys()):
        text = "mask has" if len(unused) == 1 else "masks have"
        log.warning("%s: %d %s no image, first: %s", mask_dir, len(unused), text, masks[unused[0]][0])
    _log_other_endings(image_side, mask_side, images, masks)
    paired = [Pair(paths[0], masks[stem][0]) for stem, paths in images.items() if stem in masks]
    return paired, faults


def _log_other_endings(
    image_side: tuple[Path, str],
    mask_side: tuple[Path, str],
    images: Mapping[str, Sequence[Path]],
    masks: Mapping[str, Sequence[Path]],
) -> None:
    """Log the images of both folders whose names end neither as images nor as masks do.

    It is no warning if they are regular files of Cityscapes.
    """
    if image_side[1] or mask_side[1]:
        taken = {path for found in (images, masks) for paths in found.values() for path in paths}
        files = {path for folder in {image_side[0], mask_side[0]} for path in list_images(folder)}
        left = sorted(files - taken)
        regular = [path for path in left if CITYSCAPES.fullmatch(path.stem)]
        if regular and CITYSCAPES.fullmatch(Path(mask_side[1]).stem):
            log.info("%d other files of Cityscapes are not used: %s", len(regular), first_names(regular))
            left = sorted({*left} - {*regular})
        if left:
            endings = f"'{image_side[1]}' nor '{mask_side[1]}'"
            what = counted(len(left), "file ends", "files end")
            log.warning("%s neither with %s: %s", what, endings, first_names(left))


def second_files(found: Mapping[str, Sequence[Path]]) -> list[Fault]:
    """One fault per name that `by_stem` found more than once."""
    return [
        Fault(str(paths[1]), f"a second file named '{stem}'", "rename it")
        for stem, paths in found.items()
        if len(paths) > 1
    ]


def by_stem(folder: Path, suffix: str = "", apart: tuple[Path, str] | None = None) -> dict[str, list[Path]]:
    """Find the images in a folder by their relative paths without suffix.

    Args:
        folder: searched with its sub-folders.
        suffix: ending of the names, before the dot or including it; files with other names are skipped.
        apart: folder and suffix of the other kind of files. Files that match it are skipped if it is more
            specific: a sub-folder, or a longer suffix.

    Returns:
        Relative path without suffix -> the files of that name.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no name ends with `suffix`.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder. Fix: correct the path (in a config it is relative to dataset_root)"
        )
    found: dict[str, list[Path]] = {}
    other, ending = apart or (folder, suffix)
    other_is_more_specific = (len(other.parts), len(ending)) > (len(folder.parts), len(suffix))
    for path in list_images(folder):
        stem = _stem(path.relative_to(folder), suffix)
        if other_is_more_specific and other in path.parents and _stem(path, ending) is not None:
            continue
        if stem is not None:
            found.setdefault(stem, []).append(path)
    if suffix and not found:
        raise ValueError(f"{folder}: no image name ends with '{suffix}'. Fix: use another suffix")
    return found


def _stem(path: Path, suffix: str) -> str | None:
    """Remove the file format and the suffix from a path; None if it does not end with the suffix."""
    text = str(path if "." in suffix else stem_of(path))
    return text[: len(text) - len(suffix)] if text.endswith(suffix) else None


def list_pairs(
    mode: str = "train",
    dataset_root: str = ".",
    train_path: str | None = None,
    val_path: str | None = None,
    test_path: str | None = None,
    image_dir: str | None = None,
    mask_dir: str | None = None,
    separator: str | None = None,
) -> tuple[list[Pair], list[Fault]]:
    """List the pairs of a `train_dataset` or `val_dataset` section.

    Args:
        mode: `train`, `val` or `test`; selects one of the three list files.
        dataset_root: folder that the paths in a list are relative to.
        train_path: list file, relative to the working directory or to `dataset_root`.
        val_path: as `train_path`.
        test_path: as `train_path`.
        image_dir: folder of images below `dataset_root`, instead of a list.
        mask_dir: folder of masks below `dataset_root`; required with `image_dir`.
        separator: see `read_list`.

    Returns:
        The pairs, and the faults of the list or the folders.

    Raises:
        FileNotFoundError: the list or a folder does not exist.
        ValueError: both a list and folders are given, or neither, or there is no pair.
    """
    root = local_path(dataset_root)
    lists = {"train": train_path, "val": val_path, "test": test_path}
    if mode not in lists:
        raise ValueError(f"mode: '{mode}', expected train, val or test")
    list_path = lists[mode]
    if (list_path is None) == (image_dir is None) or (image_dir is None) != (mask_dir is None):
        raise ValueError(
            f"{mode} data: give either {mode}_path, or image_dir and mask_dir. Fix: remove an inherited key "
            f"with null, as {mode}_path: null"
        )
    if not root.is_dir():
        raise FileNotFoundError(
            f"dataset_root: {root}: no such folder ({root.resolve()}; it is relative to where the command "
            "runs). Fix: prepare the data, or --opts train_dataset.dataset_root=… val_dataset.dataset_root=…"
        )
    if image_dir and mask_dir:
        source = local_path(image_dir, root)
        pairs, faults = pair_folders(source, local_path(mask_dir, root))
    else:
        candidates = (local_path(str(list_path)), local_path(str(list_path), root))
        source = next((path for path in candidates if path.is_file()), None)
        if source is None:
            raise FileNotFoundError(
                f"{mode}_path: {list_path}: no such list, in the working directory or in {root}. "
                "Fix: correct the path"
            )
        pairs, faults = read_list(source, root, separator)
    if not pairs and not faults:
        raise ValueError(f"{source}: {mode} images: 0. Fix: list at least one pair of image and mask")
    return pairs, faults


def check_list_keys(key: str, cfg: Mapping[str, Any]) -> None:
    """Check the keys of a dataset section that are arguments of `list_pairs`.

    Args:
        key: name of the section, for messages.
        cfg: the section without `type` and OTHER_KEYS.

    Raises:
        ConfigError: a key is unknown, or its value is no text.
    """
    known = list(inspect.signature(list_pairs).parameters)
    for name, value in cfg.items():
        if name not in known:
            raise ConfigError(f"{key}: {name}: no such key.{suggest(name, [*known, *OTHER_KEYS])}")
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"{key}: {name}: expected text, got {value!r}")
