"""Images with and without objects, for the calibration of the presence of an object.

Photographs come from data sets with masks; crops beside the objects, skies and drawn scenes hold none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from paddleseg_u2net.data.pairs import list_lines
from paddleseg_u2net.io.images import read_image
from paddleseg_u2net.io.paths import local_path

CELL, SHORTEST, LONGEST_RATIO = 8, 96, 2  # pixels; pixels; longer side by shorter side of a crop
SKY = 0  # class of CamVid
DRAWN = (300, 400)  # (H, W) of drawn scenes, as photographs of MSRA10K


def pairs(listed: Path, stride: int = 1) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The photographs (H, W, 3) uint8 RGB and masks (H, W) of every n-th line of a list file."""
    for _, line in list(list_lines(listed))[::stride]:
        image, mask = (local_path(word, listed.parent) for word in line.split())
        with Image.open(mask) as picture:
            yield read_image(image), np.asarray(picture.convert("L"))


def photographs(listed: Path, stride: int) -> Iterator[np.ndarray]:
    """Every n-th photograph of a list file, whole."""
    return (image for image, _ in pairs(listed, stride))


def beside_objects(listed: Path, stride: int) -> Iterator[np.ndarray]:
    """The largest crop without an object of these photographs, where there is one."""
    return _crops(pairs(listed, stride), lambda mask: mask > 0)


def skies(listed: Path, count: int) -> Iterator[np.ndarray]:
    """The largest crops that show sky alone, of photographs of CamVid."""
    lines = len(list(list_lines(listed)))
    return islice(_crops(pairs(listed, max(lines // (2 * count), 1)), lambda mask: mask != SKY), count)


def _crops(
    items: Iterator[tuple[np.ndarray, np.ndarray]], occupied: Callable[[np.ndarray], np.ndarray]
) -> Iterator[np.ndarray]:
    found = (empty_crop(image, occupied(mask)) for image, mask in items)
    return (crop for crop in found if crop is not None)


def empty_crop(image: np.ndarray, occupied: np.ndarray) -> np.ndarray | None:
    """The largest crop without occupied pixels, at the resolution of the image.

    Args:
        image: (H, W, 3) uint8.
        occupied: (H, W) bool.

    Returns:
        (h, w, 3) uint8, sides multiples of CELL, at least SHORTEST, and at most LONGEST_RATIO apart; None if
        there is no such crop.
    """
    rows, columns = (side // CELL for side in occupied.shape)
    cells = occupied[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL)
    cells = np.asarray(cells.any(axis=(1, 3)))
    least, best, area = SHORTEST // CELL, None, 0
    for top in range(rows):
        for bottom in range(top + least, rows + 1):
            height = bottom - top
            left, right = longest_run(np.logical_not(cells[top:bottom].any(axis=0)))
            width = min(right - left, LONGEST_RATIO * height)
            tall = min(height, LONGEST_RATIO * width)
            if width >= least and width * tall > area:
                left += (right - left - width) // 2
                start = top + (height - tall) // 2
                area, best = width * tall, (start, start + tall, left, left + width)
    if best is None:
        return None
    top, bottom, left, right = (CELL * edge for edge in best)
    return np.ascontiguousarray(image[top:bottom, left:right])


def longest_run(free: np.ndarray) -> tuple[int, int]:
    """Start and end of the longest run of True in (W,) bool; (0, 0) if there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], free.view(np.int8), [0]])))
    if not len(edges):
        return 0, 0
    starts, ends = edges[::2], edges[1::2]
    longest = int((ends - starts).argmax())
    return int(starts[longest]), int(ends[longest])


def _colors(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 3) float32 in 0 .. 255."""
    return rng.uniform(0, 255, (count, 3)).astype(np.float32)


def _blend(share: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two random colours mixed by (H, W) in [0, 1]: (H, W, 3) uint8."""
    first, second = _colors(rng, 2)
    return (first + share[..., None] * (second - first)).clip(0, 255).astype(np.uint8)


def draw_texture(rng: np.random.Generator) -> np.ndarray:
    """Noise whose spectrum falls with the frequency, in two colours: clouds, stone, plaster."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(DRAWN[1]), np.fft.fftfreq(DRAWN[0])))
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.standard_normal(DRAWN)) * frequency ** -rng.uniform(0.5, 2)
    waves = np.fft.ifft2(spectrum).real
    return _blend((0.5 + waves / (4 * waves.std())).clip(0, 1), rng)


def draw_gradient(rng: np.random.Generator) -> np.ndarray:
    """A linear or radial transition between two colours."""
    y, x = np.mgrid[: DRAWN[0], : DRAWN[1]] / np.array(DRAWN).reshape(2, 1, 1)
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        share = np.cos(angle) * x + np.sin(angle) * y
    else:
        share = np.hypot(y - rng.uniform(-0.5, 1.5), x - rng.uniform(-0.5, 1.5))
    return _blend((share - share.min()) / np.ptp(share), rng)


def draw_noise(rng: np.random.Generator) -> np.ndarray:
    """Independent noise around one colour, blurred by up to a few pixels."""
    noise = cv2.GaussianBlur(rng.standard_normal((*DRAWN, 3)).astype(np.float32), (0, 0), rng.uniform(0.3, 4))
    return (_colors(rng, 1) + noise / noise.std() * rng.uniform(3, 60)).clip(0, 255).astype(np.uint8)


def draw_pattern(rng: np.random.Generator) -> np.ndarray:
    """Stripes, checks or bricks in two colours, turned by any angle."""
    y, x = np.mgrid[: DRAWN[0], : DRAWN[1]]
    angle, period = rng.uniform(0, np.pi), rng.uniform(12, 80)
    u = (np.cos(angle) * x + np.sin(angle) * y) / period
    v = (np.cos(angle) * y - np.sin(angle) * x) / period
    kind = rng.integers(3)
    if kind == 0:
        share = 0.5 + 0.5 * np.sin(2 * np.pi * u)
    elif kind == 1:
        share = (np.floor(u) + np.floor(v)) % 2
    else:
        joints = (v % 1 < 0.12) | ((u + 0.5 * (np.floor(v) % 2)) % 2 < 0.12)
        share = joints.astype(float)
    return _blend(cv2.GaussianBlur(share, (0, 0), 1), rng)


def drawn(draw: Callable[[np.random.Generator], np.ndarray], seeds: Iterable[int]) -> Iterator[np.ndarray]:
    """Scenes without objects, (300, 400, 3) uint8 RGB, one per seed."""
    return (draw(np.random.default_rng(seed)) for seed in seeds)


DRAW = {
    "calibration": {"textures": draw_texture, "gradients": draw_gradient, "noise": draw_noise},
    # patterns are of a kind that the calibration has not seen
    "report": {
        "textures": draw_texture,
        "gradients": draw_gradient,
        "noise": draw_noise,
        "patterns": draw_pattern,
    },
}
