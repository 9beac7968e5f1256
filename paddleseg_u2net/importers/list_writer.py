"""Write the pairs of a data set as the text of PaddleSeg list files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.errors import DataError, Fault

PARTS = ("train", "val", "test")


def absolute(path: Path) -> Path:
    """Return an absolute path without resolving symbolic links, which users set up to relocate data."""
    return Path(os.path.abspath(path))


def find_root(paths: Sequence[Path], save_dir: Path) -> Path:
    """Return the deepest folder that contains all files, or `save_dir` if that would be the whole disk."""
    root = Path(os.path.commonpath([path.parent for path in paths]))
    return save_dir if root == Path(root.anchor) else root


def entry_text(path: Path, root: Path) -> str:
    """Return a path as written in a list: relative to `root` if it lies below it, else absolute.

    Raises:
        DataError: a name that cannot be written in a list.
    """
    text = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
    if len(text.splitlines()) != 1 or "\t" in text:
        what = "a list cannot contain a name with a tab or a line break"
        raise DataError([Fault(repr(text), what, "rename it")])
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError([Fault(repr(text), "the name is not valid UTF-8", "rename it")]) from None
    return f"./{text}" if text[0] == "#" or text[0].isspace() else text


def list_texts(parts: Sequence[Sequence[Pair]], root: Path) -> dict[str, str]:
    """Write the list of each part.

    Args:
        parts: the pairs of each of PARTS.
        root: the `dataset_root` that paths are relative to.

    Returns:
        The text of the list of each part that has images. Columns are separated by a space, or in all
        lists by a tab if any path contains a space.

    Raises:
        DataError: names that cannot be written in a list, all together.
    """
    rows: dict[str, list[list[str]]] = {}
    faults: list[Fault | str] = []
    for part, pairs in zip(PARTS, parts, strict=True):
        for pair in pairs:
            rows.setdefault(part, []).append([])
            for path in filter(None, pair[:2]):
                try:
                    rows[part][-1].append(entry_text(absolute(path), root))
                except DataError as error:
                    faults += error.faults
    if faults:
        raise DataError(faults)
    spaces = any(text != "".join(text.split()) for pairs in rows.values() for row in pairs for text in row)
    separator = "\t" if spaces else " "
    return {part: "".join(f"{separator.join(row)}\n" for row in pairs) for part, pairs in rows.items()}
