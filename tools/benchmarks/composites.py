"""Synthetic composites whose alpha and foreground are known, for measuring cut-outs.

A shape with strands, a transparent one, one with a blurred edge and a sharp one, each in drawn colours mixed
with the texture of a photograph, over a photograph as background. The same seed gives the same composite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from paddleseg_u2net.io.images import read_image

HEIGHT, WIDTH = 720, 960
FINE = 2  # alpha is drawn larger by this factor and averaged, so that thin strands have the right coverage
NOISE = 2.0  # standard deviation of the noise in foreground and background, in 8-bit levels


@dataclass(frozen=True)
class Composite:
    """One drawn photograph and its truth.

    Args:
        kind: row of `KINDS`.
        sharp: the background is in focus (mirrored copies at full detail), otherwise one enlarged photograph.
        image: (H, W, 3) uint8, RGB.
        alpha: (H, W) float32 in [0, 1].
        foreground: (H, W, 3) float32 in 0 .. 255.
        ground: (3,) float32, 0 or 255 each: the colour furthest from the background's mean.
    """

    kind: str
    sharp: bool
    image: np.ndarray
    alpha: np.ndarray
    foreground: np.ndarray
    ground: np.ndarray

    @cached_property
    def over_ground(self) -> np.ndarray:
        """The foreground over the new ground, (H, W, 3) float32."""
        return over(self.ground, self.alpha, self.foreground)


def over(ground: np.ndarray, alpha: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """A foreground over a ground of one colour: (3,), (H, W), (H, W, 3) -> (H, W, 3) float32."""
    return ground + alpha[..., None] * (colors - ground)


def draw_composite(seed: int, photographs: Sequence[Path] = ()) -> Composite:
    """Draw the composite of a seed; kinds and backgrounds take turns.

    Args:
        seed: 0 or more.
        photographs: files for backgrounds and colours; without them both are drawn.
    """
    rng = np.random.default_rng(seed)
    kind, sharp = [*KINDS][seed % len(KINDS)], seed // len(KINDS) % 2 == 1
    alpha = KINDS[kind](rng).clip(0, 1)
    foreground = _noisy(_colors(rng, photographs), rng)
    background = _noisy(_background(rng, photographs, sharp), rng)
    image = foreground * alpha[..., None] + background * (1 - alpha[..., None])
    ground = np.where(background.mean((0, 1)) < 128, 255, 0).astype(np.float32)
    return Composite(kind, sharp, (image + 0.5).astype(np.uint8), alpha, foreground, ground)


def _outline(rng: np.random.Generator, size: float = 1.0) -> np.ndarray:
    """A star-shaped region with a wavy border, (FINE * HEIGHT, FINE * WIDTH) float32, 0 or 1."""
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    reach = rng.uniform(0.22, 0.33) * size * HEIGHT * np.ones_like(angle)
    for waves in (1, 2, 3, 5, 9, 17):
        reach *= 1 + rng.uniform(0, 0.25) / waves * np.sin(waves * angle + rng.uniform(0, 2 * np.pi))
    centre = rng.uniform((0.4 * WIDTH, 0.42 * HEIGHT), (0.6 * WIDTH, 0.58 * HEIGHT))
    points = (centre + reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)) * FINE
    mask = np.zeros((FINE * HEIGHT, FINE * WIDTH), np.uint8)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], (1,))
    return mask.astype(np.float32)


def _coverage(mask: np.ndarray) -> np.ndarray:
    return cv2.resize(mask, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def _solid(rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(_coverage(_outline(rng)), (0, 0), 0.7)  # as a lens and a sensor blur it


def _blurred(rng: np.random.Generator) -> np.ndarray:
    """A border that is out of focus, more so towards one side."""
    mask = _coverage(_outline(rng))
    near, far = (cv2.GaussianBlur(mask, (0, 0), sigma) for sigma in rng.uniform((1.5, 5), (5, 16)))
    share = np.linspace(0, 1, WIDTH, dtype=np.float32)
    return near * (1 - share) + far * share


def _hair(rng: np.random.Generator) -> np.ndarray:
    """A body with some hundred curved strands of 1 to 3 pixels that grow from its border outwards."""
    mask = _outline(rng, 0.8)
    edge = np.argwhere(mask != cv2.erode(mask, np.ones((3, 3))))[:, ::-1].astype(np.float32)
    centre = edge.mean(0)
    strands = np.zeros(mask.shape, np.uint8)
    steps = np.linspace(0, 1, 24)[:, None]
    for root in edge[rng.integers(len(edge), size=rng.integers(150, 450))]:
        outwards = (root - centre) / max(float(np.hypot(*(root - centre))), 1)
        length = rng.uniform(0.05, 0.2) * HEIGHT * FINE
        bend = rng.normal(0, 0.35, 2) * length
        points = root + outwards * length * (steps - 0.05) + bend * steps**2
        fixed, thickness = np.round(points * 16).astype(np.int32), int(rng.integers(2, 6))
        cv2.polylines(strands, [fixed], False, (255,), thickness, cv2.LINE_AA, shift=4)
    drawn = np.maximum(mask, strands.astype(np.float32) / 255)
    return cv2.GaussianBlur(_coverage(drawn), (0, 0), 0.6)


def _glass(rng: np.random.Generator) -> np.ndarray:
    """A transparent body that is denser at its rim and has an opaque part and highlights."""
    mask = _outline(rng)
    inner = _coverage(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)) / FINE
    solid = cv2.GaussianBlur(_coverage(mask), (0, 0), 0.8)
    body, rim = rng.uniform(0.15, 0.5), rng.uniform(0.6, 0.95)
    slope = np.linspace(rng.uniform(-0.15, 0.15), rng.uniform(-0.15, 0.15), WIDTH, dtype=np.float32)
    density = body + slope + (rim - body) * np.exp(-inner / rng.uniform(5, 25))
    for _ in range(rng.integers(1, 4)):
        spot = np.zeros_like(solid)
        where = rng.uniform((0.4 * WIDTH, 0.4 * HEIGHT), (0.6 * WIDTH, 0.6 * HEIGHT)).astype(int)
        axes = rng.integers(8, 60, 2)
        cv2.ellipse(spot, where.tolist(), axes.tolist(), rng.uniform(0, 180), 0, 360, (1,), -1, cv2.LINE_8)
        density = np.maximum(density, cv2.GaussianBlur(spot, (0, 0), rng.uniform(1, 5)))
    return (solid * density).astype(np.float32)


KINDS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "hair": _hair,
    "glass": _glass,
    "blurred": _blurred,
    "solid": _solid,
}


def _photograph(rng: np.random.Generator, photographs: Sequence[Path]) -> np.ndarray:
    """One of the photographs, or drawn clouds of two colours and stripes, (h, w, 3) float32."""
    if photographs:
        return read_image(photographs[int(rng.integers(len(photographs)))]).astype(np.float32)
    low, high = rng.uniform(0, 255, (2, 3))
    clouds = cv2.resize(rng.uniform(0, 1, (9, 12)), (400, 300), interpolation=cv2.INTER_CUBIC)
    clouds = clouds + 0.1 * np.sin(np.arange(400) * rng.uniform(0.05, 0.8))
    return (low + (high - low) * clouds[..., None]).clip(0, 255).astype(np.float32)


def _background(rng: np.random.Generator, photographs: Sequence[Path], sharp: bool) -> np.ndarray:
    photograph = _photograph(rng, photographs)
    if not sharp:
        return cv2.resize(photograph, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    height, width = photograph.shape[:2]
    rows, columns = (-(-extent // side) for extent, side in ((HEIGHT, height), (WIDTH, width)))
    beyond = ((0, (rows - 1) * height), (0, (columns - 1) * width), (0, 0))
    return np.pad(photograph, beyond, "symmetric")[:HEIGHT, :WIDTH]


def _colors(rng: np.random.Generator, photographs: Sequence[Path]) -> np.ndarray:
    """Two colours that change into each other, mixed with the texture of a photograph."""
    one, other = rng.uniform(0, 255, (2, 3))
    share = cv2.resize(rng.uniform(0, 1, (4, 5)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)[..., None]
    texture = cv2.resize(_photograph(rng, photographs), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    weight = rng.uniform(0, 0.6)
    return ((1 - weight) * (one + (other - one) * share) + weight * texture).astype(np.float32)


def _noisy(colors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(colors.shape, np.float32) * np.float32(NOISE)
    return (colors + noise).clip(0, 255)
