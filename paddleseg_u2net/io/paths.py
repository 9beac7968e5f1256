"""Paths in files that were written on another system."""

from __future__ import annotations

from pathlib import Path


def local_path(text: str, folder: Path = Path()) -> Path:
    r"""The path that a text in a list or a config names, `\` read as `/` where nothing has the name as it is.

    Args:
        text: the path as it is written, perhaps on Windows.
        folder: what it is relative to.
    """
    path = folder / text
    return folder / text.replace("\\", "/") if "\\" in text and not path.exists() else path
