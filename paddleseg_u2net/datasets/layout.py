"""The files of an unpacked data set -> the folders and lists that a config reads, by its row of the table."""

from __future__ import annotations

import logging
import os
import re
import shutil
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from paddleseg_u2net.data.pairs import Pair, pair_folders, read_list
from paddleseg_u2net.datasets.catalog import TEST, DataSet, Part
from paddleseg_u2net.errors import Fault
from paddleseg_u2net.io.images import MAX_PIXELS, SUFFIXES, check_size, pillow, write_image

log = logging.getLogger(__name__)

READ = {*SUFFIXES, ".gif"}  # what a mask may come as
T = TypeVar("T")


class Found(NamedTuple):
    """A file of a source, and what it is called there, the source's own name first."""

    name: PurePosixPath
    path: Path


def find_files(folder: Path) -> list[Found]:
    """All files below a folder, sorted; hidden ones, which file managers add to archives, are left out."""
    found = [
        Found(PurePosixPath(path.relative_to(folder.parent)), path) for path in sorted(folder.rglob("*"))
    ]
    return [f for f in found if f.path.is_file() and not any(p.startswith(".") for p in f.name.parts[1:])]


def is_wanted(row: DataSet, name: PurePosixPath) -> bool:
    """Whether a row speaks of a file of this name."""
    patterns = [pattern for part in row.parts for pattern in (*part.images, *part.masks)]
    return any(part.listed for part in row.parts) or any(name.match(pattern) for pattern in patterns)


def lay_out(
    row: DataSet, files: Sequence[Found], target: Path, movable: Path
) -> tuple[dict[str, list[Pair]], list[str]]:
    """Bring files to their places below a folder, and write the lists there.

    Args:
        row: what lies where.
        files: of all sources.
        target: folder that exists and is empty.
        movable: files below it are moved; others are copied.

    Returns:
        The pairs of each list, and the faults: files that are missing, clash or cannot be paired.
    """
    pairs: dict[str, list[Pair]] = {}
    mover = _Mover(row, target, movable)
    for part in row.parts:
        found = _listed(part, files, mover) if part.listed else _matched(part, files, mover)
        kept = [pair for index, pair in enumerate(found) if not part.held_out or index % part.held_out]
        for key in part.lists:
            pairs.setdefault(key, []).extend(kept)
        for key in TEST if part.held_out else ():
            pairs.setdefault(key, []).extend(found[:: part.held_out])
    pairs = {key: listed for key, listed in pairs.items() if listed}
    for key, listed in pairs.items():
        _write_list(target / f"{key}_list.txt", target, listed)
    return pairs, [fault.replace(f"{target}/", "") for fault in mover.faults]


def _write_list(path: Path, root: Path, pairs: Sequence[Pair]) -> None:
    rows = [(str(p.image.relative_to(root)), str(p.mask.relative_to(root))) for p in pairs if p.mask]
    between = "\t" if any(" " in name for row in rows for name in row) else " "
    path.write_text("".join(f"{image}{between}{mask}\n" for image, mask in rows), encoding="utf-8")


class _Mover:
    """Puts files where they belong, and collects what is wrong with them."""

    def __init__(self, row: DataSet, target: Path, movable: Path):
        self.row, self.target, self.movable = row, target, movable
        self.faults: list[str] = []
        self.came_from: dict[str, Found] = {}

    def put(self, file: Found, place: Path, mask: bool = False) -> None:
        """One file, once, and never over another."""
        # as a disk sees it that takes upper and lower case, or two ways to write ä, for the same
        earlier = self.came_from.setdefault(unicodedata.normalize("NFC", str(place)).casefold(), file)
        if earlier.path != file.path:
            told = (earlier.name, file.name) if earlier.name != file.name else (earlier.path, file.path)
            self.faults.append(f"{place}: both {told[0]} and {told[1]}. Fix: give one of them")
        elif not str(place.relative_to(self.target)).isprintable():
            self.faults.append(f"{str(file.name)!a}: a name that a list cannot hold. Fix: rename it")
        elif not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            if mask and self.row.threshold is not None:
                self._threshold(file, place, self.row.threshold)
            elif file.path.is_relative_to(self.movable):
                os.rename(file.path, place)
            else:
                shutil.copyfile(file.path, place)

    def _threshold(self, file: Found, place: Path, level: int) -> None:
        """Write a mask of 0 and 1: 1 above a brightness."""
        try:
            with pillow().open(file.path) as image:
                check_size(file.path, image.size, MAX_PIXELS)
                grey = np.asarray(image.convert("L"))
        except (OSError, SyntaxError, ValueError) as error:
            self.faults.append(f"{file.name}: cannot be read as a mask: {error}")
        else:
            write_image(place, (grey > level).astype(np.uint8))


def _bar(files: Iterable[T], what: str) -> Iterable[T]:
    return tqdm(files, what, disable=None, delay=1, leave=False)


def _matching(files: Sequence[Found], patterns: Sequence[str]) -> list[Found]:
    """The images that the first pattern fits which fits any."""
    for pattern in patterns:
        if some := [f for f in files if f.name.suffix.lower() in READ and f.name.match(pattern)]:
            return some
    return []


def _matched(part: Part, files: Sequence[Found], mover: _Mover) -> list[Pair]:
    """Lay out a part that patterns describe; returns its pairs by name."""
    kinds = (
        ("images", part.images, part.image_dir, False),
        ("masks", part.masks, part.mask_dir, True),
    )
    found = {kind: _matching(files, patterns) for kind, patterns, _, _ in kinds}
    if part.optional and not all(found.values()):
        log.info("No %s, so no %s", part.masks[0], " and ".join(f"{key}_list.txt" for key in part.lists))
        return []
    before = len(mover.faults)
    for kind, patterns, folder, is_mask in kinds:
        if not found[kind]:
            mover.faults.append(f"no {kind} found: nothing is called {' or '.join(patterns)}")
        for file in _bar(found[kind], folder):
            mover.put(file, mover.target / folder / _renamed(file.name, mover.row, is_mask), is_mask)
    if len(mover.faults) > before:
        return []
    pairs, faults = pair_folders(mover.target / part.image_dir, mover.target / part.mask_dir)
    mover.faults += map(str, faults)
    _count(part, pairs)
    return pairs


def _renamed(name: PurePosixPath, row: DataSet, is_mask: bool) -> str:
    """The file name under which an image and its mask are a pair."""
    key = re.search(row.name_of, name.name) if row.name_of else None
    suffix = ".png" if is_mask and row.threshold is not None else name.suffix
    return f"{key[1] if key else name.stem}{suffix}"


def _listed(part: Part, files: Sequence[Found], mover: _Mover) -> list[Pair]:
    """Lay out the files that the archive's own list names, where they are; returns its pairs."""
    lists = [file for file in files if file.name.match(part.listed)]
    if len(lists) != 1:
        names = ", ".join(str(file.name) for file in lists) or "none"
        mover.faults.append(f"expected one {part.listed}, found {names}")
        return []
    where, base = lists[0].path, lists[0].name.parent
    listed, faults = read_list(where, mover.target)
    known = {file.name: file for file in files}  # so a list cannot reach out of the source
    pairs = []
    for pair in _bar(listed, part.listed):
        relative = [os.path.relpath(named or "", mover.target) for named in (pair.image, pair.mask)]
        for name in relative:
            if base / name in known:
                mover.put(known[base / name], mover.target / name)
            else:
                faults.append(Fault(pair.where, f"{name}: no such file"))
        image, mask = (mover.target / name for name in relative)
        pairs.append(Pair(image, mask))
    mover.faults += [str(fault).replace(str(where), part.listed) for fault in faults]
    _count(part, pairs)
    return pairs


def _count(part: Part, pairs: Sequence[Pair]) -> None:
    published = "" if part.pairs in (None, len(pairs)) else f" (published: {part.pairs})"
    log.info("  %s: %d pairs%s", " and ".join(f"{key}_list.txt" for key in part.lists), len(pairs), published)
