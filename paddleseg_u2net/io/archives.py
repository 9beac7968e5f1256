"""Unpack foreign zip, tar and tar.gz archives safely: bounded sizes, checked names, an atomic result.

Limits apply to what is written, not only to what headers claim. Archives inside archives are not unpacked.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

from paddleseg_u2net.environment.failures import reason
from paddleseg_u2net.errors import printable
from paddleseg_u2net.io.download import is_web_page
from paddleseg_u2net.io.files import CHUNK, atomic_write

MAX_RATIO = 200  # unpacked bytes per packed byte; images do not compress that well
PIECE = 1 << 16  # bytes per read; zipfile takes twice as long with pieces of a megabyte
SMALL = 1 << 16  # packed bytes below which the ratio is not checked
MAX_MEMBERS = 1 << 18
MAX_NAME, MAX_PATH = 255, 1024  # bytes of a file name, and of a whole path
MAX_DIRECTORY = 1 << 24  # bytes of a zip's directory; it takes ten times as many in memory
MAX_HEADERS = 1 << 20  # bytes of a tar read to learn about one member
MAX_GLOBAL = 64  # number of global headers of a tar
ZIP, GZIP, TAR = "zip", "tar.gz", "tar"
OTHERS = {
    b"Rar!": "RAR",
    b"7z\xbc\xaf": "7z",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, RecursionError)
DAMAGE += (UnicodeDecodeError, struct.error, NotImplementedError)
UNLIMITED = 1 << 62  # bytes; no limit
T = TypeVar("T")


def kind_of(path: Path) -> str:
    """Return ZIP, GZIP or TAR, decided by the content of a file, not by its name.

    Raises:
        ValueError: another format; the message names it where it is known.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ZIP
    if head.startswith(b"\x1f\x8b"):
        return GZIP
    if head[257:262] == b"ustar":
        return TAR
    if is_web_page(head):
        raise ValueError(
            f"{path}: a web page, not an archive, as cloud drives often send. Fix: open the address in a "
            "browser and save the file itself"
        )
    other = next((name for magic, name in OTHERS.items() if head.startswith(magic)), None)
    if other:
        raise ValueError(f"{path}: a {other} archive. Fix: unpack it yourself and pass the folder")
    raise ValueError(f"{path}: not a zip, tar or tar.gz archive. Fix: download it again")


def unpack(
    path: Path, destination: Path, max_bytes: int, wanted: Callable[[str], bool] = lambda name: True
) -> None:
    """Unpack an archive into a new folder, atomically.

    Args:
        path: zip, tar or tar.gz.
        destination: folder to create.
        max_bytes: upper bound of all unpacked bytes.
        wanted: whether the member of a given name is to be written; all members are checked.

    Raises:
        ValueError: damaged, of another format, or unsafe: paths outside the folder, links, devices,
            unprintable or clashing names, sizes or compression ratios beyond the limits.
        DiskError: the disk is full.
    """
    kind = kind_of(path)
    with atomic_write(destination, durable=False) as partial:
        partial.mkdir()
        writer = _CheckedWriter(path, partial, max_bytes)
        try:
            (_unpack_zip if kind == ZIP else _unpack_tar)(path, writer, wanted)
        except DAMAGE as error:
            raise ValueError(
                f"{path}: damaged or incomplete: {reason(error)}. Fix: download it again"
            ) from error


class _CheckedWriter:
    """Checks the names and sizes of members, and writes them to a folder."""

    def __init__(self, path: Path, folder: Path, max_bytes: int):
        self.path, self.folder = path, folder
        self.max_bytes = min(max_bytes, MAX_RATIO * max(path.stat().st_size, SMALL))
        self.members = self.written = 0
        self.files: set[str] = set()
        self.folders: set[str] = set()
        self.created: set[str] = set()

    def refuse(self, name: str, why: str) -> ValueError:
        """Return the error for one member."""
        return ValueError(f"{self.path}: {printable(name[:100])} {why}. Nothing was unpacked")

    def check(self, name: str, plain: bool, is_folder: bool) -> None:
        """Raise ValueError unless the name and kind of a member are safe."""
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise ValueError(f"{self.path}: has more than {MAX_MEMBERS} files")
        path = PurePosixPath(name)
        if printable(name) != name:
            raise self.refuse(name, "has unprintable characters in its name")
        if path.is_absolute() or ".." in path.parts or "\\" in name or re.match("[A-Za-z]:", name):
            raise self.refuse(name, "would be written outside the folder")
        if max(map(_length, path.parts), default=0) > MAX_NAME or _length(name) > MAX_PATH:
            raise self.refuse(name, "has a name too long for a file system")
        if not plain or (not path.parts and not is_folder):
            raise self.refuse(name, "is a link or a device, not a file")
        # some file systems ignore case, or treat composed and decomposed letters (ä) as equal
        key = unicodedata.normalize("NFC", "/".join(path.parts)).casefold()
        if key in self.files or (not is_folder and key in self.folders) or not self._above(key):
            raise self.refuse(name, "clashes with another member (names may differ in case only)")
        (self.folders if is_folder else self.files).add(key)

    def _above(self, key: str) -> bool:
        """Whether the parents of a member can be folders; register them as folders."""
        above = key.rpartition("/")[0]
        if not above or above in self.folders:
            return True
        self.folders.add(above)
        return above not in self.files and self._above(above)

    def check_size(self, name: str, size: int) -> None:
        """Raise ValueError if `size` more bytes would exceed the limit."""
        if self.written + size > self.max_bytes:
            raise self.refuse(name, "unpacks to more than the allowed size")

    def write(self, name: str, source: IO[bytes], bar: Any) -> None:
        """Write one member, counting bytes."""
        # from the parts, as they were checked: a//b is a/b, and a/. is a
        target = os.path.join(self.folder, *PurePosixPath(name).parts)
        if (above := os.path.dirname(target)) not in self.created:
            os.makedirs(above, exist_ok=True)
            self.created.add(above)
        with open(target, "xb") as file:
            while chunk := source.read(PIECE):
                self.check_size(name, len(chunk))
                self.written += file.write(chunk)
                bar.update(len(chunk))


def _length(text: str) -> int:
    return len(text.encode())


def _bar(total: int | None) -> Any:
    from tqdm import tqdm  # imported here because prediction, which reads weights, works without tqdm

    return tqdm(desc="unpack", total=total, unit="B", unit_scale=True, disable=None, delay=1, leave=False)


class _BoundedFile:
    """A binary file whose total size, and the bytes read by one parsing step, are limited."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, max_bytes: int = UNLIMITED):
        self.file, self.max_bytes, self.left = file, max_bytes, UNLIMITED
        self.tell, self.seekable = file.tell, file.seekable

    def parse(self, step: Callable[[], T], max_bytes: int) -> T:
        """Run a step that may read `max_bytes`; any error in it means a damaged archive."""
        self.left = max_bytes
        try:
            return step()
        except (OSError, ValueError, LookupError, NotImplementedError) as error:
            raise tarfile.ReadError(str(error)) from error
        finally:
            self.left = UNLIMITED

    def read(self, size: int = -1) -> bytes:
        content = self.file.read(size if 0 <= size <= self.left else self.left + 1)
        self.left -= len(content)
        if self.left < 0:
            raise tarfile.ReadError("headers longer than the limit")
        return self._within(content)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        return self._within(self.file.seek(min(position, self.max_bytes + 1), whence))

    def _within(self, result: Any) -> Any:
        if self.file.tell() > self.max_bytes:
            raise tarfile.ReadError("larger than the limit when decompressed")
        return result


def open_zip(raw: IO[bytes]) -> zipfile.ZipFile:
    """Open a zip whose directory is within the bounds; DAMAGE is raised otherwise."""
    file = _BoundedFile(raw)
    return file.parse(lambda: zipfile.ZipFile(file), MAX_DIRECTORY)  # pyright: ignore


def _unpack_zip(path: Path, writer: _CheckedWriter, wanted: Callable[[str], bool]) -> None:
    with path.open("rb") as raw:
        archive = open_zip(raw)
        members = _checked(archive, writer, wanted)
        with _bar(sum(info.file_size for info in members)) as bar:
            for info in members:
                with archive.open(info) as content:
                    writer.write(info.filename, content, bar)


def _checked(
    archive: zipfile.ZipFile, writer: _CheckedWriter, wanted: Callable[[str], bool]
) -> list[zipfile.ZipInfo]:
    """Return the members of a zip to write, after checking all members against its directory."""
    _check_overlap(archive, writer)
    members, claimed = [], 0
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        # newer Pythons read `filename` from an extra field (0x7075), older ones cut it at a NUL
        name = info.orig_filename if "\0" in info.orig_filename else info.filename
        is_folder = name.endswith("/")  # info.is_dir() fails for an empty name
        writer.check(name, kind in (0, stat.S_IFREG, stat.S_IFDIR), is_folder)
        if info.flag_bits & 1:
            raise writer.refuse(info.filename, "is encrypted")
        if is_folder or not wanted(info.filename):
            continue
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise writer.refuse(
                info.filename, "is compressed by an unsupported method; expected stored or deflated"
            )
        claimed += info.file_size
        if info.file_size > MAX_RATIO * max(info.compress_size, SMALL):
            raise writer.refuse(info.filename, "unpacks to more than the allowed size")
        writer.check_size(info.filename, claimed)
        members.append(info)
    return members


def _check_overlap(archive: zipfile.ZipFile, writer: _CheckedWriter) -> None:
    """Raise ValueError if two members share packed bytes, which lets a small zip unpack to terabytes."""
    end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise writer.refuse(info.filename, "overlaps another member")
        end = info.header_offset + zipfile.sizeFileHeader + info.compress_size
    if end > archive.start_dir:
        raise zipfile.BadZipFile("members overlap the directory")


def _unpack_tar(path: Path, writer: _CheckedWriter, wanted: Callable[[str], bool]) -> None:
    """Unpack a tar; members are checked one by one, as a tar has no directory."""
    packed = kind_of(path) == GZIP
    with path.open("rb") as raw, _bar(None) as bar:
        max_bytes = writer.max_bytes + (writer.max_bytes >> 2) + (1 << 24)  # plus headers and padding
        file = _BoundedFile(gzip.GzipFile(fileobj=raw) if packed else raw, max_bytes)
        archive = file.parse(lambda: tarfile.TarFile(fileobj=file), MAX_HEADERS)  # pyright: ignore
        while member := file.parse(archive.next, MAX_HEADERS):
            archive.members.clear()  # tarfile would keep all of them in memory
            if len(archive.pax_headers) > MAX_GLOBAL:
                raise tarfile.ReadError("headers longer than the limit")
            plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
            writer.check(member.name, plain and not member.issparse(), member.isdir())
            if not member.isdir() and wanted(member.name):
                writer.check_size(member.name, member.size)
                content = archive.extractfile(member)
                assert content is not None
                writer.write(member.name, content, bar)
        if packed:
            while file.read(CHUNK):  # up to the checksum at the end
                pass
        else:
            raw.seek(archive.offset)
            if raw.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("no end marker")
