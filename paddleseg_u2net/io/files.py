"""Atomic writes, checksums and bounded caches."""

from __future__ import annotations

import contextlib
import errno
import functools
import glob
import hashlib
import io
import logging
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from paddleseg_u2net.errors import DiskError, DownloadError

log = logging.getLogger(__name__)

PARTIAL, LOCK = ".part", ".u2net.lock"
CHUNK = 1 << 20
ANOTHER_FOLDER = "choose another --save_dir"
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO}


def _put(partial: Path, destination: Path) -> None:
    try:
        os.replace(partial, destination)
    except OSError as error:
        if not (partial.is_dir() and destination.exists()):
            raise
        raise FileExistsError(
            f"{destination}: was created by another process meanwhile. Fix: remove it, or choose another name"
        ) from error


@contextmanager
def atomic_write(
    destination: Path, durable: bool = True, move: Callable[[Path, Path], object] = _put
) -> Iterator[Path]:
    """Yield a temporary path that is renamed to `destination` if the block succeeds and removed otherwise.

    The block creates a file or a folder at that path. A file replaces an existing file; a folder must not
    exist yet.

    Args:
        destination: path of the file or folder to create.
        durable: flush the file, or the files directly in the folder, to the disk before renaming.
        move: puts it in its place; `exchange.take_place` for a folder that replaces another.

    Raises:
        DiskError: the disk is full or read-only; the message names the destination and a fix.
    """
    partial = _partial_name(destination)
    try:
        with disk_errors_named(destination):
            destination.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            if durable:
                for path in partial.glob("*") if partial.is_dir() else [partial]:
                    flush(path)
            move(partial, destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with contextlib.suppress(OSError):  # of a disk that is read-only by now; it would hide the DiskError
            partial.unlink()


@contextmanager
def atomic_bytes(destination: Path, durable: bool = True) -> Iterator[io.BytesIO]:
    """Yield a buffer whose content becomes the file; for libraries that would write the file themselves.

    Those in C, as Pillow, do not notice if a disk that becomes full takes a part of what they write.

    Args:
        destination: see `atomic_write`.
        durable: see `atomic_write`.
    """
    buffer = io.BytesIO()
    yield buffer
    with atomic_write(destination, durable) as partial:
        partial.write_bytes(buffer.getbuffer())


def _partial_name(path: Path) -> Path:
    """A name beside `path` that `remove_partial_files` recognizes."""
    return path.with_name(f".{short_name(path)}.{secrets.token_hex(4)}{PARTIAL}")


def short_name(path: Path) -> str:
    """The name of a path with room for a suffix: file systems limit names in bytes."""
    return os.fsencode(path.name)[:200].decode(errors="ignore")


def is_partial(name: str) -> bool:
    """Whether a file or folder has a name of `_partial_name`."""
    return re.fullmatch(rf"\..+\.[0-9a-f]{{8}}\{PARTIAL}", name) is not None


def is_lock(name: str) -> bool:
    """Whether a file has a name of `locks.lock_file`."""
    return name.startswith(".") and name.endswith(LOCK)


def remove_folder(folder: Path) -> None:
    """Remove a folder; if the process is killed meanwhile, no incomplete folder of that name is left."""
    partial = _partial_name(folder)
    folder.rename(partial)
    shutil.rmtree(partial, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8; its folder is created."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def disk_errors_named(destination: Path) -> Iterator[None]:
    """Turn errors of a full or read-only disk into a DiskError that names the destination and a fix.

    Errors of reading other files are raised unchanged.
    """
    try:
        yield
    except OSError as error:
        read = error.errno in (errno.EACCES, errno.EIO) and isinstance(error.filename, str)
        here = destination.parent.absolute()
        if error.errno not in DISK_ERRORS or (
            read and not Path(error.filename).absolute().is_relative_to(here)
        ):
            raise
        raise DiskError(
            f"{destination}: cannot be written ({error.strerror}). Existing files are unchanged. "
            "Fix: free some space, or choose another folder"
        ) from error


def flush(path: Path) -> None:
    """Flush a file to the disk, so that a crash after renaming it cannot leave it empty."""
    if path.is_dir():
        return
    with path.open("r+b" if sys.platform == "win32" else "rb") as file:  # Windows flushes what can be written
        os.fsync(file.fileno())


def remove_partial_files(folder: Path, names: Iterable[str]) -> None:
    """Remove temporary files that killed processes have left behind.

    Args:
        folder: that this process has locked. Other processes may write into its sub-folders.
        names: patterns of the files and folders in it that this process alone writes, such as `iter_*`; their
            temporary files are removed, and those in such folders.
    """
    for name in names:
        for path in [*folder.glob(f".{name}.*{PARTIAL}"), *folder.glob(f"{name}/.*{PARTIAL}")]:
            _remove_partial(path)


def remove_partials_of(path: Path) -> None:
    """Remove the temporary files of killed processes that were creating `path`, which this one has locked."""
    for found in path.parent.glob(f".{glob.escape(short_name(path))}.*{PARTIAL}"):
        if len(found.name) == len(_partial_name(path).name):  # not of `path` with a longer name
            _remove_partial(found)


def _remove_partial(path: Path) -> None:
    if is_partial(path.name):
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):  # removed by now, or the disk is read-only
            path.unlink()


def prune_cache(folder: Path, max_bytes: int) -> None:
    """Remove the least recently used entries of a cache folder until it fits; always keep the newest one.

    An entry is a file or a folder of files; its modification time (`os.utime`) is when it was last used.
    """
    with contextlib.suppress(OSError):  # another process prunes too, or owns the folder
        found = [path for path in folder.iterdir() if not is_lock(path.name)]
        entries = sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
        room = max_bytes
        for index, entry in enumerate(entries):
            files = entry.rglob("*") if entry.is_dir() else [entry]
            room -= sum(file.stat().st_size for file in files)
            if room < 0 and index:
                shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)


def require_no_file_above(folder: Path, choice: str = ANOTHER_FOLDER) -> None:
    """Raise NotADirectoryError with a fix if a file has the name of a folder to create or of one above it.

    Args:
        folder: to create, may exist.
        choice: what the user can do otherwise.
    """
    found = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), folder)
    if os.path.lexists(found) and not os.path.isdir(found):
        raise NotADirectoryError(f"{found}: expected a folder, found a file. Fix: {choice}")


def require_writable(folder: Path, choice: str = ANOTHER_FOLDER) -> None:
    """Create `folder` and check that files can be written to it; raise OSError with a fix otherwise."""
    require_no_file_above(folder, choice)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"0" * 4096)
            probe.flush()
    except OSError as error:
        raise OSError(f"{folder}: cannot be written to ({error.strerror}). Fix: {choice}") from error


def digest(path: Path, name: str) -> str:
    """Return the checksum of a file in hexadecimal; cached until the file changes.

    Args:
        path: file to read.
        name: algorithm of hashlib, such as sha256.
    """
    found = path.stat()
    return _digest(path, name, (found.st_ino, found.st_size, found.st_mtime_ns))


@functools.lru_cache(maxsize=64)
def _digest(path: Path, name: str, _identity: tuple[int, ...]) -> str:
    state = hashlib.new(name)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            state.update(chunk)
    return state.hexdigest()


def verify(path: Path, *checksums: str, called: str | None = None) -> None:
    """Raise DownloadError unless a file has one of these checksums.

    Args:
        path: an existing file.
        checksums: `sha256:HEX` or `md5:HEX`.
        called: name of the file in the message; its path by default.
    """
    names = dict.fromkeys(checksum.partition(":")[0] for checksum in checksums)
    found = [f"{name}:{digest(path, name)}" for name in names]
    if not {*found} & {*checksums}:
        expected = " or ".join(checksums)
        raise DownloadError(f"{called or path}: its checksum is {' and '.join(found)}, expected {expected}")
