"""Which files of a folder are images: the content decides, and what is not used is counted by reason."""

from __future__ import annotations

import logging
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paddleseg_u2net.io.images import SUFFIXES

log = logging.getLogger(__name__)

HEAD_BYTES = 64
SHOWN = 3  # names of files per reason in a message
# suffixes of files that are taken for images even if their content is damaged, so that this is an error
IMAGE_SUFFIXES = {*SUFFIXES, ".jpe", ".jif", ".jfif", ".jp2", ".j2k", ".jpf", ".jpx", ".jpc"}
RAW_SUFFIXES = {
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".k25", ".kdc", ".mef", ".mos"),
    *(".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
}
JPEG_2000 = "JPEG 2000"
READ = {"JPEG", "PNG", "BMP", "WebP", "TIFF", JPEG_2000}  # formats that images and masks are decoded from
# (offset, bytes, format); the first match counts. Sources: the specifications, and Pillow's plugins
SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (8, b"WEBP", "WebP"),
    (8, b"CR\x02\0", "camera raw"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"\0\0\0\x0cjP  ", JPEG_2000),
    (0, b"\xff\x4f\xff\x51", JPEG_2000),
    (0, b"GIF8", "GIF"),
    (0, b"8BPS", "PSD"),
    (0, b"gimp xcf", "XCF"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"II\xbc", "JPEG XR"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"\x93NUMPY", "NumPy"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"FUJIFILMCCD-RAW", "camera raw"),
    (0, b"IIRO", "camera raw"),
    (0, b"IIU\0", "camera raw"),
    (6, b"HEAPCCDR", "camera raw"),
    (0, b"FOVb", "camera raw"),
    (4, b"ftypcrx", "camera raw"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    *((4, b"ftyp" + brand, "HEIC") for brand in (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1")),
    (0, b"RIFF", "audio or video"),
    (4, b"ftyp", "video"),
)
# other formats of images, known by their names alone
OTHER_SUFFIXES = {
    ".svg": "SVG",
    ".tga": "TGA",
    ".dcm": "DICOM",
    ".nii": "NIfTI",
    ".mha": "MetaImage",
    ".pcx": "PCX",
    ".sgi": "SGI",
    ".exr": "OpenEXR",
    ".hdr": "Radiance HDR",
    ".heic": "HEIC",
    ".heif": "HEIC",
    ".avif": "AVIF",
    ".gif": "GIF",
    ".psd": "PSD",
    ".pdf": "PDF",
    ".eps": "PostScript",
    ".jxl": "JPEG XL",
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pfm"), "PNM"),
    **dict.fromkeys(RAW_SUFFIXES, "camera raw"),
}
NOT_IMAGES = {"PDF", "PostScript", "HDF5", "NumPy", "audio or video", "video"}

# reasons why a file is not used
NO_IMAGE, HIDDEN, BROKEN_LINK = "not an image", "hidden", "broken link"
SEEN, CLOSED, SPECIAL = "link to a folder that is read already", "cannot be opened", "no regular file"
UNREAD = "{} is not read"
LOST = re.compile(rf"{BROKEN_LINK}|{CLOSED}|.* is not read")  # reasons by which images may be lost


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

    An image is a file whose content is of a format of `READ`, whatever its name, or whose name says so, so
    that damaged files are an error and not left out. Hidden files and folders are left out. Links to folders
    are followed once, after the folder's own files; one that leads back, or to a folder that has been read,
    is not.
    """
    listing = Listing(folder)
    for path in _files(folder, listing):
        reason = why_not(path)
        listing.images.append(path) if reason is None else listing.leave_out(path, reason)
    listing.images.sort()
    for paths in listing.unused.values():
        paths.sort()
    return listing


def _files(folder: Path, listing: Listing) -> Iterator[Path]:
    """Yield the visible files below a folder; what cannot be opened is added to the listing."""
    seen = {_identity(folder)} | {_identity(parent) for parent in folder.resolve().parents}
    links: deque[Path] = deque()
    for path, is_link in _walk(folder, seen, listing):
        if is_link:
            links.append(path)
        else:
            yield path
    while links:
        link = links.popleft()
        if _identity(link) in seen:
            listing.leave_out(link, SEEN)
            continue
        seen.add(_identity(link))
        for path, is_link in _walk(link, seen, listing):
            if is_link:
                links.append(path)
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
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return BROKEN_LINK if path.is_symlink() and not os.access(path, os.F_OK) else CLOSED
    kind, suffix = format_of(head), path.suffix.lower()
    if kind == "TIFF" and suffix in RAW_SUFFIXES:  # most cameras' files are TIFF with a small preview first
        return UNREAD.format("camera raw")
    if kind in READ or suffix in IMAGE_SUFFIXES:
        return None
    if kind is None:
        kind = OTHER_SUFFIXES.get(suffix)
    return NO_IMAGE if kind is None or kind in NOT_IMAGES else UNREAD.format(kind)


def format_of(head: bytes) -> str | None:
    """The format of a file by its first bytes; None if they are of none in `SIGNATURES`."""
    if head[:2] == b"BM" and len(head) > 18 and head[14] in (12, 40, 52, 56, 64, 108, 124):
        return "BMP"  # two letters are not enough to tell it from text
    if len(head) > 3 and head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PNM"
    return next((name for at, magic, name in SIGNATURES if head[at : at + len(magic)] == magic), None)


def is_image(path: Path) -> bool:
    """Whether the content of a file is of a format that is read."""
    try:
        with path.open("rb") as file:
            return format_of(file.read(HEAD_BYTES)) in READ
    except OSError:
        return False


def stem_of(path: Path) -> Path:
    """A path without the suffix of its format; `img.7` and `frame.0001` keep their numbers."""
    return path if re.fullmatch(r"\.\d*", path.suffix) else path.with_suffix("")


def unused_text(unused: Mapping[str, Sequence[Path]], root: Path | None = None, used: str = "used") -> str:
    """How many files are not used, by reason, with the first names.

    Args:
        unused: reason -> files.
        root: names are shown relative to it.
        used: what they are not.
    """
    rows = sorted(unused.items(), key=lambda row: (-len(row[1]), row[0]))
    count = sum(len(paths) for _, paths in rows)
    shown = "; ".join(f"{len(paths)} {reason}: {first_names(paths, root)}" for reason, paths in rows)
    return f"{count} file{'s are' if count > 1 else ' is'} not {used}: {shown}"


def first_names(paths: Iterable[Path], root: Path | None = None) -> str:
    """The first names of several files, as `a.txt, b.txt, c.txt, …`."""
    paths = list(paths)
    names = [os.path.relpath(path, root) if root else str(path) for path in paths[:SHOWN]]
    return ", ".join(names) + (", …" if len(paths) > SHOWN else "")
