"""Writing to disk so that a file or folder is either whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".part"
CHUNK = 1 << 20
DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO}


@contextmanager
def arriving(destination: Path) -> Iterator[Path]:
    """A path to write to; it becomes `destination` when the block ends well, and vanishes otherwise.

    Works for a file and for a folder: the block creates which of the two it needs. Either replaces another
    one of the same name.

    Raises:
        OSError: it could not be written; the message names it and the way out.
    """
    partial = destination.with_name(f".{destination.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        for path in partial.glob("*") if partial.is_dir() else [partial]:
            _flush(path)
        _replace(partial, destination)
    except OSError as error:
        if error.errno not in DISK_TROUBLE:
            raise
        raise OSError(
            f"{destination}: cannot be written ({error.strerror}). What was whole before is whole still. "
            "Fix: make room, or choose another folder"
        ) from error
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        partial.unlink(missing_ok=True)


def _replace(partial: Path, destination: Path) -> None:
    """Rename; a folder that is in the way is put back where the renaming fails."""
    if not (partial.is_dir() and destination.is_dir()):
        os.replace(partial, destination)
        return
    replaced = partial.with_suffix(".old")
    os.replace(destination, replaced)
    try:
        os.replace(partial, destination)
    except OSError:
        os.replace(replaced, destination)
        raise
    shutil.rmtree(replaced)


def _flush(path: Path) -> None:
    """Wait until a file is on the disk, so that a crash after the rename cannot leave it empty."""
    if path.is_dir():
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sweep(folder: Path) -> None:
    """Remove what a killed process left half-written in a folder."""
    for path in folder.glob(f".*{PARTIAL}"):
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)


def require_writable(folder: Path) -> None:
    """Create `folder` and prove that files can be written there; raise OSError with the fix otherwise."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"0" * 4096)
            probe.flush()
    except OSError as error:
        raise OSError(
            f"{folder}: cannot be written to ({error.strerror}). Fix: choose another --save_dir"
        ) from error


def digest(path: Path, name: str) -> str:
    """Checksum of a file, in hexadecimal; `name` is one that hashlib knows."""
    state = hashlib.new(name)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            state.update(chunk)
    return state.hexdigest()
