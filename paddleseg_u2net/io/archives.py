"""Archives of others -> folders: bounded, each name checked, and the folder is whole or not there.

zip (stored or deflated), tar and tar.gz. Limits count what is written, not only what headers claim; archives
inside archives stay packed.
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

from tqdm import tqdm

from paddleseg_u2net.io.download import is_web_page
from paddleseg_u2net.io.files import CHUNK, atomic_write

MAX_RATIO = 200  # of what is unpacked to what is packed; images do not pack that well
PIECE = 1 << 16  # read at a time; zipfile takes twice as long over a megabyte
SMALL = 1 << 16  # packed bytes below which that is not asked
MAX_MEMBERS = 1 << 18
MAX_NAME, MAX_PATH = 255, 1024  # bytes, of a name and of all of it
MAX_DIRECTORY = 1 << 24  # bytes of a zip's table of contents; ten times as many in memory
MAX_HEADERS = 1 << 20  # bytes of a tar that are read to learn of one member
MAX_GLOBAL = 64  # headers of a tar for all of its members
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
ALL = 1 << 62  # bytes; no bound
T = TypeVar("T")


def kind_of(path: Path) -> str:
    """ZIP, GZIP or TAR, by what the file holds and not by its name.

    Raises:
        ValueError: neither; the message says what it is, as far as that can be seen.
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
            f"{path}: a web page, not an archive. Cloud drives answer so. Fix: open the address in a browser "
            "and save the file itself"
        )
    other = next((name for magic, name in OTHERS.items() if head.startswith(magic)), None)
    if other:
        raise ValueError(f"{path}: a {other} archive. Fix: unpack it yourself, and give the folder")
    raise ValueError(f"{path}: not a zip, tar or tar.gz archive. Fix: download it anew")


def unpack(
    path: Path, destination: Path, max_bytes: int, wanted: Callable[[str], bool] = lambda name: True
) -> None:
    """Unpack an archive; `destination` appears when all of it is there, and not at all otherwise.

    Args:
        path: zip, tar or tar.gz.
        destination: folder to make; its name must be free.
        max_bytes: more than that is not written.
        wanted: says of a member's name whether it is written; all are checked.

    Raises:
        ValueError: damaged, of another format, or unsafe: members outside the folder, links, devices, names
            that hide or clash, sizes or ratios that no data set has.
        DiskError: the disk is full.
    """
    kind = kind_of(path)
    with atomic_write(destination, durable=False) as partial:
        partial.mkdir()
        gate = _Gate(path, partial, max_bytes)
        try:
            (_unpack_zip if kind == ZIP else _unpack_tar)(path, gate, wanted)
        except DAMAGE as error:
            raise ValueError(f"{path}: damaged, or not whole: {error}. Fix: download it anew") from error


class _Gate:
    """What passes from an archive to the disk: names that are safe, bytes that are few enough."""

    def __init__(self, path: Path, folder: Path, max_bytes: int):
        self.path, self.folder = path, folder
        self.most = min(max_bytes, MAX_RATIO * max(path.stat().st_size, SMALL))
        self.members = self.written = 0
        self.files: set[str] = set()
        self.folders: set[str] = set()
        self.made: set[str] = set()

    def refuse(self, name: str, why: str) -> ValueError:
        """The error for one member."""
        shown = name if name.isprintable() else ascii(name)
        return ValueError(f"{self.path}: {shown[:100]} {why}. Nothing of it is kept")

    def check(self, name: str, plain: bool, is_folder: bool) -> None:
        """Raise ValueError unless a member may be written."""
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise ValueError(f"{self.path}: holds more than {MAX_MEMBERS} files")
        path = PurePosixPath(name)
        if not name.isprintable():
            raise self.refuse(name, "is a name with characters that do not show")
        if path.is_absolute() or ".." in path.parts or "\\" in name or re.match("[A-Za-z]:", name):
            raise self.refuse(name, "would be written outside the folder")
        if max(map(_length, path.parts), default=0) > MAX_NAME or _length(name) > MAX_PATH:
            raise self.refuse(name, "is a name too long for a disk")
        if not plain or (not path.parts and not is_folder):
            raise self.refuse(name, "is a link or a device, not a file")
        # as a disk sees it that takes upper and lower case, or two ways to write ä, for the same
        key = unicodedata.normalize("NFC", "/".join(path.parts)).casefold()
        if key in self.files or (not is_folder and key in self.folders) or not self._above(key):
            raise self.refuse(name, "clashes with another member (perhaps in upper and lower case)")
        (self.folders if is_folder else self.files).add(key)

    def _above(self, key: str) -> bool:
        """Whether all that is above a member are folders; they are from then on."""
        above = key.rpartition("/")[0]
        if not above or above in self.folders:
            return True
        self.folders.add(above)
        return above not in self.files and self._above(above)

    def check_size(self, name: str, size: int) -> None:
        """Raise ValueError where so many bytes more are too many."""
        if self.written + size > self.most:
            raise self.refuse(name, "unpacks to more than a data set would")

    def write(self, name: str, source: IO[bytes], bar: tqdm) -> None:
        """Copy a member to its place, counting."""
        target = os.path.join(
            self.folder, *PurePosixPath(name).parts
        )  # as checked: a//b and a/. end in a/b, a
        if (above := os.path.dirname(target)) not in self.made:
            os.makedirs(above, exist_ok=True)
            self.made.add(above)
        with open(target, "xb") as file:
            while chunk := source.read(PIECE):
                self.check_size(name, len(chunk))
                self.written += file.write(chunk)
                bar.update(len(chunk))


def _length(text: str) -> int:
    return len(text.encode())


def _bar(total: int | None) -> tqdm:
    return tqdm(desc="unpack", total=total, unit="B", unit_scale=True, disable=None, delay=1, leave=False)


class _Bounded:
    """A file that gives at most so much, and to those who parse it only so much at a time."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, most: int = ALL):
        self.file, self.most, self.left = file, most, ALL
        self.tell, self.seekable = file.tell, file.seekable

    def parse(self, step: Callable[[], T], most: int) -> T:
        """The result of a step that may read so many bytes; whatever it trips over is damage."""
        self.left = most
        try:
            return step()
        except (OSError, ValueError, LookupError, NotImplementedError) as error:
            raise tarfile.ReadError(str(error)) from error
        finally:
            self.left = ALL

    def read(self, size: int = -1) -> bytes:
        content = self.file.read(size if 0 <= size <= self.left else self.left + 1)
        self.left -= len(content)
        if self.left < 0:
            raise tarfile.ReadError("headers that are longer than those of a data set")
        return self._within(content)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        return self._within(self.file.seek(min(position, self.most + 1), whence))

    def _within(self, result: Any) -> Any:
        if self.file.tell() > self.most:
            raise tarfile.ReadError("more inside than a data set would hold")
        return result


def _unpack_zip(path: Path, gate: _Gate, wanted: Callable[[str], bool]) -> None:
    with path.open("rb") as raw:
        file = _Bounded(raw)
        archive = file.parse(lambda: zipfile.ZipFile(file), MAX_DIRECTORY)  # pyright: ignore
        members = _checked(archive, gate, wanted)
        with _bar(sum(info.file_size for info in members)) as bar:
            for info in members:
                with archive.open(info) as content:
                    gate.write(info.filename, content, bar)


def _checked(archive: zipfile.ZipFile, gate: _Gate, wanted: Callable[[str], bool]) -> list[zipfile.ZipInfo]:
    """The files of a zip to write; all members are checked by what the directory says of them."""
    _check_overlap(archive, gate)
    members, claimed = [], 0
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        # newer Pythons take `filename` from an extra field (0x7075), older ones cut it at a NUL
        name = info.orig_filename if "\0" in info.orig_filename else info.filename
        is_folder = name.endswith("/")  # info.is_dir() trips over an empty name
        gate.check(name, kind in (0, stat.S_IFREG, stat.S_IFDIR), is_folder)
        if info.flag_bits & 1:
            raise gate.refuse(info.filename, "is encrypted")
        if is_folder or not wanted(info.filename):
            continue
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise gate.refuse(info.filename, "is packed in a way that is not read here (stored, deflated)")
        claimed += info.file_size
        if info.file_size > MAX_RATIO * max(info.compress_size, SMALL):
            raise gate.refuse(info.filename, "unpacks to more than a data set would")
        gate.check_size(info.filename, claimed)
        members.append(info)
    return members


def _check_overlap(archive: zipfile.ZipFile, gate: _Gate) -> None:
    """Raise ValueError where two members share packed bytes: how a small zip becomes terabytes."""
    end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise gate.refuse(info.filename, "overlaps another member")
        end = info.header_offset + zipfile.sizeFileHeader + info.compress_size
    if end > archive.start_dir:
        raise zipfile.BadZipFile("members reach into the directory")


def _unpack_tar(path: Path, gate: _Gate, wanted: Callable[[str], bool]) -> None:
    """Members are checked as they come: a tar has no directory to read first."""
    packed = kind_of(path) == GZIP
    with path.open("rb") as raw, _bar(None) as bar:
        most = gate.most + (gate.most >> 2) + (1 << 24)  # headers and padding
        file = _Bounded(gzip.GzipFile(fileobj=raw) if packed else raw, most)
        archive = file.parse(lambda: tarfile.TarFile(fileobj=file), MAX_HEADERS)  # pyright: ignore
        while member := file.parse(archive.next, MAX_HEADERS):
            archive.members.clear()  # which keeps all of them otherwise
            if len(archive.pax_headers) > MAX_GLOBAL:
                raise tarfile.ReadError("headers that are longer than those of a data set")
            plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
            gate.check(member.name, plain and not member.issparse(), member.isdir())
            if not member.isdir() and wanted(member.name):
                gate.check_size(member.name, member.size)
                content = archive.extractfile(member)
                assert content is not None
                gate.write(member.name, content, bar)
        if packed:
            while file.read(CHUNK):  # to the end, where the checksum is
                pass
        else:
            raw.seek(archive.offset)
            if raw.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("no end mark")
