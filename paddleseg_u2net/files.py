"""Writing to disk so that a file or folder is either whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def arriving(destination: Path) -> Iterator[Path]:
    """A path to write to; it becomes `destination` when the block ends well, and vanishes otherwise.

    Works for a file and for a folder: the block creates which of the two it needs. A folder replaces
    another one of the same name.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    try:
        yield partial
        for path in partial.glob("*") if partial.is_dir() else [partial]:
            _flush(path)
        if partial.is_dir() and destination.is_dir():
            replaced = partial.with_suffix(".old")
            os.replace(destination, replaced)
            os.replace(partial, destination)
            shutil.rmtree(replaced)
        else:
            os.replace(partial, destination)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        partial.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait until a file is on the disk, so that a crash after the rename cannot leave it empty."""
    if path.is_dir():
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


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
