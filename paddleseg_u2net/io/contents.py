"""The content of image files, and why there is none: messages that name the cause."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

from paddleseg_u2net.bounds import TooMany
from paddleseg_u2net.errors import Fault, printable
from paddleseg_u2net.io.file_kinds import HEAD, find_kind, why_unreadable

MAX_BYTES = 2**31 - 1  # of a file; OpenCV counts them in 32 bits
OPENCV_NO_MEMORY = -4  # code of its error


class TooManyPixels(ValueError):
    """An image that is larger than allowed."""


def read_bytes(path: Path, kind: str = "image") -> bytes:
    """Return the content of a file.

    Raises:
        FileNotFoundError: there is none.
        OSError: it is no file, or may not be read; the message says why.
        ValueError: it is too large.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(f"{path}: is a folder, not an {kind} file. Fix: name the files in it")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe may wait for ever
            raise OSError(f"{path}: is a device or a pipe, not an {kind} file. Fix: save it as a file")
        if status.st_size <= MAX_BYTES:
            return path.read_bytes()
    except OSError as error:
        if error.errno is None:
            raise
        raise _access_error(path, kind, error) from None
    with path.open("rb") as file:
        found = find_kind(file.read(HEAD))
    holds = f"holds {found.name} of" if found else "has"
    what = f"{holds} {status.st_size / 1e9:.1f} GB, more than {MAX_BYTES / 1e9:.1f}"
    raise ValueError(str(Fault(str(path), what, "make it smaller")))


def _access_error(path: Path, kind: str, error: OSError) -> OSError:
    """An error of the file system, in words."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if path.is_symlink():
            return FileNotFoundError(f"{path}: a link to {path.readlink()}, which does not exist")
        return FileNotFoundError(f"{path}: no such {kind} file")
    fix = f"chmod u+r {path}, or run as its owner" if error.errno in (errno.EACCES, errno.EPERM) else ""
    return type(error)(str(Fault(str(path), f"cannot be read: {error.strerror}", fix)))


def unreadable(path: Path, data: bytes, error: Exception, what: str = "") -> ValueError:
    """The error of a file that is not read as an image, with its cause.

    Args:
        path: the file.
        data: its content.
        error: what its decoder raised.
        what: beginning of the message about a mask; empty for images.
    """
    if isinstance(error, MemoryError) or getattr(error, "code", 0) == OPENCV_NO_MEMORY:
        return ValueError(str(Fault(str(path), f"{what}not enough memory for its pixels", "make it smaller")))
    if isinstance(error, TooMany):
        return ValueError(
            str(Fault(str(path), what + str(error).partition(". Fix: ")[0], "save it again as PNG"))
        )
    # Pillow says of all files that it does not open that it cannot identify them
    unknown = type(error).__name__ == "UnidentifiedImageError"
    said = getattr(error, "err", None) or error  # OpenCV's message begins with a path of its own source
    reason = "" if unknown else " ".join(printable(str(said)).split()) or type(error).__name__
    why, fix = why_unreadable(data, reason)
    fix = fix.replace(" or JPEG", "").replace("JPEG or ", "") if what else fix  # JPEG would change class ids
    return ValueError(str(Fault(str(path), f"{what}{why}", fix)))
