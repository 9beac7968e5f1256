"""Files in the folders of a data set that it does not use, by reason."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from paddleseg_u2net.io.listing import LOST, list_files

NO_PAIR = "in no pair"
Unused = Mapping[str, Sequence[Path]]


def unused_files(folders: Iterable[Path], used: Iterable[Path]) -> dict[str, list[Path]]:
    """List the files below folders that are not used.

    Args:
        folders: searched with their sub-folders, each once; those that do not exist are left out.
        used: files that are used: images, masks, annotations.

    Returns:
        Reason -> files: the reasons of `listing.list_files`, and NO_PAIR for images that are not in `used`.
    """
    known = {os.path.abspath(path) for path in used}
    found: dict[str, list[Path]] = {}
    for folder in outermost(folders):
        listing = list_files(folder)
        rows = {NO_PAIR: listing.images, **listing.unused}
        for reason, paths in rows.items():
            left = [path for path in paths if os.path.abspath(path) not in known]
            if left:
                found.setdefault(reason, []).extend(left)
    return found


def outermost(folders: Iterable[Path]) -> list[Path]:
    """Existing folders, sorted, without those inside another one."""
    by_place = {Path(os.path.abspath(folder)): folder for folder in folders if folder.is_dir()}
    return [folder for place, folder in sorted(by_place.items()) if not by_place.keys() & set(place.parents)]


def may_be_lost(unused: Unused) -> dict[str, Sequence[Path]]:
    """The reasons by which images are lost: unread formats, broken links, folders that cannot be opened."""
    return {reason: paths for reason, paths in unused.items() if LOST.fullmatch(reason)}
