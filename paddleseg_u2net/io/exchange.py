"""Folders that replace others, so that at every moment a complete one can be found."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux; macOS has the same number for RENAME_SWAP


def take_place(folder: Path, destination: Path) -> None:
    """Move a folder to where another one may be; what was there is at `folder` afterwards, or removed.

    Where the file system cannot exchange two folders in one step (NFS), the earlier one has another name for
    a moment. `restore` brings it back if the process is killed then.

    Args:
        folder: the new one.
        destination: its place, on the same file system.
    """
    if not destination.exists():
        folder.rename(destination)
    elif not _exchange(folder, destination):
        aside = _aside(destination)
        shutil.rmtree(aside, ignore_errors=True)
        destination.rename(aside)
        folder.rename(destination)
        shutil.rmtree(aside, ignore_errors=True)


def restore(destination: Path) -> Path:
    """Bring back the folder that `take_place` was replacing when its process was killed; returns its path.

    That is another one if the disk is read-only.
    """
    aside = _aside(destination)
    if aside.is_dir() and not destination.exists():
        with contextlib.suppress(OSError):
            aside.rename(destination)
    return aside if aside.is_dir() and not destination.exists() else destination


def _aside(destination: Path) -> Path:
    return destination.with_name(f".{destination.name}.old")


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders in one step; False where the system or the file system cannot."""
    if sys.platform == "win32":
        return False
    libc, names = ctypes.CDLL(None), (os.fsencode(first), os.fsencode(second))
    with contextlib.suppress(AttributeError):  # an old C library
        if sys.platform == "darwin":
            return libc.renamex_np(*names, RENAME_EXCHANGE) == 0
        return libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0
    return False
