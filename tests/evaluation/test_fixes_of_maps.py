"""Each fix that `u2net evaluate` gives for maps and masks is followed, and the folders are then measured."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from map_folders import read_grey
from PIL import Image
from support import write_mask

RED_FIRST, GREEN_FIRST = [255, 0, 0, 0, 255, 0], [0, 255, 0, 255, 0, 0]
WHITE_FIRST, BLACK_FIRST = [255, 255, 255, 0, 0, 0], [0, 0, 0, 255, 255, 255]


def in_8_bits(folder: Path, factor: float) -> None:
    for path in folder.rglob("*.png"):
        write_mask(path, (read_grey(path) * factor).astype(np.uint8))


def in_16_bits(folder: Path, *factors: int) -> None:
    """Store files with 16 bits; the last factor is that of all further files."""
    for index, path in enumerate(sorted(folder.rglob("*.png"))):
        factor = factors[min(index, len(factors) - 1)]
        Image.fromarray(read_grey(path).astype(np.uint16) * np.uint16(factor)).save(path)


def from_16_bits(folder: Path, factor: float) -> None:
    """Store 16-bit files with 8 bits."""
    for path in folder.rglob("*.png"):
        write_mask(path, (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) * factor).astype(np.uint8))


def indexed(folder: Path, *palettes: list[int]) -> None:
    """Store masks by palettes of two colours; objects have the second colour of the last palette."""
    for index, path in enumerate(sorted(folder.rglob("*.png"))):
        palette = palettes[min(index, len(palettes) - 1)]
        ids = (read_grey(path) > 0) ^ (palette != palettes[-1])
        picture = Image.fromarray(ids.astype(np.uint8))
        picture.putpalette(palette)
        picture.save(path)


def with_one_palette(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        ids = (np.asarray(Image.open(path).convert("RGB"))[..., 1] > 0).astype(np.uint8)
        picture = Image.fromarray(ids)
        picture.putpalette(RED_FIRST)
        picture.save(path)


def as_grey(folder: Path) -> None:
    """Save files without their palettes: what is brightest is 255."""
    for path in folder.rglob("*.png"):
        grey = read_grey(path)
        write_mask(path, np.where(grey > grey.min(), 255, 0).astype(np.uint8))


def too_dark(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        write_mask(path, read_grey(path) // 2 + 1)


def resize(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        write_mask(path, cv2.resize(read_grey(path), (20, 20)))


ROWS = [
    # what is done to a folder, the fix, and what is done to follow it
    ("maps", lambda f: in_8_bits(f, 1 / 255), "Fix: store them times 255", lambda f: in_8_bits(f, 255)),
    ("maps", lambda f: in_16_bits(f, 1), "Fix: store them in 8 bits", lambda f: from_16_bits(f, 1)),
    (
        "maps",
        lambda f: in_16_bits(f, 16),
        "or so that white is 65535",
        lambda f: [from_16_bits(f, 1 / 16), in_16_bits(f, 257)],
    ),
    ("maps", lambda f: indexed(f, BLACK_FIRST), "not brightness. Fix: save it as grey", as_grey),
    (
        "masks",
        lambda f: in_16_bits(f, 16),
        "Fix: store all of them with 8 bits, 0 and 255",
        lambda f: from_16_bits(f, 1 / 16),
    ),
    ("masks", lambda f: in_16_bits(f, 1, 257), "Fix: store all masks with the same white", as_grey),
    ("masks", too_dark, "Fix: store it as 0 and 255", as_grey),
    ("masks", lambda f: indexed(f, WHITE_FIRST), "Fix: save the masks as grey, without a palette", as_grey),
    (
        "masks",
        lambda f: indexed(f, GREEN_FIRST, RED_FIRST),
        "Fix: store all masks with one palette",
        with_one_palette,
    ),
    (
        "maps",
        lambda f: (f / "a.png").rename(f / "a2.png"),
        "Fix: add the missing files",
        lambda f: [shutil.copy(f / "a2.png", f / "a.png"), (f / "a2.png").unlink()],
    ),
    (
        "maps",
        lambda f: [path.rename(path.with_stem(f"{path.stem}_1")) for path in f.rglob("*.png")],
        "Fix: maps and masks of the same names, except for their suffixes",
        lambda f: [path.rename(path.with_stem(path.stem[:-2])) for path in f.rglob("*.png")],
    ),
]


@pytest.mark.parametrize(("side", "spoil", "fix", "repair"), ROWS, ids=[row[2] for row in ROWS])
def test_fixes_of_maps_and_masks(evaluate, folders, side, spoil, fix, repair):
    folder = folders[side == "masks"]
    spoil(folder)
    code, _, error = evaluate(*folders)
    assert (code, fix in error) == (1, True), error
    repair(folder)
    code, _, error = evaluate(*folders)
    assert code == 0, error


@pytest.mark.parametrize(
    ("spoil", "flag"),
    [(resize, "--resize"), (lambda f: (f / "a.png").rename(f / "a2.png"), "--common_only")],
)
def test_flags_that_a_fix_names(evaluate, folders, spoil, flag):
    spoil(folders[0])
    code, _, error = evaluate(*folders)
    assert (code, f"use {flag} to" in error) == (1, True), error
    assert evaluate(*folders, flag)[0] == 0
