"""Names of files, folders and parts as the files of a data set give them, resolved inside its folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from paddleseg_u2net.bounds import TEXT_BYTES
from paddleseg_u2net.errors import DataError, Fault, counted
from paddleseg_u2net.importers.list_writer import PARTS
from paddleseg_u2net.io.text_files import text_lines

MAX_REFERENCE = 4096  # characters of a path
# names of a part -> its index in PARTS
PART_NAMES = {
    name: PARTS.index(part)
    for part, names in {
        "train": ("train", "training"),
        "val": ("val", "valid", "validation"),
        "test": ("test", "testing"),
    }.items()
    for name in names
}


def find_inside(folder: Path, reference: str) -> Path | None:
    r"""Find the file or folder inside `folder` that a reference of a file means.

    References written on another machine lead elsewhere: `../train/images`, or an absolute path.
    They are not followed: the longest end of the path that exists inside `folder` is taken.

    Args:
        folder: the folder of the data set.
        reference: the path as written, with / or \.

    Returns:
        The path below `folder`, or `folder` itself for `.`; None if there is none.
    """
    if len(reference) > MAX_REFERENCE:
        return None
    parts = [part for part in reference.strip().replace("\\", "/").split("/") if part not in ("", ".")]
    for start in range(len(parts)):
        found = folder.joinpath(*parts[start:])
        if ".." not in parts[start:] and os.path.exists(found):  # False for names that no file can have
            return found
    return None if parts else folder


def check_size(path: Path, limit: int = TEXT_BYTES.most) -> None:
    """Raise DataError if a file does not exist, is no file, or is larger than `limit` bytes."""
    if not path.is_file():
        what = "is a folder, expected a file" if path.is_dir() else "no such file"
        raise DataError([Fault(str(path), what)])
    if (size := path.stat().st_size) > limit:
        raise DataError([Fault(str(path), f"{counted(size, 'byte')}, expected at most {limit}")])


def read_lines(path: Path, limit: int = TEXT_BYTES.most) -> list[str]:
    """Read the lines of a text file.

    Raises:
        DataError: the file does not exist, is larger than `limit` bytes, or is not UTF-8.
    """
    check_size(path, limit)
    try:
        return text_lines(path)
    except UnicodeDecodeError:
        raise DataError([Fault(str(path), "not UTF-8", "save it as UTF-8")]) from None
    except ValueError as error:
        raise DataError([str(error)]) from None


def all_parts_named(names: Mapping[str, object]) -> bool:
    """Whether names are those of parts, with train and val among them."""
    parts = [PART_NAMES.get(name.lower()) for name in names]
    return None not in parts and {0, 1} <= set(parts)
