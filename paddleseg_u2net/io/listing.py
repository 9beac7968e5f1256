"""Which files of a folder are images: the content decides, and what is not used is counted by reason."""

from __future__ import annotations

import logging
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paddleseg_u2net.io.file_kinds import BY_SUFFIX, HEAD, RAW, TIFF, FileKind, find_kind
from paddleseg_u2net.io.files import is_lock, is_partial
from paddleseg_u2net.io.unsupported import may_be_camera_raw

log = logging.getLogger(__name__)

SHOWN = 3  # names of files per reason in a message

# reasons why a file is not used
NO_IMAGE, HIDDEN, BROKEN_LINK = "not an image", "hidden", "broken link"
SEEN, CLOSED, SPECIAL = "link to a folder that is read already", "cannot be opened", "no regular file"
UNREAD = "not read ({})"
LOST = re.compile(rf"{BROKEN_LINK}|{CLOSED}|not read \(.*\)")  # reasons by which images may be lost


@dataclass
class Listing:
    """The files of a folder.

    Args:
        folder: the folder.
        images: files that are read as images, sorted.
        unused: reason -> the other files, sorted.
    """

    folder: Path
    images: list[Path] = field(default_factory=list)
    unused: dict[str, list[Path]] = field(default_factory=dict)

    def leave_out(self, path: Path, reason: str) -> None:
        """Add a file that is not used."""
        self.unused.setdefault(reason, []).append(path)


def list_images(folder: Path) -> list[Path]:
    """List all images below a folder, see `list_files`; what is not used is counted and logged."""
    listing = list_files(folder)
    if listing.unused:
        text = f"{folder}: {unused_text(listing.unused, folder)}"
        if text not in _logged:  # a folder is searched once for images and once for masks
            lost = any(LOST.fullmatch(reason) for reason in listing.unused)
            log.log(logging.WARNING if lost else logging.INFO, text)
        _logged.add(text)
    return listing.images


_logged: set[str] = set()  # lines of `list_images` in this process


def list_files(folder: Path) -> Listing:
    """Sort the files below a folder into images and others.

    An image is a file whose content is of a format of `file_kinds.READ` under any name, or whose name says
    so, so that damaged files are an error and not left out. Hidden files and folders are left out. Links to
    folders are followed once, after the folder's own files; one that leads back, or to a folder that has been
    read, is not.
    """
    listing = Listing(folder)
    for path in visible_files(folder, listing):
        reason = why_not(path)
        listing.images.append(path) if reason is None else listing.leave_out(path, reason)
    listing.images.sort()
    for paths in listing.unused.values():
        paths.sort()
    return listing


def visible_files(folder: Path, listing: Listing | None = None) -> Iterator[Path]:
    """Yield the files below a folder that are not hidden, in the order of `list_files`, of any kind.

    Args:
        folder: searched with its sub-folders and the folders that it links to.
        listing: hidden files, and folders that are not searched, are added to it.
    """
    listing = listing or Listing(folder)
    seen = {_identity(parent) for parent in folder.resolve().parents}
    starts = deque([folder])  # then links to folders, in the order in which they are found
    while starts:
        start = starts.popleft()
        if _identity(start) in seen:
            listing.leave_out(start, SEEN)
            continue
        seen.add(_identity(start))
        for path, is_link in _walk(start, seen, listing):
            if is_link:
                starts.append(path)
            else:
                yield path


def _walk(folder: Path, seen: set[tuple[int, int]], listing: Listing) -> Iterator[tuple[Path, bool]]:
    """Yield the files below a folder, and the links to folders, which are marked and not followed."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        listing.leave_out(folder, CLOSED)
        return
    for entry in entries:
        path = folder / entry.name
        if is_partial(entry.name) or is_lock(entry.name):  # written by this package, perhaps right now
            continue
        if entry.name.startswith("."):
            listing.leave_out(path, HIDDEN)
        elif not entry.is_symlink() and entry.is_dir():
            if _identity(path) in seen:
                listing.leave_out(path, SEEN)
                continue
            seen.add(_identity(path))
            yield from _walk(path, seen, listing)
        else:
            yield path, entry.is_symlink() and _is_dir(path)


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(folder: Path) -> tuple[int, int]:
    try:
        found = folder.stat()
    except OSError:
        return -1, hash(folder)
    return found.st_dev, found.st_ino


def why_not(path: Path) -> str | None:
    """Why a file is not read as an image; None if it is."""
    try:
        if not path.is_file():
            return BROKEN_LINK if path.is_symlink() and not path.exists() else SPECIAL
        kind = _kind_of(path)
    except OSError:
        return BROKEN_LINK if path.is_symlink() and not os.access(path, os.F_OK) else CLOSED
    named = BY_SUFFIX.get(path.suffix.lower())
    # most cameras' files are TIFF with a small preview first
    if kind is TIFF and named is RAW and may_be_camera_raw(path):
        return UNREAD.format(RAW.noun)
    if any(one and one.is_image for one in (kind, named)):
        return None
    if kind is None or not kind.is_picture:
        kind = named
    return UNREAD.format(kind.noun) if kind else NO_IMAGE


def _kind_of(path: Path) -> FileKind | None:
    with path.open("rb") as file:
        return find_kind(file.read(HEAD))


def is_image(path: Path) -> bool:
    """Whether the content of a file is of a format that is read."""
    try:
        kind = _kind_of(path)
    except OSError:
        return False
    return kind is not None and kind.is_image


def stem_of(path: Path) -> Path:
    """A path without the suffix of its format; `img.7` and `frame.0001` keep their numbers."""
    return path if re.fullmatch(r"\.\d*", path.suffix) else path.with_suffix("")


def unused_text(unused: Mapping[str, Sequence[Path]], root: Path | None = None) -> str:
    """How many files are not used, by reason, with the first names.

    Args:
        unused: reason -> files.
        root: names are shown relative to it.
    """
    rows = sorted(unused.items(), key=lambda row: (-len(row[1]), row[0]))
    count = sum(len(paths) for _, paths in rows)
    shown = "; ".join(f"{len(paths)} {reason}: {first_names(paths, root)}" for reason, paths in rows)
    return f"{count} file{'s are' if count > 1 else ' is'} not used: {shown}"


def first_names(paths: Iterable[Path], root: Path | None = None) -> str:
    """The first names of several files, as `a.txt, b.txt, c.txt, …`."""
    paths = list(paths)
    names = [os.path.relpath(path, root) if root else str(path) for path in paths[:SHOWN]]
    return ", ".join(names) + (", …" if len(paths) > SHOWN else "")
