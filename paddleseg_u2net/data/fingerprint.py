"""A checksum of the files that a data set consists of, cheap enough for every run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paddleseg_u2net.data.pairs import Pair

COVERS = "paths below their common folder and sizes in bytes, of images and masks, in order; no content"


def fingerprint(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Number of pairs, and a checksum of their paths and file sizes.

    It is the same wherever the data set lies. Files are not read, so a file that is replaced by another of
    the same size goes unnoticed.

    Args:
        pairs: of a data set, in its order.

    Returns:
        `pairs`, `sha256` in hexadecimal, and `covers`, which says of what.
    """
    absolute = [[os.path.abspath(path) if path else "" for path in (pair.image, pair.mask)] for pair in pairs]
    folders = {os.path.dirname(path) for files in absolute for path in files if path}
    root = os.path.commonpath(folders) if folders else ""
    state = hashlib.sha256()
    for files in absolute:
        entry = [f"{os.path.relpath(path, root)}\t{_size(path)}" if path else "" for path in files]
        state.update(("\t".join(entry) + "\n").encode(errors="surrogateescape"))
    return {"pairs": len(pairs), "sha256": state.hexdigest(), "covers": COVERS}


def _size(path: str) -> int:
    return Path(path).stat().st_size
