"""Locks on folders and files, so that one process at a time writes them.

The lock of a folder is the file `.u2net.lock` in it; that of a file or folder which a command creates is
`.NAME.u2net.lock` beside it. The lock file says who holds it and is removed at the end. The operating system
releases the lock when the process ends, even if it is killed; what is left of the lock file is no obstacle.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shlex
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from paddleseg_u2net.environment.distributed import this_rank
from paddleseg_u2net.errors import LockedError, printable
from paddleseg_u2net.io.files import (
    ANOTHER_FOLDER,
    LOCK,
    disk_errors_named,
    remove_partials_of,
    require_no_file_above,
    require_writable,
    short_name,
)

log = logging.getLogger(__name__)

PAUSE_S = 0.05  # between two attempts
TRIES = 10  # to create the lock file
RECORD_BYTES, COMMAND_CHARS = 4096, 300
CONTENDED = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
# opened by this process for a lock; children that are forked close their copies
_descriptors: set[int] = set()


def lock_file(path: Path) -> Path:
    """The lock file of a file or folder that a command creates; the same for all names of one path."""
    path = path.resolve()
    return path.with_name(f".{short_name(path)}{LOCK}")


@contextmanager
def folder_lock(folder: Path, choice: str = ANOTHER_FOLDER) -> Iterator[None]:
    """Create a folder that a command writes its results into, and lock it while the block runs.

    Of several processes that run one command together, the first holds the lock for all.

    Args:
        folder: may exist and hold earlier results.
        choice: what else the user can do if the folder cannot be used.

    Raises:
        LockedError: another process has locked the folder.
        OSError: the folder cannot be written to.
    """
    with _new_folders(folder), contextlib.ExitStack() as stack:
        require_writable(folder, choice)
        if this_rank().index == 0:
            stack.enter_context(file_lock(folder / LOCK, folder, choice))
        yield


@contextmanager
def path_lock(path: Path, choice: str | None = ANOTHER_FOLDER) -> Iterator[None]:
    """Lock the name of a file or folder that a command creates while the block runs.

    The folder that it lies in is created. Temporary files of processes that were killed while they created
    the same path are removed.

    Args:
        path: need not exist. Check that it does not exist in the block, not before.
        choice: what else the user can do if another process has the lock; None waits for that process.

    Raises:
        LockedError: another process has locked the path.
        DiskError: the disk is full or read-only.
        NotADirectoryError: a folder above it is a file.
    """
    lock = lock_file(path)
    with _new_folders(lock.parent), contextlib.ExitStack() as stack:
        require_no_file_above(path.parent, choice or "choose another folder")
        with disk_errors_named(path):
            stack.enter_context(file_lock(lock, path, choice))
        remove_partials_of(path.resolve())
        yield


@contextmanager
def _new_folders(folder: Path) -> Iterator[None]:
    """Remove the folders that the block creates down to `folder` if it leaves them empty."""
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in absent:
            with contextlib.suppress(OSError):
                path.rmdir()


@contextmanager
def file_lock(lock: Path, target: Path, choice: str | None = None) -> Iterator[None]:
    """Let one process (and thread) at a time run the block, among all that use the same lock file.

    Args:
        lock: the lock file.
        target: what it protects, for messages.
        choice: what else the user can do if another process has the lock; None waits for that process.

    Raises:
        LockedError: another process has the lock, and `choice` is given.
        OSError: the lock file cannot be created, or is something else than a regular file.
    """
    process, descriptor = os.getpid(), _acquire(lock, target, choice)
    try:
        yield
    finally:
        if os.getpid() == process:  # a child that was forked in the block does not hold the lock
            _release(lock, descriptor)


def _acquire(lock: Path, target: Path, choice: str | None) -> int:
    waited, tries = False, TRIES
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _open(lock)
        except FileNotFoundError:  # another process has ended and removed its empty folder
            tries -= 1
            if not tries:  # or it cannot be created, as in /proc
                raise
            continue
        try:
            if not _try(descriptor, lock):
                if choice is not None:
                    raise LockedError(f"{target}: {_holder(lock)}. Fix: wait until it ends, or {choice}")
                if not waited:
                    log.info("%s: %s; waiting until it ends", target, _holder(lock))
                    waited = True
            # otherwise the previous holder removed this file after it was opened here
            elif _is(lock, os.fstat(descriptor)):
                _write_record(descriptor)
                return descriptor
        except BaseException:
            _close(descriptor)
            raise
        _close(descriptor)
        if waited:
            time.sleep(PAUSE_S)


def _open(lock: Path) -> int:
    """Open the lock file; links are not followed, so that no other file is overwritten."""
    flags = os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(lock, os.O_RDWR | flags, 0o666)
    except PermissionError:
        if not lock.exists():
            raise
        # that of another user; without this process's record the lock works too
        descriptor = os.open(lock, os.O_RDONLY | flags & ~os.O_CREAT)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _unusable(lock) from error
        raise
    _descriptors.add(descriptor)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        _close(descriptor)
        raise _unusable(lock)
    return descriptor


def _unusable(lock: Path) -> OSError:
    return OSError(f"{lock}: is no lock file of this program. Fix: remove it")


def _close(descriptor: int) -> None:
    _descriptors.discard(descriptor)
    os.close(descriptor)


def _close_inherited() -> None:
    """Close the copies of a forked child: a lock lasts until the last copy of its descriptor is closed."""
    while _descriptors:
        os.close(_descriptors.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


def _release(lock: Path, descriptor: int) -> None:
    with contextlib.suppress(OSError):  # the disk is read-only by now, or somebody removed the folder
        if sys.platform != "win32" and _is(lock, os.fstat(descriptor)):
            lock.unlink()
    _close(descriptor)
    if sys.platform == "win32":  # which removes no open files
        with contextlib.suppress(OSError):
            lock.unlink()


def _try(descriptor: int, lock: Path) -> bool:
    """Try to lock an open file; whether that succeeded."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, RECORD_BYTES, os.SEEK_SET)  # others cannot read what is locked
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in CONTENDED:
            return False
        log.warning(
            "%s: this file system has no locks (%s), so other processes that write here are not noticed. "
            "Fix: start one command at a time, or choose a folder on a local disk",
            lock.parent,
            error.strerror,
        )
    return True


def _is(path: Path, found: os.stat_result) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.lstat(), found)
    return False


def _write_record(descriptor: int) -> None:
    """Write who holds the lock, as far as the disk allows; the lock itself works without."""
    command = shlex.join(sys.orig_argv)
    record = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        "command": command if len(command) <= COMMAND_CHARS else f"{command[:COMMAND_CHARS]} …",
    }
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(record).encode())


def _holder(lock: Path) -> str:
    """Who writes, as a clause: `process 12 on HOST (COMMAND) has been writing here since TIME`."""
    for _ in range(TRIES):
        with (
            contextlib.suppress(OSError, ValueError, LookupError, TypeError, RecursionError),
            lock.open("rb") as file,
        ):
            record = json.loads(file.read(RECORD_BYTES))
            pid, host, since, command = (
                printable(str(record[key])) for key in ("pid", "host", "since", "command")
            )
            return f"process {pid} on {host} ({command}) has been writing here since {since}"
        time.sleep(PAUSE_S / 5)  # locked, and not yet written
    return "another process is writing here"
