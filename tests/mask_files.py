"""Masks stored in every way that is read."""

from __future__ import annotations

import numpy as np
from PIL import Image


def store(path, values: np.ndarray, mode: str):
    """Write a mask in one of the ways that users' tools do."""
    if mode == "palette":
        picture = Image.frombytes("P", values.shape[::-1], values.tobytes())
        picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    elif mode == "1-bit":
        picture = Image.fromarray(values.astype(bool))
    elif mode == "16-bit":
        picture = Image.fromarray(values.astype(np.uint16))
    elif mode == "RGB":
        picture = Image.fromarray(np.dstack([values] * 3))
    elif mode == "RGBA":
        picture = Image.fromarray(np.dstack([values] * 3 + [np.full_like(values, 255)]))
    elif mode == "grey + alpha":
        picture = Image.fromarray(np.dstack([values, np.full_like(values, 255)]), "LA")
    else:
        picture = Image.fromarray(values)
    picture.save(path)
    return path
