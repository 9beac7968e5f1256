"""Arrange the files of an unpacked data set into the folders and lists that configs read."""

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

from paddleseg_u2net.data.item_counts import ItemCounts
from paddleseg_u2net.data.pairs import Pair, pair_folders, read_list
from paddleseg_u2net.datasets.catalog import TEST
from paddleseg_u2net.datasets.description import DataSet, Part
from paddleseg_u2net.errors import Fault, counted
from paddleseg_u2net.io.file_kinds import READ_SUFFIXES
from paddleseg_u2net.io.images import opened, write_image
from paddleseg_u2net.io.listing import CLOSED, Listing, visible_files, why_not

log = logging.getLogger(__name__)

NOT_PART = "not part of the data set"
T = TypeVar("T")


class NamedFile(NamedTuple):
    """A file, and its name inside its archive, which begins with the archive's own name."""

    name: PurePosixPath
    path: Path


def find_files(folder: Path, counts: ItemCounts) -> list[NamedFile]:
    """List the files below a folder, sorted; hidden ones, as file managers add to archives, are counted."""
    listing = Listing(folder)
    paths = []
    for path in sorted(visible_files(folder, listing)):
        paths.append(path) if path.is_file() else listing.leave_out(path, why_not(path) or CLOSED)
    for reason, left_out in listing.unused.items():
        counts.add_all("left out", "files", reason, [path.relative_to(folder.parent) for path in left_out])
    return [NamedFile(PurePosixPath(path.relative_to(folder.parent)), path) for path in paths]


def is_wanted(row: DataSet, name: PurePosixPath) -> bool:
    """Whether a row of the table mentions a file of this name."""
    patterns = [pattern for part in row.parts for pattern in (*part.images, *part.masks)]
    return any(part.listed for part in row.parts) or any(name.match(pattern) for pattern in patterns)


def arrange(
    row: DataSet, files: Sequence[NamedFile], target: Path, movable: Path, counts: ItemCounts
) -> tuple[dict[str, list[Pair]], list[Fault]]:
    """Move or copy files to their places below a folder and write the list files.

    Args:
        row: names of the files, and of the folders they go to.
        files: of all archives.
        target: an empty folder.
        movable: files below this folder are moved; others are copied.
        counts: masks that are converted are added, and files that the data set does not need.

    Returns:
        The pairs of each list, and a fault for each file that is missing, clashes or cannot be paired.
    """
    pairs: dict[str, list[Pair]] = {}
    mover = _Mover(row, target, movable, counts)
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
    used = {file.path for file in mover.came_from.values()}
    unused = [file.name for file in files if file.path not in used and not _is_list(row, file)]
    counts.add_all("left out", "files", NOT_PART, unused)
    return pairs, [_replace_path(fault, f"{target}/", "") for fault in mover.faults]


def _is_list(row: DataSet, file: NamedFile) -> bool:
    return any(part.listed and file.name.match(part.listed) for part in row.parts)


def _replace_path(fault: Fault, path: str, name: str) -> Fault:
    """Replace a temporary path, which means nothing to the user, in a fault."""
    return Fault(*(part.replace(path, name) for part in fault))


def _write_list(path: Path, root: Path, pairs: Sequence[Pair]) -> None:
    rows = [(str(p.image.relative_to(root)), str(p.mask.relative_to(root))) for p in pairs if p.mask]
    between = "\t" if any(" " in name for row in rows for name in row) else " "
    path.write_text("".join(f"{image}{between}{mask}\n" for image, mask in rows), encoding="utf-8")


class _Mover:
    """Moves files to their places and collects faults."""

    def __init__(self, row: DataSet, target: Path, movable: Path, counts: ItemCounts):
        self.row, self.target, self.movable, self.counts = row, target, movable, counts
        self.faults: list[Fault] = []
        self.came_from: dict[str, NamedFile] = {}

    def put(self, file: NamedFile, place: Path, mask: bool = False) -> None:
        """Move one file; a file never replaces another."""
        # some disks ignore case, or treat composed and decomposed letters (ä) as equal
        earlier = self.came_from.setdefault(unicodedata.normalize("NFC", str(place)).casefold(), file)
        if earlier.path != file.path:
            both = (earlier.name, file.name) if earlier.name != file.name else (earlier.path, file.path)
            where = str(place.relative_to(self.target))
            self.faults.append(Fault(where, f"both {both[0]} and {both[1]} belong here", "pass one of them"))
        elif not str(place.relative_to(self.target)).isprintable():
            self.faults.append(Fault(ascii(str(file.name)), "a list cannot hold this name", "rename it"))
        elif not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            if mask and self.row.threshold is not None:
                self._threshold(file, place, self.row.threshold)
            elif file.path.is_relative_to(self.movable):
                os.rename(file.path, place)
            else:
                shutil.copyfile(file.path, place)

    def _threshold(self, file: NamedFile, place: Path, level: int) -> None:
        """Write a mask of 0 and 1: 1 where the grey level exceeds `level`."""
        data, name = file.path.read_bytes(), Path(file.name)
        try:
            with opened(name, data, "cannot be read as a mask: ") as image:
                grey = np.asarray(image.convert("L"))
        except ValueError as error:
            self.faults.append(Fault("", str(error)))
        else:
            write_image(place, (grey > level).astype(np.uint8))
            self.counts.add("converted", "masks", f"grey levels above {level} are 1, others 0", file.name)


def _bar(files: Iterable[T], what: str) -> Iterable[T]:
    return tqdm(files, what, disable=None, delay=1, leave=False)


def _matching(files: Sequence[NamedFile], patterns: Sequence[str]) -> list[NamedFile]:
    """The images that match the first pattern that any image matches."""
    for pattern in patterns:
        if some := [f for f in files if f.name.suffix.lower() in READ_SUFFIXES and f.name.match(pattern)]:
            return some
    return []


def _matched(part: Part, files: Sequence[NamedFile], mover: _Mover) -> list[Pair]:
    """Arrange a part described by patterns; return its pairs, matched by name."""
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
            mover.faults.append(Fault("", f"no {kind} found: no file matches {' or '.join(patterns)}"))
        for file in _bar(found[kind], folder):
            mover.put(file, mover.target / folder / _renamed(file.name, mover.row, is_mask), is_mask)
    if len(mover.faults) > before:
        return []
    pairs, faults = pair_folders(mover.target / part.image_dir, mover.target / part.mask_dir)
    mover.faults += faults
    _count(part, pairs)
    return pairs


def _renamed(name: PurePosixPath, row: DataSet, is_mask: bool) -> str:
    """The file name that an image and its mask share, apart from the suffix."""
    key = re.search(row.name_of, name.name) if row.name_of else None
    suffix = ".png" if is_mask and row.threshold is not None else name.suffix
    return f"{key[1] if key else name.stem}{suffix}"


def _listed(part: Part, files: Sequence[NamedFile], mover: _Mover) -> list[Pair]:
    """Arrange the files that the archive's own list names, keeping their paths; return its pairs."""
    lists = [file for file in files if file.name.match(part.listed)]
    if len(lists) != 1:
        names = ", ".join(str(file.name) for file in lists) or "none"
        mover.faults.append(Fault("", f"expected one file {part.listed}, found {names}"))
        return []
    where, base = lists[0].path, lists[0].name.parent
    listed, faults = read_list(where, mover.target)
    known = {file.name: file for file in files}  # so a list cannot name files outside the archive
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
    mover.faults += [_replace_path(fault, str(where), part.listed) for fault in faults]
    _count(part, pairs)
    return pairs


def _count(part: Part, pairs: Sequence[Pair]) -> None:
    published = "" if part.pairs in (None, len(pairs)) else f" (published: {part.pairs})"
    lists = " and ".join(f"{key}_list.txt" for key in part.lists)
    log.info("  %s: %s%s", lists, counted(len(pairs), "pair"), published)
