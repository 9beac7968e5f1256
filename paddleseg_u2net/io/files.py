"""Writing to disk so that a file or folder is either whole or not there."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import logging
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paddleseg_u2net.errors import DiskError

log = logging.getLogger(__name__)

PARTIAL = ".part"
CHUNK = 1 << 20
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO}


@contextmanager
def atomic_write(destination: Path, durable: bool = True) -> Iterator[Path]:
    """A path to write to; it becomes `destination` when the block ends well, and vanishes otherwise.

    Works for a file, which replaces another one of that name, and for a folder, whose name must be free: the
    block creates which of the two it needs.

    Args:
        destination: what to make.
        durable: wait until the file, or those directly in the folder, are on the disk.

    Raises:
        DiskError: it could not be written; the message names it and the way out.
    """
    # a name as long as the system allows, in bytes, has to leave room for ours
    short = os.fsencode(destination.name)[:200].decode(errors="ignore")
    partial = destination.with_name(f".{short}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        with disk_errors_named(destination):
            destination.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            if durable:
                for path in partial.glob("*") if partial.is_dir() else [partial]:
                    flush(path)
            os.replace(partial, destination)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        partial.unlink(missing_ok=True)


@contextmanager
def disk_errors_named(destination: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a DiskError that names the destination and the way out.

    What cannot be read elsewhere is another trouble, and stays as it is.
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
            f"{destination}: cannot be written ({error.strerror}). What was whole before is whole still. "
            "Fix: make room, or choose another folder"
        ) from error


@contextmanager
def file_lock(lock: Path) -> Iterator[None]:
    """One process at a time in the block, over all that name the same file.

    The system lets go of the lock when a process ends, however it ends. The file is gone after the block.
    """
    import fcntl

    while True:
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("Waiting for another process that holds %s", lock)
                fcntl.flock(file, fcntl.LOCK_EX)
            # the one before removed the file while this one waited for it: then the name is free again
            if _is(lock, os.fstat(file.fileno())):
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)
                return


def _is(path: Path, found: os.stat_result) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), found)
    return False


def flush(path: Path) -> None:
    """Wait until a file is on the disk, so that a crash after the rename cannot leave it empty."""
    if path.is_dir():
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


def remove_partial_files(folder: Path) -> None:
    """Remove what a killed process left half-written in a folder and in those directly inside it."""
    for path in [*folder.glob(f".*{PARTIAL}"), *folder.glob(f"*/.*{PARTIAL}")]:
        if re.fullmatch(rf"\..+\.[0-9a-f]{{8}}\{PARTIAL}", path.name):
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)


def prune_cache(folder: Path, max_bytes: int) -> None:
    """Remove what was used longest ago in a cache folder, until the rest fits; the newest stays in any case.

    An entry, a file or a folder of files, was used when its time says so (`os.utime`).
    """
    with contextlib.suppress(OSError):  # another process prunes too, or may write where we may not
        entries = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        room = max_bytes
        for index, entry in enumerate(entries):
            files = entry.rglob("*") if entry.is_dir() else [entry]
            room -= sum(file.stat().st_size for file in files)
            if room < 0 and index:
                shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)


def require_writable(folder: Path, choice: str = "choose another --save_dir") -> None:
    """Create `folder` and prove that files can be written there; raise OSError with the fix otherwise."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"0" * 4096)
            probe.flush()
    except OSError as error:
        raise OSError(f"{folder}: cannot be written to ({error.strerror}). Fix: {choice}") from error


def digest(path: Path, name: str) -> str:
    """Checksum of a file, in hexadecimal, by a method of hashlib; read once while the file stays as it is."""
    found = path.stat()
    return _digest(path, name, (found.st_ino, found.st_size, found.st_mtime_ns))


@functools.lru_cache(maxsize=64)
def _digest(path: Path, name: str, _identity: tuple[int, ...]) -> str:
    state = hashlib.new(name)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            state.update(chunk)
    return state.hexdigest()
