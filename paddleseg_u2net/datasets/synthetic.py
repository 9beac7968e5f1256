"""Draw synthetic fundus photographs with masks of the optic disc, realistic enough to train on.

Deterministic: the same seed gives the same files. The layout is that of optic_disc_seg: JPEGImages,
Annotations (0 and 1), train_list.txt, val_list.txt, test_list.txt.
"""

from __future__ import annotations

import math
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from paddleseg_u2net.io.files import atomic_write

SPLIT = {"train": 0.7, "val": 0.2, "test": 0.1}


def _noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Draw a smooth random field (size, size), about in [-1, 1], with features of size / cells pixels."""
    coarse = rng.uniform(-1, 1, (cells + 3, cells + 3)).astype(np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def _vessel(
    rng: np.random.Generator, canvas: np.ndarray, x: float, y: float, angle: float, width: float
) -> None:
    """Draw one vessel that bends, thins and branches on its way outwards from (x, y)."""
    size = len(canvas)
    step, bend = size / 64, rng.normal(0, 0.04)
    for _ in range(90):  # in plain numbers: arrays of two would take most of the time of a data set
        start = int(x * 8), int(y * 8)  # in eighths of a pixel
        x, y = x + step * math.cos(angle), y + step * math.sin(angle)
        end = int(x * 8), int(y * 8)
        cv2.line(canvas, start, end, 1.0, max(round(width), 1), cv2.LINE_AA, 3)
        width *= 0.985
        angle += bend + rng.normal(0, 0.07)
        if rng.random() < 0.06 and width > size / 300:
            _vessel(rng, canvas, x, y, angle + rng.choice([-1, 1]) * rng.uniform(0.4, 0.9), width * 0.6)
        if width < size / 600 or not (min(x, y) >= 0 and max(x, y) < size):
            return


def draw_fundus(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one photograph (size, size, 3) uint8 RGB, and its disc mask (size, size) uint8 of 0 and 1."""
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    middle = size * rng.uniform(0.47, 0.53, 2)
    radius = size * rng.uniform(0.42, 0.56)
    distance = np.hypot(columns - middle[0], rows - middle[1]) / radius

    side = rng.choice([-1, 1])  # left or right eye
    center = middle + radius * np.array([side * rng.uniform(0, 0.78), rng.uniform(-0.2, 0.2)])
    axes = radius * rng.uniform(0.1, 0.28) * np.array([1, rng.uniform(0.95, 1.25)])
    tilt = rng.uniform(-0.4, 0.4)
    along = (columns - center[0]) * np.cos(tilt) + (rows - center[1]) * np.sin(tilt)
    across = (rows - center[1]) * np.cos(tilt) - (columns - center[0]) * np.sin(tilt)
    disc_distance = np.hypot(along / axes[0], across / axes[1])
    disc = disc_distance <= 1

    # the retina: red to orange, darker at the rim and at the macula, mottled
    base = np.array([rng.uniform(0.45, 0.85), rng.uniform(0.2, 0.42), rng.uniform(0.05, 0.22)])
    light = 1.05 - 0.35 * distance**2 + 0.12 * _noise(rng, size, 3) + 0.05 * _noise(rng, size, 24)
    macula = center - [side * radius * rng.uniform(0.75, 0.95), 0]
    light -= 0.3 * np.exp(-((columns - macula[0]) ** 2 + (rows - macula[1]) ** 2) / (0.16 * radius) ** 2)
    image = base * light[..., None]
    # the disc: yellow with a soft rim, and a paler cup inside
    glow = 1 / (1 + np.exp((disc_distance - 1) * rng.uniform(8, 22)))
    cup = 1 / (1 + np.exp((disc_distance - rng.uniform(0.35, 0.6)) * 14))
    yellow = np.minimum(
        base * rng.uniform(1.25, 1.6) + [0.1, rng.uniform(0.2, 0.35), rng.uniform(0.1, 0.2)], 1
    )
    image += glow[..., None] * (yellow - image) * rng.uniform(0.75, 1)
    image += cup[..., None] * (np.array([1, 0.95, 0.75]) - image) * rng.uniform(0.1, 0.5)
    # a halo around the disc and bright spots elsewhere, so that a brightness threshold is not enough
    image += 0.1 * np.exp(-np.maximum(disc_distance - 1, 0) * 2)[..., None] * base
    for _ in range(rng.integers(0, 10)):
        spot = middle + radius * rng.uniform(-0.8, 0.8, 2)
        reach = radius * rng.uniform(0.008, 0.04)
        bright = np.exp(-((columns - spot[0]) ** 2 + (rows - spot[1]) ** 2) / reach**2)
        image += bright[..., None] * (np.array([0.95, 0.85, 0.45]) - image) * rng.uniform(0.3, 0.8)

    if rng.random() < 0.4:  # glare on one side of the rim
        turn = np.arctan2(rows - middle[1], columns - middle[0]) - rng.uniform(-np.pi, np.pi)
        glare = np.exp(-((1 - distance) ** 2) / 0.02 - (np.sin(turn / 2) / 0.4) ** 2)
        image += glare[..., None] * np.array([0.5, 0.4, 0.1]) * rng.uniform(0.3, 1)

    vessels = np.zeros((size, size), np.float32)
    for quadrant in (0.8, 2.3, -0.8, -2.3, *rng.uniform(-np.pi, np.pi, 4)):
        start = center + axes * rng.uniform(-0.3, 0.3, 2)
        x, y = map(float, start)
        _vessel(rng, vessels, x, y, quadrant + rng.normal(0, 0.3), size / 512 * rng.uniform(2, 8))
    vessels = cv2.GaussianBlur(vessels, (0, 0), max(size / 700, 0.5))
    image *= 1 - vessels[..., None] * rng.uniform(0.3, 0.6) * np.array([0.6, 1, 0.9])

    inside = 1 / (1 + np.exp(np.minimum((distance - 1) * 80, 50)))
    image = cv2.GaussianBlur(image * inside[..., None], (0, 0), size / 512 * rng.uniform(0.3, 2))
    image = np.maximum(image, 0) ** rng.uniform(0.8, 1.3) * rng.uniform(0.75, 1.15) + rng.normal(
        0, 0.015, image.shape
    )
    mask = (disc & (distance < 1)).astype(np.uint8)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8), mask


def draw_dataset(root: Path, images: int, size: int, seed: int) -> Path:
    """Write `images` pairs and their three lists to the new folder `root`; return it.

    Raises:
        FileExistsError: `root` exists; nothing is overwritten.
        ValueError: too few images for three lists.
    """
    if images < 10:
        raise ValueError(f"--images {images}: expected at least 10, so that each list has one")
    if size < 16:
        raise ValueError(f"--size {size}: expected at least 16 pixels")
    if root.exists():
        raise FileExistsError(f"{root}: exists already. Fix: remove it, or choose another folder")
    with atomic_write(root) as partial:
        draw_into(partial, images, size, seed)
    return root


def draw_archive(root: Path, images: int, size: int, seed: int) -> Path:
    """Write the data set of `draw_dataset` as a zip file beside `root`, packed as optic_disc_seg is.

    Returns:
        The zip file; its members lie in a folder named as `root`.

    Raises:
        FileExistsError: `root` or the zip file exists; nothing is overwritten.
        ValueError: see `draw_dataset`.
    """
    target = root.with_name(f"{root.name}.zip")
    if target.exists():
        raise FileExistsError(f"{target}: exists already. Fix: remove it, or choose another name")
    draw_dataset(root, images, size, seed)
    with atomic_write(target) as partial, zipfile.ZipFile(partial, "w") as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, path.relative_to(root.parent))
    shutil.rmtree(root)
    return target


def draw_into(root: Path, images: int = 60, size: int = 256, seed: int = 0) -> None:
    """Write `images` pairs of (size, size) pixels and their lists to a folder; see `draw_dataset`."""
    for name in ("JPEGImages", "Annotations"):
        (root / name).mkdir(parents=True)
    lines = []
    for index in tqdm(range(images), "draw", disable=None, delay=1, leave=False):
        image, mask = draw_fundus(np.random.default_rng([seed, index]), size)
        name = f"S{index:04d}"
        _save(root / "JPEGImages" / f"{name}.jpg", image[..., ::-1])
        _save(root / "Annotations" / f"{name}.png", mask)
        lines.append(f"JPEGImages/{name}.jpg Annotations/{name}.png\n")
    ends = np.cumsum([round(share * images) for share in SPLIT.values()])[:-1].tolist()
    for name, first, last in zip(SPLIT, [0, *ends], [*ends, images], strict=True):
        (root / f"{name}_list.txt").write_text("".join(lines[first:last]))


def _save(path: Path, image: np.ndarray) -> None:
    """Like cv2.imwrite, but raise OSError when the disk is full."""
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
