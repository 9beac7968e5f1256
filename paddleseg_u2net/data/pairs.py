"""List files and folders -> pairs of image and mask, each with the place where it was named."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from paddleseg_u2net.io.images import list_images

log = logging.getLogger(__name__)


class Pair(NamedTuple):
    """An image, its mask, and the line of a list that names them (`train.txt:17: `), or nothing."""

    image: Path
    mask: Path | None
    where: str = ""


def read_list(path: Path, root: Path, separator: str | None = None) -> tuple[list[Pair], list[str]]:
    """Read a list file: `image mask` a line, separated by a tab where there is one, else by spaces.

    Args:
        path: the list; empty lines and lines that start with # are left out.
        root: folder the paths are relative to.
        separator: what stands between the two, where it is something else.

    Returns:
        The pairs, and a fault per line with another number of columns.
    """
    pairs, faults = [], []
    for number, line in list_lines(path):
        columns = line.split(separator or ("\t" if "\t" in line else None))
        where = f"{path}:{number}: "
        if len(columns) != 2:
            faults.append(
                f"{where}expected 'image mask', got {len(columns)} column(s): '{line}'. "
                "Fix: separate the two paths by a space (or a tab, where paths hold spaces)"
            )
            continue
        image, mask = (root / column.strip() for column in columns)
        pairs.append(Pair(image, mask, where))
    return pairs, faults


def list_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of the lines of a list file that name something."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: a list is text in UTF-8, and this is not. Fix: save it as UTF-8") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.strip()


def pair_folders(
    image_dir: Path, mask_dir: Path, image_suffix: str = "", mask_suffix: str = ""
) -> tuple[list[Pair], list[str]]:
    """Pair the images of two folders, or of one, by their path below them without suffix.

    Args:
        image_dir: folder with sub-folders.
        mask_dir: another, one inside it, or the same one where the suffixes tell images from masks.
        image_suffix: what the names of images end with, before the dot (`_rgb`) or with it (`.jpg`).
        mask_suffix: what those of masks end with; in one folder the longer suffix decides.

    Returns:
        The pairs, and a fault per image without a mask and per second file of one name.
    """
    sides = (image_dir, image_suffix), (mask_dir, mask_suffix)
    images, masks = by_stem(*sides[0], apart=sides[1]), by_stem(*sides[1], apart=sides[0])
    faults = second_files(images) + second_files(masks)
    alone = [stem for stem in images if stem not in masks]
    faults += [f"{images[stem][0]}: no mask named '{stem}{mask_suffix}' in {mask_dir}" for stem in alone]
    if alone and (near := [stem for stem in masks if stem.startswith(alone[0])]):
        faults[-len(alone)] += f". Fix: names must be the same without suffix; there is '{near[0]}'"
    unused = sorted(set(masks) - set(images))
    if unused:
        log.warning("%s: %d masks have no image, first: %s", mask_dir, len(unused), masks[unused[0]][0])
    paired = [Pair(paths[0], masks[stem][0]) for stem, paths in images.items() if stem in masks]
    return paired, faults


def second_files(found: Mapping[str, Sequence[Path]]) -> list[str]:
    """A fault per second file of one name in what `by_stem` found."""
    return [
        f"{paths[1]}: a second file named '{stem}'. Fix: rename it"
        for stem, paths in found.items()
        if len(paths) > 1
    ]


def by_stem(folder: Path, suffix: str = "", apart: tuple[Path, str] | None = None) -> dict[str, list[Path]]:
    """The images below a folder by their path below it without suffix.

    Args:
        folder: with sub-folders.
        suffix: what names end with, before the dot or with it; files of other names are left out.
        apart: folder and suffix of others, which are left out where those say more than these.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder. Fix: the path of one (image_dir and mask_dir: below dataset_root)"
        )
    found: dict[str, list[Path]] = {}
    other, ending = apart or (folder, suffix)
    says_more = (len(other.parts), len(ending)) > (len(folder.parts), len(suffix))
    for path in list_images(folder):
        stem = _stem(path.relative_to(folder), suffix)
        if says_more and other in path.parents and _stem(path, ending) is not None:
            continue
        if stem is not None:
            found.setdefault(stem, []).append(path)
    if suffix and not found:
        raise ValueError(f"{folder}: holds no image whose name ends with '{suffix}'. Fix: another suffix")
    return found


def _stem(path: Path, suffix: str) -> str | None:
    """A path without a suffix, and without that of its format; None where it ends otherwise."""
    text = str(path if "." in suffix else path.with_suffix(""))
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
) -> tuple[list[Pair], list[str]]:
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

    Returns:
        The pairs, and the faults of the list or of the folders, for `Dataset`.

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
        raise ValueError(
            f"{mode} data: give either {mode}_path, or image_dir and mask_dir. Fix: an inherited key is "
            f"taken back by null, as {mode}_path: null"
        )
    if not root.is_dir():
        raise FileNotFoundError(
            f"dataset_root: {root}: no such folder ({root.resolve()}; it is relative to where the command "
            "runs). Fix: prepare the data, or --opts train_dataset.dataset_root=… val_dataset.dataset_root=…"
        )
    if image_dir and mask_dir:
        source = root / image_dir
        pairs, faults = pair_folders(source, root / mask_dir)
    else:
        source = next(
            (path for path in (Path(str(list_path)), root / str(list_path)) if path.is_file()), None
        )
        if source is None:
            raise FileNotFoundError(f"{mode}_path: {list_path}: no such list, here or in {root}")
        pairs, faults = read_list(source, root, separator)
    if not pairs and not faults:
        raise ValueError(f"{source}: {mode} images: 0. Fix: list at least one pair of image and mask")
    return pairs, faults
